//! Door of Nuage: Kinto HTTP API v1.
mod settings;

pub use settings::{EndOfService, Features, RedirectLifetime, Settings};
