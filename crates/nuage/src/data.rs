//! Where the data is: a folder, made at the first start, private, and used by one server at a time;
//! or a database on a PostgreSQL server, which any number of servers share.

mod exposure;
mod secrets;

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use nuage_model::{Store, StoreError};
use nuage_store::Options;

use crate::config::{Files, Place, StorageSettings};
pub(crate) use crate::data::exposure::exposed;
pub(crate) use crate::data::secrets::{
    ByName, kept, left_beside, name_otherwise, replace as replace_secrets, secrets, secrets_path,
    take_over,
};
use crate::failure::{Exit, Failure};
use crate::out::complain;

/// What is said of every copy of the data.
pub(crate) const CONFIDENTIAL: &str = "It holds password hashes and secrets: keep it from others.";

/// Makes the folder if it is missing.
pub(crate) fn make_folder(files: &Files) -> Result<()> {
    let folder = &files.folder;
    if folder.is_dir() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| {
        Failure::new(
            Exit::Storage,
            format!("The data folder {} cannot be made: {error}.", folder.display()),
        )
        .into()
    })
}

/// Refuses a file that is not there. What a server lacks it says itself.
pub(crate) fn expect_database(storage: &StorageSettings) -> Result<()> {
    match &storage.place {
        Place::Files(files) => expect_file(&files.database, "data"),
        Place::Server(_) => Ok(()),
    }
}

/// Refuses what is no file, or cannot be looked at.
pub(crate) fn expect_file(path: &Path, what: &str) -> Result<()> {
    let shown = path.display();
    let sentence = match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => return Ok(()),
        Err(error) if !is_missing(&error) => {
            format!("Whether there is {what} at {shown} cannot be seen: {error}.")
        }
        _ => format!("There is no {what} at {shown}."),
    };
    Err(Failure::new(Exit::Storage, sentence).into())
}

fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

/// Opens the database; makes folder and tables if there are none.
pub(crate) async fn open_or_make(storage: &StorageSettings) -> Result<Arc<dyn Store>> {
    if let Place::Files(files) = &storage.place {
        make_folder(files)?;
    }
    open(storage).await
}

/// Opens the database. One that a copy has only begun to fill is refused.
pub(crate) async fn open(storage: &StorageSettings) -> Result<Arc<dyn Store>> {
    let store = open_as_it_is(&storage.place, &storage.options).await?;
    expect_whole(store, &storage.place.to_string()).await
}

/// Opens the database to read all of it, also on a disk or in a folder that may not be written: then
/// it is read as it is, which is told.
pub(crate) async fn open_to_read(storage: &StorageSettings) -> Result<(Arc<dyn Store>, Access)> {
    let Place::Files(Files { database, .. }) = &storage.place else {
        return Ok((open(storage).await?, Access::Full));
    };
    let shown = database.display().to_string();
    let failed = match nuage_store::open(database, storage.options.clone()).await {
        Ok(store) => return Ok((expect_whole(store, &shown).await?, Access::Full)),
        Err(error) => error,
    };
    // What it said first tells more than that it cannot be read either.
    match (&failed, nuage_store::look(database, storage.options.clone()).await) {
        (StoreError::Unavailable(_), Ok(store)) => {
            complain(&format!(
                "{shown} cannot be written, so it is read as it is; no server may write to it \
                 meanwhile."
            ));
            Ok((expect_whole(store, &shown).await?, Access::ReadOnly))
        }
        _ => Err(cannot_open(&shown, &failed)),
    }
}

/// What may be done where the data lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Access {
    /// Everything.
    Full,
    /// Nothing can be made there.
    ReadOnly,
}

/// Opens a database file elsewhere, in the same way.
pub(crate) async fn open_file(path: &Path, options: &Options) -> Result<Arc<dyn Store>> {
    let shown = path.display().to_string();
    let opened = nuage_store::open(path, options.clone()).await;
    expect_whole(opened.map_err(|error| cannot_open(&shown, &error))?, &shown).await
}

/// Opens a database, also one that a copy has only begun to fill.
pub(crate) async fn open_as_it_is(place: &Place, options: &Options) -> Result<Arc<dyn Store>> {
    let opened = match place {
        Place::Files(files) => nuage_store::open(&files.database, options.clone()).await,
        Place::Server(server) => nuage_store::connect(&server.address, options.clone()).await,
    };
    opened.map_err(|error| cannot_open(&place.to_string(), &error))
}

async fn expect_whole(store: Arc<dyn Store>, shown: &str) -> Result<Arc<dyn Store>> {
    let why = match store.admin().unfinished().await {
        Ok(None) => return Ok(store),
        Ok(Some(_)) => Failure::new(
            Exit::Storage,
            format!(
                "{shown} holds a copy that is not finished: run the same `nuage copy` again, or \
                 once more with --restart."
            ),
        )
        .into(),
        Err(error) => cannot_open(shown, &error),
    };
    store.close().await;
    Err(why)
}

/// The end of a verb on data that cannot be opened.
pub(crate) fn cannot_open(shown: &str, error: &StoreError) -> anyhow::Error {
    let sentence = match error {
        StoreError::Unsupported(why) => format!("{shown} cannot be used: {why}."),
        StoreError::Unavailable(why) => format!("{shown} cannot be opened: {why}."),
        StoreError::Corrupt(why) => format!(
            "{shown} is damaged ({why}). Restore a backup, or save what can be read: nuage export \
             --salvage FILE"
        ),
        error => format!("{shown} cannot be opened: {error}."),
    };
    Failure::new(Exit::Storage, sentence).into()
}

/// That no other server uses these files, as long as it is held.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the files for this process. Who only looks or edits beside a server needs no lock.
pub(crate) fn lock(files: &Files) -> Result<Lock> {
    let path = beside(&resolved(&files.database)?, ".lock");
    let file = private().create(true).truncate(false).open(&path);
    let file = file.map_err(|error| {
        let path = path.display();
        Failure::new(Exit::Storage, format!("{path} cannot be opened: {error}."))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            let path = files.database.display();
            let sentence = format!(
                "Another nuage serves {path}. Stop it, or give this one a --data folder of its own."
            );
            Err(Failure::new(Exit::Storage, sentence).into())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("{} cannot be locked", path.display()))
        }
    }
}

/// The file itself, where its name is a link: it is one file, whatever the name.
fn resolved(database: &Path) -> Result<PathBuf> {
    match database.canonicalize() {
        Ok(path) => Ok(path),
        Err(error) if is_missing(&error) && !database.is_symlink() => Ok(database.to_owned()),
        Err(error) => {
            let path = database.display();
            Err(Failure::new(Exit::Storage, format!("{path} cannot be opened: {error}.")).into())
        }
    }
}

/// The path with something added to its last name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A file that only its owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// Makes an empty file that only its owner may read, also where one was that others may read.
pub(crate) fn make_private(path: &Path) -> std::io::Result<File> {
    let file = private().create(true).truncate(true).open(path)?;
    close_to_others(path)?;
    Ok(file)
}

/// Lets only its owner read and write a file.
pub(crate) fn close_to_others(path: &Path) -> std::io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

#[cfg(test)]
pub(crate) mod tests;
