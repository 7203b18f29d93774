//! Connections: one that writes, several that only read.

use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nuage_model::StoreError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
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
/// Page cache of the writer and of a reader, in KiB. It grows with use.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
const READER_CACHE_KIB: i64 = 2 * 1024;
/// Bytes of a page, which is what SQLite takes where nothing is said.
pub(super) const PAGE_BYTES: i64 = 4 * 1024;

/// What stays as it is in the path of a URI.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'.').remove(b'-').remove(b'_');

/// How a file is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// Beside whoever writes, with what is in the log.
    Shared,
    /// The same where nothing may be written.
    ReadOnly,
    /// As a file that nobody changes: nothing is made beside it, no log is looked at.
    Frozen,
}

/// Opens the file to write, makes it if needed and migrates it.
pub(super) fn writer(path: &Path, options: &Options) -> Result<Connection, Fault> {
    make_private(path)?;
    expect_one_name(path)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    migrations::identify(&connection, path)?;
    enter_wal(&connection)?;
    connection.pragma_update(None, "synchronous", synchronous(options.synchronous))?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    // The log is moved into the file by `checkpoint`; what remains of it is written over.
    set(&connection, "wal_autocheckpoint", 0)?;
    set(&connection, "journal_size_limit", i64::from(options.log_pages) * PAGE_BYTES)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    tune(&connection)?;
    migrations::migrate(&connection, path)?;
    Ok(connection)
}

/// Opens a file that the writer has opened, to move its log.
pub(super) fn mover(path: &Path, to: Synchronous) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "synchronous", synchronous(to))?;
    set(&connection, "wal_autocheckpoint", 0)?;
    set(&connection, "mmap_size", 0)?;
    Ok(connection)
}

/// What SQLite calls it.
pub(super) fn synchronous(synchronous: Synchronous) -> &'static str {
    match synchronous {
        Synchronous::Full => "FULL",
        Synchronous::Normal => "NORMAL",
    }
}

/// Opens the file to read. In the shared way, the writer must have opened it before.
pub(super) fn reader(path: &Path, way: Way) -> Result<Connection, Fault> {
    let no_mutex = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY | no_mutex;
    let connection = match way {
        Way::Shared => {
            Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | no_mutex)?
        }
        Way::ReadOnly => Connection::open_with_flags(path, read_only)?,
        Way::Frozen => {
            let name = percent_encode(path.as_os_str().as_bytes(), IN_PATH);
            let uri = format!("file:{name}?immutable=1");
            Connection::open_with_flags(uri, read_only | OpenFlags::SQLITE_OPEN_URI)?
        }
    };
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    tune(&connection)?;
    Ok(connection)
}

/// How a file can be read where nothing may be written: frozen unless there is a log beside it. A
/// file of another form than this version's is refused.
pub(super) fn look(path: &Path) -> Result<Way, Fault> {
    // Beside the file itself, whatever links to it.
    let itself = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let log = std::fs::metadata(beside(&itself, "-wal")).ok().map(|metadata| metadata.len());
    if log.is_none() {
        return try_way(path, Way::Frozen);
    }
    match try_way(path, Way::ReadOnly) {
        Err(fault) if fault.is_damage() => Err(fault),
        Err(Fault::Sqlite(_)) if log == Some(0) => try_way(path, Way::Frozen),
        Err(Fault::Sqlite(error)) => {
            let why = format!(
                "{} has a log beside it that cannot be read here ({error}): copy both into a \
                 folder that may be written",
                path.display()
            );
            Err(StoreError::Unavailable(why).into())
        }
        tried => tried,
    }
}

fn try_way(path: &Path, way: Way) -> Result<Way, Fault> {
    let connection = reader(path, way)?;
    migrations::expect_present(&connection, path)?;
    Ok(way)
}

/// Through another name the file has another log: two at work on it damage it.
fn expect_one_name(path: &Path) -> Result<(), Fault> {
    let names = std::fs::metadata(path).map_or(1, |metadata| metadata.nlink());
    if names <= 1 {
        return Ok(());
    }
    let why = format!(
        "{} has {names} names (hard links), and used through two of them it would be damaged: \
         remove the others, or make a copy of the file instead",
        path.display()
    );
    Err(StoreError::Unsupported(why).into())
}

fn tune(connection: &Connection) -> Result<(), Fault> {
    // Without this, statements are planned anew whenever a bound of theirs changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Where the file is mapped, each commit of somebody else has it unmapped and mapped anew; and what
    // the disk cannot read ends the process.
    set(connection, "mmap_size", 0)?;
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
    let made = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(_) => sync_folder(path),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    };
    made.map_err(|error| {
        let why = format!("{} cannot be made: {error}", path.display());
        StoreError::Unavailable(why).into()
    })
}

/// Makes a file anew that only its owner may read.
pub(super) fn private(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// The path with something added to its last name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
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
