//! Where the data is: a folder, made at the first start, private, with secrets of its own, and used
//! by one server at a time; or a database on a PostgreSQL server, which any number of servers
//! share, secrets included.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use nuage_model::{Store, StoreError};
use nuage_store::Options;
use uuid::Uuid;

use crate::config::{Files, Place, Settings, StorageSettings};
use crate::failure::{Exit, Failure};
use crate::out::complain;
use crate::server::now;

/// The secrets that are made up at the first start, by name.
pub(crate) const SECRETS: [&str; 3] =
    ["userid_hmac_secret", "default_bucket_hmac_secret", "token_secret"];

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

/// Opens the database; makes folder, secrets and tables if there are none.
pub(crate) async fn open_or_make(storage: &StorageSettings) -> Result<Arc<dyn Store>> {
    if let Place::Files(files) = &storage.place {
        make_folder(files)?;
        let found = std::fs::metadata(&files.database);
        if found.is_err_and(|error| is_missing(&error)) {
            // Before the database: secrets that are missing beside data were lost.
            secrets_of_folder(files)?;
        }
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

/// Where generated secrets lie.
pub(crate) fn secrets_path(files: &Files) -> PathBuf {
    files.folder.join("secrets.toml")
}

/// The secrets that the configuration left open, in the order of [`SECRETS`].
pub(crate) struct Secrets([String; 3]);

/// Takes the secrets from where the data is, or makes them up at the first start.
pub(crate) async fn secrets(place: &Place, store: &dyn Store) -> Result<Secrets> {
    match place {
        Place::Files(files) => secrets_of_folder(files),
        Place::Server(_) => secrets_of_server(store).await,
    }
}

/// What is made up by whichever process comes first is kept for all.
async fn secrets_of_server(store: &dyn Store) -> Result<Secrets> {
    let mut secrets = [const { String::new() }; 3];
    for (secret, name) in secrets.iter_mut().zip(SECRETS) {
        *secret = store.keep(name, &random_text()).await?;
    }
    Ok(Secrets(secrets))
}

/// Reads the secrets of a folder, or makes them up at the first start.
pub(crate) fn secrets_of_folder(files: &Files) -> Result<Secrets> {
    let path = secrets_path(files);
    if !path.exists() {
        make_secrets(&path)?;
    }
    read_secrets(&path)
}

fn read_secrets(path: &Path) -> Result<Secrets> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the secrets in {} cannot be read", path.display()))?;
    let table: toml::Table =
        text.parse().map_err(|_| anyhow!("{} is not a table of secrets", path.display()))?;
    let mut secrets = [const { String::new() }; 3];
    for (secret, name) in secrets.iter_mut().zip(SECRETS) {
        let found = table.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        *secret = found.ok_or_else(|| anyhow!("{} lacks {name}", path.display()))?;
    }
    Ok(Secrets(secrets))
}

fn make_secrets(path: &Path) -> Result<()> {
    let made = SECRETS.iter().map(|name| ((*name).to_owned(), random_text())).collect();
    // Complete under its own name first: another process may start at the same time.
    let draft = draft_secrets(path, &made)?;
    let linked = std::fs::hard_link(&draft, path);
    let _ = std::fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("{} cannot be made", path.display()))
        }
        _ => Ok(()),
    }
}

/// The secrets that lie in a folder, by name: none if it was never served.
pub(crate) fn found_secrets(files: &Files) -> Result<BTreeMap<String, String>> {
    let path = secrets_path(files);
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let Secrets(secrets) = read_secrets(&path)?;
    Ok(SECRETS.into_iter().map(str::to_owned).zip(secrets).collect())
}

/// Lays these secrets into a folder. Others that lie there are kept beside.
pub(crate) fn lay_secrets(files: &Files, secrets: &BTreeMap<String, String>) -> Result<()> {
    if found_secrets(files).is_ok_and(|found| found == *secrets) {
        return Ok(());
    }
    let path = secrets_path(files);
    if path.exists() {
        let kept = beside(&path, &format!(".before-{}", now()));
        std::fs::rename(&path, &kept)
            .with_context(|| format!("{} cannot be renamed", path.display()))?;
    }
    if secrets.is_empty() {
        return Ok(());
    }
    let draft = draft_secrets(&path, secrets)?;
    let laid = std::fs::rename(&draft, &path);
    let laid = laid.and_then(|()| File::open(&files.folder)?.sync_all());
    laid.with_context(|| format!("{} cannot be made", path.display()))
}

fn draft_secrets(path: &Path, secrets: &BTreeMap<String, String>) -> Result<PathBuf> {
    let mut text = String::from(
        "# Made at the first start. User ids and names of personal buckets are derived from\n\
         # these: keep them with the data, and show them to nobody.\n",
    );
    for (name, secret) in secrets {
        text.push_str(&format!("{name} = {}\n", toml::Value::from(secret.as_str())));
    }
    let draft = beside(path, &format!(".{}", std::process::id()));
    let written = private().create(true).truncate(true).open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("the secrets cannot be written to {}", draft.display()))?;
    Ok(draft)
}

/// A file that only its owner may read.
pub(crate) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    options
}

/// 244 random bits in hexadecimal.
fn random_text() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Settings {
    /// Fills in what the configuration left to be generated.
    pub(crate) fn take_secrets(&mut self, secrets: Secrets) {
        let Secrets([userid_hmac_secret, default_bucket_hmac_secret, token_secret]) = secrets;
        let chosen = |chosen: &Option<String>, made| chosen.clone().unwrap_or(made);
        self.auth.hmac_secret = chosen(&self.userid_hmac_secret, userid_hmac_secret).into();
        self.kinto.default_bucket_hmac_secret =
            chosen(&self.default_bucket_hmac_secret, default_bucket_hmac_secret);
        let token_secret = chosen(&self.token_secret, token_secret);
        self.engine.feed.secret.clone_from(&token_secret);
        self.kinto.token_secret = token_secret.into_bytes();
    }
}

#[cfg(test)]
pub(crate) mod tests;
