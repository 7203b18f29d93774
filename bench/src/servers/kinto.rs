//! The real Kinto, from PyPI at a pinned version, served by uWSGI with one process: its memory
//! backend allows no more, and one core serves everybody here.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::load::Target;
use crate::process::{Running, free_address, pinned, wait_for_heartbeat};
use crate::servers::database::Database;
use crate::servers::{Places, Server};

/// What is installed, to the letter.
const PACKAGES: [&str; 2] = ["kinto[postgresql]==26.5.0", "uWSGI==2.0.31"];

/// Where Kinto keeps its data.
pub(super) enum Backend {
    Memory,
    Postgresql { url: String },
}

/// Kinto with its data in its memory.
pub(super) fn start_on_memory(places: &Places, folder: &Path) -> Result<Server> {
    install(places)?;
    let running = start(places, folder, &Backend::Memory)?;
    let (running, address, start_up) = running;
    let target = Target::new(vec![address], vec![running.pid()]);
    let mut server = Server::new(target, vec![running], "uWSGI, 1 process of 4 threads");
    server.figures.start_up = Some(start_up);
    Ok(server)
}

/// Kinto with its data in a PostgreSQL of its own, whose work counts as Kinto's.
pub(super) fn start_on_postgresql(places: &Places, folder: &Path) -> Result<Server> {
    install(places)?;
    let database = Database::start(places, folder)?;
    let backend = Backend::Postgresql { url: database.url() };
    let ini = folder.join("kinto.ini");
    write_settings(&ini, &backend)?;
    let mut migrate = Command::new(places.venv.join("bin/kinto"));
    migrate.args(["migrate", "--ini"]).arg(&ini);
    Running::finish(&mut migrate, &folder.join("migrate.log"))?;
    let (running, address, start_up) = start(places, folder, &backend)?;
    let target = Target::new(vec![address], vec![running.pid()]).on(&database);
    let served_by = "uWSGI, 1 process of 4 threads, and PostgreSQL, default settings";
    let mut server = Server::new(target, vec![running], served_by).on(database);
    server.figures.start_up = Some(start_up);
    Ok(server)
}

/// Kinto's settings file, the smallest that lets a Basic user make a bucket.
pub(super) fn write_settings(path: &Path, backend: &Backend) -> Result<()> {
    let (module, url) = match backend {
        Backend::Memory => ("memory", None),
        Backend::Postgresql { url } => ("postgresql", Some(url)),
    };
    let mut text = String::from("[app:main]\nuse = egg:kinto\n");
    for part in ["storage", "cache", "permission"] {
        text += &format!("kinto.{part}_backend = kinto.core.{part}.{module}\n");
        if let Some(url) = &url {
            text += &format!("kinto.{part}_url = {url}\n");
        }
    }
    text += "multiauth.policies = basicauth\n\
             kinto.userid_hmac_secret = a secret for measuring\n\
             kinto.bucket_create_principals = system.Authenticated\n\n\
             [loggers]\nkeys = root\n\n[handlers]\nkeys = console\n\n\
             [formatters]\nkeys = plain\n\n\
             [logger_root]\nlevel = ERROR\nhandlers = console\n\n\
             [handler_console]\nclass = StreamHandler\nargs = (sys.stderr,)\nlevel = ERROR\n\
             formatter = plain\n\n[formatter_plain]\nformat = %(message)s\n";
    Ok(fs::write(path, text)?)
}

// uWSGI compiles itself, so this takes a minute, once.
fn install(places: &Places) -> Result<()> {
    let stamp = places.venv.join("installed");
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("installing {}", PACKAGES.join(" and "));
    let log = places.data.join("install.log");
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(&places.venv);
    Running::finish(&mut make, &log)?;
    let mut pip = Command::new(places.venv.join("bin/pip"));
    pip.args(["install", "--quiet"]).args(PACKAGES);
    Running::finish(&mut pip, &log)?;
    Ok(fs::write(&stamp, wanted)?)
}

fn start(
    places: &Places,
    folder: &Path,
    backend: &Backend,
) -> Result<(Running, SocketAddr, Duration)> {
    let ini = folder.join("kinto.ini");
    write_settings(&ini, backend)?;
    let application = folder.join("application.py");
    fs::write(
        &application,
        "import configparser, os, kinto\n\
         settings = configparser.RawConfigParser()\n\
         settings.read(os.environ['KINTO_INI'])\n\
         application = kinto.main({}, **dict(settings.items('app:main')))\n",
    )?;
    let address = free_address()?;
    let mut command = pinned(places.venv.join("bin/uwsgi"), places.pin);
    command.arg("--http").arg(address.to_string());
    command.arg("--wsgi-file").arg(&application).arg("--virtualenv").arg(&places.venv);
    command.args(["--http-keepalive=1", "--processes=1", "--threads=4", "--enable-threads"]);
    command.args(["--buffer-size=65535", "--post-buffering=65535", "--listen=100"]);
    command.args(["--single-interpreter", "--need-app", "--die-on-term", "--disable-logging"]);
    command.args(["--tcp-nodelay", "--http-timeout=120", "--socket-timeout=120"]);
    command.env("KINTO_INI", &ini);
    let started = Instant::now();
    let mut running = Running::start(command, &folder.join("log"))?;
    let start_up = wait_for_heartbeat(&mut running, address, started)
        .with_context(|| fs::read_to_string(folder.join("log")).unwrap_or_default())?;
    Ok((running, address, start_up))
}
