//! Nuage as people start it, and as people start it who come from Kinto.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::load::Target;
use crate::process::{Running, free_address, pinned, wait_for_heartbeat};
use crate::servers::{Places, Server, kinto};
use crate::workload::{PASSWORD, USER};

/// What makes it do the work of those beside it: the floor and Kinto keep no history and log no
/// requests here.
pub(super) const PLAIN: [&str; 4] = ["--log-level", "warn", "--set", "history.enabled=false"];

/// What makes it keep a history as well, and log each request.
pub(super) const HISTORY: [&str; 4] = ["--log-level", "info", "--set", "history.enabled=true"];

/// The command that serves the data in this folder.
pub(super) fn command(places: &Places, folder: &Path, address: SocketAddr) -> Command {
    let mut command = pinned(&places.nuage, places.pin);
    command.args(["serve", "--listen", &address.to_string(), "--data"]).arg(folder.join("data"));
    command
}

/// With an account, made as the greeting says.
pub(super) fn start_with_account(
    places: &Places,
    folder: &Path,
    arguments: &[&str],
) -> Result<Server> {
    let mut add = Command::new(&places.nuage);
    add.args(["user", "add", USER, "--password-stdin", "--data"]).arg(folder.join("data"));
    let mut adding = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = adding.stdin.take().context("its input")?;
    input.write_all(format!("{PASSWORD}\n").as_bytes())?;
    drop(input);
    let status = adding.wait()?;
    if !status.success() {
        bail!("cannot make an account: {status}");
    }
    start(places, folder, arguments)
}

/// With the settings that Kinto is measured with.
pub(super) fn start_with_ini(places: &Places, folder: &Path) -> Result<Server> {
    let ini = folder.join("kinto.ini");
    kinto::write_settings(&ini, &kinto::Backend::Memory)?;
    let ini = ini.to_str().context("a path that is not text")?;
    start(places, folder, &["--log-level", "warn", "--kinto-ini", ini])
}

fn start(places: &Places, folder: &Path, arguments: &[&str]) -> Result<Server> {
    let address = free_address()?;
    let mut command = command(places, folder, address);
    command.args(arguments);
    let started = Instant::now();
    let mut running = Running::start(command, &folder.join("log"))?;
    wait_for_heartbeat(&mut running, address, started)?;
    let target = Target::new(address, vec![running.pid()]);
    Ok(Server::new(target, vec![running], "hyper 1, SQLite, synchronous=FULL"))
}
