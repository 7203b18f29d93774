//! Nuage as people start it, and as people start it who come from Kinto.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::load::Target;
use crate::meter::Meter;
use crate::process::{Running, free_address, pinned, wait_for_heartbeat};
use crate::servers::database::{Database, url};
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
    add_account(places, &folder.join("data"), &[])?;
    start(places, folder, arguments)
}

/// With the settings that Kinto is measured with.
pub(super) fn start_with_ini(places: &Places, folder: &Path) -> Result<Server> {
    let ini = folder.join("kinto.ini");
    kinto::write_settings(&ini, &kinto::Backend::Memory)?;
    let ini = ini.to_str().context("a path that is not text")?;
    start(places, folder, &["--log-level", "warn", "--kinto-ini", ini])
}

/// So many processes on one PostgreSQL of their own.
pub(super) fn start_on_postgres(
    places: &Places,
    folder: &Path,
    processes: usize,
) -> Result<Server> {
    let database = Database::start(places, folder)?;
    let url = database.url();
    add_account(places, &folder.join("data"), &["--storage-url", &url])?;
    let (mut addresses, mut running) = (Vec::new(), Vec::new());
    for number in 0..processes {
        let address = free_address()?;
        running.push(serve_postgres(places, folder, number, address, &url)?);
        addresses.push(address);
    }
    let target = Target::new(addresses, running.iter().map(Running::pid).collect());
    let many = if processes == 1 { "1 process" } else { "3 processes" };
    let served_by = format!("hyper 1, {many}, and PostgreSQL, default settings");
    Ok(Server::new(target.on(&database), running, &served_by).on(database))
}

/// One more process on the same data, which reaches the database through a meter.
pub(super) fn start_metered(places: &Places, server: &Server) -> Result<Server> {
    let database = server.database.as_ref().context("a database")?;
    let folder = places.folder("metered")?;
    let meter = Meter::start(database.address)?;
    let address = free_address()?;
    let running = serve_postgres(places, &folder, 0, address, &url(meter.address))?;
    Ok(Server::new(server.target.through(address, meter), vec![running], ""))
}

fn serve_postgres(
    places: &Places,
    folder: &Path,
    number: usize,
    address: SocketAddr,
    url: &str,
) -> Result<Running> {
    let folder = folder.join(number.to_string());
    std::fs::create_dir_all(&folder)?;
    let arguments = [&["--storage-url", url], &PLAIN[..]].concat();
    serve(places, &folder, address, &arguments)
}

fn add_account(places: &Places, data: &Path, arguments: &[&str]) -> Result<()> {
    let mut add = Command::new(&places.nuage);
    add.args(["user", "add", USER, "--create", "--password-stdin", "--data"])
        .arg(data)
        .args(arguments);
    let mut adding = add.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let mut input = adding.stdin.take().context("its input")?;
    input.write_all(format!("{PASSWORD}\n").as_bytes())?;
    drop(input);
    let status = adding.wait()?;
    if !status.success() {
        bail!("cannot make an account: {status}");
    }
    Ok(())
}

/// Serves the data in this folder, with these arguments.
pub(super) fn serve(
    places: &Places,
    folder: &Path,
    address: SocketAddr,
    arguments: &[&str],
) -> Result<Running> {
    let mut command = command(places, folder, address);
    command.args(arguments);
    let started = Instant::now();
    let mut running = Running::start(command, &folder.join("log"))?;
    wait_for_heartbeat(&mut running, address, started)
        .with_context(|| std::fs::read_to_string(folder.join("log")).unwrap_or_default())?;
    Ok(running)
}

fn start(places: &Places, folder: &Path, arguments: &[&str]) -> Result<Server> {
    let address = free_address()?;
    let running = serve(places, folder, address, arguments)?;
    let target = Target::new(vec![address], vec![running.pid()]);
    Ok(Server::new(target, vec![running], "hyper 1, SQLite, synchronous=FULL"))
}
