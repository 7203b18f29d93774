//! The PostgreSQL server that all tests of a run share. It goes with this process.

use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};
use nuage_testkit::postgres::{self, Cluster, Durability};

pub(crate) use nuage_testkit::postgres::{Database, SERVER_VARIABLE};

use crate::run::{found, must, output};

/// The URL of a database in which others may be made: of the server that the environment names,
/// else of one that is started the first time.
pub(crate) fn server() -> Result<String> {
    static STARTED: OnceLock<Cluster> = OnceLock::new();
    if let Some(url) = std::env::var(SERVER_VARIABLE).ok().filter(|url| !url.is_empty()) {
        return Ok(url);
    }
    set_up()?;
    Ok(STARTED.get_or_init(|| Cluster::new(Durability::Fast)).url("postgres"))
}

/// A fresh database on that server.
pub(crate) fn database() -> Result<Database> {
    Ok(Database::on(&server()?))
}

/// Installs it with apt-get if it is missing and this is allowed.
fn set_up() -> Result<()> {
    let missing = match postgres::is_installed() {
        Err(missing) => missing,
        Ok(()) if found("sqlite3") => return Ok(()),
        Ok(()) => "install sqlite3, with which the tests look into files",
    };
    let is_root = output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !is_root || !found("apt-get") {
        bail!("{missing}");
    }
    must(Command::new("apt-get").args(["update", "--quiet"])).context(missing)?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    let packages = ["postgresql", "pgbouncer", "sqlite3"];
    must(
        Command::new("apt-get")
            .args(install)
            .args(packages)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .context(missing)
}
