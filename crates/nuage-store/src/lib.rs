//! SQLite behind the Store port of Nuage.
