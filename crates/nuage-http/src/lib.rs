//! What all doors of Nuage share of HTTP.
