//! SQLite and PostgreSQL behind the Store port of Nuage.
//!
//! Everything lies in one file, or in one database that any number of processes share. Who opens it
//! gets a [`Store`] and needs to know nothing more; this crate in turn does not know who asks, what
//! a permission means, or what a protocol is.

mod address;
mod cells;
pub mod copy;
mod feed;
mod integrity;
mod list;
mod lost;
mod memberships;
mod options;
mod places;
mod postgres;
mod pulse;
mod reads;
mod records;
mod rules;
mod schema;
mod sqlite;
mod waiting;

use std::path::Path;
use std::sync::Arc;

use nuage_model::{Store, StoreError};

pub use address::Address;
pub use lost::Lost;
pub use options::{Options, Synchronous};

/// Opens the data in this file, makes it if it is missing, and brings it to this version's form.
///
/// # Errors
///
/// [`StoreError::Unsupported`] if the file is of a newer version or not of Nuage, and
/// [`StoreError::Unavailable`] if it cannot be read and written.
pub async fn open(path: &Path, options: Options) -> Result<Arc<dyn Store>, StoreError> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || sqlite::SqliteStore::open(&path, &options));
    match opened.await {
        Ok(store) => Ok(Arc::new(store?)),
        Err(error) => Err(StoreError::Unavailable(format!("opening it stopped: {error}"))),
    }
}

/// Opens the data in this file only to read, where nothing may be written: on a read-only disk, or
/// a backup. Nothing is made beside it, and nothing can be applied.
///
/// # Errors
///
/// As [`open`], and [`StoreError::Unsupported`] if the file has the form of an older version.
pub async fn look(path: &Path, options: Options) -> Result<Arc<dyn Store>, StoreError> {
    let path = path.to_owned();
    let looked = tokio::task::spawn_blocking(move || sqlite::SqliteStore::look(&path, &options));
    match looked.await {
        Ok(store) => Ok(Arc::new(store?)),
        Err(error) => Err(StoreError::Unavailable(format!("opening it stopped: {error}"))),
    }
}

/// Writes every record of this file that can be read to a new one, which is good for an export;
/// tells what cannot be read. The file is not changed.
///
/// # Errors
///
/// [`StoreError::Corrupt`] if not even its list of tables can be read, and others as [`open`].
pub async fn salvage(path: &Path, to: &Path) -> Result<Vec<Lost>, StoreError> {
    let (path, to) = (path.to_owned(), to.to_owned());
    match tokio::task::spawn_blocking(move || sqlite::salvage(&path, &to)).await {
        Ok(lost) => lost,
        Err(error) => Err(StoreError::Unavailable(format!("reading it stopped: {error}"))),
    }
}

/// Opens the data in this database, makes the tables if they are missing, and brings them to this
/// version's form.
///
/// # Errors
///
/// [`StoreError::Unsupported`] with what to do if the database cannot be used as it is, and
/// [`StoreError::Unavailable`] if it cannot be reached.
pub async fn connect(address: &Address, options: Options) -> Result<Arc<dyn Store>, StoreError> {
    let target = postgres::Target::of(address).map_err(StoreError::Unsupported)?;
    Ok(Arc::new(postgres::PostgresStore::connect(&target, &options).await?))
}
