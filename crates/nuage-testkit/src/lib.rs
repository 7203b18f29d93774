//! For tests only: store contract, model store, test server.

pub mod backend;
pub mod checker;
pub mod client;
pub mod contract;
pub mod fault;
pub mod history;
pub mod oracle;
pub mod postgres;
pub mod random;
pub mod server;
pub mod tables;
