//! The data folder: made at the first start, private, with secrets of its own, and used by one
//! server at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use nuage_model::{Store, StoreError};
use uuid::Uuid;

use crate::config::{Settings, StorageSettings};
use crate::failure::{Exit, Failure};

/// Makes the folder if it is missing.
pub(crate) fn make_folder(storage: &StorageSettings) -> Result<()> {
    let folder = &storage.folder;
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

/// Refuses a database that is not there.
pub(crate) fn expect_database(storage: &StorageSettings) -> Result<()> {
    if storage.database.is_file() {
        return Ok(());
    }
    let path = storage.database.display();
    Err(Failure::new(Exit::Storage, format!("There is no data at {path}.")).into())
}

/// Opens the database; makes folder, secrets and database if there is none.
pub(crate) async fn open_or_make(storage: &StorageSettings) -> Result<Arc<dyn Store>> {
    make_folder(storage)?;
    if !storage.database.is_file() {
        // Before the database: secrets that are missing beside data were lost.
        secrets(storage)?;
    }
    open(storage).await
}

/// Opens the database.
pub(crate) async fn open(storage: &StorageSettings) -> Result<Arc<dyn Store>> {
    open_file(&storage.database, storage).await
}

/// Opens a database file elsewhere, in the same way.
pub(crate) async fn open_file(path: &Path, storage: &StorageSettings) -> Result<Arc<dyn Store>> {
    nuage_store::open(path, storage.options.clone()).await.map_err(|error| {
        let path = path.display();
        let sentence = match &error {
            StoreError::Unsupported(why) => format!("{path} cannot be used: {why}."),
            error => format!("{path} cannot be opened: {error}."),
        };
        Failure::new(Exit::Storage, sentence).into()
    })
}

/// That no other server uses this data, as long as it is held.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Takes the data for this process. Who only looks or edits beside a server needs no lock.
pub(crate) fn lock(storage: &StorageSettings) -> Result<Lock> {
    let path = beside(&storage.database, ".lock");
    let file = private().create(true).truncate(false).open(&path);
    let file = file.map_err(|error| {
        let path = path.display();
        Failure::new(Exit::Storage, format!("{path} cannot be opened: {error}."))
    })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => {
            let path = storage.database.display();
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

/// Where generated secrets lie.
pub(crate) fn secrets_path(storage: &StorageSettings) -> PathBuf {
    storage.folder.join("secrets.toml")
}

/// The secrets that the configuration left open.
pub(crate) struct Secrets {
    userid_hmac_secret: String,
    default_bucket_hmac_secret: String,
    token_secret: String,
}

/// Reads the secrets, or makes them up at the first start.
pub(crate) fn secrets(storage: &StorageSettings) -> Result<Secrets> {
    let path = secrets_path(storage);
    if !path.exists() {
        make_secrets(&path)?;
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("the secrets in {} cannot be read", path.display()))?;
    let table: toml::Table =
        text.parse().map_err(|_| anyhow!("{} is not a table of secrets", path.display()))?;
    let secret = |name: &str| {
        let secret = table.get(name).and_then(toml::Value::as_str).map(str::to_owned);
        secret.ok_or_else(|| anyhow!("{} lacks {name}", path.display()))
    };
    Ok(Secrets {
        userid_hmac_secret: secret("userid_hmac_secret")?,
        default_bucket_hmac_secret: secret("default_bucket_hmac_secret")?,
        token_secret: secret("token_secret")?,
    })
}

fn make_secrets(path: &Path) -> Result<()> {
    let mut text = String::from(
        "# Made at the first start. User ids and names of personal buckets are derived from\n\
         # these: keep them with the data, and show them to nobody.\n",
    );
    for name in ["userid_hmac_secret", "default_bucket_hmac_secret", "token_secret"] {
        text.push_str(&format!("{name} = \"{}\"\n", random_text()));
    }
    // Complete under its own name first: another process may start at the same time.
    let draft = beside(path, &format!(".{}", std::process::id()));
    let written = private().create(true).truncate(true).open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("the secrets cannot be written to {}", draft.display()))?;
    let linked = std::fs::hard_link(&draft, path);
    let _ = std::fs::remove_file(&draft);
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("{} cannot be made", path.display()))
        }
        _ => Ok(()),
    }
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
    pub(crate) fn take_secrets(&mut self, secrets: &Secrets) {
        let chosen =
            |chosen: &Option<String>, made: &String| chosen.clone().unwrap_or_else(|| made.clone());
        self.auth.hmac_secret =
            chosen(&self.userid_hmac_secret, &secrets.userid_hmac_secret).into();
        self.kinto.default_bucket_hmac_secret =
            chosen(&self.default_bucket_hmac_secret, &secrets.default_bucket_hmac_secret);
        self.kinto.token_secret = chosen(&self.token_secret, &secrets.token_secret).into_bytes();
    }
}

#[cfg(test)]
pub(crate) mod tests;
