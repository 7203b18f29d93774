//! Door of Nuage: Kinto HTTP API v1.
//!
//! Source: Kinto HTTP API 1.23, as its servers and clients speak it. What is here, by section of
//! the protocol's fact sheet:
//!
//! | section | where |
//! |---|---|
//! | conventions, redirections, caching, CORS (1, 21) | `front`, `negotiate`, `headers` |
//! | errors (2) | `error` |
//! | endpoints (3) | `routes` |
//! | objects, identifiers, timestamps, conditions, writes (4 to 6, 9) | `objects`, `envelope`, `patch`, `object` |
//! | lists, pages (7, 8) | `lists`, `querystring`, `fields`, `token`, `nonces` |
//! | permissions (10) | the engine's `access`; `permissions_endpoint` (19) |
//! | batch (12) | `batch`, `run` |
//! | default bucket (14) | `default_bucket` |
//! | history and snapshots (16) | the engine's `history`; `snapshot` |
//! | accounts (17) | `accounts` |
//! | why somebody may or may not do something: ours | `explain` |
//! | feeds: ours | `feed` |
//! | utilities (20) | `utilities`, `openapi` |
//!
//! This crate translates; rules are the engine's, and who is asking is found out by `nuage-auth`.

mod accounts;
mod batch;
mod call;
mod default_bucket;
mod envelope;
mod error;
mod explain;
mod feed;
mod fields;
mod front;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod headers;
mod json;
mod lists;
mod negotiate;
mod nonces;
mod object;
mod objects;
mod openapi;
mod patch;
mod permissions_endpoint;
mod querystring;
mod reply;
mod routes;
mod run;
mod settings;
mod shape;
mod snapshot;
mod token;
mod utilities;

use std::sync::{Arc, Weak};

use http::HeaderValue;
use nuage_auth::Auth;
use nuage_engine::Engine;
use nuage_http::Compressor;

pub use settings::{EndOfService, Features, RedirectLifetime, Settings};

use crate::feed::Bell;
use crate::headers::Headers;
use crate::nonces::Nonces;
use crate::token::Tokens;

/// The door.
pub struct Kinto {
    me: Weak<Self>,
    engine: Arc<Engine>,
    auth: Arc<Auth>,
    settings: Settings,
    headers: Headers,
    compressor: Compressor,
    tokens: Tokens,
    nonces: Nonces,
    bell: Arc<Bell>,
    challenges: Vec<HeaderValue>,
}

impl Kinto {
    /// A door to an engine, mounted at the root of a server.
    pub fn new(engine: Arc<Engine>, auth: Arc<Auth>, settings: Settings) -> Arc<Self> {
        // Both policies that exist take a name and a password.
        let basic = HeaderValue::from_static("Basic realm=\"Realm\"");
        let challenges = settings.challenges.iter().map(|_policy| basic.clone()).collect();
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            bell: Arc::new(Bell::new(Arc::clone(&engine))),
            engine,
            auth,
            headers: Headers::new(&settings),
            compressor: Compressor::default(),
            tokens: Tokens::new(&settings.token_secret),
            nonces: Nonces::new(settings.pagination_token_validity_s),
            challenges,
            settings,
        })
    }

    /// The door itself, for work that outlives a request.
    fn this(&self) -> Arc<Self> {
        self.me.upgrade().expect("whoever calls it holds it")
    }
}
