//! The unit of work of one request, or of one batch of requests.
//!
//! It collects writes and sees them in its own reads, remembers what it relied on, and is applied
//! as one batch. Positions of its own writes are provisional until then: answers are shaped after
//! the commit, through [`Resolved`].

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use nuage_model::{
    ApplyError, Batch, Bodies, Body, BucketId, CollectionPath, GroupPath, Guard, Head, Kind,
    Outcome, Placement, Principal, Put, Readers, Record, RecordId, RecordMeta, RecordPath, Seq,
    State, StoreError, Timestamp, Write,
};
use tokio::sync::OwnedMutexGuard;

use crate::access::Intent;
use crate::engine::{Engine, Parent};
use crate::groups::Staged;
use crate::{Caller, CommitError, Conflict, Requester};

/// One unit of work.
pub struct Session {
    pub(crate) engine: Arc<Engine>,
    pub(crate) caller: Caller,
    pub(crate) now: Timestamp,
    address: Option<IpAddr>,
    pub(crate) page_bytes: usize,
    locks: Vec<OwnedMutexGuard<()>>,
    relied: HashMap<RecordPath, Option<RecordMeta>>,
    /// Whether what is remembered is taken for what there is, and nothing is in its way that a commit
    /// finds.
    pub(crate) presumes: bool,
    /// What was taken so.
    presumed: Vec<RecordPath>,
    /// What was found in two states, both of which something relies on.
    contradicted: Vec<RecordPath>,
    /// What will be looked at, and was not read yet.
    announced: Vec<RecordPath>,
    /// What was read of it.
    prefetched: HashMap<RecordPath, Option<Record>>,
    writes: Vec<Write>,
    /// By collection, so that looking for those of one does not go through the others.
    staged: HashMap<CollectionPath, HashMap<RecordId, Record>>,
    members: HashMap<GroupPath, Vec<Principal>>,
    /// Groups that collections do not name yet, as far as it was looked.
    pub(crate) new_names: HashMap<CollectionPath, BTreeSet<GroupPath>>,
    dropped_collections: HashSet<CollectionPath>,
    dropped_buckets: HashSet<BucketId>,
    touched: HashMap<CollectionPath, usize>,
    /// How much was deleted by lists.
    pub(crate) deleted: usize,
}

impl Session {
    pub(crate) fn new(
        engine: Arc<Engine>,
        caller: Caller,
        locks: Vec<OwnedMutexGuard<()>>,
        presumes: bool,
    ) -> Self {
        Self {
            now: engine.now(),
            page_bytes: engine.settings().limits.page_bytes,
            engine,
            caller,
            address: None,
            locks,
            relied: HashMap::default(),
            presumes,
            presumed: Vec::new(),
            contradicted: Vec::new(),
            announced: Vec::new(),
            prefetched: HashMap::default(),
            writes: Vec::new(),
            staged: HashMap::default(),
            members: HashMap::default(),
            new_names: HashMap::default(),
            dropped_collections: HashSet::default(),
            dropped_buckets: HashSet::default(),
            touched: HashMap::default(),
            deleted: 0,
        }
    }

    /// Who is asking.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The engine that this is a unit of work of.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// Where the requests come from: whose turn it is when nobody is known.
    pub fn come_from(&mut self, address: IpAddr) {
        self.address = Some(address);
    }

    /// Pages have no more bytes from now on, unless a single record has, nor more than
    /// [`nuage_model::Limits::page_bytes`].
    pub fn bound_pages(&mut self, bytes: usize) {
        self.page_bytes = bytes.min(self.engine.settings().limits.page_bytes);
    }

    /// For whom work is done here.
    pub fn requester(&self) -> Requester {
        match (self.caller.user(), self.address) {
            (None, Some(address)) => Requester::at(address),
            _ => Requester::Person(self.caller.author()),
        }
    }

    /// Goes on as somebody else.
    pub fn act_as(&mut self, user: Option<Principal>) {
        self.caller = Caller::new(user);
    }

    /// What this unit of work itself says about groups, if anything.
    pub(crate) fn staged_groups(&self) -> Option<Staged<'_>> {
        let changed = !(self.members.is_empty() && self.dropped_buckets.is_empty());
        changed.then_some(Staged { members: &self.members, dropped_buckets: &self.dropped_buckets })
    }

    /// Tells which records will be looked at. Once one of them has to be read, all are, by one
    /// question to the store instead of many.
    pub fn announce(&mut self, paths: Vec<RecordPath>) {
        self.announced = paths;
    }

    /// The record as this unit of work leaves it, tombstones included, without judging.
    pub async fn look(
        &mut self,
        path: &RecordPath,
        bodies: Bodies,
    ) -> Result<Option<Record>, StoreError> {
        if let Some(known) = self.own(path) {
            return Ok(known);
        }
        if self.announced.contains(path) {
            // Nobody is judged yet, so large bodies wait until they are.
            let paths = std::mem::take(&mut self.announced);
            let found = self.engine.store().get(&paths, Bodies::Small).await?;
            self.prefetched = paths.into_iter().zip(found).collect();
        }
        let prefetched = self.prefetched.get(path);
        if let Some(found) =
            prefetched.filter(|found| bodies == Bodies::Small || !lacks_body(found))
        {
            return Ok(found.clone());
        }
        let found = self.engine.store().get(std::slice::from_ref(path), bodies).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// What this unit of work itself says about a record, if anything.
    pub(crate) fn own(&self, path: &RecordPath) -> Option<Option<Record>> {
        self.has_own(path).then(|| self.staged_at(path).cloned())
    }

    /// Whether it says anything about it.
    pub(crate) fn has_own(&self, path: &RecordPath) -> bool {
        let says = |path| self.staged_at(path).is_some() || self.is_dropped(&path.collection);
        !self.writes.is_empty() && says(path)
    }

    /// What is taken for the record that somebody wants to change, without reading it: what is
    /// remembered, or that there is none where one is to be made. Whoever decides by it says so
    /// with [`Session::rely_on_presumed`].
    pub(crate) fn presume(&self, path: &RecordPath, intent: Intent) -> Option<Option<Arc<Record>>> {
        if !self.presumes || intent == Intent::Read || self.has_own(path) {
            return None;
        }
        match self.engine.records().get(path) {
            Some(record) => Some(Some(record)),
            None => (intent == Intent::Create).then_some(None),
        }
    }

    /// As [`Session::rely`], on what was presumed: it is compared also if nothing is changed.
    pub(crate) fn rely_on_presumed(&mut self, path: &RecordPath, record: Option<&Record>) {
        self.rely(path, record);
        self.presumed.push(path.clone());
    }

    fn staged_at(&self, path: &RecordPath) -> Option<&Record> {
        self.staged.get(&path.collection)?.get(&path.id)
    }

    fn note_staged(&mut self, path: &RecordPath, record: Record) {
        let staged = self.staged.entry(path.collection.clone()).or_default();
        staged.insert(path.id.clone(), record);
    }

    pub(crate) fn is_dropped(&self, collection: &CollectionPath) -> bool {
        self.dropped_collections.contains(collection)
            || self.dropped_buckets.contains(&collection.bucket)
    }

    /// The record of a bucket or collection, if it is alive, as this unit of work leaves it.
    pub(crate) async fn parent(
        &mut self,
        path: &RecordPath,
    ) -> Result<Option<Arc<Parent>>, StoreError> {
        match self.own(path) {
            Some(own) => Parent::of(own),
            None => self.engine.parent(path).await,
        }
    }

    /// Remembers that a decision relied on what was read, so that the commit fails if it changed, or
    /// if another decision relied on something else: what is remembered may be older than what was
    /// read before.
    pub(crate) fn rely(&mut self, path: &RecordPath, record: Option<&Record>) {
        if self.has_own(path) {
            return;
        }
        let found = record.map(Record::meta);
        let relied = *self.relied.entry(path.clone()).or_insert(found);
        if relied.and_then(RecordMeta::live_at) != found.and_then(RecordMeta::live_at) {
            self.contradicted.push(path.clone());
        }
    }

    // What no commit can hold for true, to be read anew.
    fn expect_consistent(&mut self) -> Result<(), CommitError> {
        if self.contradicted.is_empty() {
            return Ok(());
        }
        let paths = std::mem::take(&mut self.contradicted);
        for path in &paths {
            self.engine.records().remove(path);
            self.engine.forget_parent(path);
        }
        let was_presumed = !self.presumed.is_empty();
        Err(CommitError::Conflict(Conflict { paths, was_presumed }))
    }

    /// The number that the next write will have.
    pub(crate) fn next_write(&self) -> usize {
        self.writes.len()
    }

    /// Stages a write of one record, and gives the record as it leaves it.
    pub(crate) fn stage_record(&mut self, path: &RecordPath, write: Write) -> Record {
        self.stage(write);
        self.staged_at(path).cloned().expect("a write of a record stages the record")
    }

    pub(crate) fn stage(&mut self, write: Write) {
        match &write {
            Write::Put(Put { path, body, permissions, readers, placement }) => {
                let mut record = self.staged_record(path, body, permissions, readers);
                record.chosen = chosen_by(*placement);
                self.note_staged(path, record);
            }
            Write::Delete { path, placement } => {
                let seq = Seq::provisional(self.writes.len());
                let nobody = || (Readers::new(BTreeSet::new()).signature(), seq);
                let (signature, entered) = self
                    .before(path)
                    .map_or_else(nobody, |before| (before.signature, before.entered));
                let record = Record {
                    id: path.id.clone(),
                    seq,
                    chosen: chosen_by(*placement),
                    signature,
                    entered,
                    state: State::Tombstone,
                };
                self.note_staged(path, record);
            }
            Write::Erase { path } => {
                if let Some(staged) = self.staged.get_mut(&path.collection) {
                    staged.remove(&path.id);
                }
            }
            Write::Touch { collection } => {
                self.touched.insert(collection.clone(), self.writes.len());
            }
            Write::DropCollection { collection } => {
                self.staged.remove(collection);
                self.touched.remove(collection);
                self.new_names.remove(collection);
                self.dropped_collections.insert(collection.clone());
            }
            Write::DropBucket { bucket } => {
                self.staged.retain(|collection, _| collection.bucket != *bucket);
                self.touched.retain(|collection, _| collection.bucket != *bucket);
                self.new_names.retain(|collection, _| collection.bucket != *bucket);
                self.members.retain(|group, _| group.bucket != *bucket);
                self.dropped_buckets.insert(bucket.clone());
                self.caller.forget();
            }
            Write::SetMembers { group, members } => {
                self.members.insert(group.clone(), members.clone());
                self.caller.forget();
            }
            // These change nothing that a unit of work looks at.
            Write::Flush { .. }
            | Write::Renew { .. }
            | Write::Compact { .. }
            | Write::Mark { .. }
            | Write::Note { .. }
            | Write::KeepView { .. }
            | Write::ForgetViews { .. } => {}
        }
        self.writes.push(write);
    }

    fn staged_record(
        &self,
        path: &RecordPath,
        body: &Body,
        permissions: &str,
        readers: &Readers,
    ) -> Record {
        // Times that are not known yet are shown as provisional ones to this unit of work itself.
        let body = body.fill(|write| Seq::provisional(write).into()).into_owned();
        let (seq, signature) = (Seq::provisional(self.writes.len()), readers.signature());
        let stays = self.before(path).filter(|old| !old.dead && old.signature == signature);
        Record {
            id: path.id.clone(),
            seq,
            chosen: None,
            signature,
            entered: stays.map_or(seq, |old| old.entered),
            state: State::Live { body, permissions: permissions.to_owned() },
        }
    }

    // The row that a write finds, as far as it is known.
    fn before(&self, path: &RecordPath) -> Option<RecordMeta> {
        match self.has_own(path) {
            true => self.staged_at(path).map(Record::meta),
            false => self.relied.get(path).copied().flatten(),
        }
    }

    /// Records of a collection that this unit of work changed.
    pub(crate) fn staged_in(&self, collection: &CollectionPath) -> Vec<Record> {
        self.staged.get(collection).into_iter().flat_map(HashMap::values).cloned().collect()
    }

    /// The position of the first write by which this unit of work makes a collection.
    pub(crate) fn first_write(&self, collection: &CollectionPath) -> Option<Seq> {
        let makes = |write: &Write| match write {
            Write::Put(Put { path, .. }) | Write::Delete { path, .. } => {
                path.collection == *collection
            }
            Write::Touch { collection: touched } => touched == collection,
            _ => false,
        };
        let ends = |write: &Write| match write {
            Write::DropCollection { collection: dropped } => dropped == collection,
            Write::DropBucket { bucket } => *bucket == collection.bucket,
            _ => false,
        };
        let from = self.writes.iter().rposition(ends).map_or(0, |last| last + 1);
        self.writes[from..].iter().position(makes).map(|at| Seq::provisional(from + at))
    }

    /// The head of a collection as this unit of work leaves it; makes one if there is none, for
    /// an empty list has a time as well.
    pub(crate) fn whole_head(&mut self, collection: &CollectionPath, head: Option<Head>) -> Head {
        let staged = self.staged.get(collection).into_iter().flat_map(HashMap::values);
        let own = staged
            .map(|record| (record.seq, record.chosen.is_some()))
            .chain(self.touched.get(collection).map(|write| (Seq::provisional(*write), false)))
            .max();
        let head = head.filter(|_| !self.is_dropped(collection));
        let live = head.map_or(0, |head| head.live);
        match (own, head) {
            (None, Some(head)) => head,
            (Some((seq, false)), _) => Head { seq, timestamp: seq.into(), live },
            // The time of a write that chose its own may not be that of the list: ask for it.
            (None, None) | (Some((_, true)), _) => {
                let seq = Seq::provisional(self.next_write());
                self.stage(Write::Touch { collection: collection.clone() });
                Head { seq, timestamp: seq.into(), live }
            }
        }
    }

    /// Applies what was collected, all of it or nothing, and returns when it is durable. Where there
    /// is nothing to apply, what was presumed is compared.
    ///
    /// # Errors
    ///
    /// [`CommitError::Conflict`] if something is not as it was read, or presumed to be: everything is
    /// to be decided again.
    pub async fn commit(mut self) -> Result<Resolved, CommitError> {
        if self.writes.is_empty() {
            return self.abandon().await.map(|()| Resolved::default());
        }
        self.expect_consistent()?;
        let was_presumed = !self.presumed.is_empty();
        let mut changed: Vec<RecordPath> = self.relied.keys().cloned().collect();
        let mut records = Vec::new();
        for (collection, staged) in self.staged {
            for (id, record) in staged {
                let path = collection.record(id);
                changed.push(path.clone());
                records.push((path, record));
            }
        }
        let guards = self.relied.into_iter().map(|(path, found)| Guard { path, found });
        let guards: Vec<Guard> = guards.collect();
        let is_parent =
            |guard: &&Guard| matches!(guard.path.kind(), Kind::Bucket | Kind::Collection);
        let parents: Vec<Guard> = guards.iter().filter(is_parent).cloned().collect();
        let author = self.caller.user().cloned();
        let names_max = self.engine.settings().limits.names;
        let batch = Batch { author, guards, names_max, ..Batch::new(self.now, self.writes) };
        let error = match self.engine.apply(batch, records, self.locks).await {
            Ok(resolved) => return Ok(resolved),
            Err(error) => error,
        };
        changed.iter().for_each(|path| self.engine.records().remove(path));
        match error {
            ApplyError::Conflict => {
                self.engine.forget_changed(&parents).await.map_err(CommitError::Store)?;
                Err(CommitError::Conflict(Conflict { paths: changed, was_presumed }))
            }
            ApplyError::Store(error) => Err(CommitError::Store(error)),
        }
    }

    /// Ends without applying anything. What was presumed, and answered by, is compared with what
    /// there is.
    ///
    /// # Errors
    ///
    /// As [`Session::commit`].
    pub async fn abandon(mut self) -> Result<(), CommitError> {
        if self.presumed.is_empty() {
            return Ok(());
        }
        self.expect_consistent()?;
        let found = self.engine.store().get(&self.presumed, Bodies::Small).await;
        let found = found.map_err(CommitError::Store)?;
        let mut changed = Vec::new();
        for (path, record) in self.presumed.into_iter().zip(found) {
            let presumed = self.relied.get(&path).copied().flatten();
            let found = record.as_ref().map(Record::meta);
            if found.and_then(RecordMeta::live_at) != presumed.and_then(RecordMeta::live_at) {
                self.engine.records().remove(&path);
                changed.push(path);
            }
        }
        match changed.is_empty() {
            true => Ok(()),
            false => Err(CommitError::Conflict(Conflict { paths: changed, was_presumed: true })),
        }
    }
}

fn lacks_body(found: &Option<Record>) -> bool {
    found.as_ref().is_some_and(Record::lacks_body)
}

// What a write shows to its own unit of work, as far as the client decides it.
fn chosen_by(placement: Placement) -> Option<Timestamp> {
    match placement {
        // Wherever this goes, the head goes along.
        Placement::Next | Placement::Ahead(_) => None,
        Placement::At(timestamp) => Some(timestamp),
        Placement::Exact { seq, chosen } => Some(chosen.unwrap_or(seq.into())),
    }
}

/// What provisional positions came to.
#[derive(Default, Debug)]
pub struct Resolved {
    outcomes: Vec<Outcome>,
    bodies: Vec<Option<Body>>,
}

impl Resolved {
    /// The bodies of a batch that tell of times, by the numbers of the writes.
    pub(crate) fn bodies_of(batch: &Batch) -> Vec<Option<Body>> {
        let bodies = batch.writes.iter().map(|write| match write {
            Write::Put(Put { body, .. }) if !body.slots().is_empty() => Some(body.clone()),
            _ => None,
        });
        bodies.collect()
    }

    pub(crate) fn new(outcomes: Vec<Outcome>, bodies: Vec<Option<Body>>) -> Self {
        Self { outcomes, bodies }
    }

    /// The time shown for a position, real or provisional.
    pub fn timestamp(&self, timestamp: Timestamp) -> Timestamp {
        match Seq(timestamp.0).write_index() {
            Some(write) => self.outcomes.get(write).copied().unwrap_or_default().timestamp,
            None => timestamp,
        }
    }

    /// The record as it was stored.
    pub fn record(&self, mut record: Record) -> Record {
        if let Some(write) = record.entered.write_index() {
            record.entered = self.outcomes.get(write).copied().unwrap_or_default().seq;
        }
        let Some(write) = record.seq.write_index() else { return record };
        let outcome = self.outcomes.get(write).copied().unwrap_or_default();
        record.seq = outcome.seq;
        record.chosen = (outcome.timestamp != outcome.seq.into()).then_some(outcome.timestamp);
        if let State::Live { body, .. } = &mut record.state
            && let Some(Some(template)) = self.bodies.get(write)
        {
            *body = template
                .fill(|write| self.outcomes.get(write).copied().unwrap_or_default().timestamp)
                .into_owned();
        }
        record
    }
}
