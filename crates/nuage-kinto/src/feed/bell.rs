//! Tells watchers whose account changed, so that not each of them has to look.
//!
//! One task looks at the accounts for all, while somebody watches. A toll says "look again", and
//! what is true is found out by who hears it.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nuage_engine::Engine;
use nuage_model::{CollectionPath, Seq, StoreError};
use tokio::sync::watch;

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(250);
/// Accounts that are called by name; when more changed, all are.
const NAMED_MAX: usize = 1_000;

/// Rings when accounts change.
pub(crate) struct Bell {
    engine: Arc<Engine>,
    tolls: watch::Sender<Toll>,
    is_watched: AtomicBool,
}

/// What is rung.
#[derive(Clone, Default)]
pub(crate) struct Toll {
    /// Counts the tolls: whoever misses one takes itself for called.
    pub(crate) number: u64,
    /// Who is called; `None` calls everybody.
    accounts: Option<Arc<HashSet<String>>>,
}

impl Toll {
    /// Whether this account is called.
    pub(crate) fn calls(&self, account: &str) -> bool {
        self.accounts.as_ref().is_none_or(|accounts| accounts.contains(account))
    }
}

impl Bell {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        Self { engine, tolls: watch::Sender::default(), is_watched: AtomicBool::new(false) }
    }

    /// Hears of changes from now on.
    pub(crate) fn listen(self: &Arc<Self>) -> watch::Receiver<Toll> {
        let receiver = self.tolls.subscribe();
        if !self.is_watched.swap(true, Ordering::SeqCst) {
            tokio::spawn(Arc::clone(self).watch());
        }
        receiver
    }

    async fn watch(self: Arc<Self>) {
        let mut generation = None;
        let mut seen: Option<Seq> = None;
        loop {
            let now = self.engine.accounts_generation();
            if generation != Some(now) {
                // Where the accounts cannot be read, another look follows.
                match self.changed_since(seen).await {
                    Ok((head, changed)) => {
                        generation = Some(now);
                        if seen != Some(head) {
                            self.ring(changed);
                        }
                        seen = Some(head);
                    }
                    Err(error) => tracing::debug!(%error, "accounts were not looked at"),
                }
            }
            tokio::time::sleep(LOOK).await;
            if self.tolls.receiver_count() == 0 {
                self.is_watched.store(false, Ordering::SeqCst);
                // Somebody may have come in between, and found the watch still on.
                let nobody = self.tolls.receiver_count() == 0;
                if nobody || self.is_watched.swap(true, Ordering::SeqCst) {
                    return;
                }
            }
        }
    }

    /// Where the accounts stand, and which changed since; `None` is any.
    async fn changed_since(
        &self,
        seen: Option<Seq>,
    ) -> Result<(Seq, Option<HashSet<String>>), StoreError> {
        let ask = nuage_model::SnapshotRequest::of(CollectionPath::accounts());
        let (opening, mut snapshot) = self.engine.store().snapshot(&ask).await?;
        let head = opening.standing.map_or(Seq(0), |standing| standing.head.seq);
        let Some(seen) = seen.filter(|seen| *seen <= head) else { return Ok((head, None)) };
        let traces = match seen == head {
            true => Vec::new(),
            false => snapshot.tail(seen, NAMED_MAX).await?,
        };
        let reached = traces.len() < NAMED_MAX;
        let named = traces.into_iter().map(|trace| trace.id.as_str().to_owned()).collect();
        Ok((head, reached.then_some(named)))
    }

    fn ring(&self, accounts: Option<HashSet<String>>) {
        let accounts = accounts.map(Arc::new);
        self.tolls.send_modify(|toll| {
            toll.number += 1;
            toll.accounts = accounts;
        });
    }
}
