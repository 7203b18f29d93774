//! A consistent copy of everything in a new file, while others read and write.
//!
//! One snapshot is held for the whole copy: writers go on beside it, in the write-ahead log.

use std::fs::File;
use std::path::{Path, PathBuf};

use nuage_model::StoreError;
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::sqlite::errors::Fault;
use crate::sqlite::open;

/// Pages copied between two chances for others to get at the disk: 4 MiB.
const STEP_PAGES: i32 = 1_024;

/// Copies the file of the store. The copy appears under its name when it is complete.
pub(super) fn copy(source: &Path, to: &Path) -> Result<(), Fault> {
    if to.try_exists().unwrap_or(true) {
        let why = format!("{} exists already; choose a new file", to.display());
        return Err(StoreError::Unsupported(why).into());
    }
    let partial = partial_path(to);
    let copied = copy_to(source, &partial).and_then(|()| finish(&partial, to));
    if copied.is_err() {
        // What is left of it would only be in the way of the next attempt.
        let _ = std::fs::remove_file(&partial);
    }
    copied
}

fn copy_to(source: &Path, partial: &Path) -> Result<(), Fault> {
    let _ = std::fs::remove_file(partial);
    open::make_private(partial)?;
    let source = open::reader(source)?;
    let mut target = Connection::open(partial)?;
    target.pragma_update(None, "synchronous", "OFF")?;
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

fn partial_path(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}
