//! That the server was told to stop: for those whose work has no end of its own.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells when the server stops. It is among the extensions of each request; long polls and
/// streams end when it is told.
#[derive(Clone, Default)]
pub struct Stopping(Arc<Signal>);

#[derive(Default)]
struct Signal {
    told: AtomicBool,
    all: Notify,
}

impl Stopping {
    /// Whether the server stops.
    pub fn is_told(&self) -> bool {
        self.0.told.load(Ordering::SeqCst)
    }

    /// Completes when the server stops.
    pub async fn told(&self) {
        let mut woken = pin!(self.0.all.notified());
        // Listening comes before looking, or the word could fall in between.
        woken.as_mut().enable();
        if !self.is_told() {
            woken.await;
        }
    }

    /// Tells all.
    pub(crate) fn tell(&self) {
        self.0.told.store(true, Ordering::SeqCst);
        self.0.all.notify_waiters();
    }
}
