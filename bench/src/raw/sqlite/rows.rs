//! The statements of `nuage-store` for these workloads, and what binds them. The tables are its
//! own, indexes and all.

use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::raw::{Row, make_id};
use crate::workload::LIST_RECORDS;

const TABLES: &str =
    include_str!("../../../../crates/nuage-store/src/sqlite/migrations/0001_first.sql");
const BUCKET: &str = "bench";
const COLLECTION: &str = "items";
const PERMISSIONS: &str = r#"{"write":["account:bench"]}"#;
const SIGNATURE: [u8; 16] = [7; 16];

const GET: &str = "SELECT id, seq, timestamp, dead, signature, permissions, body FROM records \
     WHERE bucket = ?1 AND collection = ?2 AND id = ?3";
const HEAD: &str = "SELECT seq, timestamp, live FROM collections \
     WHERE bucket = ?1 AND collection = ?2";
const LIST: &str = "SELECT id, seq, timestamp, dead, signature, permissions, body \
     FROM records INDEXED BY records_seq \
     WHERE bucket = ?1 AND collection = ?2 AND seq > ?3 ORDER BY seq DESC";
const OLD: &str = "SELECT rowid, seq, timestamp IS NOT NULL, signature, entered, dead \
     FROM records WHERE bucket = ?1 AND collection = ?2 AND id = ?3";
const INSERT: &str = "INSERT INTO records (bucket, collection, id, seq, timestamp, signature, \
     entered, dead, permissions, body) VALUES (?1, ?2, ?3, ?4, NULL, ?5, ?4, 0, ?6, ?7)";
const UPDATE: &str = "UPDATE records SET seq = ?2, timestamp = NULL, signature = ?3, \
     entered = ?4, dead = 0, permissions = ?5, body = ?6 WHERE rowid = ?1";
const MOVE_HEAD: &str = "UPDATE collections SET seq = ?3, live = live + ?4 \
     WHERE bucket = ?1 AND collection = ?2";
const COUNT: &str = "UPDATE signatures SET live = live + ?4 \
     WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";
const MAKE_HEAD: &str = "INSERT INTO collections (bucket, collection, incarnation, seq, gc_seq, \
     live, tombstones, chosen, dropped) VALUES (?1, ?2, x'0000000000000000', 0, 0, 0, 0, 0, 0)";
const MAKE_SIGNATURE: &str = "INSERT INTO signatures (bucket, collection, signature, live) \
     VALUES (?1, ?2, ?3, 0)";

/// The connection that writes, with the head of the collection in memory as the store keeps it.
pub(super) struct Writer {
    connection: Connection,
    seq: i64,
    created: i64,
}

/// A connection that reads.
pub(super) struct Reader(Mutex<Connection>);

impl Writer {
    /// With the store's settings of the connection.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -16 * 1024)?;
        set(&connection, "wal_autocheckpoint", 2_000)?;
        tune(&connection)?;
        connection.execute_batch(TABLES)?;
        connection.execute(MAKE_HEAD, params![BUCKET, COLLECTION])?;
        connection.execute(MAKE_SIGNATURE, params![BUCKET, COLLECTION, SIGNATURE])?;
        Ok(Self { connection, seq: 0, created: 0 })
    }

    /// Does the work of a group and makes it durable, with one write of the head.
    pub(super) fn transaction(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        work(self)?;
        let created = std::mem::take(&mut self.created);
        let mut move_head = self.connection.prepare_cached(MOVE_HEAD)?;
        move_head.execute(params![BUCKET, COLLECTION, self.seq, created])?;
        if created > 0 {
            let mut count = self.connection.prepare_cached(COUNT)?;
            count.execute(params![BUCKET, COLLECTION, SIGNATURE, created])?;
        }
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Creates or replaces. Returns the position of the last.
    pub(super) fn put(&mut self, rows: &[Row]) -> Result<i64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        for row in rows {
            self.seq = now.max(self.seq + 1);
            let mut find = self.connection.prepare_cached(OLD)?;
            let key = params![BUCKET, COLLECTION, row.id];
            let old: Option<(i64, i64)> =
                find.query_row(key, |old| Ok((old.get(0)?, old.get(4)?))).optional()?;
            if let Some((rowid, entered)) = old {
                let mut update = self.connection.prepare_cached(UPDATE)?;
                let values = params![rowid, self.seq, SIGNATURE, entered, PERMISSIONS, row.body];
                update.execute(values)?;
            } else {
                let mut insert = self.connection.prepare_cached(INSERT)?;
                insert.execute(params![
                    BUCKET,
                    COLLECTION,
                    row.id,
                    self.seq,
                    SIGNATURE,
                    PERMISSIONS,
                    row.body
                ])?;
                self.created += 1;
            }
        }
        Ok(self.seq)
    }
}

impl Reader {
    pub(super) fn open(file: &Path) -> Result<Self> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags)?;
        connection.pragma_update(None, "query_only", true)?;
        tune(&connection)?;
        Ok(Self(Mutex::new(connection)))
    }

    /// A record by its number.
    pub(super) fn get(&self, index: u64) -> Result<()> {
        let id = make_id(index);
        self.with(|connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let key = params![BUCKET, COLLECTION, id];
            let bytes = statement.query_row(key, copy)?;
            anyhow::ensure!(bytes > 0);
            Ok(())
        })
    }

    /// The latest records and the head of their collection, in one snapshot.
    pub(super) fn list(&self) -> Result<()> {
        self.with(|connection| {
            connection.prepare_cached("BEGIN")?.execute([])?;
            head(connection)?;
            let mut statement = connection.prepare_cached(LIST)?;
            let mut rows = statement.query(params![BUCKET, COLLECTION, 0])?;
            let mut count = 0;
            // One more tells whether there is another page.
            while count <= LIST_RECORDS
                && let Some(row) = rows.next()?
            {
                copy(row)?;
                count += 1;
            }
            anyhow::ensure!(count > LIST_RECORDS);
            drop(rows);
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        })
    }

    /// What came after the head: nothing.
    pub(super) fn poll(&self) -> Result<()> {
        self.with(|connection| {
            connection.prepare_cached("BEGIN")?.execute([])?;
            let seq = head(connection)?;
            let mut statement = connection.prepare_cached(LIST)?;
            anyhow::ensure!(statement.query(params![BUCKET, COLLECTION, seq])?.next()?.is_none());
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&*self.0.lock().ok().context("a reader failed")?)
    }
}

fn tune(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    set(connection, "mmap_size", 256 * 1024 * 1024)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(96);
    Ok(())
}

// For pragmas that answer with the value.
fn set(connection: &Connection, pragma: &str, value: i64) -> Result<()> {
    Ok(connection.pragma_update_and_check(None, pragma, value, |_| Ok(()))?)
}

fn head(connection: &Connection) -> Result<i64> {
    let mut statement = connection.prepare_cached(HEAD)?;
    Ok(statement.query_row(params![BUCKET, COLLECTION], |row| row.get(0))?)
}

// Takes the row out of SQLite's hands, as whoever answers must.
fn copy(row: &rusqlite::Row<'_>) -> rusqlite::Result<usize> {
    let (id, permissions, body): (String, String, String) = (row.get(0)?, row.get(5)?, row.get(6)?);
    let seq: i64 = row.get(1)?;
    Ok(id.len() + permissions.len() + body.len() + usize::from(seq > 0))
}
