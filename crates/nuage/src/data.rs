//! Where the data is: a folder, made at the first start, private, and used by one server at a time;
//! or a database on a PostgreSQL server, which any number of servers share.

mod exposure;
mod secrets;

use std::fs::{File, OpenOptions, Permissions, TryLockError};
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
        Place::Files(files) if !files.database.is_file() => {
            let path = files.database.display();
            Err(Failure::new(Exit::Storage, format!("There is no data at {path}.")).into())
        }
        _ => Ok(()),
    }
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
    let why = match store.rows().unfinished().await {
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

fn cannot_open(shown: &str, error: &StoreError) -> anyhow::Error {
    let sentence = match error {
        StoreError::Unsupported(why) => format!("{shown} cannot be used: {why}."),
        StoreError::Unavailable(why) => format!("{shown} cannot be opened: {why}."),
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
    let path = beside(&files.database, ".lock");
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
