//! For tests only: store contract, model store, test server.

pub mod client;
pub mod contract;
pub mod fault;
pub mod history;
pub mod random;
pub mod server;
