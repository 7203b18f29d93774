//! The Store port on PostgreSQL.

mod connect;
mod errors;
mod keep;
mod migrations;
mod pool;
mod start;
mod tls;
mod url;

pub(crate) use connect::Target;
