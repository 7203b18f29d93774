//! The tables, and how older files come to have them.
//!
//! A file says what it is by SQLite's `application_id`, and which form its tables have by
//! `user_version`: the number of migrations that were applied. Migrations only go forward; a
//! file of a newer form is refused, and so is one of another program, both untouched.

use std::path::Path;

use nuage_model::copy::Table;
use nuage_model::{DIGEST_MODULUS, RecordId, StoreError, Timestamp, digest};
use rusqlite::{Connection, OptionalExtension, params};

use crate::schema::named;
use crate::sqlite::errors::Fault;
use crate::sqlite::tables::{create, create_view};

/// "Nuag", in the header of every file of ours.
const APPLICATION_ID: i64 = 0x4e75_6167;

/// In order; number N brings a file from form N to form N + 1. Published ones never change. A table
/// that is new is made from its description, and needs no statement here but a number.
const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("migrations/0001_first.sql"), rest: |_| Ok(()) },
    Migration { sql: include_str!("migrations/0002_feeds.sql"), rest: fill_digests },
    Migration { sql: include_str!("migrations/0003_marks.sql"), rest: |_| Ok(()) },
    Migration { sql: include_str!("migrations/0004_numbers.sql"), rest: |_| Ok(()) },
    Migration { sql: include_str!("migrations/0005_names.sql"), rest: |_| Ok(()) },
    Migration { sql: include_str!("migrations/0006_tops.sql"), rest: |_| Ok(()) },
];

/// Statements, and what cannot be said in SQL.
struct Migration {
    sql: &'static str,
    rest: fn(&Connection) -> Result<(), Fault>,
}

const LIVE_RECORDS: &str = "
    SELECT bucket, collection, signature, id, coalesce(timestamp, seq)
    FROM records INDEXED BY records_signature WHERE NOT dead
    ORDER BY bucket, collection, signature";
const SET_DIGEST: &str = "
    UPDATE signatures SET digest = ?4 WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// There is nothing in it yet.
    Empty,
    /// Ours, in an older form or the present one.
    Ours {
        /// How many migrations were applied.
        version: usize,
    },
}

/// Says what the file is, or why it is refused. Changes nothing.
pub(super) fn identify(connection: &Connection, path: &Path) -> Result<Form, Fault> {
    // In one moment, since another process may be making the file.
    let begun = connection.execute_batch("BEGIN");
    let form = begun.map_err(Fault::from).and_then(|()| form(connection, path));
    if !connection.is_autocommit() {
        connection.execute_batch("COMMIT")?;
    }
    form
}

fn form(connection: &Connection, path: &Path) -> Result<Form, Fault> {
    let foreign = || {
        let sentence = format!("{} is not a Nuage database; choose another file", path.display());
        Fault::Store(StoreError::Unsupported(sentence))
    };
    let application: i64 = match pragma(connection, "PRAGMA application_id") {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::NotADatabase) => {
            return Err(foreign());
        }
        answer => answer?,
    };
    let version = pragma(connection, "PRAGMA user_version")?;
    if application != APPLICATION_ID {
        let table = connection.query_row("SELECT 1 FROM sqlite_schema", [], |_| Ok(())).optional();
        let vacant = application == 0 && version == 0 && table?.is_none();
        return if vacant { Ok(Form::Empty) } else { Err(foreign()) };
    }
    match usize::try_from(version) {
        Ok(version) if version <= MIGRATIONS.len() => Ok(Form::Ours { version }),
        _ => Err(Fault::Store(StoreError::Unsupported(format!(
            "{} has format {version}, and this version of Nuage reads formats up to {}; \
             use a newer version",
            path.display(),
            MIGRATIONS.len()
        )))),
    }
}

/// Refuses a file of another form than the present one: whoever only reads cannot change it.
pub(super) fn expect_present(connection: &Connection, path: &Path) -> Result<(), Fault> {
    if identify(connection, path)? == (Form::Ours { version: MIGRATIONS.len() }) {
        return Ok(());
    }
    let why = format!("{} has an older form, and may not be written here", path.display());
    Err(StoreError::Unsupported(why).into())
}

/// Brings the file to the present form. Several processes may try at once.
pub(super) fn migrate(connection: &Connection, path: &Path) -> Result<(), Fault> {
    if identify(connection, path)? == (Form::Ours { version: MIGRATIONS.len() }) {
        return Ok(());
    }
    connection.execute_batch("BEGIN EXCLUSIVE")?;
    let migrated = migrate_inside(connection, path);
    connection.execute_batch(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    migrated
}

fn migrate_inside(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let version = match form(connection, path)? {
        Form::Empty => 0,
        Form::Ours { version } => version,
    };
    if version > 0 {
        tracing::info!(
            from = version,
            form = MIGRATIONS.len(),
            "the file gets the present form: all of it may have to be written anew, which takes \
             a while and needs twice its size on the disk"
        );
    }
    let views = || Table::ALL.into_iter().filter_map(|table| Some((table, create_view(table)?)));
    for (table, _) in views() {
        connection.execute_batch(&format!("DROP VIEW IF EXISTS {}", named(table)))?;
    }
    for step in &MIGRATIONS[version..] {
        connection.execute_batch(step.sql)?;
        (step.rest)(connection)?;
    }
    for table in Table::ALL {
        connection.execute_batch(&create(table))?;
    }
    for (_, view) in views() {
        connection.execute_batch(&view)?;
    }
    if version > 0 {
        tracing::info!(form = MIGRATIONS.len(), "the file has the present form");
    }
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    let version = i64::try_from(MIGRATIONS.len()).expect("there are few migrations");
    connection.pragma_update(None, "user_version", version)?;
    Ok(())
}

// One signature after the other, each with its records: nothing else is held in memory.
fn fill_digests(connection: &Connection) -> Result<(), Fault> {
    // Bucket, collection, signature.
    type Key = (String, String, [u8; 16]);
    let mut records = connection.prepare(LIVE_RECORDS)?;
    let mut set = connection.prepare(SET_DIGEST)?;
    let mut rows = records.query([])?;
    let mut current: Option<(Key, u64)> = None;
    loop {
        let next = rows.next()?;
        let key = match next {
            Some(row) => Some((row.get(0)?, row.get(1)?, row.get(2)?)),
            None => None,
        };
        if let Some((done, sum)) = current.take_if(|(done, _)| Some(&*done) != key.as_ref()) {
            let sum = i64::try_from(sum).expect("less than 2^48");
            set.execute(params![done.0, done.1, done.2, sum])?;
        }
        let (Some(key), Some(row)) = (key, next) else { return Ok(()) };
        let (_, sum) = current.get_or_insert((key, 0));
        let id = RecordId::from(row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?);
        *sum = (*sum + digest(&id, Timestamp(row.get(4)?))) % DIGEST_MODULUS;
    }
}

fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<i64> {
    connection.query_row(sql, [], |row| row.get(0))
}
