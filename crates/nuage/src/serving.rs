//! Servers and copies keep away from each other on a PostgreSQL database: what a server writes while
//! everything is copied would be missing, or in the way.
//!
//! All servers of a database share one lease in it, and so do all copies. Whoever has it prolongs
//! it; it ends soon after the last one stopped, however that was. Files have a lock instead.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use nuage_model::{Store, StoreError, Timestamp};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::config::Place;
use crate::failure::{Exit, Failure};
use crate::out::complain;
use crate::server::now;

/// The name of the lease.
const CHORE: &str = "serving";
/// How long it lasts.
const LEASE: Duration = Duration::from_secs(15);
/// How often it is prolonged.
const PROLONG: Duration = Duration::from_secs(3);
/// How long it lasts after a server stopped well: others prolong it within that.
const REST: Duration = Duration::from_secs(4);
/// How long others are waited for that may have ended without a word.
const PATIENCE: Duration = Duration::from_secs(16);
const PAUSE: Duration = Duration::from_millis(250);

/// Who has the lease.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Holder {
    /// The servers of the database.
    Servers,
    /// The copies to it or from it.
    Copies,
}

/// The lease, as long as this is held.
pub(crate) struct Lease {
    store: Arc<dyn Store>,
    holder: Holder,
    prolonging: JoinHandle<()>,
}

impl Holder {
    fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Copies => "copies",
        }
    }

    async fn take(self, store: &dyn Store, lasts: Duration) -> Result<bool, StoreError> {
        let now = now();
        let until = now.0.saturating_add(i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
        nuage_engine::lease(store, CHORE, self.name(), now, Timestamp(until)).await
    }
}

impl Lease {
    /// Takes the lease of a database; none is needed for files.
    ///
    /// # Errors
    ///
    /// A [`Failure`] that says who has it and what to do.
    pub(crate) async fn take(
        holder: Holder,
        place: &Place,
        store: &Arc<dyn Store>,
    ) -> Result<Option<Self>> {
        if matches!(place, Place::Files(_)) {
            return Ok(None);
        }
        let begun = Instant::now();
        let mut is_told = false;
        while !holder.take(store.as_ref(), LEASE).await? {
            if begun.elapsed() >= PATIENCE {
                return Err(Failure::new(Exit::Storage, refused(holder, place)).into());
            }
            if !is_told {
                is_told = true;
                complain(&format!(
                    "{}: waiting a moment until that is sure.",
                    in_use(holder, place)
                ));
            }
            sleep(PAUSE).await;
        }
        let store = Arc::clone(store);
        let prolonging = tokio::spawn(prolong(holder, Arc::clone(&store)));
        Ok(Some(Self { store, holder, prolonging }))
    }

    /// Fails if somebody else has had it meanwhile.
    pub(crate) async fn expect(&self, place: &Place) -> Result<()> {
        let is_held =
            !self.prolonging.is_finished() && self.holder.take(self.store.as_ref(), LEASE).await?;
        match is_held {
            true => Ok(()),
            false => Err(anyhow!(
                "{place} was served meanwhile. The copy is not finished; stop whoever serves it, \
                 and run the same with --restart."
            )),
        }
    }

    /// Gives it back.
    pub(crate) async fn end(self) {
        self.prolonging.abort();
        let lasts = match self.holder {
            // Another one may be there, and have it too.
            Holder::Servers => REST,
            Holder::Copies => Duration::ZERO,
        };
        // If not now, it ends by itself.
        let _ = self.holder.take(self.store.as_ref(), lasts).await;
    }
}

// Until somebody else has it.
async fn prolong(holder: Holder, store: Arc<dyn Store>) {
    loop {
        sleep(PROLONG).await;
        // Who cannot ask cannot write either.
        let Ok(false) = holder.take(store.as_ref(), LEASE).await else { continue };
        if holder == Holder::Servers {
            tracing::error!(
                "`nuage copy` is at work on this database while it is served: what is written now \
                 may be lost. Stop one of them"
            );
            continue;
        }
        return;
    }
}

fn in_use(holder: Holder, place: &Place) -> String {
    match holder {
        Holder::Servers => format!("{place} is being copied, or was a moment ago"),
        Holder::Copies => format!("{place} is served, or was a moment ago"),
    }
}

fn refused(holder: Holder, place: &Place) -> String {
    match holder {
        Holder::Servers => {
            format!("{place} is being copied: start the server when `nuage copy` has ended.")
        }
        Holder::Copies => format!(
            "{place} is served, and what is written meanwhile would be lost: stop its servers, \
             then run the same again."
        ),
    }
}
