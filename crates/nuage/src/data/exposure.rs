//! What of the data others on this machine may read or write, and how to mend it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::config::Files;
use crate::data::{beside, secrets_path};

/// Bits of the mode that let everybody write, enter, or do anything at all.
const WRITE: u32 = 0o002;
const ENTER: u32 = 0o001;
const ANYTHING: u32 = 0o007;

/// What is open to everybody, each with the command that closes it.
///
/// Groups are not looked at: who may read backups is often one. A folder that may be entered is no
/// danger by itself, since the files in it are made for their owner alone.
pub(crate) fn exposed(files: &Files) -> Vec<String> {
    let mut told = Vec::new();
    let folder = mode(&files.folder);
    if folder & WRITE != 0 {
        let path = files.folder.display();
        told.push(format!(
            "Everybody on this machine may change the files in {path}: chmod o-w {path}"
        ));
    }
    if folder & ENTER == 0 {
        return told;
    }
    let database = &files.database;
    let paths = [database.clone(), beside(database, "-wal"), secrets_path(files)];
    for path in paths.iter().filter(|path| mode(path) & ANYTHING != 0) {
        let path = path.display();
        told.push(format!(
            "Everybody on this machine may read or write {path}, which holds password hashes or \
             secrets: chmod o= {path}"
        ));
    }
    told
}

/// None for what is not there.
fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode())
}
