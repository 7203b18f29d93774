//! Whether the file that is written is still the one that has its name.
//!
//! A file can be deleted, moved away or replaced while it is open. What is written to it then goes
//! where nobody will look for it after the next start, so it must not be acknowledged. One look at
//! the names costs some microseconds: it is taken after each commit, before its answers.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use nuage_model::StoreError;

use crate::sqlite::open::beside;

/// Device and number of a file there.
type Inode = (u64, u64);

/// The file that was opened at first, and the write-ahead log that goes with it.
pub(super) struct Identity {
    /// As it was given: links in it may be set to something else.
    path: PathBuf,
    file: Inode,
    /// Beside the file itself, links resolved, as SQLite has it.
    log_path: PathBuf,
    log: Mutex<Option<Inode>>,
    /// What was in a lost log is in no file that a start would find.
    is_log_lost: AtomicBool,
}

impl Identity {
    /// What has this name now.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let unreadable = |error: std::io::Error| {
            StoreError::Unavailable(format!("{} cannot be looked at: {error}", path.display()))
        };
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        let identity = Self {
            path: path.to_owned(),
            file: inode(&metadata),
            log_path: beside(&path.canonicalize().map_err(unreadable)?, "-wal"),
            log: Mutex::new(None),
            is_log_lost: AtomicBool::new(false),
        };
        identity.learn_log();
        Ok(identity)
    }

    /// Takes the log that is there now for the one that belongs to the file: the writer has just
    /// opened both.
    pub(super) fn learn_log(&self) {
        let log = std::fs::metadata(&self.log_path).ok().map(|metadata| inode(&metadata));
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = log;
    }

    /// Whoever closes the file last removes its log.
    pub(super) fn forget_log(&self) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Fails unless the file has its name, as everybody who opens it anew must know.
    pub(super) fn expect_file(&self) -> Result<(), StoreError> {
        let shown = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(metadata) if inode(&metadata) == self.file => Ok(()),
            Ok(_) => Err(StoreError::Unavailable(format!(
                "another file has taken the name {shown} while it was served, so nothing is \
                 acknowledged any more: put the first one back, or start Nuage anew on this one"
            ))),
            Err(error) => Err(StoreError::Unavailable(format!(
                "{shown} was deleted or moved away while it was served ({error}), so nothing is \
                 acknowledged any more: put it back, or stop Nuage and restore a backup"
            ))),
        }
    }

    /// Fails unless file and log have their names, as whoever acknowledges must know.
    pub(super) fn expect(&self) -> Result<(), StoreError> {
        self.expect_file()?;
        // Held while it is looked at: the log is also forgotten on purpose, and goes then.
        let known = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let present = std::fs::metadata(&self.log_path).ok().map(|metadata| inode(&metadata));
        if known.is_some() && *known != present {
            self.is_log_lost.store(true, Ordering::SeqCst);
        }
        drop(known);
        if !self.is_log_lost.load(Ordering::SeqCst) {
            return Ok(());
        }
        let shown = self.log_path.display();
        Err(StoreError::Unavailable(format!(
            "{shown} was deleted or replaced while it was in use, so nothing is acknowledged any \
             more: stop Nuage, which moves what it knows into the file, and start it again"
        )))
    }
}

fn inode(metadata: &Metadata) -> Inode {
    (metadata.dev(), metadata.ino())
}
