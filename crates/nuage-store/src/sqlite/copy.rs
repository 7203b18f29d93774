//! The file as rows: read as of one moment on a connection of its own, written a page to a
//! transaction.
//!
//! The statements are made from the list of tables and columns, nothing else. Writing goes beside
//! the writer thread, which takes it for another process that writes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

use nuage_model::copy::{
    COPY, Cell, Dump, Ground, KEPT, PageSize, Progress, Row, STORE, Step, Table,
};
use nuage_model::{Pending, StoreError};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::Options;
use crate::schema::{named, under_collection};
use crate::sqlite::SqliteStore;
use crate::sqlite::cells::{self, Sql, names};
use crate::sqlite::errors::Fault;
use crate::sqlite::open::{self, Way};
use crate::sqlite::tables::{self, Open};

/// Pages in the log after which it is moved into the file: 16 MiB.
const LOG_PAGES: i64 = 4_000;

const META: &str = "SELECT key, value FROM meta";
const GET: &str = "SELECT value FROM meta WHERE key = ?1";
const SET: &str = "
    INSERT INTO meta (key, value) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const UNSET: &str = "DELETE FROM meta WHERE key = ?1";

/// The directory without what it says only because what was dropped is not removed yet.
const NEEDED_GROUPS: &str = "(
    SELECT member, bucket FROM directory_groups d WHERE NOT EXISTS (
        SELECT 1 FROM dropped WHERE bucket = d.bucket AND collection = '_groups') OR EXISTS (
        SELECT 1 FROM named_members WHERE bucket = d.bucket AND member = d.member))";
const NEEDED_COLLECTIONS: &str = "(
    SELECT principal, bucket, collection FROM directory_collections d WHERE NOT EXISTS (
        SELECT 1 FROM dropped WHERE bucket = d.bucket AND collection = d.collection) OR EXISTS (
        SELECT 1 FROM named_signature_principals
        WHERE bucket = d.bucket AND collection = d.collection AND principal = d.principal))";

impl SqliteStore {
    pub(super) async fn begin_dump(&self) -> Result<Box<dyn Dump>, StoreError> {
        self.expect_open()?;
        let (path, way) = (self.shared.path.clone(), self.shared.way);
        let connection = blocking(move || snapshot(&path, way)).await?;
        Ok(Box::new(Moment { connection: Some(connection) }))
    }

    pub(super) async fn load_step(&self, step: Step) -> Result<(), StoreError> {
        self.expect_open()?;
        let shared = self.shared.clone();
        blocking(move || load(&shared.path, &shared.options, &step)).await
    }

    pub(super) async fn unfinished_copy(&self) -> Result<Option<Progress>, StoreError> {
        self.expect_open()?;
        match self.shared.quick.read(progress)? {
            None => Ok(None),
            Some(text) => Ok(Some(Progress::of_text(&text).ok_or_else(unreadable)?)),
        }
    }

    fn expect_open(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Relaxed) { Err(StoreError::Closed) } else { Ok(()) }
    }
}

// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, StoreError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(StoreError::Unavailable(format!("a copy stopped: {error}"))),
    }
}

fn snapshot(path: &Path, way: Way) -> Result<Connection, Fault> {
    let connection = open::reader(path, way)?;
    connection.execute_batch("BEGIN")?;
    // The moment is that of the first read.
    connection.query_row(GET, [STORE], |_| Ok(()))?;
    Ok(connection)
}

// A connection in a transaction that only reads. It is gone while a thread works with it.
struct Moment {
    connection: Option<Connection>,
}

impl Moment {
    async fn read<T: Send + 'static>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let connection = self.connection.take().ok_or(StoreError::Closed)?;
        let (connection, answer) = blocking(move || {
            let answer = read(&connection);
            Ok((connection, answer))
        })
        .await?;
        self.connection = Some(connection);
        Ok(answer?)
    }
}

impl Dump for Moment {
    fn meta(&mut self) -> Pending<'_, Result<BTreeMap<String, String>, StoreError>> {
        Box::pin(self.read(|connection| {
            let mut statement = connection.prepare_cached(META)?;
            let all = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut all = all.collect::<rusqlite::Result<BTreeMap<String, String>>>()?;
            all.retain(|key, _| key == STORE || key.starts_with(KEPT));
            Ok(all)
        }))
    }

    fn count(&mut self, table: Table) -> Pending<'_, Result<u64, StoreError>> {
        Box::pin(self.read(move |connection| {
            let sql = format!("SELECT count(*) FROM {}", readable(table));
            let rows: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
            Ok(u64::try_from(rows).unwrap_or(0))
        }))
    }

    fn page<'a>(
        &'a mut self,
        table: Table,
        after: Option<&'a [Cell]>,
        size: PageSize,
    ) -> Pending<'a, Result<Vec<Row>, StoreError>> {
        let after = after.map(<[Cell]>::to_vec);
        Box::pin(self.read(move |connection| page(connection, table, after.as_deref(), size)))
    }
}

fn page(
    connection: &Connection,
    table: Table,
    after: Option<&[Cell]>,
    size: PageSize,
) -> Result<Vec<Row>, Fault> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let after = after.unwrap_or(&[]);
    for sql in pages(table, !after.is_empty()) {
        let mut statement = connection.prepare_cached(&sql)?;
        // A statement takes as much of the key as it needs.
        let after = after.iter().take(statement.parameter_count());
        let mut found = statement.query(params_from_iter(after.map(Sql)))?;
        while !size.is_full(rows.len(), bytes)
            && let Some(row) = found.next()?
        {
            let row = cells::row(table, table.columns(), row)?;
            bytes += row.bytes();
            rows.push(row);
        }
    }
    Ok(rows)
}

// A table as its description has it.
fn readable(table: Table) -> String {
    match table {
        Table::DirectoryGroups => NEEDED_GROUPS.to_owned(),
        Table::DirectoryCollections => NEEDED_COLLECTIONS.to_owned(),
        table if under_collection(table) > 0 => named(table),
        table => table.name().to_owned(),
    }
}

// What follows a key in a table: the rest of a collection, then those that come after it.
fn pages(table: Table, is_after: bool) -> Vec<String> {
    let (columns, key, from) = (names(table.columns()), table.key(), readable(table));
    let beyond = |same: usize, to: usize| {
        let marks = (same..to).map(|at| format!("?{}", at + 1)).collect::<Vec<_>>().join(", ");
        let is_same = key[..same].iter().enumerate();
        let is_same = is_same.map(|(at, column)| format!("{} = ?{} AND ", column.name, at + 1));
        let is_same = is_same.collect::<String>();
        format!(" WHERE {is_same}({}) > ({marks})", names(&key[same..to]))
    };
    let beyond = match (is_after, under_collection(table)) {
        (false, _) => vec![String::new()],
        (true, 0) => vec![beyond(0, key.len())],
        (true, under) => vec![beyond(under, key.len()), beyond(0, under)],
    };
    let key = names(key);
    let page = |beyond| format!("SELECT {columns} FROM {from}{beyond} ORDER BY {key}");
    beyond.into_iter().map(page).collect()
}

fn load(path: &Path, options: &Options, step: &Step) -> Result<(), Fault> {
    let connection = open::writer(path, options)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", LOG_PAGES, |_| Ok(()))?;
    connection.execute_batch("BEGIN IMMEDIATE")?;
    match step {
        Step::Begin { ground, meta, progress: begun } => {
            clear(&connection, *ground)?;
            for (key, value) in meta {
                connection.execute(SET, [key, value])?;
            }
            connection.execute(SET, [COPY, &begun.to_text()])?;
        }
        Step::Rows { table, rows, before, after } => {
            expect(&connection, before)?;
            insert(&connection, *table, rows)?;
            connection.execute(SET, [COPY, &after.to_text()])?;
        }
        Step::End { before } => {
            expect(&connection, before)?;
            connection.execute(UNSET, [COPY])?;
        }
    }
    connection.execute_batch("COMMIT")?;
    Ok(())
}

fn clear(connection: &Connection, ground: Ground) -> Result<(), Fault> {
    let refused = match (ground, progress(connection)?) {
        (Ground::Empty, Some(_)) => Some("there is an unfinished copy in it"),
        (Ground::Unfinished, None) => Some("there is no unfinished copy in it"),
        _ => None,
    };
    if let Some(why) = refused {
        return Err(StoreError::Unsupported(why.to_owned()).into());
    }
    for table in Table::ALL {
        let name = table.name();
        match ground {
            Ground::Empty => {
                let sql = format!("SELECT 1 FROM {name} LIMIT 1");
                if connection.query_row(&sql, [], |_| Ok(())).optional()?.is_some() {
                    let why = "there is data in it; a copy needs an empty store".to_owned();
                    return Err(StoreError::Unsupported(why).into());
                }
            }
            Ground::Unfinished => {
                connection.execute(&format!("DELETE FROM {name}"), [])?;
            }
        }
    }
    connection.execute("DELETE FROM dropped", [])?;
    let of_the_store = format!("DELETE FROM meta WHERE key = '{STORE}' OR key LIKE '{KEPT}%'");
    connection.execute(&of_the_store, [])?;
    Ok(())
}

fn insert(connection: &Connection, table: Table, rows: &[Row]) -> Result<(), Fault> {
    let insert = tables::insert(table);
    rows.iter().try_for_each(|row| Open(connection).write(table, &insert, row))
}

fn progress(connection: &Connection) -> Result<Option<String>, Fault> {
    Ok(connection.prepare_cached(GET)?.query_row([COPY], |row| row.get(0)).optional()?)
}

fn expect(connection: &Connection, before: &Progress) -> Result<(), Fault> {
    let present = progress(connection)?.and_then(|text| Progress::of_text(&text));
    if present.as_ref() == Some(before) {
        return Ok(());
    }
    let why = "another copy into it is at work, or has ended".to_owned();
    Err(StoreError::Unavailable(why).into())
}

fn unreadable() -> StoreError {
    StoreError::Corrupt("how far the copy in it came cannot be read".to_owned())
}
