//! Connections: one that writes, several that only read.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use nuage_model::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::sqlite::errors::Fault;
use crate::sqlite::migrations;
use crate::{Options, Synchronous};

/// How long to wait for another process that writes, in milliseconds.
pub(super) const BUSY_MS: u64 = 5_000;
/// How often to try to enter the write-ahead mode while another process opens the file too.
const WAL_ATTEMPTS: usize = 100;
/// Statements kept ready in each connection: more than there are.
const STATEMENTS: usize = 96;
/// How much of the file is read through the page cache of the system, without copies.
const MAPPED_BYTES: i64 = 256 * 1024 * 1024;
/// Page cache of the writer and of a reader, in KiB. It grows with use.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;
/// What remains of the write-ahead log after it was reset.
const WAL_REST_BYTES: i64 = 16 * 1024 * 1024;

/// Opens the file to write, makes it if needed and migrates it.
pub(super) fn writer(path: &Path, options: &Options) -> Result<Connection, Fault> {
    make_private(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    migrations::identify(&connection, path)?;
    enter_wal(&connection)?;
    let synchronous = match options.synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // The writer moves the log into the file itself, after it has acknowledged.
    set(&connection, "wal_autocheckpoint", 0)?;
    set(&connection, "journal_size_limit", WAL_REST_BYTES)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    tune(&connection)?;
    migrations::migrate(&connection, path)?;
    Ok(connection)
}

/// Opens the file to read. The writer must have opened it before.
pub(super) fn reader(path: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    tune(&connection)?;
    Ok(connection)
}

fn tune(connection: &Connection) -> Result<(), Fault> {
    // Without this, statements are planned anew whenever a bound of theirs changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    set(connection, "mmap_size", MAPPED_BYTES)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

// For pragmas that answer with the value.
fn set(connection: &Connection, pragma: &str, value: i64) -> Result<(), Fault> {
    Ok(connection.pragma_update_and_check(None, pragma, value, |_| Ok(()))?)
}

// Entering the mode needs the file for a moment, and does not wait for others by itself.
fn enter_wal(connection: &Connection) -> Result<(), Fault> {
    for _ in 0..WAL_ATTEMPTS {
        let mode = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0));
        match mode {
            Ok(mode) if mode == "wal" => return Ok(()),
            Ok(mode) => {
                let why = format!("the file system allows only the journal mode {mode}");
                return Err(StoreError::Unavailable(why).into());
            }
            Err(error) if is_busy(&error) => std::thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error.into()),
        }
    }
    Err(StoreError::Unavailable("another process keeps the file locked".to_owned()).into())
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// The data is for its owner only; SQLite gives its side files the same permissions.
pub(super) fn make_private(path: &Path) -> Result<(), Fault> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let made = match options.open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(|error| {
        let why = format!("{} cannot be made: {error}", path.display());
        StoreError::Unavailable(why).into()
    })
}

/// Makes sure that the file is found under its name after a loss of power.
pub(super) fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    // Where folders cannot be opened, the system does this by itself.
    match File::open(folder.unwrap_or(Path::new("."))) {
        Ok(folder) => folder.sync_all(),
        Err(_) => Ok(()),
    }
}
