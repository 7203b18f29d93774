//! Writes of other processes to the same file, as the writer notices them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use nuage_model::{Hint, Listener};

/// How often there were some, and who is told.
#[derive(Default)]
pub(super) struct Foreign {
    noticed: AtomicU64,
    listener: RwLock<Option<Listener>>,
}

impl Foreign {
    /// A number that moves with each.
    pub(super) fn count(&self) -> u64 {
        self.noticed.load(Ordering::SeqCst)
    }

    /// Tells this one from now on, instead of whoever was told before.
    pub(super) fn listen(&self, listener: Listener) {
        *self.listener.write().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    /// There were some. What they were is not known.
    pub(super) fn note(&self) {
        self.noticed.fetch_add(1, Ordering::SeqCst);
        let listener = self.listener.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(listener) = listener {
            listener(Hint::Everything);
        }
    }
}
