//! The statements of `nuage-store` for these workloads, and what binds them, on its own tables.

use std::path::Path;
use std::sync::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::raw::{BUCKET, COLLECTION, PERMISSIONS, Row, make_id, readers};
use crate::workload::LIST_RECORDS;

const GET: &str = "SELECT id, seq, timestamp, dead, signature, permissions, body FROM records \
     WHERE number = ?1 AND id = ?2";
const HEAD: &str = "SELECT number, seq, timestamp, live FROM collections \
     WHERE bucket = ?1 AND collection = ?2";
const LIST: &str = "SELECT id, seq, timestamp, dead, signature, permissions, body \
     FROM records INDEXED BY records_seq WHERE number = ?1 AND seq > ?2 ORDER BY seq DESC";
const OLD: &str = "SELECT rowid, seq, timestamp, signature, entered, dead \
     FROM records WHERE number = ?1 AND id = ?2";
const INSERT: &str = "INSERT INTO records (number, id, seq, timestamp, signature, \
     entered, dead, permissions, body) VALUES (?1, ?2, ?3, NULL, ?4, ?3, 0, ?5, ?6)";
const UPDATE: &str = "UPDATE records SET seq = ?2, timestamp = NULL, signature = ?3, \
     entered = ?4, dead = 0, permissions = ?5, body = ?6 WHERE rowid = ?1";
const MOVE_HEAD: &str = "UPDATE collections SET seq = ?2, live = live + ?3 WHERE number = ?1";
/// Any sum will do for the work.
const COUNT: &str = "UPDATE signatures SET live = live + ?3, digest = (digest + ?4) % (1 << 48) \
     WHERE number = ?1 AND signature = ?2";

/// The connection that writes, with the head of the collection in memory as the store keeps it.
pub(super) struct Writer {
    connection: Connection,
    number: i64,
    signature: [u8; 16],
    seq: i64,
    created: i64,
}

/// A connection that reads.
pub(super) struct Reader {
    connection: Mutex<Connection>,
    number: i64,
}

impl Writer {
    /// With the store's settings of the connection.
    pub(super) fn open(file: &Path) -> Result<Self> {
        let connection = Connection::open(file)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "cache_size", -16 * 1024)?;
        set(&connection, "wal_autocheckpoint", 2_000)?;
        tune(&connection)?;
        let (number, seq) = head(&connection)?;
        let signature = readers().signature().0;
        Ok(Self { connection, number, signature, seq, created: 0 })
    }

    /// Does the work of a group and makes it durable, with one write of the head.
    pub(super) fn transaction(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        work(self)?;
        let created = std::mem::take(&mut self.created);
        let mut move_head = self.connection.prepare_cached(MOVE_HEAD)?;
        move_head.execute(params![self.number, self.seq, created])?;
        let mut count = self.connection.prepare_cached(COUNT)?;
        count.execute(params![self.number, self.signature, created, self.seq])?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    /// Creates or replaces. Returns the position of the last.
    pub(super) fn put(&mut self, rows: &[Row]) -> Result<i64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        for row in rows {
            self.seq = now.max(self.seq + 1);
            let mut find = self.connection.prepare_cached(OLD)?;
            let key = params![self.number, row.id];
            let old: Option<(i64, i64)> =
                find.query_row(key, |old| Ok((old.get(0)?, old.get(4)?))).optional()?;
            if let Some((rowid, entered)) = old {
                let mut update = self.connection.prepare_cached(UPDATE)?;
                let values =
                    params![rowid, self.seq, self.signature, entered, PERMISSIONS, row.body];
                update.execute(values)?;
            } else {
                let mut insert = self.connection.prepare_cached(INSERT)?;
                insert.execute(params![
                    self.number,
                    row.id,
                    self.seq,
                    self.signature,
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
        let (number, _) = head(&connection)?;
        Ok(Self { connection: Mutex::new(connection), number })
    }

    /// A record by its number.
    pub(super) fn get(&self, index: u64) -> Result<()> {
        let id = make_id(index);
        self.with(|connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let key = params![self.number, id];
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
            let mut rows = statement.query(params![self.number, 0])?;
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
            let (_, seq) = head(connection)?;
            let mut statement = connection.prepare_cached(LIST)?;
            anyhow::ensure!(statement.query(params![self.number, seq])?.next()?.is_none());
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        })
    }

    fn with<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&*self.connection.lock().ok().context("a reader failed")?)
    }
}

fn tune(connection: &Connection) -> Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    set(connection, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(96);
    Ok(())
}

// For pragmas that answer with the value.
fn set(connection: &Connection, pragma: &str, value: i64) -> Result<()> {
    Ok(connection.pragma_update_and_check(None, pragma, value, |_| Ok(()))?)
}

// The number of the collection, and its head.
fn head(connection: &Connection) -> Result<(i64, i64)> {
    let mut statement = connection.prepare_cached(HEAD)?;
    let key = params![BUCKET, COLLECTION];
    Ok(statement.query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?)
}

// Takes the row out of SQLite's hands, as whoever answers must.
fn copy(row: &rusqlite::Row<'_>) -> rusqlite::Result<usize> {
    let (id, permissions, body): (String, String, String) = (row.get(0)?, row.get(5)?, row.get(6)?);
    let seq: i64 = row.get(1)?;
    Ok(id.len() + permissions.len() + body.len() + usize::from(seq > 0))
}
