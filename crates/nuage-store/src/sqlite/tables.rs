//! The tables of one SQLite file, as the rules read and change them.

use std::collections::BTreeSet;

use nuage_model::{
    BucketId, CollectionPath, GroupPath, Readers, RecordId, RecordPath, Seq, Signature, Timestamp,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::rules::{Ended, New, Old, Place, Removed, Residents, Sequence, Tables, View};
use crate::sqlite::errors::Fault;

const READ_SEQUENCE: &str = "
    SELECT incarnation, seq, timestamp, gc_seq, live, tombstones, chosen, gone, dropped
    FROM collections WHERE bucket = ?1 AND collection = ?2";

const WRITE_SEQUENCE: &str = "
    INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live,
        tombstones, chosen, gone, dropped)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
    ON CONFLICT (bucket, collection) DO UPDATE SET
        incarnation = excluded.incarnation, seq = excluded.seq, timestamp = excluded.timestamp,
        gc_seq = excluded.gc_seq, live = excluded.live, tombstones = excluded.tombstones,
        chosen = excluded.chosen, gone = excluded.gone, dropped = excluded.dropped";
const TAKEN: &str = "
    SELECT EXISTS (SELECT 1 FROM records INDEXED BY records_seq
            WHERE bucket = ?1 AND collection = ?2 AND seq = ?3 AND timestamp IS NULL
            AND id <> ?4)
        OR EXISTS (SELECT 1 FROM records INDEXED BY records_timestamp
            WHERE bucket = ?1 AND collection = ?2 AND timestamp = ?3 AND id <> ?4)";

const OLD: &str = "
    SELECT rowid, seq, timestamp, signature, entered, dead
    FROM records WHERE bucket = ?1 AND collection = ?2 AND id = ?3";
const INSERT: &str = "
    INSERT INTO records (bucket, collection, id, seq, timestamp, signature, entered, dead,
        permissions, body)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const UPDATE: &str = "
    UPDATE records SET seq = ?2, timestamp = ?3, signature = ?4, entered = ?5, dead = ?6,
        permissions = ?7, body = ?8
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

const COUNT_DEAD: &str = "
    SELECT count(*), count(timestamp) FROM records INDEXED BY records_dead
    WHERE bucket = ?1 AND collection = ?2 AND seq <= ?3 AND dead = 1";
const FORGET_DEAD: &str = "
    DELETE FROM records INDEXED BY records_dead
    WHERE bucket = ?1 AND collection = ?2 AND seq <= ?3 AND dead = 1";
const UNUSED: &str = "
    SELECT signature FROM signatures AS s
    WHERE bucket = ?1 AND collection = ?2 AND live = 0
    AND NOT EXISTS (SELECT 1 FROM records INDEXED BY records_signature
        WHERE bucket = ?1 AND collection = ?2 AND signature = s.signature)
    AND NOT EXISTS (SELECT 1 FROM gone INDEXED BY gone_signature
        WHERE bucket = ?1 AND collection = ?2 AND signature = s.signature)";
const FORGET_SIGNATURE: &str = "
    DELETE FROM signatures WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";
const FORGET_PRINCIPALS: &str = "
    DELETE FROM signature_principals INDEXED BY signature_principals_signature
    WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";
const ENDED: &str = "
    SELECT seq, id, signature, entered FROM gone
    WHERE bucket = ?1 AND collection = ?2 ORDER BY seq LIMIT ?3";
const FORGET_ENDED: &str = "
    DELETE FROM gone WHERE bucket = ?1 AND collection = ?2 AND seq = ?3 AND id = ?4";
const PROLONG_ENDED: &str = "
    UPDATE gone SET entered = ?5
    WHERE bucket = ?1 AND collection = ?2 AND seq = ?3 AND id = ?4";
/// What is used each minute is noted once a day: 86,400,000 ms.
const KEEP_VIEW: &str = "
    INSERT INTO views (bucket, person, name, groups, used) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (bucket, person, name) DO UPDATE SET used = excluded.used
    WHERE views.used <= excluded.used - 86400000";
const FORGET_VIEWS: &str = "DELETE FROM views WHERE bucket = ?1 AND used < ?2";

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
    "DELETE FROM views WHERE bucket = ?1",
    "UPDATE collections SET live = 0, tombstones = 0, chosen = 0, gone = 0, dropped = 1
     WHERE bucket = ?1",
];
const FLUSH: &str = "
    DELETE FROM records;
    DELETE FROM gone;
    DELETE FROM signatures;
    DELETE FROM signature_principals;
    DELETE FROM members;
    DELETE FROM directory_groups;
    DELETE FROM directory_collections;
    DELETE FROM collections;
    DELETE FROM views;";
const RENEW: &str = "UPDATE meta SET value = lower(hex(randomblob(16))) WHERE key = 'store'";

const MEMBERS: &str = "SELECT member FROM members WHERE bucket = ?1 AND grp = ?2";
const ADD_MEMBER: &str = "INSERT INTO members (bucket, member, grp) VALUES (?1, ?2, ?3)";
const REMOVE_MEMBER: &str = "
    DELETE FROM members WHERE bucket = ?1 AND member = ?2 AND grp = ?3";
const LIST_GROUP: &str = "
    INSERT OR IGNORE INTO directory_groups (member, bucket) VALUES (?1, ?2)";
const UNLIST_GROUP: &str = "
    DELETE FROM directory_groups WHERE member = ?1 AND bucket = ?2
    AND NOT EXISTS (SELECT 1 FROM members WHERE bucket = ?2 AND member = ?1)";

const REGISTER: &str = "
    INSERT OR IGNORE INTO signatures (bucket, collection, signature, live, digest)
    VALUES (?1, ?2, ?3, 0, 0)";
const REGISTER_PRINCIPAL: &str = "
    INSERT OR IGNORE INTO signature_principals (bucket, collection, principal, signature)
    VALUES (?1, ?2, ?3, ?4)";
const LIST_COLLECTION: &str = "
    INSERT OR IGNORE INTO directory_collections (principal, bucket, collection)
    VALUES (?1, ?2, ?3)";
const COUNT: &str = "
    UPDATE signatures SET live = live + ?4, digest = (digest + ?5) % (1 << 48)
    WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";

/// A connection with a transaction that is open already.
pub(super) struct Open<'a>(pub(super) &'a Connection);

impl Tables for Open<'_> {
    type Fault = Fault;
    type Row = i64;

    fn sequence(&mut self, path: &CollectionPath) -> Result<Option<Sequence>, Fault> {
        read_sequence(self.0, path)
    }

    fn set_sequence(&mut self, path: &CollectionPath, sequence: &Sequence) -> Result<(), Fault> {
        self.0.prepare_cached(WRITE_SEQUENCE)?.execute(params![
            path.bucket.as_str(),
            path.name.as_str(),
            sequence.incarnation,
            sequence.seq.0,
            sequence.shown(),
            sequence.gc_seq.0,
            sequence.live,
            sequence.tombstones,
            sequence.chosen,
            sequence.gone,
            sequence.dropped,
        ])?;
        Ok(())
    }

    fn old(&mut self, path: &RecordPath) -> Result<Option<Old<i64>>, Fault> {
        let mut statement = self.0.prepare_cached(OLD)?;
        let old = statement.query_row(key(path), |row| {
            Ok(Old {
                row: row.get(0)?,
                seq: Seq(row.get(1)?),
                chosen: row.get::<_, Option<i64>>(2)?.map(Timestamp),
                signature: Signature(row.get(3)?),
                entered: Seq(row.get(4)?),
                dead: row.get(5)?,
            })
        });
        Ok(old.optional()?)
    }

    fn is_taken(&mut self, path: &RecordPath, time: i64) -> Result<bool, Fault> {
        let mut statement = self.0.prepare_cached(TAKEN)?;
        let [bucket, name, id] = key(path);
        Ok(statement.query_row(params![bucket, name, time, id], |row| row.get(0))?)
    }

    fn put(
        &mut self,
        path: &RecordPath,
        old: Option<&Old<i64>>,
        new: &New<'_>,
    ) -> Result<(), Fault> {
        let chosen = new.place.chosen.map(|time| time.0);
        if let Some(old) = old {
            self.0.prepare_cached(UPDATE)?.execute(params![
                old.row,
                new.place.seq.0,
                chosen,
                new.signature.0,
                new.entered.0,
                new.dead,
                new.permissions,
                new.body,
            ])?;
            return Ok(());
        }
        let [bucket, name, id] = key(path);
        self.0.prepare_cached(INSERT)?.execute(params![
            bucket,
            name,
            id,
            new.place.seq.0,
            chosen,
            new.signature.0,
            new.entered.0,
            new.dead,
            new.permissions,
            new.body,
        ])?;
        Ok(())
    }

    fn bury(&mut self, _: &RecordPath, old: &Old<i64>, place: Place) -> Result<(), Fault> {
        let chosen = place.chosen.map(|time| time.0);
        self.0.prepare_cached(BURY)?.execute(params![old.row, place.seq.0, chosen])?;
        Ok(())
    }

    fn erase(&mut self, _: &RecordPath, old: &Old<i64>) -> Result<(), Fault> {
        self.0.prepare_cached(ERASE)?.execute([old.row])?;
        Ok(())
    }

    fn depart(&mut self, path: &RecordPath, left: Seq, old: &Old<i64>) -> Result<(), Fault> {
        let [bucket, name, id] = key(path);
        let mut depart = self.0.prepare_cached(DEPART)?;
        depart.execute(params![bucket, name, left.0, id, old.signature.0, old.entered.0])?;
        Ok(())
    }

    fn forget_gone(&mut self, path: &CollectionPath, up_to: Seq) -> Result<(), Fault> {
        let mut forget = self.0.prepare_cached(FORGET_GONE)?;
        forget.execute(params![path.bucket.as_str(), path.name.as_str(), up_to.0])?;
        Ok(())
    }

    fn compact(&mut self, path: &CollectionPath, up_to: Seq) -> Result<Removed, Fault> {
        let key = params![path.bucket.as_str(), path.name.as_str(), up_to.0];
        let mut count = self.0.prepare_cached(COUNT_DEAD)?;
        let (tombstones, chosen) = count.query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
        self.0.prepare_cached(FORGET_DEAD)?.execute(key)?;
        let gone = self.0.prepare_cached(FORGET_GONE)?.execute(key)?;
        Ok(Removed { tombstones, chosen, gone: i64::try_from(gone).unwrap_or(i64::MAX) })
    }

    fn forget_signatures(&mut self, path: &CollectionPath) -> Result<(), Fault> {
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let mut unused = self.0.prepare_cached(UNUSED)?;
        let unused = unused.query_map([bucket, name], |row| row.get::<_, [u8; 16]>(0))?;
        for signature in unused.collect::<rusqlite::Result<Vec<_>>>()? {
            for sql in [FORGET_SIGNATURE, FORGET_PRINCIPALS] {
                self.0.prepare_cached(sql)?.execute(params![bucket, name, signature])?;
            }
        }
        Ok(())
    }

    fn ended(&mut self, path: &CollectionPath, limit: usize) -> Result<Vec<Ended>, Fault> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut statement = self.0.prepare_cached(ENDED)?;
        let key = params![path.bucket.as_str(), path.name.as_str(), limit];
        let ended = statement.query_map(key, |row| {
            Ok(Ended {
                seq: Seq(row.get(0)?),
                id: RecordId::from(row.get::<_, String>(1)?),
                signature: Signature(row.get(2)?),
                entered: Seq(row.get(3)?),
            })
        })?;
        Ok(ended.collect::<rusqlite::Result<_>>()?)
    }

    fn forget_ended(&mut self, path: &CollectionPath, ended: &Ended) -> Result<(), Fault> {
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let mut forget = self.0.prepare_cached(FORGET_ENDED)?;
        forget.execute(params![bucket, name, ended.seq.0, ended.id.as_str()])?;
        Ok(())
    }

    fn prolong_ended(
        &mut self,
        path: &CollectionPath,
        ended: &Ended,
        entered: Seq,
    ) -> Result<(), Fault> {
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let mut prolong = self.0.prepare_cached(PROLONG_ENDED)?;
        prolong.execute(params![bucket, name, ended.seq.0, ended.id.as_str(), entered.0])?;
        Ok(())
    }

    fn register(&mut self, path: &CollectionPath, readers: &Readers) -> Result<(), Fault> {
        let signature = readers.signature().0;
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let mut register = self.0.prepare_cached(REGISTER)?;
        if register.execute(params![bucket, name, signature])? == 0 {
            return Ok(());
        }
        for principal in readers.principals() {
            let principal = principal.as_str();
            let mut add = self.0.prepare_cached(REGISTER_PRINCIPAL)?;
            add.execute(params![bucket, name, principal, signature])?;
            let mut list = self.0.prepare_cached(LIST_COLLECTION)?;
            list.execute(params![principal, bucket, name])?;
        }
        Ok(())
    }

    fn count(
        &mut self,
        path: &CollectionPath,
        signature: Signature,
        more: Residents,
    ) -> Result<(), Fault> {
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let more = params![bucket, name, signature.0, more.live, more.digest()];
        self.0.prepare_cached(COUNT)?.execute(more)?;
        Ok(())
    }

    fn members(&mut self, group: &GroupPath) -> Result<BTreeSet<String>, Fault> {
        let mut statement = self.0.prepare_cached(MEMBERS)?;
        let key = [group.bucket.as_str(), group.group.as_str()];
        let members = statement.query_map(key, |row| row.get(0))?;
        Ok(members.collect::<rusqlite::Result<_>>()?)
    }

    fn add_member(&mut self, group: &GroupPath, member: &str) -> Result<(), Fault> {
        let (bucket, name) = (group.bucket.as_str(), group.group.as_str());
        self.0.prepare_cached(ADD_MEMBER)?.execute([bucket, member, name])?;
        self.0.prepare_cached(LIST_GROUP)?.execute([member, bucket])?;
        Ok(())
    }

    fn remove_member(&mut self, group: &GroupPath, member: &str) -> Result<(), Fault> {
        let (bucket, name) = (group.bucket.as_str(), group.group.as_str());
        self.0.prepare_cached(REMOVE_MEMBER)?.execute([bucket, member, name])?;
        self.0.prepare_cached(UNLIST_GROUP)?.execute([member, bucket])?;
        Ok(())
    }

    fn keep_view(&mut self, view: &View) -> Result<(), Fault> {
        let View { bucket, person, name, groups, used } = view;
        let mut keep = self.0.prepare_cached(KEEP_VIEW)?;
        keep.execute(params![bucket.as_str(), person.as_str(), name, groups, used.0])?;
        Ok(())
    }

    fn forget_views(&mut self, bucket: &BucketId, before: Timestamp) -> Result<(), Fault> {
        let mut forget = self.0.prepare_cached(FORGET_VIEWS)?;
        forget.execute(params![bucket.as_str(), before.0])?;
        Ok(())
    }

    fn drop_collection(&mut self, path: &CollectionPath) -> Result<(), Fault> {
        for sql in DROP_COLLECTION {
            let mut statement = self.0.prepare_cached(sql)?;
            statement.execute([path.bucket.as_str(), path.name.as_str()])?;
        }
        Ok(())
    }

    fn drop_bucket(&mut self, bucket: &BucketId) -> Result<(), Fault> {
        for sql in DROP_BUCKET {
            self.0.prepare_cached(sql)?.execute([bucket.as_str()])?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Fault> {
        self.0.execute_batch(FLUSH)?;
        self.renew()
    }

    fn renew(&mut self) -> Result<(), Fault> {
        self.0.execute(RENEW, [])?;
        Ok(())
    }
}

/// The row of a collection.
pub(super) fn read_sequence(
    connection: &Connection,
    path: &CollectionPath,
) -> Result<Option<Sequence>, Fault> {
    let mut statement = connection.prepare_cached(READ_SEQUENCE)?;
    let key = params![path.bucket.as_str(), path.name.as_str()];
    Ok(statement.query_row(key, sequence_of).optional()?)
}

fn sequence_of(row: &Row<'_>) -> rusqlite::Result<Sequence> {
    let seq = Seq(row.get(1)?);
    let timestamp: Option<i64> = row.get(2)?;
    Ok(Sequence {
        incarnation: row.get(0)?,
        seq,
        timestamp: timestamp.map_or(seq.into(), Timestamp),
        gc_seq: Seq(row.get(3)?),
        live: row.get(4)?,
        tombstones: row.get(5)?,
        chosen: row.get(6)?,
        gone: row.get(7)?,
        dropped: row.get(8)?,
    })
}

/// The three names of a record, as parameters.
pub(super) fn key(path: &RecordPath) -> [&str; 3] {
    [path.collection.bucket.as_str(), path.collection.name.as_str(), path.id.as_str()]
}
