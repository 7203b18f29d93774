//! A store that fails when told to, around one that works.
//!
//! After [`FaultStore::fail_after`] so many calls go through, and every later one fails as if
//! the disk did, until [`FaultStore::recover`]. After [`FaultStore::hang`] calls are never answered,
//! and after [`FaultStore::conflict`] some writes find that what they rely on has changed. It counts
//! all calls.

use std::collections::BTreeMap;
use std::future::{pending, ready};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nuage_model::copy::{Dump, Progress, Step};
use nuage_model::{
    Admin, ApplyError, Batch, Bodies, CollectionPath, Finding, GroupPath, Head, Kind, Listener,
    MembershipQuery, Memberships, Moment, Outcome, Pace, Page, Pending, Principal, Query,
    ReaderFilter, Record, RecordPath, SnapshotHeader, SnapshotRequest, Store, StoreError, Tally,
    Total,
};

const NEVER: u64 = u64::MAX;

/// Passes calls on to another store, or fails them.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
    snapshots: AtomicU64,
    left: AtomicU64,
    hangs: AtomicBool,
    hanging: AtomicU64,
    conflicts: AtomicU64,
}

impl FaultStore {
    /// One that does not fail yet.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self {
            inner,
            calls: AtomicU64::new(0),
            snapshots: AtomicU64::new(0),
            left: AtomicU64::new(NEVER),
            hangs: AtomicBool::new(false),
            hanging: AtomicU64::new(0),
            conflicts: AtomicU64::new(0),
        }
    }

    /// How many calls there were.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// How many of them asked for a snapshot.
    pub fn snapshots(&self) -> u64 {
        self.snapshots.load(Ordering::SeqCst)
    }

    /// Leaves calls without an answer from now on.
    pub fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// How many calls were left without an answer.
    pub fn hanging(&self) -> u64 {
        self.hanging.load(Ordering::SeqCst)
    }

    /// Tells the next so many writes that rely on something that it has changed.
    pub fn conflict(&self, writes: u64) {
        self.conflicts.store(writes, Ordering::SeqCst);
    }

    /// How many writes are still to be told so.
    pub fn conflicts_left(&self) -> u64 {
        self.conflicts.load(Ordering::SeqCst)
    }

    /// Lets so many more calls through, then fails.
    pub fn fail_after(&self, calls: u64) {
        self.left.store(calls, Ordering::SeqCst);
    }

    /// Works again.
    pub fn recover(&self) {
        self.hangs.store(false, Ordering::SeqCst);
        self.left.store(NEVER, Ordering::SeqCst);
    }

    // Counts a call, and says whether it goes through.
    fn passes(&self) -> bool {
        let count = |left| match left {
            NEVER => Some(NEVER),
            left => u64::checked_sub(left, 1),
        };
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count).is_ok()
    }

    fn pass<'a, T: Send + 'a, E: From<StoreError> + Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a dyn Store) -> Pending<'a, Result<T, E>>,
    ) -> Pending<'a, Result<T, E>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        if self.hangs.load(Ordering::SeqCst) {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            return Box::pin(pending());
        }
        if self.passes() {
            return call(&*self.inner);
        }
        let error = StoreError::Unavailable("it was told to fail".to_owned());
        Box::pin(ready(Err(E::from(error))))
    }
}

impl Store for FaultStore {
    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        let take = |left| u64::checked_sub(left, 1);
        if !batch.guards.is_empty()
            && self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
        {
            return Box::pin(ready(Err(ApplyError::Conflict)));
        }
        self.pass(|store| store.apply(batch))
    }

    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        self.pass(move |store| store.get(paths, bodies))
    }

    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        self.pass(|store| store.heads(collections))
    }

    fn list_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Page>, StoreError>> {
        self.pass(move |store| store.list_at(query, pace))
    }

    fn count_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Total>, StoreError>> {
        self.pass(move |store| store.count_at(query, pace))
    }

    fn memberships<'a>(
        &'a self,
        query: &'a MembershipQuery,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Memberships>, StoreError>> {
        self.pass(move |store| store.memberships(query, pace))
    }

    fn standing<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<SnapshotHeader, StoreError>> {
        self.pass(move |store| store.standing(ask))
    }

    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
        most: usize,
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        self.pass(move |store| store.groups_of(members, most))
    }

    fn collections<'a>(
        &'a self,
        whose: ReaderFilter<'a>,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        self.pass(move |store| store.collections(whose, after, limit))
    }

    fn snapshot<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<Moment<'a>, StoreError>> {
        self.snapshots.fetch_add(1, Ordering::SeqCst);
        self.pass(move |store| store.snapshot(ask))
    }

    fn note<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Option<String>, StoreError>> {
        self.pass(move |store| store.note(name))
    }

    fn listen(&self, listener: Listener) {
        self.inner.listen(listener);
    }

    fn foreign_writes(&self) -> u64 {
        self.inner.foreign_writes()
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}

impl Admin for FaultStore {
    fn ping(&self) -> Pending<'_, Result<(), StoreError>> {
        self.pass(|store| store.admin().ping())
    }

    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>> {
        self.pass(|store| store.admin().tally())
    }

    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>> {
        self.pass(|store| store.admin().check())
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Pending<'a, Result<(), StoreError>> {
        self.pass(|store| store.admin().backup(to))
    }

    fn dump(&self) -> Pending<'_, Result<Box<dyn Dump>, StoreError>> {
        self.pass(|store| store.admin().dump())
    }

    fn load(&self, step: Step) -> Pending<'_, Result<(), StoreError>> {
        self.pass(|store| store.admin().load(step))
    }

    fn unfinished(&self) -> Pending<'_, Result<Option<Progress>, StoreError>> {
        self.pass(|store| store.admin().unfinished())
    }
}
