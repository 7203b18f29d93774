//! Forgetting what feeds need not tell any more: tombstones and ended residencies that are older
//! than the horizon, or more than a collection may keep; and views that no token speaks of.
//!
//! It goes on in the background in small steps, in one process at a time (a lease in the store).
//! A device that was away for longer than what is remembered starts afresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nuage_model::{
    ApplyError, Batch, BucketId, CollectionPath, ReaderFilter, SnapshotRequest, StoreError,
    Timestamp, Write,
};

use crate::Engine;
use crate::notes::lease;

/// The name of the chore.
const CHORE: &str = "compaction";
/// Collections looked up at a time.
const COLLECTIONS: usize = 100;
/// Tombstones and ended residencies that go in one step: writers wait for no longer than that, and
/// whom the signatures name that go with them is held in memory, thousands for each at worst.
const STEP: usize = 100;
/// Steps in one collection in one round; the next round goes on.
const STEPS_MAX: usize = 20_000;
/// Rest between two steps, for others to write.
const REST: Duration = Duration::from_millis(5);
/// How much longer than tombstones views are kept, for they are marked as used once a day.
const GRACE_MS: i64 = 2 * 24 * 60 * 60 * 1_000;

/// What was done since the engine was made.
#[derive(Default, Debug)]
pub struct Housekeeping {
    rounds: AtomicU64,
    steps: AtomicU64,
    failures: AtomicU64,
}

impl Housekeeping {
    /// Rounds through all collections.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// How often the horizon of a collection was moved.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Rounds that ended early.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

impl Engine {
    /// Forgets round after round, for as long as the future is polled; ends at once if the
    /// operator wants none of it.
    pub async fn run_compaction(self: Arc<Self>) {
        let period = Duration::from_millis(self.settings().feed.compact_ms);
        if period.is_zero() {
            return;
        }
        loop {
            tokio::time::sleep(period).await;
            let steps = self.housekeeping().steps();
            match self.compact().await {
                Ok(false) => {}
                Ok(true) => {
                    let steps = self.housekeeping().steps() - steps;
                    tracing::info!(steps, "forgot what feeds need not tell any more");
                }
                Err(error) => {
                    self.housekeeping().failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "forgetting was put off");
                }
            }
        }
    }

    /// One round through all collections, unless another process is at it; says whether anything
    /// was forgotten.
    ///
    /// # Errors
    ///
    /// What the store could not; the next round begins again.
    pub async fn compact(self: &Arc<Self>) -> Result<bool, StoreError> {
        let before = self.housekeeping().steps();
        let mut after: Option<CollectionPath> = None;
        let mut bucket: Option<BucketId> = None;
        loop {
            if !self.take_lease().await? {
                return Ok(false);
            }
            let paths =
                self.store().collections(ReaderFilter::All, after.as_ref(), COLLECTIONS).await?;
            let Some(last) = paths.last().cloned() else { break };
            for path in paths {
                if bucket.as_ref() != Some(&path.bucket) {
                    self.forget_views(&path.bucket).await?;
                    bucket = Some(path.bucket.clone());
                }
                self.compact_one(&path).await?;
            }
            after = Some(last);
        }
        self.housekeeping().rounds.fetch_add(1, Ordering::Relaxed);
        Ok(self.housekeeping().steps() > before)
    }

    // The lease outlives a round that nobody prolongs, not the period after it.
    async fn take_lease(&self) -> Result<bool, StoreError> {
        let now = self.now();
        let period = i64::try_from(self.settings().feed.compact_ms).unwrap_or(i64::MAX);
        let until = Timestamp(now.0.saturating_add(period.max(60_000)));
        lease(&**self.store(), CHORE, self.name(), now, until).await
    }

    async fn compact_one(self: &Arc<Self>, path: &CollectionPath) -> Result<(), StoreError> {
        let ask = SnapshotRequest::of(path.clone());
        let settings = &self.settings().feed;
        let now = self.now();
        let before = Timestamp(now.0.saturating_sub(settings.horizon_ms));
        let (mut is_noted, mut steps) = (false, 0);
        while steps < STEPS_MAX {
            let (opening, mut snapshot) = self.store().snapshot(&ask).await?;
            let Some(standing) = opening.standing else { break };
            let keep =
                settings.kept_min.max(settings.kept_factor.saturating_mul(standing.head.live));
            // The head may be ahead of the clock, since the clock was wrong or it came with an
            // import.
            if standing.head.seq.0 > now.0 && !is_noted {
                drop(snapshot);
                self.write(Write::Mark { collection: path.clone(), before }).await?;
                is_noted = true;
                continue;
            }
            if standing.tombstones == 0 && standing.gone == 0 {
                break;
            }
            let up_to = snapshot.compaction_target(before, keep, STEP).await?;
            drop(snapshot);
            let Some(up_to) = up_to else { break };
            self.write(Write::Compact { collection: path.clone(), up_to }).await?;
            self.housekeeping().steps.fetch_add(1, Ordering::Relaxed);
            steps += 1;
            tokio::time::sleep(REST).await;
        }
        Ok(())
    }

    async fn forget_views(self: &Arc<Self>, bucket: &BucketId) -> Result<(), StoreError> {
        let age = self.settings().feed.horizon_ms.saturating_add(GRACE_MS);
        let before = Timestamp(self.now().0.saturating_sub(age));
        self.write(Write::ForgetViews { bucket: bucket.clone(), before }).await
    }

    async fn write(self: &Arc<Self>, write: Write) -> Result<(), StoreError> {
        let batch = Batch::new(self.now(), vec![write]);
        match self.store().apply(batch).await {
            Ok(_) => Ok(()),
            Err(ApplyError::Store(error)) => Err(error),
            Err(ApplyError::Conflict) => {
                Err(StoreError::Unavailable("a batch without guards was refused".to_owned()))
            }
        }
    }
}
