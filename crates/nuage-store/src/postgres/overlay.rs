//! The rows that a group of batches needs, in memory: the rules read and change them there, and
//! what became of them is written in one go.
//!
//! Everything was read in the transaction in which it will be written, after its rows of
//! `collections` were locked; nobody else changes it meanwhile. A row that is not here does not
//! exist.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use nuage_model::{
    BucketId, CollectionPath, GroupPath, Readers, RecordId, RecordPath, Seq, Signature, Timestamp,
};

use crate::postgres::errors::Fault;
use crate::rules::{New, Old, Place, Residents, Sequence, Tables};

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

/// A row of `gone`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Gone {
    pub(super) path: RecordPath,
    pub(super) seq: Seq,
    pub(super) signature: Signature,
    pub(super) entered: Seq,
}

/// What a group does to the tables, in the order in which it is to be written.
#[derive(Default, Debug)]
pub(super) struct Effects {
    /// Everything is removed first.
    pub(super) flush: bool,
    /// These buckets are dropped next, and then these collections.
    pub(super) dropped_buckets: BTreeSet<BucketId>,
    pub(super) dropped_collections: BTreeSet<CollectionPath>,
    /// Rows that had a time of their own and lose or change it: another may get it.
    pub(super) freed: BTreeSet<RecordPath>,
    /// Rows of `records` that are removed.
    pub(super) erased: BTreeSet<RecordPath>,
    /// Rows of `gone` up to these positions are removed.
    pub(super) forgotten: BTreeMap<CollectionPath, Seq>,
    /// Rows of `records`.
    pub(super) written: BTreeMap<RecordPath, Written>,
    pub(super) gone: Vec<Gone>,
    /// What is added to the live records of these signatures, which are made if they are missing.
    pub(super) signatures: BTreeMap<(CollectionPath, Signature), Residents>,
    /// Principals of signatures that may be new.
    pub(super) principals: BTreeMap<(CollectionPath, Signature), Readers>,
    pub(super) joined: BTreeSet<(GroupPath, String)>,
    pub(super) left: BTreeSet<(GroupPath, String)>,
    /// Rows of `collections`.
    pub(super) sequences: BTreeMap<CollectionPath, Sequence>,
    /// Those of them that begin: nothing was in the tables of such a collection.
    pub(super) begun: BTreeSet<CollectionPath>,
}

/// The rows that were read, with what is done to them.
#[derive(Default)]
pub(super) struct Overlay {
    sequences: HashMap<CollectionPath, Sequence>,
    records: HashMap<RecordPath, Row>,
    members: HashMap<GroupPath, BTreeSet<String>>,
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

    /// From now on it is followed who shows which time in this collection.
    pub(super) fn watch_times(&mut self, path: &CollectionPath) {
        self.shown.entry(path.clone()).or_default();
    }

    /// Takes in who shows a time.
    pub(super) fn add_shown(&mut self, path: &CollectionPath, time: i64, id: RecordId) {
        self.shown.entry(path.clone()).or_default().insert(time, id);
    }

    /// The signatures that writes asked to be known, each with the incarnation of its collection
    /// if that was there before.
    pub(super) fn registered(&self) -> Vec<(CollectionPath, Signature, Option<[u8; 8]>)> {
        let registered = self.effects.principals.keys();
        let with = |(path, signature): &(CollectionPath, Signature)| {
            (path.clone(), *signature, self.incarnation(path))
        };
        registered.map(with).collect()
    }

    // In which known signatures are still known.
    fn incarnation(&self, path: &CollectionPath) -> Option<[u8; 8]> {
        let is_new = self.effects.flush
            || self.effects.begun.contains(path)
            || self.effects.dropped_buckets.contains(&path.bucket)
            || self.effects.dropped_collections.contains(path);
        let sequence = self.sequences.get(path).filter(|sequence| !sequence.dropped)?;
        (!is_new).then_some(sequence.incarnation)
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

    // What was to be written where everything is removed now.
    fn forget(&mut self, is_removed: impl Fn(&CollectionPath) -> bool) {
        self.records.retain(|path, _| !is_removed(&path.collection));
        self.shown.retain(|path, _| !is_removed(path));
        let effects = &mut self.effects;
        effects.freed.retain(|path| !is_removed(&path.collection));
        effects.erased.retain(|path| !is_removed(&path.collection));
        effects.forgotten.retain(|path, _| !is_removed(path));
        effects.written.retain(|path, _| !is_removed(&path.collection));
        effects.gone.retain(|gone| !is_removed(&gone.path.collection));
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
        self.replace(path, None);
        self.effects.freed.remove(path);
        self.effects.written.remove(path);
        self.effects.erased.insert(path.clone());
        Ok(())
    }

    fn depart(&mut self, path: &RecordPath, left: Seq, old: &Old<()>) -> Result<(), Fault> {
        let (signature, entered) = (old.signature, old.entered);
        self.effects.gone.push(Gone { path: path.clone(), seq: left, signature, entered });
        Ok(())
    }

    fn forget_gone(&mut self, path: &CollectionPath, up_to: Seq) -> Result<(), Fault> {
        self.effects.gone.retain(|gone| gone.path.collection != *path || gone.seq > up_to);
        let forgotten = self.effects.forgotten.entry(path.clone()).or_insert(up_to);
        *forgotten = up_to.max(*forgotten);
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
}
