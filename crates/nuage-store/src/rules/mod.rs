//! What a batch does to the tables, whichever database holds them: guards, places, residencies,
//! counters.
//!
//! A pure function of the tables and the batch. It keeps the residencies: a record that changes
//! its signature, or comes back after a deletion, leaves a row in `gone` and begins a new one.
//! Rows are read and written in the words of [`Rows`]; no SQL is known here. What will be read is
//! told in advance by [`Plan`], for databases that are asked once.

mod horizon;
mod ledger;
mod names;
mod place;
mod plan;
mod sequence;
mod top;

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use nuage_model::copy::{Cell, Row, STORE, Table};
use nuage_model::{
    Batch, Body, BucketId, CollectionPath, GroupPath, Outcome, Placement, Principal, Put, RULES,
    Readers, RecordMeta, RecordPath, Seq, Signature, StoreError, Timestamp, Write,
};

use crate::cells;
use crate::schema::{Index, Prune, Range, Rows, Was, may_be_group};

pub(crate) use horizon::{Ended, Mark};
pub(crate) use ledger::{Changes, CollectionCache};
pub(crate) use names::Name;
pub(crate) use place::AssignedPosition;
pub(crate) use plan::{Missing, Plan, is_wide};
pub(crate) use sequence::CollectionRow;
pub(crate) use top::TOP;

/// The place of the column that says when a view was used last.
const VIEW_USED: usize = 4;
/// What is used each minute is noted once a day, in milliseconds.
const NOTED_MS: i64 = 86_400_000;

/// What a write finds in the place of its record: its row without the texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StoredRow {
    pub(crate) seq: Seq,
    pub(crate) chosen: Option<Timestamp>,
    pub(crate) signature: Signature,
    pub(crate) entered: Seq,
    pub(crate) dead: bool,
}

impl From<RecordMeta> for StoredRow {
    fn from(RecordMeta { seq, chosen, signature, entered, dead }: RecordMeta) -> Self {
        Self { seq, chosen, signature, entered, dead }
    }
}

impl StoredRow {
    /// The time that it shows.
    pub(crate) fn shown(&self) -> Timestamp {
        self.chosen.unwrap_or(self.seq.into())
    }
}

/// A transaction that batches are applied in.
pub(crate) struct Transaction<'a, T: Rows> {
    tables: T,
    ledger: &'a mut CollectionCache,
    /// What the guards of the batch found, until it is written over.
    guarded: HashMap<RecordPath, Option<StoredRow>>,
}

/// What a put brings, the numbers in its body filled in.
struct Content<'a> {
    body: &'a str,
    permissions: &'a str,
    readers: &'a Readers,
}

impl<'a, T: Rows> Transaction<'a, T> {
    /// A transaction in which nothing was applied yet.
    pub(crate) fn new(tables: T, ledger: &'a mut CollectionCache) -> Self {
        Self { tables, ledger, guarded: HashMap::default() }
    }

    /// Writes back what is counted in memory; gives the tables and what became of the heads.
    pub(crate) fn finish(mut self) -> Result<(T, Changes), T::Fault> {
        self.ledger.write_back(&mut self.tables)?;
        Ok((self.tables, self.ledger.take_changes()))
    }

    /// Whether everything is still as it was read. What is found is remembered for the writes.
    pub(crate) fn guards_hold(&mut self, batch: &Batch) -> Result<bool, T::Fault> {
        self.guarded.clear();
        if batch.rules != RULES {
            let why =
                format!("a batch follows rules {}, and this version knows {RULES}", batch.rules);
            return Err(StoreError::Unsupported(why).into());
        }
        for write in &batch.writes {
            if let Write::Note { name, was, .. } = write
                && self.tables.note(name)? != *was
            {
                return Ok(false);
            }
        }
        for guard in &batch.guards {
            let old = self.read(&guard.path)?;
            let live = old.as_ref().filter(|old| !old.dead).map(|old| old.seq);
            if live != guard.live_at() {
                return Ok(false);
            }
            self.guarded.insert(guard.path.clone(), old);
        }
        self.names_fit(batch)
    }

    // Whether no collection would name more groups than it may.
    fn names_fit(&mut self, batch: &Batch) -> Result<bool, T::Fault> {
        if batch.names_max == 0 {
            return Ok(true);
        }
        let mut named: BTreeMap<&CollectionPath, (BTreeSet<GroupPath>, bool)> = BTreeMap::new();
        let (mut collections, mut buckets) = (BTreeSet::new(), BTreeSet::new());
        for write in &batch.writes {
            match write {
                Write::Put(Put { path, readers, .. }) if path.kind().bounds_names() => {
                    let groups: BTreeSet<GroupPath> = readers.groups().collect();
                    if !groups.is_empty() {
                        let path = &path.collection;
                        let is_dropped =
                            collections.contains(path) || buckets.contains(&path.bucket);
                        let (all, dropped) = named.entry(path).or_default();
                        all.extend(groups);
                        *dropped |= is_dropped;
                    }
                }
                // What was named before goes with it.
                Write::DropCollection { collection } => {
                    collections.insert(collection);
                    named.remove(collection);
                }
                Write::DropBucket { bucket } => {
                    buckets.insert(bucket);
                    named.retain(|path, _| path.bucket != *bucket);
                }
                _ => {}
            }
        }
        for (path, groups) in named {
            let most = i64::try_from(batch.names_max).unwrap_or(i64::MAX);
            if !self.ledger.names_fit(&mut self.tables, path, groups, most)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Performs the writes.
    pub(crate) fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>, T::Fault> {
        let mut outcomes = Vec::with_capacity(batch.writes.len());
        for write in &batch.writes {
            self.write_one(write, batch.now, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    fn write_one(
        &mut self,
        write: &Write,
        now: Timestamp,
        outcomes: &mut Vec<Outcome>,
    ) -> Result<(), T::Fault> {
        let outcome = match write {
            Write::Put(Put { path, body, permissions, readers, placement }) => {
                let old = self.old(path)?;
                let place = self.place(path, *placement, now)?;
                outcomes.push(place.outcome());
                let time_of = |n: usize| outcomes.get(n).map_or(Timestamp(0), |o| o.timestamp);
                let body = Body::fill(body, time_of);
                let content = Content { body: &body, permissions, readers };
                return self.put(path, old, place, &content);
            }
            Write::Delete { path, placement } => match self.old(path)? {
                Some(old) if !old.dead => {
                    let place = self.place(path, *placement, now)?;
                    self.bury(path, &old, place)?;
                    place.outcome()
                }
                None if matches!(placement, Placement::Exact { .. }) => {
                    let place = self.place(path, *placement, now)?;
                    self.put_tombstone(path, place)?;
                    place.outcome()
                }
                _ => self.head_outcome(&path.collection)?,
            },
            Write::Erase { path } => {
                if let Some(old) = self.old(path)? {
                    self.erase(path, &old)?;
                }
                self.head_outcome(&path.collection)?
            }
            Write::Touch { collection } => {
                self.touch(collection, now)?;
                self.head_outcome(collection)?
            }
            Write::Compact { collection, up_to } => {
                self.forget_read();
                self.compact(collection, *up_to)?;
                self.head_outcome(collection)?
            }
            Write::Mark { collection, before } => {
                self.mark(collection, now, *before)?;
                self.head_outcome(collection)?
            }
            placeless => {
                self.write_placeless(placeless, now)?;
                Outcome::default()
            }
        };
        outcomes.push(outcome);
        Ok(())
    }

    // Writes that have no place in a collection.
    fn write_placeless(&mut self, write: &Write, now: Timestamp) -> Result<(), T::Fault> {
        match write {
            Write::DropCollection { collection } => {
                self.forget_read();
                self.drop_collection(collection)
            }
            Write::DropBucket { bucket } => {
                self.forget_read();
                self.drop_bucket(bucket)
            }
            Write::SetMembers { group, members } => self.set_members(group, members),
            Write::KeepView { bucket, person, name, groups } => {
                self.keep_view([bucket.as_str(), person.as_str()], *name, groups, now)
            }
            Write::ForgetViews { bucket, before } => self.forget_views(bucket, *before),
            Write::Note { name, text, .. } => self.tables.set_note(name, text),
            Write::Renew { epoch } => self.tables.set_note(STORE, epoch),
            Write::Flush { epoch } => {
                self.forget_read();
                self.tables.clear_all()?;
                self.ledger.forget_flushed();
                self.tables.set_note(STORE, epoch)
            }
            Write::Put(Put { .. })
            | Write::Delete { .. }
            | Write::Erase { .. }
            | Write::Touch { .. }
            | Write::Compact { .. }
            | Write::Mark { .. } => unreachable!("they have a place"),
        }
    }

    fn read(&mut self, path: &RecordPath) -> Result<Option<StoredRow>, T::Fault> {
        self.ledger.read_record(&mut self.tables, path)
    }

    // Records are removed, and not by their names.
    fn forget_read(&mut self) {
        self.guarded.clear();
        self.ledger.forget_records();
    }

    fn old(&mut self, path: &RecordPath) -> Result<Option<StoredRow>, T::Fault> {
        match self.guarded.remove(path) {
            Some(old) => Ok(old),
            None => self.read(path),
        }
    }

    fn put(
        &mut self,
        path: &RecordPath,
        old: Option<StoredRow>,
        place: AssignedPosition,
        content: &Content<'_>,
    ) -> Result<(), T::Fault> {
        let signature = content.readers.signature();
        let entered = match &old {
            Some(old) if !old.dead && old.signature == signature => old.entered,
            _ => place.seq,
        };
        let mut unused = BTreeSet::new();
        match &old {
            // It left its signature just now.
            Some(old) if !old.dead && old.signature != signature => {
                self.depart(path, place.seq, old)?;
            }
            // It left when it was deleted; what the horizon has passed is no longer told.
            Some(old) if old.dead && old.seq > self.horizon(&path.collection)? => {
                self.depart(path, old.seq, old)?;
            }
            Some(old) if old.dead && old.signature != signature => {
                unused.insert(old.signature);
            }
            _ => {}
        }
        let new =
            StoredRow { seq: place.seq, chosen: place.chosen, signature, entered, dead: false };
        self.write_record(path, old.as_ref(), new, [content.permissions, content.body])?;
        self.count_put(path, old.as_ref(), place, content.readers)?;
        self.forget_signatures(&path.collection, unused)
    }

    fn write_record(
        &mut self,
        path: &RecordPath,
        old: Option<&StoredRow>,
        new: StoredRow,
        texts: [&str; 2],
    ) -> Result<(), T::Fault> {
        self.ledger.forget_record(path);
        let was = if old.is_some() { Was::Present } else { Was::Absent };
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.hold(new.signature, 1);
        entry.show(new.signature, new.shown());
        if let Some(old) = old {
            entry.hold(old.signature, -1);
        }
        let mut row = new.to_row(path);
        row.0.extend(texts.map(cells::text));
        self.tables.put(Table::Records, row, was)?;
        match old {
            Some(old) if old.signature != new.signature || new.shown() < old.shown() => {
                self.lower_top(&path.collection, old)
            }
            _ => Ok(()),
        }
    }

    fn depart(&mut self, path: &RecordPath, left: Seq, old: &StoredRow) -> Result<(), T::Fault> {
        let (signature, entered) = (old.signature, old.entered);
        let ended = Ended { seq: left, id: path.id.clone(), signature, entered };
        self.tables.put(Table::Gone, ended.to_row(&path.collection), Was::Absent)?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.hold(signature, 1);
        entry.sequence.as_mut().expect("placing a record made the row").gone += 1;
        Ok(())
    }

    fn count_put(
        &mut self,
        path: &RecordPath,
        old: Option<&StoredRow>,
        place: AssignedPosition,
        readers: &Readers,
    ) -> Result<(), T::Fault> {
        let signature = readers.signature();
        let was = old.filter(|old| !old.dead);
        if was.map(|was| was.signature) != Some(signature) {
            self.ledger.register(&mut self.tables, &path.collection, readers)?;
        }
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.enter(signature, &path.id, place.shown());
        if let Some(was) = was {
            entry.leave(was.signature, &path.id, was.shown());
        }
        let sequence = entry.sequence.as_mut().expect("placing a record made the row");
        sequence.live += i64::from(was.is_none());
        sequence.tombstones -= i64::from(old.is_some_and(|old| old.dead));
        sequence.chosen += i64::from(place.chosen.is_some());
        sequence.chosen -= i64::from(old.is_some_and(|old| old.chosen.is_some()));
        Ok(())
    }

    fn bury(
        &mut self,
        path: &RecordPath,
        old: &StoredRow,
        place: AssignedPosition,
    ) -> Result<(), T::Fault> {
        let dead = StoredRow { seq: place.seq, chosen: place.chosen, dead: true, ..*old };
        self.write_record(path, Some(old), dead, ["{}"; 2])?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.leave(old.signature, &path.id, old.shown());
        let sequence = entry.sequence.as_mut().expect("placing a tombstone made the row");
        sequence.live -= 1;
        sequence.tombstones += 1;
        sequence.chosen += i64::from(place.chosen.is_some()) - i64::from(old.chosen.is_some());
        Ok(())
    }

    // Nobody here ever had the record: its residency, among nobody, began before all positions.
    fn put_tombstone(
        &mut self,
        path: &RecordPath,
        place: AssignedPosition,
    ) -> Result<(), T::Fault> {
        let nobody = Readers::new(BTreeSet::new());
        self.ledger.register(&mut self.tables, &path.collection, &nobody)?;
        let signature = nobody.signature();
        let (seq, chosen) = (place.seq, place.chosen);
        let new = StoredRow { seq, chosen, signature, entered: Seq(0), dead: true };
        self.write_record(path, None, new, ["{}"; 2])?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        let sequence = entry.sequence.as_mut().expect("placing a tombstone made the row");
        sequence.tombstones += 1;
        sequence.chosen += i64::from(place.chosen.is_some());
        Ok(())
    }

    fn erase(&mut self, path: &RecordPath, old: &StoredRow) -> Result<(), T::Fault> {
        self.ledger.forget_record(path);
        self.tables.delete(Table::Records, &cells::record(path))?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.hold(old.signature, -1);
        if !old.dead {
            entry.leave(old.signature, &path.id, old.shown());
        }
        let Some(sequence) = &mut entry.sequence else {
            let why = format!("{path} lies in a collection without a row of its own");
            return Err(StoreError::Corrupt(why).into());
        };
        if old.dead {
            sequence.tombstones -= 1;
        } else {
            sequence.live -= 1;
        }
        sequence.chosen -= i64::from(old.chosen.is_some());
        sequence.gc_seq = sequence.seq;
        // What is left of very many goes with the next ones that are old or too many.
        let (gone, mut unused) =
            self.forget(&path.collection, &horizon::oldest(&path.collection))?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        if let Some(sequence) = &mut entry.sequence {
            sequence.gone -= gone;
        }
        self.lower_top(&path.collection, old)?;
        unused.insert(old.signature);
        self.forget_signatures(&path.collection, unused)
    }

    fn horizon(&mut self, path: &CollectionPath) -> Result<Seq, T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        Ok(entry.sequence.as_ref().map_or(Seq(0), |sequence| sequence.gc_seq))
    }

    fn head_outcome(&mut self, path: &CollectionPath) -> Result<Outcome, T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        let head = entry.sequence.as_ref().and_then(CollectionRow::head);
        Ok(head.map_or(Outcome::default(), |h| Outcome { seq: h.seq, timestamp: h.timestamp }))
    }

    fn drop_collection(&mut self, path: &CollectionPath) -> Result<(), T::Fault> {
        let entry = self.ledger.change(&mut self.tables, path)?;
        entry.forget_signatures();
        let Some(sequence) = &mut entry.sequence else { return Ok(()) };
        sequence.drop_all();
        self.tables.drop_under(&cells::collection(path))
    }

    fn drop_bucket(&mut self, bucket: &BucketId) -> Result<(), T::Fault> {
        if bucket.as_str().is_empty() {
            let why = "the root holds the buckets and cannot be dropped".to_owned();
            return Err(StoreError::Unsupported(why).into());
        }
        self.ledger.write_back(&mut self.tables)?;
        let prefix = [cells::text(bucket.as_str())];
        let collections = Range::of(Index::Key(Table::Collections), prefix.to_vec());
        for row in self.tables.range(&collections)? {
            let mut sequence = CollectionRow::of_row(&row)?;
            sequence.drop_all();
            let row = sequence.to_row(&CollectionRow::path_of(&row)?);
            self.tables.put(Table::Collections, row, Was::Present)?;
        }
        self.tables.drop_under(&prefix)?;
        self.ledger.forget_bucket(bucket);
        // Where there are more, they go once the bucket is there again.
        self.forget_views(bucket, Timestamp(i64::MAX))
    }

    fn set_members(&mut self, group: &GroupPath, members: &[Principal]) -> Result<(), T::Fault> {
        let [bucket, name] = [group.bucket.as_str(), group.group.as_str()];
        let present = self.tables.range(&Range::of(Index::MembersGrp, cells::group(group)))?;
        let member_of =
            |row: &Row| cells::Cells::of(Table::Members, row, 1).text().map(str::to_owned);
        let present: BTreeSet<String> = present.iter().map(member_of).collect::<Result<_, _>>()?;
        let wanted: BTreeSet<&str> = members.iter().map(Principal::as_str).collect();
        let row = |member: &str| vec![cells::text(bucket), cells::text(member), cells::text(name)];
        let listed = |member: &str| vec![cells::text(member), cells::text(bucket)];
        let kept = |member: &str| wanted.contains(member) && present.contains(member);
        let all = present.iter().map(String::as_str).chain(wanted.iter().copied());
        if all.filter(|member| !kept(member)).any(may_be_group) {
            self.ledger.nest(&mut self.tables, &group.bucket)?;
        }
        for member in present.iter().filter(|member| !wanted.contains(member.as_str())) {
            self.tables.delete(Table::Members, &row(member))?;
            let others = vec![cells::text(bucket), cells::text(member.as_str())];
            self.tables.prune(Prune {
                index: Index::Key(Table::DirectoryGroups),
                prefix: listed(member),
                unless: vec![(Index::Key(Table::Members), others)],
            })?;
        }
        for member in wanted.into_iter().filter(|member| !present.contains(*member)) {
            self.tables.put(Table::Members, Row(row(member)), Was::Absent)?;
            self.tables.put(Table::DirectoryGroups, Row(listed(member)), Was::Unknown)?;
        }
        Ok(())
    }

    fn keep_view(
        &mut self,
        [bucket, person]: [&str; 2],
        name: [u8; 16],
        groups: &[Principal],
        now: Timestamp,
    ) -> Result<(), T::Fault> {
        let key = vec![cells::text(bucket), cells::text(person), Cell::Bytes(name.to_vec())];
        let kept = self.tables.get(Table::Views, &key)?;
        let used = kept.as_ref().map(|row| cells::Cells::of(Table::Views, row, VIEW_USED).whole());
        if used.transpose()?.is_some_and(|used| used > now.0 - NOTED_MS) {
            return Ok(());
        }
        let groups: Vec<&str> = groups.iter().map(Principal::as_str).collect();
        let groups = serde_json::to_string(&groups).expect("texts are JSON");
        let row = key.into_iter().chain([cells::text(groups), Cell::Whole(now.0)]);
        let was = if kept.is_some() { Was::Present } else { Was::Absent };
        self.tables.put(Table::Views, Row(row.collect()), was)
    }

    fn forget_views(&mut self, bucket: &BucketId, before: Timestamp) -> Result<(), T::Fault> {
        for row in self.tables.range(&horizon::old_views(bucket, before))? {
            self.tables.delete(Table::Views, row.key(Table::Views))?;
        }
        Ok(())
    }
}
