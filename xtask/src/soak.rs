//! Random histories without end, until one fails or somebody interrupts.
//!
//! It starts the tests that try some of them each time, and says no more than they do.

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
