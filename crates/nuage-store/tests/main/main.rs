//! The store on SQLite, tried against what can go wrong.

#![allow(clippy::unwrap_used)]

mod contract;
