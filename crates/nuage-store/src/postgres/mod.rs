//! The Store port on PostgreSQL.

mod connect;
mod errors;
mod pool;
