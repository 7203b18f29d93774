//! Who is asking: from the `Authorization` header of a request to the principal of a person.
//!
//! Policies are asked in order, and the first that knows the credentials names the person. What
//! was verified is remembered for a short time, so that no password is hashed for a request that
//! follows another ([`Auth::identify`]). Guessing is slowed ([`Throttling`]), and hashing is shared
//! fairly among those who ask for it.
//!
//! This crate does not know what a person may do, and writes nothing: accounts are records that
//! the engine keeps. It does not know HTTP beyond the value of one header.

mod auth;
mod basic;
mod cache;
mod password;
mod settings;
mod throttle;
mod turns;

pub use auth::{Auth, AuthError};
pub use password::hash_password_blocking;
pub use settings::{Policy, PolicyKind, Secret, Settings, SettingsError, Throttling};
