//! Copies of the data: made while others read and write, verified without touching them, and
//! taken back in place of what is there.
//!
//! The secrets are in the copy. Those of earlier versions lie in a file beside it, which goes with
//! it: names of personal buckets are derived from them.

use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use nuage_model::{Finding, Store, StoreError};

use crate::check;
use crate::cli::BackupVerb;
use crate::config::{Files, Place, Settings, StorageSettings};
use crate::data::{self, beside};
use crate::failure::{Exit, Failure};
use crate::out::{complain, say};
use crate::renew::begin_epoch;
use crate::server::now;

/// Performs a verb on copies.
pub(crate) async fn perform(verb: BackupVerb, settings: &Settings, json: bool) -> Result<()> {
    let storage = &settings.storage;
    let files = match &storage.place {
        Place::Files(files) => files,
        Place::Server(server) => return Err(use_pg_dump(&server.shown, &verb).into()),
    };
    match verb {
        BackupVerb::Create { file } => create(storage, files, &file, json).await,
        BackupVerb::Verify { file } => {
            let findings = verify(storage, &file).await?;
            check::tell(&findings, &file.display().to_string(), json)
        }
        BackupVerb::Restore { file, force } => restore(storage, files, &file, force, json).await,
    }
}

/// PostgreSQL has better means of its own.
fn use_pg_dump(shown: &str, verb: &BackupVerb) -> Failure {
    let how = match verb {
        BackupVerb::Create { .. } => "pg_dump --format=custom copies it while servers run",
        BackupVerb::Verify { .. } => {
            "pg_restore --list reads a copy, and after restoring it into \
             another database `nuage check` verifies that"
        }
        BackupVerb::Restore { .. } => "pg_restore puts a copy into an empty database",
    };
    Failure::new(Exit::Usage, format!("{shown} is a PostgreSQL database: {how}."))
}

async fn create(storage: &StorageSettings, files: &Files, file: &Path, json: bool) -> Result<()> {
    data::expect_database(storage)?;
    if file.exists() {
        bail!("{} is there already. Nothing was changed.", file.display());
    }
    // Under another name until it is whole.
    let draft = Draft::new(beside(file, ".part"));
    let (store, _) = data::open_to_read(storage).await?;
    let copied = store.admin().backup(&draft.0).await;
    store.close().await;
    copied.with_context(|| format!("{} cannot be written", file.display()))?;
    File::open(&draft.0)?.sync_all()?;
    let findings = verify(storage, &draft.0).await?;
    if !findings.is_empty() {
        complain("The data is damaged, so no copy of it was kept. Earlier copies are untouched.");
        return check::tell(&findings, &storage.place.to_string(), json);
    }
    let secrets = data::secrets_path(files);
    if secrets.is_file() {
        copy_private(&secrets, &secrets_beside(file))?;
    }
    std::fs::rename(&draft.0, file)?;
    sync_folder(file)?;
    let bytes = std::fs::metadata(file)?.len();
    match json {
        true => say(&serde_json::json!({ "file": file, "bytes": bytes }).to_string()),
        false => complain(&format!(
            "{} holds a copy of {bytes} bytes. {}",
            file.display(),
            data::CONFIDENTIAL
        )),
    }
    Ok(())
}

/// Checks a copy where it lies. One of an older version is brought to this one's form first, in the
/// folder of temporary files.
async fn verify(storage: &StorageSettings, file: &Path) -> Result<Vec<Finding>> {
    data::expect_file(file, "copy")?;
    match nuage_store::look(file, storage.options.clone()).await {
        Ok(store) => findings_in(store.as_ref()).await,
        Err(StoreError::Unsupported(_)) => {
            let name = format!("nuage.verify-{}", std::process::id());
            let draft = Draft::new(std::env::temp_dir().join(name));
            copy_private(file, &draft.0)?;
            check_file(storage, &draft.0).await
        }
        Err(error) => Err(data::cannot_open(&file.display().to_string(), &error)),
    }
}

async fn findings_in(store: &dyn Store) -> Result<Vec<Finding>> {
    let findings = check::findings(store).await;
    store.close().await;
    Ok(findings?)
}

async fn check_file(storage: &StorageSettings, file: &Path) -> Result<Vec<Finding>> {
    findings_in(data::open_file(file, &storage.options).await?.as_ref()).await
}

/// What devices were told after the copy was made never happened: they are to begin afresh.
async fn renew(storage: &StorageSettings, file: &Path) -> Result<()> {
    let store = data::open_file(file, &storage.options).await?;
    let renewed = begin_epoch(store.as_ref()).await;
    store.close().await;
    renewed.map_err(|error| anyhow!("{} cannot be renewed: {error}.", file.display()))
}

async fn restore(
    storage: &StorageSettings,
    files: &Files,
    file: &Path,
    force: bool,
    json: bool,
) -> Result<()> {
    data::expect_file(file, "copy")?;
    data::make_folder(files)?;
    let _lock = data::lock(files)?;
    let database = &files.database;
    if database.exists() && !force {
        bail!(
            "There is data at {} already. To replace it (it is kept beside): --force",
            database.display()
        );
    }
    let draft = Draft::new(beside(database, ".restoring"));
    copy_private(file, &draft.0)?;
    let findings = check_file(storage, &draft.0).await?;
    if !findings.is_empty() {
        check::tell(&findings, &file.display().to_string(), false)?;
    }
    renew(storage, &draft.0).await?;
    let kept = set_aside(files)?;
    std::fs::rename(&draft.0, database)?;
    let secrets = secrets_beside(file);
    if secrets.is_file() {
        copy_private(&secrets, &data::secrets_path(files))?;
    }
    sync_folder(database)?;
    if json {
        say(&serde_json::json!({ "database": database, "kept": kept }).to_string());
    } else {
        complain(&format!("{} is restored.", database.display()));
        if let Some(kept) = kept {
            complain(&format!("What was there is kept as {}.", kept.display()));
        }
    }
    Ok(())
}

/// Renames the database with all that belongs to it.
fn set_aside(files: &Files) -> Result<Option<PathBuf>> {
    let database = &files.database;
    if !database.exists() {
        return Ok(None);
    }
    let suffix = format!(".before-{}", now());
    let kept = beside(database, &suffix);
    for part in ["-wal", "-shm"] {
        let path = beside(database, part);
        if path.exists() {
            std::fs::rename(path, beside(&kept, part))?;
        }
    }
    std::fs::rename(database, &kept)?;
    let secrets = data::secrets_path(files);
    if secrets.is_file() {
        copy_private(&secrets, &beside(&secrets, &suffix))?;
    }
    Ok(Some(kept))
}

fn secrets_beside(file: &Path) -> PathBuf {
    beside(file, ".secrets.toml")
}

fn copy_private(from: &Path, to: &Path) -> Result<()> {
    let copied = File::open(from).and_then(|mut source| {
        let mut target = data::make_private(to)?;
        std::io::copy(&mut source, &mut target)?;
        target.sync_all()
    });
    copied.with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))
}

fn sync_folder(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    let folder = OpenOptions::new().read(true).open(folder.unwrap_or(Path::new(".")))?;
    Ok(folder.sync_all()?)
}

/// A database file that vanishes with what SQLite puts beside it, unless it was renamed.
pub(crate) struct Draft(pub(crate) PathBuf);

impl Draft {
    /// Whatever was left under that name by an earlier attempt is removed first.
    pub(crate) fn new(path: PathBuf) -> Self {
        let draft = Self(path);
        draft.remove();
        draft
    }

    fn remove(&self) {
        for part in ["", "-wal", "-shm", "-journal", ".mark"] {
            // Most of them are not there.
            let _ = std::fs::remove_file(beside(&self.0, part));
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.remove();
    }
}

#[cfg(test)]
mod tests;
