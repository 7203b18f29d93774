//! For tests only: store contract, model store, test server.

pub mod client;
pub mod history;
pub mod random;
pub mod server;
