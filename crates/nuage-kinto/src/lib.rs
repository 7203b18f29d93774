//! Door of Nuage: Kinto HTTP API v1.
