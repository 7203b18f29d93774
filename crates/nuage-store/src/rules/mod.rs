//! What a batch does to the tables, whichever database holds them: guards, places, residencies,
//! counters.
//!
//! A pure function of the tables and the batch. It keeps the residencies: a record that changes
//! its signature, or comes back after a deletion, leaves a row in `gone` and begins a new one.
//! How rows are read and written is told by [`Tables`]; no SQL is known here.

mod horizon;
mod ledger;
mod place;
mod sequence;

use std::collections::BTreeSet;

use foldhash::HashMap;
use nuage_model::{
    Batch, Body, BucketId, CollectionPath, GroupPath, Guard, Outcome, Placement, Principal,
    Readers, RecordPath, Seq, Signature, StoreError, Timestamp, Write,
};

pub(crate) use horizon::{Ended, MERGED_MAX, Removed};
pub(crate) use ledger::{Changes, Ledger, Residents};
pub(crate) use place::{PROBES_MAX, Place};
pub(crate) use sequence::Sequence;

/// The tables, as a transaction that is open already sees and changes them.
pub(crate) trait Tables {
    /// Why something could not be done.
    type Fault: From<StoreError>;
    /// By what the row of a record is found again.
    type Row: Copy;

    /// The row of a collection.
    fn sequence(&mut self, path: &CollectionPath) -> Result<Option<Sequence>, Self::Fault>;

    /// Makes or replaces the row of a collection.
    fn set_sequence(
        &mut self,
        path: &CollectionPath,
        sequence: &Sequence,
    ) -> Result<(), Self::Fault>;

    /// The row of a record, without its texts.
    fn old(&mut self, path: &RecordPath) -> Result<Option<Old<Self::Row>>, Self::Fault>;

    /// Whether another record of the collection shows this time.
    fn is_taken(&mut self, path: &RecordPath, time: i64) -> Result<bool, Self::Fault>;

    /// Makes the row of a record or replaces the one that was found.
    fn put(
        &mut self,
        path: &RecordPath,
        old: Option<&Old<Self::Row>>,
        new: &New<'_>,
    ) -> Result<(), Self::Fault>;

    /// Makes a tombstone of the row that was found.
    fn bury(
        &mut self,
        path: &RecordPath,
        old: &Old<Self::Row>,
        place: Place,
    ) -> Result<(), Self::Fault>;

    /// Removes the row that was found.
    fn erase(&mut self, path: &RecordPath, old: &Old<Self::Row>) -> Result<(), Self::Fault>;

    /// Keeps the residency of the row that was found, which ended at this position.
    fn depart(
        &mut self,
        path: &RecordPath,
        left: Seq,
        old: &Old<Self::Row>,
    ) -> Result<(), Self::Fault>;

    /// Forgets the residencies that ended up to this position.
    fn forget_gone(&mut self, path: &CollectionPath, up_to: Seq) -> Result<(), Self::Fault>;

    /// Removes the tombstones and the ended residencies up to this position.
    fn compact(&mut self, path: &CollectionPath, up_to: Seq) -> Result<Removed, Self::Fault>;

    /// Removes the signatures that no record, no tombstone and no ended residency has any more.
    fn forget_signatures(&mut self, path: &CollectionPath) -> Result<(), Self::Fault>;

    /// The oldest ended residencies of a collection, in order of their positions.
    fn ended(&mut self, path: &CollectionPath, limit: usize) -> Result<Vec<Ended>, Self::Fault>;

    /// Forgets an ended residency.
    fn forget_ended(&mut self, path: &CollectionPath, ended: &Ended) -> Result<(), Self::Fault>;

    /// Says of an ended residency that it began earlier.
    fn prolong_ended(
        &mut self,
        path: &CollectionPath,
        ended: &Ended,
        entered: Seq,
    ) -> Result<(), Self::Fault>;

    /// Makes a signature known in a collection, with its principals, unless it is.
    fn register(&mut self, path: &CollectionPath, readers: &Readers) -> Result<(), Self::Fault>;

    /// Adds to the live records of a signature that is known.
    fn count(
        &mut self,
        path: &CollectionPath,
        signature: Signature,
        more: Residents,
    ) -> Result<(), Self::Fault>;

    /// Who is in a group.
    fn members(&mut self, group: &GroupPath) -> Result<BTreeSet<String>, Self::Fault>;

    /// Adds to a group somebody who is not in it.
    fn add_member(&mut self, group: &GroupPath, member: &str) -> Result<(), Self::Fault>;

    /// Removes from a group somebody who is in it.
    fn remove_member(&mut self, group: &GroupPath, member: &str) -> Result<(), Self::Fault>;

    /// Keeps a view, or notes that it is used, if that was noted a day ago or earlier.
    fn keep_view(&mut self, view: &View) -> Result<(), Self::Fault>;

    /// Forgets the views of a bucket that were not used since.
    fn forget_views(&mut self, bucket: &BucketId, before: Timestamp) -> Result<(), Self::Fault>;

    /// Removes what a collection holds; its own row is written apart.
    fn drop_collection(&mut self, path: &CollectionPath) -> Result<(), Self::Fault>;

    /// Removes what a bucket holds, and marks the rows of its collections as dropped.
    fn drop_bucket(&mut self, bucket: &BucketId) -> Result<(), Self::Fault>;

    /// Begins a new epoch.
    fn renew(&mut self) -> Result<(), Self::Fault>;

    /// Removes everything, and gives the store another name.
    fn flush(&mut self) -> Result<(), Self::Fault>;
}

/// What a write finds in the place of its record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Old<R> {
    pub(crate) row: R,
    pub(crate) seq: Seq,
    pub(crate) chosen: Option<Timestamp>,
    pub(crate) signature: Signature,
    pub(crate) entered: Seq,
    pub(crate) dead: bool,
}

impl<R> Old<R> {
    fn shown(&self) -> Timestamp {
        self.chosen.unwrap_or(self.seq.into())
    }
}

/// What the row of a record holds from now on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct New<'a> {
    pub(crate) place: Place,
    pub(crate) signature: Signature,
    pub(crate) entered: Seq,
    pub(crate) dead: bool,
    pub(crate) permissions: &'a str,
    pub(crate) body: &'a str,
}

/// A row of `views`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    pub(crate) bucket: BucketId,
    pub(crate) person: Principal,
    pub(crate) name: [u8; 16],
    /// JSON list of principals.
    pub(crate) groups: String,
    pub(crate) used: Timestamp,
}

/// A transaction that batches are applied in.
pub(crate) struct Transaction<'a, T: Tables> {
    tables: T,
    ledger: &'a mut Ledger,
    /// What the guards of the batch found, until it is written over.
    guarded: HashMap<RecordPath, Option<Old<T::Row>>>,
}

/// What a put brings, the numbers in its body filled in.
struct Content<'a> {
    body: &'a str,
    permissions: &'a str,
    readers: &'a Readers,
}

impl<'a, T: Tables> Transaction<'a, T> {
    /// A transaction in which nothing was applied yet.
    pub(crate) fn new(tables: T, ledger: &'a mut Ledger) -> Self {
        Self { tables, ledger, guarded: HashMap::default() }
    }

    /// Writes back what is counted in memory; gives the tables and what became of the heads.
    pub(crate) fn finish(mut self) -> Result<(T, Changes), T::Fault> {
        self.ledger.write_back(&mut self.tables)?;
        Ok((self.tables, self.ledger.take_changes()))
    }

    /// Whether everything is still as it was read. What is found is remembered for the writes.
    pub(crate) fn guards_hold(&mut self, guards: &[Guard]) -> Result<bool, T::Fault> {
        self.guarded.clear();
        for Guard { path, live_at } in guards {
            let old = self.tables.old(path)?;
            let live = old.as_ref().filter(|old| !old.dead).map(|old| old.seq);
            if live != *live_at {
                return Ok(false);
            }
            self.guarded.insert(path.clone(), old);
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
            Write::Put { path, body, permissions, readers, placement } => {
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
                self.guarded.clear();
                self.compact(collection, *up_to)?;
                self.head_outcome(collection)?
            }
            Write::Merge { collection } => {
                self.merge(collection)?;
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
                self.guarded.clear();
                self.drop_collection(collection)
            }
            Write::DropBucket { bucket } => {
                self.guarded.clear();
                self.drop_bucket(bucket)
            }
            Write::SetMembers { group, members } => self.set_members(group, members),
            Write::KeepView { bucket, person, name, groups } => {
                let groups: Vec<&str> = groups.iter().map(Principal::as_str).collect();
                let groups = serde_json::to_string(&groups).expect("texts are JSON");
                let (bucket, person) = (bucket.clone(), person.clone());
                self.tables.keep_view(&View { bucket, person, name: *name, groups, used: now })
            }
            Write::ForgetViews { bucket, before } => self.tables.forget_views(bucket, *before),
            Write::Renew => self.tables.renew(),
            Write::Flush => {
                self.guarded.clear();
                self.tables.flush()?;
                self.ledger.forget_flushed();
                Ok(())
            }
            Write::Put { .. }
            | Write::Delete { .. }
            | Write::Erase { .. }
            | Write::Touch { .. }
            | Write::Compact { .. }
            | Write::Merge { .. } => unreachable!("they have a place"),
        }
    }

    fn old(&mut self, path: &RecordPath) -> Result<Option<Old<T::Row>>, T::Fault> {
        match self.guarded.remove(path) {
            Some(old) => Ok(old),
            None => self.tables.old(path),
        }
    }

    fn put(
        &mut self,
        path: &RecordPath,
        old: Option<Old<T::Row>>,
        place: Place,
        content: &Content<'_>,
    ) -> Result<(), T::Fault> {
        let signature = content.readers.signature();
        let entered = match &old {
            Some(old) if !old.dead && old.signature == signature => old.entered,
            _ => place.seq,
        };
        match &old {
            // It left its signature just now.
            Some(old) if !old.dead && old.signature != signature => {
                self.depart(path, place.seq, old)?;
            }
            // It left when it was deleted; what the horizon has passed is no longer told.
            Some(old) if old.dead && old.seq > self.horizon(&path.collection)? => {
                self.depart(path, old.seq, old)?;
            }
            _ => {}
        }
        let (permissions, body) = (content.permissions, content.body);
        let new = New { place, signature, entered, dead: false, permissions, body };
        self.tables.put(path, old.as_ref(), &new)?;
        self.count_put(path, old.as_ref(), place, content.readers)
    }

    fn depart(&mut self, path: &RecordPath, left: Seq, old: &Old<T::Row>) -> Result<(), T::Fault> {
        self.tables.depart(path, left, old)?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.sequence.as_mut().expect("placing a record made the row").gone += 1;
        Ok(())
    }

    fn count_put(
        &mut self,
        path: &RecordPath,
        old: Option<&Old<T::Row>>,
        place: Place,
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

    fn bury(&mut self, path: &RecordPath, old: &Old<T::Row>, place: Place) -> Result<(), T::Fault> {
        self.tables.bury(path, old, place)?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        entry.leave(old.signature, &path.id, old.shown());
        let sequence = entry.sequence.as_mut().expect("placing a tombstone made the row");
        sequence.live -= 1;
        sequence.tombstones += 1;
        sequence.chosen += i64::from(place.chosen.is_some()) - i64::from(old.chosen.is_some());
        Ok(())
    }

    // Nobody here ever had the record: its residency, among nobody, began before all positions.
    fn put_tombstone(&mut self, path: &RecordPath, place: Place) -> Result<(), T::Fault> {
        let nobody = Readers::new(BTreeSet::new());
        self.ledger.register(&mut self.tables, &path.collection, &nobody)?;
        let signature = nobody.signature();
        let new =
            New { place, signature, entered: Seq(0), dead: true, permissions: "{}", body: "{}" };
        self.tables.put(path, None, &new)?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        let sequence = entry.sequence.as_mut().expect("placing a tombstone made the row");
        sequence.tombstones += 1;
        sequence.chosen += i64::from(place.chosen.is_some());
        Ok(())
    }

    fn erase(&mut self, path: &RecordPath, old: &Old<T::Row>) -> Result<(), T::Fault> {
        self.tables.erase(path, old)?;
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
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
        sequence.gone = 0;
        let horizon = sequence.gc_seq;
        self.tables.forget_gone(&path.collection, horizon)
    }

    fn horizon(&mut self, path: &CollectionPath) -> Result<Seq, T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        Ok(entry.sequence.as_ref().map_or(Seq(0), |sequence| sequence.gc_seq))
    }

    fn head_outcome(&mut self, path: &CollectionPath) -> Result<Outcome, T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        let head = entry.sequence.as_ref().and_then(Sequence::head);
        Ok(head.map_or(Outcome::default(), |h| Outcome { seq: h.seq, timestamp: h.timestamp }))
    }

    fn drop_collection(&mut self, path: &CollectionPath) -> Result<(), T::Fault> {
        let entry = self.ledger.change(&mut self.tables, path)?;
        entry.forget_signatures();
        let Some(sequence) = &mut entry.sequence else { return Ok(()) };
        sequence.drop_all();
        self.tables.drop_collection(path)
    }

    fn drop_bucket(&mut self, bucket: &BucketId) -> Result<(), T::Fault> {
        if bucket.as_str().is_empty() {
            let why = "the root holds the buckets and cannot be dropped".to_owned();
            return Err(StoreError::Unsupported(why).into());
        }
        self.ledger.write_back(&mut self.tables)?;
        self.tables.drop_bucket(bucket)?;
        self.ledger.forget_bucket(bucket);
        Ok(())
    }

    fn set_members(&mut self, group: &GroupPath, members: &[Principal]) -> Result<(), T::Fault> {
        let present = self.tables.members(group)?;
        let wanted: BTreeSet<&str> = members.iter().map(Principal::as_str).collect();
        for member in present.iter().filter(|member| !wanted.contains(member.as_str())) {
            self.tables.remove_member(group, member)?;
        }
        for member in wanted.into_iter().filter(|member| !present.contains(*member)) {
            self.tables.add_member(group, member)?;
        }
        Ok(())
    }
}
