//! For tests only: store contract, model store, test server.
