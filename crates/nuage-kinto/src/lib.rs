//! Door of Nuage: Kinto HTTP API v1.
mod error;
mod json;
mod object;
mod settings;

pub use settings::{EndOfService, Features, RedirectLifetime, Settings};
