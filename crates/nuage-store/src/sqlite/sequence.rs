//! Rows of `collections`: the sequence, the counters and the horizon of each collection.
//!
//! The writer keeps the rows it works with in memory: it reads a row once, counts there, and
//! writes it back once for each group.

use nuage_model::{CollectionPath, Head, Seq, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::sqlite::errors::Fault;

/// One row of `collections`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Sequence {
    /// The first position, by which incarnations of one name differ.
    pub(super) incarnation: [u8; 8],
    /// Position of the last change.
    pub(super) seq: Seq,
    /// The time shown.
    pub(super) timestamp: Timestamp,
    /// What happened up to here is no longer told.
    pub(super) gc_seq: Seq,
    /// Live records.
    pub(super) live: i64,
    /// Dead ones.
    pub(super) tombstones: i64,
    /// Rows with a timestamp of their own.
    pub(super) chosen: i64,
    /// There is no collection, only its position.
    pub(super) dropped: bool,
}

const READ: &str = "
    SELECT incarnation, seq, timestamp, gc_seq, live, tombstones, chosen, dropped
    FROM collections WHERE bucket = ?1 AND collection = ?2";

const WRITE: &str = "
    INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live,
        tombstones, chosen, dropped)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (bucket, collection) DO UPDATE SET
        incarnation = excluded.incarnation, seq = excluded.seq, timestamp = excluded.timestamp,
        gc_seq = excluded.gc_seq, live = excluded.live, tombstones = excluded.tombstones,
        chosen = excluded.chosen, dropped = excluded.dropped";

impl Sequence {
    /// A collection that begins at this position.
    pub(super) fn begin(seq: Seq) -> Self {
        Self {
            incarnation: seq.0.to_be_bytes(),
            seq,
            timestamp: seq.into(),
            gc_seq: Seq(0),
            live: 0,
            tombstones: 0,
            chosen: 0,
            dropped: false,
        }
    }

    /// Reads the row of a collection.
    pub(super) fn read(
        connection: &Connection,
        path: &CollectionPath,
    ) -> Result<Option<Self>, Fault> {
        let mut statement = connection.prepare_cached(READ)?;
        let key = params![path.bucket.as_str(), path.name.as_str()];
        Ok(statement.query_row(key, Self::from_row).optional()?)
    }

    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        let seq = Seq(row.get(1)?);
        let timestamp: Option<i64> = row.get(2)?;
        Ok(Self {
            incarnation: row.get(0)?,
            seq,
            timestamp: timestamp.map_or(seq.into(), Timestamp),
            gc_seq: Seq(row.get(3)?),
            live: row.get(4)?,
            tombstones: row.get(5)?,
            chosen: row.get(6)?,
            dropped: row.get(7)?,
        })
    }

    /// Writes the row of a collection.
    pub(super) fn write(
        &self,
        connection: &Connection,
        path: &CollectionPath,
    ) -> Result<(), Fault> {
        let shown = Some(self.timestamp.0).filter(|time| *time != self.seq.0);
        connection.prepare_cached(WRITE)?.execute(params![
            path.bucket.as_str(),
            path.name.as_str(),
            self.incarnation,
            self.seq.0,
            shown,
            self.gc_seq.0,
            self.live,
            self.tombstones,
            self.chosen,
            self.dropped,
        ])?;
        Ok(())
    }

    /// What the port shows of it.
    pub(super) fn head(&self) -> Option<Head> {
        let live = u64::try_from(self.live).unwrap_or(0);
        let head = Head { seq: self.seq, timestamp: self.timestamp, live };
        (!self.dropped).then_some(head)
    }

    /// How many rows of `records` the collection has.
    pub(super) fn rows(&self) -> i64 {
        self.live + self.tombstones
    }
}
