//! Looks at collections that moved, to find whom that concerns.
//!
//! One scan at a time for each collection; whatever is written meanwhile is looked at together
//! by the next one.

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashSet, HashSetExt};
use nuage_model::{
    CollectionPath, FeedRow, Principal, RecordId, Seq, Signature, Snapshot, SnapshotHeader,
    SnapshotRequest, StoreError,
};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::feed::hub::Shared;
use crate::feed::hub::watch::{Audience, CollectionVersion, Moment, Watch};

/// Errands that ask the store at the same time.
pub(super) const ERRANDS_MAX: usize = 8;
/// Time between the beginnings of two scans for one collection.
const PAUSE: Duration = Duration::from_millis(5);
/// Traces that are read at once.
const PAGE: usize = 500;
/// Traces of one scan beyond which the change is taken to concern everybody.
const TRACES_MAX: usize = 2_000;
/// Signatures of one scan beyond which the same is done.
const SIGNATURES_MAX: usize = 1_000;

/// Runs scans as they are asked for.
pub(super) async fn run(shared: &Arc<Shared>) {
    let mut running = JoinSet::new();
    loop {
        while let Some(watch) = shared.next_scan() {
            watch.begin_scan();
            running.spawn(run_one(Scan { shared: Arc::clone(shared), watch }));
        }
        tokio::select! {
            () = shared.scans_asked.notified() => {}
            Some(_) = running.join_next() => {}
        }
    }
}

async fn run_one(scan: Scan) {
    let begun = Instant::now();
    scan.go().await;
    tokio::time::sleep_until(begun + PAUSE).await;
}

/// One that runs; it ends by being dropped, whatever happens.
struct Scan {
    shared: Arc<Shared>,
    watch: Arc<Watch>,
}

impl Scan {
    async fn go(&self) {
        let Ok(_slot) = self.shared.slots.acquire().await else { return };
        if self.watch.is_deserted() {
            return;
        }
        self.shared.count_scan();
        let rung = match self.look().await {
            Ok((whom, up_to)) => self.watch.wake_changes(&whom, up_to),
            Err(error) => {
                tracing::warn!(error = %error, "nobody knows whom a change concerns");
                self.watch.wake_all()
            }
        };
        self.shared.count_rung(rung);
    }

    async fn look(&self) -> Result<(Audience, Moment), StoreError> {
        let ask = ask(&self.watch.collection);
        let (opening, mut snapshot) = self.shared.store.snapshot(&ask).await?;
        let standing = opening.standing;
        let up_to = Moment {
            seq: standing.map(|standing| standing.head.seq).unwrap_or_default(),
            named: standing.map(|standing| standing.named).unwrap_or_default(),
            life: Some(life(&opening)),
        };
        let Some(seen) = self.watch.seen() else { return Ok((Audience::Everybody, up_to)) };
        let is_same_life = seen.life.is_none() || seen.life == up_to.life;
        if !is_same_life || up_to.seq < seen.seq {
            return Ok((Audience::Everybody, up_to));
        }
        if up_to.seq == seen.seq {
            return Ok((Audience::Nobody, up_to));
        }
        // A new name may be that of a group as which anybody counts.
        let is_renamed = up_to.named != seen.named;
        if is_renamed || standing.is_some_and(|standing| standing.horizon > seen.seq) {
            return Ok((Audience::Everybody, up_to));
        }
        let whom = self.whom(&mut *snapshot, seen.seq).await?;
        Ok((whom, up_to))
    }

    async fn whom(&self, snapshot: &mut dyn Snapshot, after: Seq) -> Result<Audience, StoreError> {
        let Some(traces) = traces(snapshot, after).await? else { return Ok(Audience::Everybody) };
        let signatures: HashSet<Signature> = traces.iter().map(|trace| trace.signature).collect();
        if signatures.len() > SIGNATURES_MAX {
            return Ok(Audience::Everybody);
        }
        let signatures: Vec<Signature> = signatures.into_iter().collect();
        let found = self.shared.signatures.principals(snapshot, &signatures).await?;
        let Some(found) = found else { return Ok(Audience::Everybody) };
        let mut holders: HashSet<Principal> = HashSet::new();
        for principals in &found {
            holders.extend(principals.iter().cloned());
        }
        Ok(Audience::Holders(holders))
    }
}

impl Drop for Scan {
    fn drop(&mut self) {
        if self.watch.end_scan() {
            self.shared.queue_scan(Arc::clone(&self.watch));
        }
    }
}

/// The records of a built-in collection that changed after this position; `None` if that cannot be
/// told.
pub(super) async fn changed_records(
    shared: &Shared,
    collection: &CollectionPath,
    after: Seq,
) -> Result<Option<Vec<RecordId>>, StoreError> {
    let ask = ask(collection);
    let (opening, mut snapshot) = shared.store.snapshot(&ask).await?;
    let Some(standing) = opening.standing else { return Ok(None) };
    if standing.head.seq < after || standing.horizon > after {
        return Ok(None);
    }
    let traces = traces(&mut *snapshot, after).await?;
    Ok(traces.map(|traces| traces.into_iter().map(|trace| trace.id).collect()))
}

/// What happened after this position; `None` if it is too much.
async fn traces(
    snapshot: &mut dyn Snapshot,
    mut after: Seq,
) -> Result<Option<Vec<FeedRow>>, StoreError> {
    let mut traces: Vec<FeedRow> = Vec::new();
    loop {
        let page = snapshot.tail(after, PAGE).await?;
        let is_last = page.len() < PAGE;
        traces.extend(page);
        match traces.last() {
            Some(last) if !is_last => after = last.seq,
            _ => return Ok(Some(traces)),
        }
        if traces.len() >= TRACES_MAX {
            return Ok(None);
        }
    }
}

pub(super) fn ask(collection: &CollectionPath) -> SnapshotRequest {
    SnapshotRequest::of(collection.clone())
}

fn life(opening: &SnapshotHeader) -> CollectionVersion {
    CollectionVersion {
        epoch: opening.epoch.clone(),
        incarnation: opening.standing.map(|standing| standing.incarnation),
    }
}
