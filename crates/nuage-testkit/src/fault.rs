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
    ApplyError, Ask, Batch, Bodies, BucketId, CollectionPath, Finding, GroupPath, Head, Kind,
    Listener, Moment, Outcome, Page, Pending, Principal, Query, Record, RecordPath, Rows, Seq,
    Store, StoreError, Tally, Timestamp, Total,
};

const NEVER: u64 = u64::MAX;

/// Passes calls on to another store, or fails them.
pub struct FaultStore {
    inner: Arc<dyn Store>,
    calls: AtomicU64,
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
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        self.pass(move |store| store.get(paths, bodies))
    }

    fn head<'a>(
        &'a self,
        collection: &'a CollectionPath,
    ) -> Pending<'a, Result<Option<Head>, StoreError>> {
        self.pass(|store| store.head(collection))
    }

    fn list<'a>(&'a self, query: &'a Query) -> Pending<'a, Result<Page, StoreError>> {
        self.pass(|store| store.list(query))
    }

    fn list_at_once<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<Option<Page>, StoreError>> {
        self.pass(|store| store.list_at_once(query))
    }

    fn count_at_once<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<Option<Total>, StoreError>> {
        self.pass(|store| store.count_at_once(query))
    }

    fn count<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<(Option<Head>, u64), StoreError>> {
        self.pass(|store| store.count(query))
    }

    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        self.pass(|store| store.groups_of(members))
    }

    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        self.pass(|store| store.heads(collections))
    }

    fn snapshot<'a>(&'a self, ask: &'a Ask) -> Pending<'a, Result<Moment<'a>, StoreError>> {
        self.pass(move |store| store.snapshot(ask))
    }

    fn view<'a>(
        &'a self,
        bucket: &'a BucketId,
        person: &'a Principal,
        name: [u8; 16],
    ) -> Pending<'a, Result<Option<Vec<Principal>>, StoreError>> {
        self.pass(move |store| store.view(bucket, person, name))
    }

    fn overdue<'a>(
        &'a self,
        collection: &'a CollectionPath,
        before: Timestamp,
        keep: u64,
        limit: usize,
    ) -> Pending<'a, Result<Option<Seq>, StoreError>> {
        self.pass(move |store| store.overdue(collection, before, keep, limit))
    }

    fn lease<'a>(
        &'a self,
        chore: &'a str,
        holder: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'a, Result<bool, StoreError>> {
        self.pass(move |store| store.lease(chore, holder, now, until))
    }

    fn listen(&self, listener: Listener) {
        self.inner.listen(listener);
    }

    fn collections_of<'a>(
        &'a self,
        principals: &'a [Principal],
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        self.pass(|store| store.collections_of(principals, after, limit))
    }

    fn collections<'a>(
        &'a self,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        self.pass(|store| store.collections(after, limit))
    }

    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        let take = |left| u64::checked_sub(left, 1);
        if !batch.guards.is_empty()
            && self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
        {
            return Box::pin(ready(Err(ApplyError::Conflict)));
        }
        self.pass(|store| store.apply(batch))
    }

    fn foreign_writes(&self) -> u64 {
        self.inner.foreign_writes()
    }

    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>> {
        self.pass(|store| store.tally())
    }

    fn ping(&self) -> Pending<'_, Result<(), StoreError>> {
        self.pass(|store| store.ping())
    }

    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>> {
        self.pass(|store| store.check())
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Pending<'a, Result<(), StoreError>> {
        self.pass(|store| store.backup(to))
    }

    fn keep<'a>(
        &'a self,
        name: &'a str,
        value: &'a str,
    ) -> Pending<'a, Result<String, StoreError>> {
        self.pass(|store| store.keep(name, value))
    }

    fn rows(&self) -> &dyn Rows {
        self
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}

impl Rows for FaultStore {
    fn dump(&self) -> Pending<'_, Result<Box<dyn Dump>, StoreError>> {
        self.pass(|store| store.rows().dump())
    }

    fn load(&self, step: Step) -> Pending<'_, Result<(), StoreError>> {
        self.pass(|store| store.rows().load(step))
    }

    fn unfinished(&self) -> Pending<'_, Result<Option<Progress>, StoreError>> {
        self.pass(|store| store.rows().unfinished())
    }
}
