//! What takes too long for each run of the tests: random histories without end, until one fails or
//! somebody interrupts, and processes that are killed many times.
//!
//! It starts the tests that try some of it each time, and says no more than they do.

use anyhow::{Result, bail};

use crate::run::{cargo, watch};

/// `cargo xtask soak feed`: feeds against the oracle, on one database or on both in turn.
pub(crate) fn feed(databases: &[&str]) -> Result<bool> {
    // Of both, each has so many histories before the other goes on.
    let histories = if databases.len() == 1 { "0" } else { "5000" };
    loop {
        for database in databases {
            let test = format!("feeds::random_histories_agree_with_the_oracle::{database}");
            let mut command = cargo();
            command.env("NUAGE_HISTORIES", histories).env("RUST_BACKTRACE", "0");
            command.args(["test", "--release", "--package", "nuage-engine", "--test", "main"]);
            command.args(["--", "--exact", "--nocapture", &test]);
            if !watch(&mut command, |_| ())? {
                bail!("a history of feeds failed on {database}: its seed is above");
            }
        }
    }
}

/// How often the server is killed, and how often PostgreSQL.
const SERVER_KILLS: &str = "100";
const DATABASE_KILLS: &str = "40";

/// `cargo xtask soak crash`: the server and the database are killed while clients write, on one
/// database or on both.
pub(crate) fn crash(databases: &[&str]) -> Result<bool> {
    let mut tests = Vec::new();
    for database in databases {
        for test in [
            "crash::acknowledged_writes_survive_kills",
            "several_processes::kills::a_process_that_is_killed_keeps_the_laws",
        ] {
            tests.push((format!("{test}::{database}"), SERVER_KILLS));
        }
        if *database == "postgres" {
            let test = "several_processes::kills::a_database_that_is_killed_keeps_the_laws";
            tests.push((test.to_owned(), DATABASE_KILLS));
        }
    }
    for (test, kills) in tests {
        let mut command = cargo();
        command.env("NUAGE_KILLS", kills).env("RUST_BACKTRACE", "0");
        command.args(["test", "--package", "nuage", "--test", "main"]);
        command.args(["--", "--exact", "--nocapture", &test]);
        if !watch(&mut command, |_| ())? {
            bail!("{test} failed after at most {kills} kills");
        }
    }
    Ok(true)
}
