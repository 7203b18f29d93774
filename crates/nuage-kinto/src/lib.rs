//! Door of Nuage: Kinto HTTP API v1.
mod envelope;
mod error;
mod json;
mod object;
mod patch;
mod querystring;
mod settings;
mod shape;
mod token;

pub use settings::{EndOfService, Features, RedirectLifetime, Settings};
