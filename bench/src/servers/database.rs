//! A PostgreSQL of its own for whoever is measured on one: as it is installed, with its default
//! settings, flushing to the disk, in a folder that goes with the run.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Running, free_address, pinned};
use crate::servers::Places;

const DATABASE_WAIT: Duration = Duration::from_secs(30);

/// A running cluster; it ends with its handle.
pub(crate) struct Database {
    running: Running,
    pub(crate) address: SocketAddr,
}

impl Database {
    /// Makes a cluster in the folder and starts it on the servers' core.
    pub(crate) fn start(places: &Places, folder: &Path) -> Result<Self> {
        let cluster = folder.join("cluster");
        let run_as = unprivileged_user()?;
        fs::create_dir_all(&cluster)?;
        if let Some(user) = &run_as {
            let mut chown = Command::new("chown");
            chown.arg(user).arg(&cluster);
            Running::finish(&mut chown, &folder.join("chown.log"))?;
        }
        let mut init = as_user(&run_as, Command::new("initdb"));
        init.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        init.arg("-D").arg(&cluster).current_dir("/");
        Running::finish(&mut init, &folder.join("initdb.log"))?;
        let address = free_address()?;
        let mut serve = as_user(&run_as, pinned("postgres", places.pin));
        serve.arg("-D").arg(&cluster).arg("-p").arg(address.port().to_string()).current_dir("/");
        serve.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        let log = folder.join("postgresql.log");
        let mut running = Running::start(serve, &log)?.ended_by("-INT");
        let started = Instant::now();
        while !is_ready(address) {
            if running.child.try_wait()?.is_some() || started.elapsed() > DATABASE_WAIT {
                let said = fs::read_to_string(&log).unwrap_or_default();
                bail!("PostgreSQL does not start: {said}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { running, address })
    }

    /// The process that all its others descend from.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Where to connect to.
    pub(crate) fn url(&self) -> String {
        url(self.address)
    }
}

/// Where to connect to a database, or to who passes on what it says.
pub(crate) fn url(address: SocketAddr) -> String {
    format!("postgresql://postgres@{address}/postgres?sslmode=disable")
}

/// Whether a PostgreSQL server is installed.
pub(crate) fn is_installed() -> bool {
    ["initdb", "postgres", "pg_isready"].iter().all(|program| {
        Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
    })
}

fn is_ready(address: SocketAddr) -> bool {
    let mut asked = Command::new("pg_isready");
    asked.args(["-q", "-h", "127.0.0.1", "-p", &address.port().to_string()]);
    asked.status().is_ok_and(|status| status.success())
}

// PostgreSQL refuses to run as root.
fn unprivileged_user() -> Result<Option<String>> {
    let output = Command::new("id").arg("-u").output()?;
    if output.stdout.trim_ascii() != b"0" {
        return Ok(None);
    }
    let exists = |user: &&&str| {
        Command::new("id").arg(user).output().is_ok_and(|output| output.status.success())
    };
    let user = ["postgres", "nobody"].iter().find(exists).context("a user for PostgreSQL")?;
    Ok(Some((*user).to_owned()))
}

fn as_user(user: &Option<String>, command: Command) -> Command {
    let Some(user) = user else { return command };
    let mut wrapped = Command::new("runuser");
    wrapped.args(["-u", user, "--"]).arg(command.get_program()).args(command.get_args());
    wrapped
}
