//! The Store port on PostgreSQL: lanes that write, a pool of connections for reads, hints between
//! processes.
//!
//! Any number of processes may work on one database. Nothing is kept in memory that another
//! process could make wrong, except what a transaction has locked. Whatever holds a connection
//! needs it for one statement or one transaction only, so that a pooler may be in between.

mod connect;
mod errors;
mod hints;
mod keep;
mod lane;
mod migrations;
mod needs;
mod overlay;
mod pool;
mod read;
mod start;
mod tls;
mod url;
mod write;

pub(crate) use connect::Target;
