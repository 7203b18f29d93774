//! An empty cluster that is made once and copied for each test run: making one takes seconds.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::postgres::programs::Programs;

/// Who may log in: the owner as he is, everybody else with a password.
const ACCESS: &str = "\
local all postgres trust
host all postgres 127.0.0.1/32 trust
host replication postgres 127.0.0.1/32 trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
";

/// Copies it to a folder that does not exist yet. Processes that do this at the same time make it
/// once.
pub(super) fn copy(programs: &Programs, to: &Path) {
    fetch(programs, to);
    std::fs::write(to.join("pg_hba.conf"), ACCESS).expect("a file of ours can be written");
}

fn fetch(programs: &Programs, to: &Path) {
    let shelf = shelf();
    std::fs::create_dir_all(&shelf).expect("the folder of built files can be written");
    let lock = File::create(shelf.join("lock")).expect("the folder of built files can be written");
    lock.lock().expect("a file can be locked");
    let template = shelf.join(programs.name());
    if !template.is_dir() {
        make(programs, to);
        // Only whole ones get the name.
        let unfinished = shelf.join("unfinished");
        remove(&unfinished);
        duplicate(to, &unfinished);
        std::fs::rename(&unfinished, &template).expect("a folder of ours can be renamed");
        return;
    }
    duplicate(&template, to);
}

fn make(programs: &Programs, folder: &Path) {
    let mut command = programs.command("initdb");
    command.args(["--locale=C", "--encoding=UTF8", "--username=postgres", "--auth=trust"]);
    command.args(["--no-sync", "--no-instructions", "--wal-segsize=4", "-D"]).arg(folder);
    let done = command.stdin(Stdio::null()).output().expect("initdb can be started");
    assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
}

fn duplicate(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-pR").arg(from).arg(to).output().expect("cp can be started");
    assert!(done.status.success(), "cp: {}", String::from_utf8_lossy(&done.stderr));
}

fn remove(folder: &Path) {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            panic!("{} cannot be removed: {error}", folder.display())
        }
        _ => {}
    }
}

// In Cargo's folder of built files, which is marked as such; else among temporary files.
fn shelf() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let built = program.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    built.map_or_else(std::env::temp_dir, Path::to_owned).join("nuage-postgres")
}
