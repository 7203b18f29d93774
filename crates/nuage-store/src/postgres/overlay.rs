//! The rows that a group of batches needs, in memory: the rules read and change them there, and
//! what became of them is written in one go.
//!
//! Everything was read in the transaction in which it will be written, after its rows of
//! `collections` were locked; nobody else changes it meanwhile. A row that is not here does not
//! exist.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use nuage_model::{
    BucketId, CollectionPath, GroupPath, Principal, Readers, RecordId, RecordPath, Seq, Signature,
    Timestamp,
};

use crate::postgres::errors::Fault;
use crate::rules::{Ended, New, Old, Place, Removed, Residents, Sequence, Tables, View};

/// A row of `records` without its texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Row {
    pub(super) seq: Seq,
    pub(super) chosen: Option<i64>,
    pub(super) signature: Signature,
    pub(super) entered: Seq,
    pub(super) dead: bool,
}

impl Row {
    fn shown(&self) -> i64 {
        self.chosen.unwrap_or(self.seq.0)
    }
}

/// A row of `records` as it is to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Written {
    pub(super) row: Row,
    pub(super) permissions: String,
    pub(super) body: String,
}

/// Which signatures are known: those of the same collection, since its horizon moved last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stage {
    pub(super) incarnation: [u8; 8],
    pub(super) gc_seq: Seq,
}

/// What a group does to the tables, in the order in which it is to be written.
#[derive(Default, Debug)]
pub(super) struct Effects {
    /// Everything is removed first.
    pub(super) flush: bool,
    /// A new epoch begins.
    pub(super) renew: bool,
    /// These buckets are dropped next, and then these collections.
    pub(super) dropped_buckets: BTreeSet<BucketId>,
    pub(super) dropped_collections: BTreeSet<CollectionPath>,
    /// Rows that had a time of their own and lose or change it: another may get it.
    pub(super) freed: BTreeSet<RecordPath>,
    /// Rows of `records` that are removed.
    pub(super) erased: BTreeSet<RecordPath>,
    /// Rows of `gone` up to these positions are removed.
    pub(super) forgotten: BTreeMap<CollectionPath, Seq>,
    /// Then rows of `gone` that were joined with others are removed, or begin earlier.
    pub(super) joined_ended: BTreeMap<(CollectionPath, Seq), (RecordId, Joined)>,
    /// Rows of `records`.
    pub(super) written: BTreeMap<RecordPath, Written>,
    /// New rows of `gone`. No two end at one position of a collection.
    pub(super) gone: BTreeMap<(CollectionPath, Seq), Ended>,
    /// What is added to the live records of these signatures, which are made if they are missing.
    pub(super) signatures: BTreeMap<(CollectionPath, Signature), Residents>,
    /// Principals of signatures that may be new.
    pub(super) principals: BTreeMap<(CollectionPath, Signature), Readers>,
    /// Collections whose signatures are removed that nothing has any more.
    pub(super) compacted: BTreeSet<CollectionPath>,
    /// Views of these buckets that were not used since are removed.
    pub(super) forgotten_views: BTreeMap<BucketId, Timestamp>,
    /// Views that are kept.
    pub(super) views: BTreeMap<(BucketId, Principal, [u8; 16]), View>,
    pub(super) joined: BTreeSet<(GroupPath, String)>,
    pub(super) left: BTreeSet<(GroupPath, String)>,
    /// Rows of `collections`.
    pub(super) sequences: BTreeMap<CollectionPath, Sequence>,
    /// Those of them that begin: nothing was in the tables of such a collection.
    pub(super) begun: BTreeSet<CollectionPath>,
}

/// What becomes of an ended residency that was joined with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Joined {
    /// Another one stands for it.
    Removed,
    /// It begins there.
    Begins(Seq),
}

/// The rows that were read, with what is done to them.
#[derive(Default)]
pub(super) struct Overlay {
    sequences: HashMap<CollectionPath, Sequence>,
    records: HashMap<RecordPath, Row>,
    members: HashMap<GroupPath, BTreeSet<String>>,
    /// Rows of `gone`, as far as it was asked.
    ended: HashMap<CollectionPath, BTreeMap<Seq, Ended>>,
    /// Who shows which time, as far as it was asked.
    shown: HashMap<CollectionPath, HashMap<i64, RecordId>>,
    effects: Effects,
}

impl Overlay {
    /// Takes in a row of `collections`.
    pub(super) fn add_sequence(&mut self, path: CollectionPath, sequence: Sequence) {
        self.sequences.insert(path, sequence);
    }

    /// Whether the row of a collection was found.
    pub(super) fn has_sequence(&self, path: &CollectionPath) -> bool {
        self.sequences.contains_key(path)
    }

    /// Takes in a row of `records`.
    pub(super) fn add_record(&mut self, path: RecordPath, row: Row) {
        self.records.insert(path, row);
    }

    /// Takes in a member of a group.
    pub(super) fn add_present(&mut self, group: GroupPath, member: String) {
        self.members.entry(group).or_default().insert(member);
    }

    /// Takes in a row of `gone`.
    pub(super) fn add_ended(&mut self, path: &CollectionPath, ended: Ended) {
        self.ended.entry(path.clone()).or_default().insert(ended.seq, ended);
    }

    /// From now on it is followed who shows which time in this collection.
    pub(super) fn watch_times(&mut self, path: &CollectionPath) {
        self.shown.entry(path.clone()).or_default();
    }

    /// Takes in who shows a time.
    pub(super) fn add_shown(&mut self, path: &CollectionPath, time: i64, id: RecordId) {
        self.shown.entry(path.clone()).or_default().insert(time, id);
    }

    /// The signatures that writes asked to be known, each with the stage of its collection if that
    /// was there before and keeps them.
    pub(super) fn registered(&self) -> Vec<(CollectionPath, Signature, Option<Stage>)> {
        let registered = self.effects.principals.keys();
        let with = |(path, signature): &(CollectionPath, Signature)| {
            (path.clone(), *signature, self.stage(path))
        };
        registered.map(with).collect()
    }

    fn stage(&self, path: &CollectionPath) -> Option<Stage> {
        let is_new = self.effects.flush
            || self.effects.begun.contains(path)
            || self.effects.compacted.contains(path)
            || self.effects.dropped_buckets.contains(&path.bucket)
            || self.effects.dropped_collections.contains(path);
        let sequence = self.sequences.get(path).filter(|sequence| !sequence.dropped)?;
        let Sequence { incarnation, gc_seq, .. } = *sequence;
        (!is_new).then_some(Stage { incarnation, gc_seq })
    }

    /// What is to be written.
    pub(super) fn into_effects(self) -> Effects {
        self.effects
    }

    fn replace(&mut self, path: &RecordPath, row: Option<Row>) {
        let old = match row {
            Some(row) => self.records.insert(path.clone(), row),
            None => self.records.remove(path),
        };
        let shown = self.shown.get_mut(&path.collection);
        if let Some(old) = old {
            if old.chosen.is_some() && row.is_none_or(|row| row.chosen != old.chosen) {
                self.effects.freed.insert(path.clone());
            }
            if let Some(shown) = shown
                && shown.get(&old.shown()) == Some(&path.id)
            {
                shown.remove(&old.shown());
            }
        }
        if let (Some(row), Some(shown)) = (row, self.shown.get_mut(&path.collection)) {
            shown.insert(row.shown(), path.id.clone());
        }
    }

    fn write(&mut self, path: &RecordPath, row: Row, permissions: &str, body: &str) {
        self.replace(path, Some(row));
        if self.effects.erased.remove(path) {
            // Its row stays, and another may get the time that it shows before it is written to.
            self.effects.freed.insert(path.clone());
        }
        let (permissions, body) = (permissions.to_owned(), body.to_owned());
        self.effects.written.insert(path.clone(), Written { row, permissions, body });
    }

    fn remove(&mut self, path: &RecordPath) {
        self.replace(path, None);
        self.effects.freed.remove(path);
        self.effects.written.remove(path);
        self.effects.erased.insert(path.clone());
    }

    // What was to be written where everything is removed now.
    fn forget(&mut self, is_removed: impl Fn(&CollectionPath) -> bool) {
        self.records.retain(|path, _| !is_removed(&path.collection));
        self.shown.retain(|path, _| !is_removed(path));
        self.ended.retain(|path, _| !is_removed(path));
        let effects = &mut self.effects;
        effects.freed.retain(|path| !is_removed(&path.collection));
        effects.erased.retain(|path| !is_removed(&path.collection));
        effects.forgotten.retain(|path, _| !is_removed(path));
        effects.written.retain(|path, _| !is_removed(&path.collection));
        effects.joined_ended.retain(|(path, _), _| !is_removed(path));
        effects.gone.retain(|(path, _), _| !is_removed(path));
        effects.compacted.retain(|path| !is_removed(path));
        effects.signatures.retain(|(path, _), _| !is_removed(path));
        effects.principals.retain(|(path, _), _| !is_removed(path));
    }
}

impl Tables for Overlay {
    type Fault = Fault;
    type Row = ();

    fn sequence(&mut self, path: &CollectionPath) -> Result<Option<Sequence>, Fault> {
        Ok(self.sequences.get(path).cloned())
    }

    fn set_sequence(&mut self, path: &CollectionPath, sequence: &Sequence) -> Result<(), Fault> {
        if self.sequences.get(path).is_none_or(|old| old.dropped) && !sequence.dropped {
            self.effects.begun.insert(path.clone());
        }
        self.sequences.insert(path.clone(), sequence.clone());
        self.effects.sequences.insert(path.clone(), sequence.clone());
        Ok(())
    }

    fn old(&mut self, path: &RecordPath) -> Result<Option<Old<()>>, Fault> {
        Ok(self.records.get(path).map(|row| Old {
            row: (),
            seq: row.seq,
            chosen: row.chosen.map(Timestamp),
            signature: row.signature,
            entered: row.entered,
            dead: row.dead,
        }))
    }

    fn is_taken(&mut self, path: &RecordPath, time: i64) -> Result<bool, Fault> {
        let shown = self.shown.get(&path.collection);
        Ok(shown.and_then(|shown| shown.get(&time)).is_some_and(|id| *id != path.id))
    }

    fn put(&mut self, path: &RecordPath, _: Option<&Old<()>>, new: &New<'_>) -> Result<(), Fault> {
        let row = Row {
            seq: new.place.seq,
            chosen: new.place.chosen.map(|time| time.0),
            signature: new.signature,
            entered: new.entered,
            dead: new.dead,
        };
        self.write(path, row, new.permissions, new.body);
        Ok(())
    }

    fn bury(&mut self, path: &RecordPath, old: &Old<()>, place: Place) -> Result<(), Fault> {
        let row = Row {
            seq: place.seq,
            chosen: place.chosen.map(|time| time.0),
            signature: old.signature,
            entered: old.entered,
            dead: true,
        };
        self.write(path, row, "{}", "{}");
        Ok(())
    }

    fn erase(&mut self, path: &RecordPath, _: &Old<()>) -> Result<(), Fault> {
        self.remove(path);
        Ok(())
    }

    fn depart(&mut self, path: &RecordPath, left: Seq, old: &Old<()>) -> Result<(), Fault> {
        let (signature, entered) = (old.signature, old.entered);
        let ended = Ended { seq: left, id: path.id.clone(), signature, entered };
        self.effects.gone.insert((path.collection.clone(), left), ended);
        Ok(())
    }

    fn forget_gone(&mut self, path: &CollectionPath, up_to: Seq) -> Result<(), Fault> {
        self.effects.gone.retain(|(other, seq), _| other != path || *seq > up_to);
        if let Some(ended) = self.ended.get_mut(path) {
            ended.retain(|seq, _| *seq > up_to);
        }
        let forgotten = self.effects.forgotten.entry(path.clone()).or_insert(up_to);
        *forgotten = up_to.max(*forgotten);
        Ok(())
    }

    fn compact(&mut self, path: &CollectionPath, up_to: Seq) -> Result<Removed, Fault> {
        let is_old = |(of, row): &(&RecordPath, &Row)| {
            of.collection == *path && row.dead && row.seq <= up_to
        };
        let old: Vec<(RecordPath, Row)> =
            self.records.iter().filter(is_old).map(|(of, row)| (of.clone(), *row)).collect();
        let mut removed = Removed::default();
        for (of, row) in &old {
            self.remove(of);
            removed.tombstones += 1;
            removed.chosen += i64::from(row.chosen.is_some());
        }
        let read = self.ended.get(path).into_iter().flat_map(|ended| ended.range(..=up_to));
        let new = self.effects.gone.range((path.clone(), Seq(0))..=(path.clone(), up_to));
        removed.gone = i64::try_from(read.count() + new.count()).unwrap_or(i64::MAX);
        self.forget_gone(path, up_to)?;
        Ok(removed)
    }

    fn forget_signatures(&mut self, path: &CollectionPath) -> Result<(), Fault> {
        self.effects.compacted.insert(path.clone());
        Ok(())
    }

    fn ended(&mut self, path: &CollectionPath, limit: usize) -> Result<Vec<Ended>, Fault> {
        let read = self.ended.get(path).into_iter().flat_map(BTreeMap::values);
        let new = self.effects.gone.range((path.clone(), Seq(0))..);
        let new = new.take_while(|((other, _), _)| other == path).map(|(_, ended)| ended);
        // What was read ended before what is new.
        Ok(read.chain(new).take(limit).cloned().collect())
    }

    fn forget_ended(&mut self, path: &CollectionPath, ended: &Ended) -> Result<(), Fault> {
        let key = (path.clone(), ended.seq);
        if self.effects.gone.remove(&key).is_none() {
            self.ended.get_mut(path).and_then(|all| all.remove(&ended.seq));
            self.effects.joined_ended.insert(key, (ended.id.clone(), Joined::Removed));
        }
        Ok(())
    }

    fn prolong_ended(
        &mut self,
        path: &CollectionPath,
        ended: &Ended,
        entered: Seq,
    ) -> Result<(), Fault> {
        let key = (path.clone(), ended.seq);
        if let Some(new) = self.effects.gone.get_mut(&key) {
            new.entered = entered;
            return Ok(());
        }
        if let Some(read) = self.ended.get_mut(path).and_then(|all| all.get_mut(&ended.seq)) {
            read.entered = entered;
        }
        self.effects.joined_ended.insert(key, (ended.id.clone(), Joined::Begins(entered)));
        Ok(())
    }

    fn register(&mut self, path: &CollectionPath, readers: &Readers) -> Result<(), Fault> {
        let key = (path.clone(), readers.signature());
        self.effects.signatures.entry(key.clone()).or_default();
        self.effects.principals.insert(key, readers.clone());
        Ok(())
    }

    fn count(
        &mut self,
        path: &CollectionPath,
        signature: Signature,
        more: Residents,
    ) -> Result<(), Fault> {
        self.effects.signatures.entry((path.clone(), signature)).or_default().add(more);
        Ok(())
    }

    fn members(&mut self, group: &GroupPath) -> Result<BTreeSet<String>, Fault> {
        Ok(self.members.get(group).cloned().unwrap_or_default())
    }

    fn add_member(&mut self, group: &GroupPath, member: &str) -> Result<(), Fault> {
        self.add_present(group.clone(), member.to_owned());
        let key = (group.clone(), member.to_owned());
        if !self.effects.left.remove(&key) {
            self.effects.joined.insert(key);
        }
        Ok(())
    }

    fn remove_member(&mut self, group: &GroupPath, member: &str) -> Result<(), Fault> {
        if let Some(members) = self.members.get_mut(group) {
            members.remove(member);
        }
        let key = (group.clone(), member.to_owned());
        if !self.effects.joined.remove(&key) {
            self.effects.left.insert(key);
        }
        Ok(())
    }

    fn keep_view(&mut self, view: &View) -> Result<(), Fault> {
        let key = (view.bucket.clone(), view.person.clone(), view.name);
        self.effects.views.insert(key, view.clone());
        Ok(())
    }

    fn forget_views(&mut self, bucket: &BucketId, before: Timestamp) -> Result<(), Fault> {
        self.effects.views.retain(|_, view| view.bucket != *bucket || view.used >= before);
        let forgotten = self.effects.forgotten_views.entry(bucket.clone()).or_insert(before);
        *forgotten = before.max(*forgotten);
        Ok(())
    }

    fn drop_collection(&mut self, path: &CollectionPath) -> Result<(), Fault> {
        self.forget(|other| other == path);
        self.effects.dropped_collections.insert(path.clone());
        Ok(())
    }

    fn drop_bucket(&mut self, bucket: &BucketId) -> Result<(), Fault> {
        self.forget(|path| path.bucket == *bucket);
        self.members.retain(|group, _| group.bucket != *bucket);
        self.effects.joined.retain(|(group, _)| group.bucket != *bucket);
        self.effects.left.retain(|(group, _)| group.bucket != *bucket);
        self.effects.views.retain(|_, view| view.bucket != *bucket);
        let inside = self.sequences.iter_mut().filter(|(path, _)| path.bucket == *bucket);
        for (path, sequence) in inside {
            sequence.drop_all();
            // Written apart: the statement that drops a bucket may run before.
            self.effects.sequences.insert(path.clone(), sequence.clone());
        }
        self.effects.dropped_buckets.insert(bucket.clone());
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        *self = Self::default();
        self.effects.flush = true;
        Ok(())
    }

    fn renew(&mut self) -> Result<(), Fault> {
        self.effects.renew = true;
        Ok(())
    }
}
