//! Guards and writes of one batch, inside a transaction that is open already.
//!
//! A pure function of the tables and the batch. It keeps the residencies: a record that changes
//! its signature, or comes back after a deletion, leaves a row in `gone` and begins a new one.

use std::collections::BTreeSet;

use foldhash::HashMap;

use nuage_model::{
    Batch, Body, BucketId, CollectionPath, GroupPath, Guard, Outcome, Placement, Principal,
    Readers, RecordPath, Seq, Signature, StoreError, Timestamp, Write,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::sqlite::errors::Fault;
use crate::sqlite::ledger::Ledger;
use crate::sqlite::place::Place;
use crate::sqlite::sequence::Sequence;

const OLD: &str = "
    SELECT rowid, seq, timestamp IS NOT NULL, signature, entered, dead
    FROM records WHERE bucket = ?1 AND collection = ?2 AND id = ?3";
const INSERT: &str = "
    INSERT INTO records (bucket, collection, id, seq, timestamp, signature, entered, dead,
        permissions, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?4, 0, ?7, ?8)";
const INSERT_TOMBSTONE: &str = "
    INSERT INTO records (bucket, collection, id, seq, timestamp, signature, entered, dead,
        permissions, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 1, '{}', '{}')";
const UPDATE: &str = "
    UPDATE records SET seq = ?2, timestamp = ?3, signature = ?4, entered = ?5, dead = 0,
        permissions = ?6, body = ?7
    WHERE rowid = ?1";
const BURY: &str = "
    UPDATE records SET seq = ?2, timestamp = ?3, dead = 1, permissions = '{}', body = '{}'
    WHERE rowid = ?1";
const ERASE: &str = "DELETE FROM records WHERE rowid = ?1";
const DEPART: &str = "
    INSERT INTO gone (bucket, collection, seq, id, signature, entered)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
const FORGET_GONE: &str = "
    DELETE FROM gone WHERE bucket = ?1 AND collection = ?2 AND seq <= ?3";

const DROP_COLLECTION: &[&str] = &[
    "DELETE FROM records WHERE bucket = ?1 AND collection = ?2",
    "DELETE FROM gone WHERE bucket = ?1 AND collection = ?2",
    "DELETE FROM signatures WHERE bucket = ?1 AND collection = ?2",
    "DELETE FROM signature_principals WHERE bucket = ?1 AND collection = ?2",
    "DELETE FROM directory_collections WHERE bucket = ?1 AND collection = ?2",
];
const DROP_BUCKET: &[&str] = &[
    "DELETE FROM records WHERE bucket = ?1",
    "DELETE FROM gone WHERE bucket = ?1",
    "DELETE FROM signatures WHERE bucket = ?1",
    "DELETE FROM signature_principals WHERE bucket = ?1",
    "DELETE FROM directory_collections WHERE bucket = ?1",
    "DELETE FROM directory_groups WHERE bucket = ?1",
    "DELETE FROM members WHERE bucket = ?1",
    "UPDATE collections SET live = 0, tombstones = 0, chosen = 0, dropped = 1 WHERE bucket = ?1",
];
const FLUSH: &str = "
    DELETE FROM records;
    DELETE FROM gone;
    DELETE FROM signatures;
    DELETE FROM signature_principals;
    DELETE FROM members;
    DELETE FROM directory_groups;
    DELETE FROM directory_collections;
    DELETE FROM collections;";

const MEMBERS: &str = "SELECT member FROM members WHERE bucket = ?1 AND grp = ?2";
const ADD_MEMBER: &str = "INSERT INTO members (bucket, member, grp) VALUES (?1, ?2, ?3)";
const REMOVE_MEMBER: &str = "
    DELETE FROM members WHERE bucket = ?1 AND member = ?2 AND grp = ?3";
const LIST_GROUP: &str = "
    INSERT OR IGNORE INTO directory_groups (member, bucket) VALUES (?1, ?2)";
const UNLIST_GROUP: &str = "
    DELETE FROM directory_groups WHERE member = ?1 AND bucket = ?2
    AND NOT EXISTS (SELECT 1 FROM members WHERE bucket = ?2 AND member = ?1)";

/// A transaction that batches are applied in.
pub(super) struct Transaction<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ledger: &'a mut Ledger,
    /// What the guards of the batch found, until it is written over.
    guarded: HashMap<RecordPath, Option<Old>>,
}

/// What a write finds in the place of its record.
pub(super) struct Old {
    rowid: i64,
    seq: Seq,
    has_chosen: bool,
    signature: Signature,
    entered: Seq,
    dead: bool,
}

/// What a put brings, the numbers in its body filled in.
struct Content<'a> {
    body: &'a str,
    permissions: &'a str,
    readers: &'a Readers,
}

impl<'a> Transaction<'a> {
    /// A transaction in which nothing was applied yet.
    pub(super) fn new(connection: &'a Connection, ledger: &'a mut Ledger) -> Self {
        Self { connection, ledger, guarded: HashMap::default() }
    }

    /// Whether everything is still as it was read. What is found is remembered for the writes.
    pub(super) fn guards_hold(&mut self, guards: &[Guard]) -> Result<bool, Fault> {
        self.guarded.clear();
        for Guard { path, live_at } in guards {
            let old = self.look(path)?;
            let live = old.as_ref().filter(|old| !old.dead).map(|old| old.seq);
            if live != *live_at {
                return Ok(false);
            }
            self.guarded.insert(path.clone(), old);
        }
        Ok(true)
    }

    /// Performs the writes.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<Vec<Outcome>, Fault> {
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
    ) -> Result<(), Fault> {
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
                    self.insert_tombstone(path, place)?;
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
            Write::DropCollection { collection } => {
                self.guarded.clear();
                self.drop_collection(collection)?;
                Outcome::default()
            }
            Write::DropBucket { bucket } => {
                self.guarded.clear();
                self.drop_bucket(bucket)?;
                Outcome::default()
            }
            Write::SetMembers { group, members } => {
                self.set_members(group, members)?;
                Outcome::default()
            }
            Write::Flush => {
                self.guarded.clear();
                self.connection.execute_batch(FLUSH)?;
                self.ledger.forget_flushed();
                Outcome::default()
            }
        };
        outcomes.push(outcome);
        Ok(())
    }

    fn old(&mut self, path: &RecordPath) -> Result<Option<Old>, Fault> {
        match self.guarded.remove(path) {
            Some(old) => Ok(old),
            None => self.look(path),
        }
    }

    fn look(&self, path: &RecordPath) -> Result<Option<Old>, Fault> {
        let mut statement = self.connection.prepare_cached(OLD)?;
        let old = statement.query_row(key(path), |row| {
            Ok(Old {
                rowid: row.get(0)?,
                seq: Seq(row.get(1)?),
                has_chosen: row.get(2)?,
                signature: Signature(row.get(3)?),
                entered: Seq(row.get(4)?),
                dead: row.get(5)?,
            })
        });
        Ok(old.optional()?)
    }

    fn put(
        &mut self,
        path: &RecordPath,
        old: Option<Old>,
        place: Place,
        content: &Content<'_>,
    ) -> Result<(), Fault> {
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
        let chosen = place.chosen.map(|time| time.0);
        if let Some(old) = &old {
            self.connection.prepare_cached(UPDATE)?.execute(params![
                old.rowid,
                place.seq.0,
                chosen,
                signature.0,
                entered.0,
                content.permissions,
                content.body,
            ])?;
        } else {
            self.connection.prepare_cached(INSERT)?.execute(params![
                path.collection.bucket.as_str(),
                path.collection.name.as_str(),
                path.id.as_str(),
                place.seq.0,
                chosen,
                signature.0,
                content.permissions,
                content.body,
            ])?;
        }
        self.count_put(path, old.as_ref(), place, content.readers)
    }

    fn count_put(
        &mut self,
        path: &RecordPath,
        old: Option<&Old>,
        place: Place,
        readers: &Readers,
    ) -> Result<(), Fault> {
        let signature = readers.signature();
        let was = old.filter(|old| !old.dead).map(|old| old.signature);
        if was != Some(signature) {
            self.ledger.register(self.connection, &path.collection, readers)?;
        }
        let entry = self.ledger.change(self.connection, &path.collection)?;
        if was != Some(signature) {
            entry.count(signature, 1);
            if let Some(was) = was {
                entry.count(was, -1);
            }
        }
        let sequence = entry.sequence.as_mut().expect("placing a record made the row");
        sequence.live += i64::from(was.is_none());
        sequence.tombstones -= i64::from(old.is_some_and(|old| old.dead));
        sequence.chosen += i64::from(place.chosen.is_some());
        sequence.chosen -= i64::from(old.is_some_and(|old| old.has_chosen));
        Ok(())
    }

    fn bury(&mut self, path: &RecordPath, old: &Old, place: Place) -> Result<(), Fault> {
        let chosen = place.chosen.map(|time| time.0);
        let mut bury = self.connection.prepare_cached(BURY)?;
        bury.execute(params![old.rowid, place.seq.0, chosen])?;
        let entry = self.ledger.change(self.connection, &path.collection)?;
        entry.count(old.signature, -1);
        let sequence = entry.sequence.as_mut().expect("placing a tombstone made the row");
        sequence.live -= 1;
        sequence.tombstones += 1;
        sequence.chosen += i64::from(place.chosen.is_some()) - i64::from(old.has_chosen);
        Ok(())
    }

    // Nobody here ever had the record: its residency, among nobody, began before all positions.
    fn insert_tombstone(&mut self, path: &RecordPath, place: Place) -> Result<(), Fault> {
        let nobody = Readers::new(BTreeSet::new());
        self.ledger.register(self.connection, &path.collection, &nobody)?;
        self.connection.prepare_cached(INSERT_TOMBSTONE)?.execute(params![
            path.collection.bucket.as_str(),
            path.collection.name.as_str(),
            path.id.as_str(),
            place.seq.0,
            place.chosen.map(|time| time.0),
            nobody.signature().0,
        ])?;
        let entry = self.ledger.change(self.connection, &path.collection)?;
        let sequence = entry.sequence.as_mut().expect("placing a tombstone made the row");
        sequence.tombstones += 1;
        sequence.chosen += i64::from(place.chosen.is_some());
        Ok(())
    }

    fn erase(&mut self, path: &RecordPath, old: &Old) -> Result<(), Fault> {
        self.connection.prepare_cached(ERASE)?.execute([old.rowid])?;
        let entry = self.ledger.change(self.connection, &path.collection)?;
        if !old.dead {
            entry.count(old.signature, -1);
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
        sequence.chosen -= i64::from(old.has_chosen);
        sequence.gc_seq = sequence.seq;
        let (bucket, name) = (path.collection.bucket.as_str(), path.collection.name.as_str());
        let mut forget = self.connection.prepare_cached(FORGET_GONE)?;
        forget.execute(params![bucket, name, sequence.gc_seq.0])?;
        Ok(())
    }

    // The residency of the old row ended at this position.
    fn depart(&self, path: &RecordPath, left: Seq, old: &Old) -> Result<(), Fault> {
        self.connection.prepare_cached(DEPART)?.execute(params![
            path.collection.bucket.as_str(),
            path.collection.name.as_str(),
            left.0,
            path.id.as_str(),
            old.signature.0,
            old.entered.0,
        ])?;
        Ok(())
    }

    fn horizon(&mut self, path: &CollectionPath) -> Result<Seq, Fault> {
        let entry = self.ledger.entry(self.connection, path)?;
        Ok(entry.sequence.as_ref().map_or(Seq(0), |sequence| sequence.gc_seq))
    }

    fn head_outcome(&mut self, path: &CollectionPath) -> Result<Outcome, Fault> {
        let entry = self.ledger.entry(self.connection, path)?;
        let head = entry.sequence.as_ref().and_then(Sequence::head);
        Ok(head.map_or(Outcome::default(), |h| Outcome { seq: h.seq, timestamp: h.timestamp }))
    }

    fn drop_collection(&mut self, path: &CollectionPath) -> Result<(), Fault> {
        let entry = self.ledger.change(self.connection, path)?;
        entry.forget_signatures();
        let Some(sequence) = &mut entry.sequence else { return Ok(()) };
        sequence.live = 0;
        sequence.tombstones = 0;
        sequence.chosen = 0;
        sequence.dropped = true;
        for sql in DROP_COLLECTION {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement.execute([path.bucket.as_str(), path.name.as_str()])?;
        }
        Ok(())
    }

    fn drop_bucket(&mut self, bucket: &BucketId) -> Result<(), Fault> {
        if bucket.as_str().is_empty() {
            let why = "the root holds the buckets and cannot be dropped".to_owned();
            return Err(StoreError::Unsupported(why).into());
        }
        self.ledger.write_back(self.connection)?;
        for sql in DROP_BUCKET {
            self.connection.prepare_cached(sql)?.execute([bucket.as_str()])?;
        }
        self.ledger.forget_bucket(bucket);
        Ok(())
    }

    fn set_members(&mut self, group: &GroupPath, members: &[Principal]) -> Result<(), Fault> {
        let (bucket, name) = (group.bucket.as_str(), group.group.as_str());
        let mut statement = self.connection.prepare_cached(MEMBERS)?;
        let present = statement.query_map([bucket, name], |row| row.get::<_, String>(0))?;
        let present = present.collect::<rusqlite::Result<BTreeSet<String>>>()?;
        let wanted: BTreeSet<&str> = members.iter().map(Principal::as_str).collect();
        for member in present.iter().filter(|member| !wanted.contains(member.as_str())) {
            let mut remove = self.connection.prepare_cached(REMOVE_MEMBER)?;
            remove.execute([bucket, member, name])?;
            self.connection.prepare_cached(UNLIST_GROUP)?.execute([member, bucket])?;
        }
        for member in wanted.into_iter().filter(|member| !present.contains(*member)) {
            self.connection.prepare_cached(ADD_MEMBER)?.execute([bucket, member, name])?;
            self.connection.prepare_cached(LIST_GROUP)?.execute([member, bucket])?;
        }
        Ok(())
    }
}

/// The three names of a record, as parameters.
pub(super) fn key(path: &RecordPath) -> [&str; 3] {
    [path.collection.bucket.as_str(), path.collection.name.as_str(), path.id.as_str()]
}
