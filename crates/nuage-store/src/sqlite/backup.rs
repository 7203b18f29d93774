//! A consistent copy of everything in a new file, while others read and write.
//!
//! One snapshot is held for the whole copy: writers go on beside it, in the write-ahead log.

use std::fs::File;
use std::path::Path;

use nuage_model::StoreError;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::sqlite::errors::Fault;
use crate::sqlite::open::{self, Way};

/// Pages copied between two chances for others to get at the disk: 4 MiB.
const STEP_PAGES: i32 = 1_024;

/// Copies the file of the store. The copy appears under its name when it is complete.
pub(super) fn copy(source: &Path, way: Way, to: &Path) -> Result<(), Fault> {
    if to.try_exists().unwrap_or(true) {
        let why = format!("{} exists already; choose a new file", to.display());
        return Err(StoreError::Unsupported(why).into());
    }
    let partial = open::beside(to, ".partial");
    remove(&partial);
    let copied = copy_to(source, way, &partial).and_then(|()| finish(&partial, to));
    if copied.is_err() {
        // What is left of it would only be in the way of the next attempt.
        remove(&partial);
    }
    copied
}

fn remove(partial: &Path) {
    for part in ["", "-journal", "-wal", "-shm"] {
        // Most of them are not there.
        let _ = std::fs::remove_file(open::beside(partial, part));
    }
}

fn copy_to(source: &Path, way: Way, partial: &Path) -> Result<(), Fault> {
    open::make_private(partial)?;
    let source = open::reader(source, way)?;
    let mut target = Connection::open(partial)?;
    target.pragma_update(None, "synchronous", "OFF")?;
    // A copy that fails is thrown away, so there is nothing to go back to.
    target.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
    source.execute_batch("BEGIN")?;
    source.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    let backup = Backup::new(&source, &mut target)?;
    loop {
        match backup.step(STEP_PAGES)? {
            StepResult::Done => return Ok(()),
            StepResult::More => std::thread::yield_now(),
            _ => {
                let why = "the copy's file is locked by somebody".to_owned();
                return Err(StoreError::Unavailable(why).into());
            }
        }
    }
}

fn finish(partial: &Path, to: &Path) -> Result<(), Fault> {
    let finished = (|| {
        File::open(partial)?.sync_all()?;
        std::fs::rename(partial, to)?;
        open::sync_folder(to)
    })();
    finished.map_err(|error: std::io::Error| {
        let why = format!("{} could not be written: {error}", to.display());
        StoreError::Unavailable(why).into()
    })
}
