//! The real Kinto, from PyPI at a pinned version, served by uWSGI with one process: its memory
//! backend allows no more, and one core serves everybody here.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::load::Target;
use crate::process::{Running, free_address, pinned, wait_for_heartbeat};
use crate::servers::{Places, Server};

/// What is installed, to the letter.
const PACKAGES: [&str; 2] = ["kinto[postgresql]==26.5.0", "uWSGI==2.0.31"];
const DATABASE_WAIT: Duration = Duration::from_secs(30);

/// Where Kinto keeps its data.
pub(super) enum Backend {
    Memory,
    Postgresql { port: u16 },
}

/// Kinto with its data in its memory.
pub(super) fn start_on_memory(places: &Places, folder: &Path) -> Result<Server> {
    install(places)?;
    let running = start(places, folder, &Backend::Memory)?;
    let (running, address, start_up) = running;
    let target = Target::new(address, vec![running.pid()]);
    let mut server = Server::new(target, vec![running], "uWSGI, 1 process of 4 threads");
    server.figures.start_up = Some(start_up);
    Ok(server)
}

/// Kinto with its data in a PostgreSQL of its own, whose work counts as Kinto's.
pub(super) fn start_on_postgresql(places: &Places, folder: &Path) -> Result<Server> {
    install(places)?;
    let (database, port) = start_database(places, folder)?;
    let backend = Backend::Postgresql { port };
    let ini = folder.join("kinto.ini");
    write_settings(&ini, &backend)?;
    let mut migrate = Command::new(places.venv.join("bin/kinto"));
    migrate.args(["migrate", "--ini"]).arg(&ini);
    Running::finish(&mut migrate, &folder.join("migrate.log"))?;
    let (running, address, start_up) = start(places, folder, &backend)?;
    let target = Target::new(address, vec![running.pid(), database.pid()]);
    let served_by = "uWSGI, 1 process of 4 threads, and PostgreSQL, default settings";
    let mut server = Server::new(target, vec![database, running], served_by);
    server.figures.start_up = Some(start_up);
    Ok(server)
}

/// Kinto's settings file, the smallest that lets a Basic user make a bucket.
pub(super) fn write_settings(path: &Path, backend: &Backend) -> Result<()> {
    let (module, url) = match backend {
        Backend::Memory => ("memory", None),
        Backend::Postgresql { port } => {
            ("postgresql", Some(format!("postgresql://postgres@127.0.0.1:{port}/postgres")))
        }
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

// PostgreSQL refuses to run as root.
fn start_database(places: &Places, folder: &Path) -> Result<(Running, u16)> {
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
    let port = free_address()?.port();
    let mut serve = as_user(&run_as, pinned("postgres", places.pin));
    serve.arg("-D").arg(&cluster).arg("-p").arg(port.to_string()).current_dir("/");
    serve.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
    let log = folder.join("postgresql.log");
    let mut running = Running::start(serve, &log)?.ended_by("-INT");
    let started = Instant::now();
    let ready = || {
        let mut asked = Command::new("pg_isready");
        asked.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]);
        asked.status().is_ok_and(|status| status.success())
    };
    while !ready() {
        if running.child.try_wait()?.is_some() || started.elapsed() > DATABASE_WAIT {
            bail!("PostgreSQL does not start: {}", fs::read_to_string(&log).unwrap_or_default());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((running, port))
}

/// Whether a PostgreSQL server is installed.
pub(crate) fn has_postgresql() -> bool {
    ["initdb", "postgres", "pg_isready"].iter().all(|program| {
        Command::new(program).arg("--version").output().is_ok_and(|o| o.status.success())
    })
}

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
