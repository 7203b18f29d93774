//! A store that breaks one of the rules of residencies, around one that keeps them: what a feed
//! would be told then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use nuage_model::{
    Admin, ApplyError, Batch, Bodies, Checksum, CollectionPath, FeedRow, GroupPath, Head, Listener,
    MembershipQuery, Memberships, NamedGroup, Outcome, Pace, Page, Pending, Principal, Put, Query,
    ReaderFilter, Record, RecordId, RecordPath, ResidentsQuery, RowEnd, Seq, Signature,
    SignatureCount, Snapshot, SnapshotHeader, SnapshotRequest, Store, StoreError, Timestamp, Total,
    Write,
};

/// The rule that is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lapse {
    /// Of the departures of a record, only the last is kept.
    OneDeparturePerId,
    /// A record that comes back with the same readers after a deletion goes on where it was.
    RevivedKeepsResidency,
    /// Several departures of a record with the same readers are one, since the first of them.
    DeparturesJoined,
    /// A group is a name since somebody last wrote a record for it.
    SinceMoves,
    /// A group is no name any more once anything was forgotten, until a record is written for it.
    NamesForgotten,
}

/// More than any collection of a history has.
const ALL: usize = 10_000;

pub(crate) struct Forgetful {
    inner: Arc<dyn Store>,
    lapse: Lapse,
    memory: Mutex<Memory>,
    moments: AtomicI64,
}

/// What would be in the tables otherwise.
#[derive(Default)]
struct Memory {
    /// The present residency of each record, and where it was deleted, if it was.
    present: HashMap<RecordPath, (Signature, Seq, Option<Seq>)>,
    /// Where ended ones began, by where they ended.
    ended: HashMap<(RecordPath, Seq), Seq>,
    /// Ends of residencies that would go on.
    undone: HashSet<(RecordPath, Seq)>,
    /// Where a record was last written for somebody.
    written: HashMap<Principal, Seq>,
}

impl Forgetful {
    pub(crate) fn new(inner: Arc<dyn Store>, lapse: Lapse) -> Self {
        Self { inner, lapse, memory: Mutex::default(), moments: AtomicI64::new(1) }
    }

    fn note(&self, writes: &[Write], outcomes: &[Outcome]) {
        let mut memory = self.memory.lock().unwrap();
        for (write, outcome) in writes.iter().zip(outcomes) {
            match write {
                Write::Put(Put { path, readers, .. }) => {
                    let signature = readers.signature();
                    let mut entered = outcome.seq;
                    if let Some((before, since, deleted)) = memory.present.get(path).copied() {
                        if before == signature {
                            entered = since;
                            memory.undone.extend(deleted.map(|seq| (path.clone(), seq)));
                        } else {
                            let left = deleted.unwrap_or(outcome.seq);
                            memory.ended.insert((path.clone(), left), since);
                        }
                    }
                    memory.present.insert(path.clone(), (signature, entered, None));
                    let readers = readers.principals().iter().cloned();
                    memory.written.extend(readers.map(|reader| (reader, outcome.seq)));
                }
                Write::Delete { path, .. } => {
                    if let Some((.., deleted @ None)) = memory.present.get_mut(path) {
                        *deleted = Some(outcome.seq);
                    }
                }
                Write::Compact { .. } => memory.written.clear(),
                Write::DropCollection { .. } | Write::DropBucket { .. } => {
                    *memory = Memory::default();
                }
                _ => {}
            }
        }
    }
}

struct Moment<'a> {
    inner: Box<dyn Snapshot + 'a>,
    store: &'a Forgetful,
    collection: CollectionPath,
}

impl Moment<'_> {
    // All that happened after a position. Departures may be joined with some from before it.
    async fn all(&mut self, after: Seq) -> Result<Vec<FeedRow>, StoreError> {
        if self.store.lapse != Lapse::DeparturesJoined {
            return self.inner.tail(after, ALL).await;
        }
        let mut traces = self.inner.tail(Seq(0), ALL).await?;
        let mut joined: HashMap<(RecordId, Signature), (Seq, Seq)> = HashMap::new();
        for trace in traces.iter_mut().filter(|trace| has_left(trace)) {
            let key = (trace.id.clone(), trace.signature);
            let (entered, last) = joined.entry(key).or_insert((trace.entered, trace.seq));
            (trace.entered, *last) = (*entered, trace.seq);
        }
        traces.retain(|trace| {
            let last = joined.get(&(trace.id.clone(), trace.signature));
            trace.seq > after && (!has_left(trace) || last.is_some_and(|(_, at)| *at == trace.seq))
        });
        Ok(traces)
    }

    fn entered(&self, trace: &mut FeedRow) {
        if self.store.lapse != Lapse::RevivedKeepsResidency {
            return;
        }
        let path = self.collection.record(trace.id.clone());
        let memory = self.store.memory.lock().unwrap();
        let entered = match trace.fate {
            RowEnd::Live | RowEnd::Deleted => {
                memory.present.get(&path).map(|(_, entered, _)| *entered)
            }
            RowEnd::Left(_) => memory.ended.get(&(path, trace.seq)).copied(),
        };
        trace.entered = entered.unwrap_or(trace.entered);
    }

    fn spoil(&self, mut traces: Vec<FeedRow>, limit: usize) -> Vec<FeedRow> {
        match self.store.lapse {
            Lapse::OneDeparturePerId => {
                let mut last: BTreeMap<RecordId, Seq> = BTreeMap::new();
                for trace in traces.iter().filter(|trace| has_left(trace)) {
                    let kept = last.entry(trace.id.clone()).or_insert(trace.seq);
                    *kept = trace.seq.max(*kept);
                }
                traces.retain(|trace| !has_left(trace) || last.get(&trace.id) == Some(&trace.seq));
            }
            Lapse::RevivedKeepsResidency => {
                let memory = self.store.memory.lock().unwrap();
                let undone = |trace: &FeedRow| {
                    let path = self.collection.record(trace.id.clone());
                    memory.undone.contains(&(path, trace.seq))
                };
                traces.retain(|trace| !has_left(trace) || !undone(trace));
            }
            Lapse::DeparturesJoined | Lapse::SinceMoves | Lapse::NamesForgotten => {}
        }
        traces.iter_mut().for_each(|trace| self.entered(trace));
        // The last position whole.
        let last = traces.get(limit.saturating_sub(1)).map(|trace| trace.seq);
        traces.retain(|trace| last.is_none_or(|last| trace.seq <= last));
        traces
    }
}

fn has_left(trace: &FeedRow) -> bool {
    matches!(trace.fate, RowEnd::Left(_))
}

impl Snapshot for Moment<'_> {
    fn signatures<'a>(
        &'a mut self,
        whose: ReaderFilter<'a>,
        after: Option<Signature>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<SignatureCount>, StoreError>> {
        self.inner.signatures(whose, after, limit)
    }

    fn signatures_of<'a>(
        &'a mut self,
        principals: &'a [Principal],
        limit: usize,
    ) -> Pending<'a, Result<Vec<Signature>, StoreError>> {
        self.inner.signatures_of(principals, limit)
    }

    fn memberships<'a>(
        &'a mut self,
        query: &'a MembershipQuery,
    ) -> Pending<'a, Result<Memberships, StoreError>> {
        Box::pin(async move {
            let mut found = self.inner.memberships(query).await?;
            let memory = self.store.memory.lock().unwrap();
            let written = |name: &NamedGroup| memory.written.get(&name.group.principal());
            match self.store.lapse {
                Lapse::SinceMoves => found.names.iter_mut().for_each(|name| {
                    name.since = written(name).copied().unwrap_or(name.since);
                }),
                Lapse::NamesForgotten => found.names.retain(|name| written(name).is_some()),
                _ => {}
            }
            Ok(found)
        })
    }

    fn principals_of<'a>(
        &'a mut self,
        signatures: &'a [Signature],
    ) -> Pending<'a, Result<Vec<Vec<Principal>>, StoreError>> {
        self.inner.principals_of(signatures)
    }

    fn residents<'a>(
        &'a mut self,
        residents: &'a ResidentsQuery,
    ) -> Pending<'a, Result<Vec<FeedRow>, StoreError>> {
        Box::pin(async move {
            let asked = ResidentsQuery { entered_up_to: None, limit: ALL, ..residents.clone() };
            let mut traces = self.inner.residents(&asked).await?;
            traces.iter_mut().for_each(|trace| self.entered(trace));
            if let Some(up_to) = residents.entered_up_to {
                traces.retain(|trace| trace.entered <= up_to);
            }
            traces.truncate(residents.limit);
            Ok(traces)
        })
    }

    fn tail(&mut self, after: Seq, limit: usize) -> Pending<'_, Result<Vec<FeedRow>, StoreError>> {
        Box::pin(async move {
            let traces = self.all(after).await?;
            Ok(self.spoil(traces, limit))
        })
    }

    fn tail_of<'a>(
        &'a mut self,
        live: &'a [Signature],
        ended: &'a [Signature],
        after: Seq,
        limit: usize,
    ) -> Pending<'a, Result<Vec<FeedRow>, StoreError>> {
        Box::pin(async move {
            let mut traces = self.all(after).await?;
            traces = self.spoil(traces, ALL);
            traces.retain(|trace| match trace.fate {
                RowEnd::Live => live.contains(&trace.signature),
                RowEnd::Deleted | RowEnd::Left(_) => ended.contains(&trace.signature),
            });
            Ok(self.spoil(traces, limit))
        })
    }

    fn records<'a>(
        &'a mut self,
        ids: &'a [RecordId],
        bytes_max: usize,
    ) -> Pending<'a, Result<Vec<Record>, StoreError>> {
        self.inner.records(ids, bytes_max)
    }

    fn sum<'a>(&'a mut self, whose: ReaderFilter<'a>) -> Pending<'a, Result<Checksum, StoreError>> {
        self.inner.sum(whose)
    }

    fn view<'a>(
        &'a mut self,
        person: &'a Principal,
        name: [u8; 16],
    ) -> Pending<'a, Result<Option<Vec<Principal>>, StoreError>> {
        self.inner.view(person, name)
    }

    fn compaction_target(
        &mut self,
        before: Timestamp,
        keep: u64,
        limit: usize,
    ) -> Pending<'_, Result<Option<Seq>, StoreError>> {
        self.inner.compaction_target(before, keep, limit)
    }
}

impl Store for Forgetful {
    fn snapshot<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<(SnapshotHeader, Box<dyn Snapshot + 'a>), StoreError>> {
        Box::pin(async move {
            let (mut opening, inner) = self.inner.snapshot(ask).await?;
            if let (Lapse::SinceMoves | Lapse::NamesForgotten, Some(standing)) =
                (self.lapse, &mut opening.standing)
            {
                // What is said of the names is not to be remembered.
                standing.named = -self.moments.fetch_add(1, Ordering::SeqCst);
            }
            let collection = ask.collection.clone();
            Ok((opening, Box::new(Moment { inner, store: self, collection }) as Box<_>))
        })
    }

    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        Box::pin(async move {
            let writes = batch.writes.clone();
            let outcomes = self.inner.apply(batch).await?;
            self.note(&writes, &outcomes);
            Ok(outcomes)
        })
    }

    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        self.inner.get(paths, bodies)
    }

    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        self.inner.heads(collections)
    }

    fn list_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Page>, StoreError>> {
        self.inner.list_at(query, pace)
    }

    fn count_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Total>, StoreError>> {
        self.inner.count_at(query, pace)
    }

    fn memberships<'a>(
        &'a self,
        query: &'a MembershipQuery,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Memberships>, StoreError>> {
        self.inner.memberships(query, pace)
    }

    fn standing<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<SnapshotHeader, StoreError>> {
        self.inner.standing(ask)
    }

    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
        most: usize,
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        self.inner.groups_of(members, most)
    }

    fn collections<'a>(
        &'a self,
        whose: ReaderFilter<'a>,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        self.inner.collections(whose, after, limit)
    }

    fn note<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Option<String>, StoreError>> {
        self.inner.note(name)
    }

    fn listen(&self, listener: Listener) {
        self.inner.listen(listener);
    }

    fn foreign_writes(&self) -> u64 {
        self.inner.foreign_writes()
    }

    fn admin(&self) -> &dyn Admin {
        self.inner.admin()
    }

    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}
