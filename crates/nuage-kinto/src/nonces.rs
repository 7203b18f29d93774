//! Page tokens of list deletions are good for one use.
//!
//! What was spent is remembered in this process until it would have expired anyway.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use nuage_engine::Engine;
use nuage_model::Timestamp;

use crate::error::{Error, Invalid, Location};

/// Spent nonces remembered; beyond that the oldest are presumed expired.
const SPENT_MAX: usize = 100_000;

/// The nonces of this process.
pub(crate) struct Nonces {
    validity_ms: i64,
    spent: Mutex<HashMap<String, Timestamp>>,
}

impl Nonces {
    pub(crate) fn new(validity_s: u64) -> Self {
        let validity_ms = i64::try_from(validity_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        Self { validity_ms, spent: Mutex::default() }
    }

    /// A new nonce: when it was made, and something unique.
    pub(crate) fn issue(&self, engine: &Engine) -> String {
        format!("{}-{}", engine.now(), engine.new_id())
    }

    /// Takes back that a nonce was used: nothing was deleted with it.
    pub(crate) fn give_back(&self, nonce: &str) {
        self.spent.lock().unwrap_or_else(PoisonError::into_inner).remove(nonce);
    }

    /// Uses a nonce; 400 if it was used or is too old.
    pub(crate) fn spend(&self, nonce: &str, now: Timestamp) -> Result<(), Error> {
        let refused = || {
            Error::invalid_one(Invalid::unnamed(
                Location::Querystring,
                "_token was already used or has expired.",
            ))
        };
        let made = nonce.split_once('-').and_then(|(made, _)| made.parse::<i64>().ok());
        let expires = made.and_then(|made| made.checked_add(self.validity_ms));
        let expires = Timestamp(expires.filter(|at| *at > now.0).ok_or_else(refused)?);
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= SPENT_MAX {
            spent.retain(|_, expires| *expires > now);
        }
        match spent.insert(nonce.to_owned(), expires) {
            None => Ok(()),
            Some(_) => Err(refused()),
        }
    }
}
