//! Servers that suites talk to: Nuage as built, or Kinto itself to check the suites. Each has a
//! free port and an empty folder of its own, and is stopped when dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::postgres::{self, Database};
use crate::workspace::{root, scratch, target};

/// How long a server may take to answer; Kinto needs a few seconds.
const START: Duration = Duration::from_secs(60);
/// How long a server may take to end when asked to; then it is killed.
const STOP: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The databases that Nuage runs on.
pub(crate) const DATABASES: [Keeper; 2] = [Keeper::Sqlite, Keeper::Postgres];

/// Where Nuage keeps everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keeper {
    /// In a file in its folder.
    Sqlite,
    /// In a fresh database on the server that all tests share.
    Postgres,
}

/// Which server to start.
pub(crate) enum Program {
    /// The one this workspace builds, in its development profile, on this database.
    Nuage(Keeper),
    /// The original, at this path.
    Kinto(PathBuf),
}

impl Program {
    /// Whether it is the original.
    pub(crate) fn is_kinto(&self) -> bool {
        matches!(self, Self::Kinto(_))
    }

    /// What a report calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Nuage(Keeper::Sqlite) => "SQLite",
            Self::Nuage(Keeper::Postgres) => "PostgreSQL",
            Self::Kinto(_) => "Kinto",
        }
    }
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    port: u16,
    folder: PathBuf,
    /// Dropped after the server has ended.
    _database: Option<Database>,
}

/// The two servers that every suite is given.
pub(crate) struct Pair {
    plain: Server,
    strained: Server,
}

impl Pair {
    /// Starts one server with each of the settings in `conformance/`.
    pub(crate) fn start(program: &Program, suite: &str) -> Result<Self> {
        Ok(Self {
            plain: Server::start(program, "kinto.ini", suite)?,
            strained: Server::start(program, "strained.ini", suite)?,
        })
    }

    /// Tells a suite where they are.
    pub(crate) fn tell(&self, suite: &mut Command) {
        suite.env("NUAGE_TEST_URL", self.plain.url());
        suite.env("NUAGE_TEST_STRAINED_URL", self.strained.url());
    }
}

impl Server {
    fn start(program: &Program, settings: &str, suite: &str) -> Result<Self> {
        let settings = root().join("conformance").join(settings);
        let name = settings.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let kind = program.name().to_lowercase();
        let folder = scratch().join(format!("{suite}-{name}-{kind}-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        let log_path = folder.join("server.log");
        let log = File::create(&log_path)?;
        let port = free_port()?;
        let mut command = command(program, &settings, port, &folder.join("data"));
        let database = match program {
            Program::Nuage(Keeper::Postgres) => Some(postgres::database()?),
            _ => None,
        };
        if let Some(database) = &database {
            command.args(["--storage-url", database.url()]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| {
            format!("the server {} cannot be started", command.get_program().to_string_lossy())
        })?;
        let mut server = Self { child, port, folder, _database: database };
        let deadline = Instant::now() + START;
        while !answers(port) {
            let ended = server.child.try_wait()?;
            if ended.is_some() || Instant::now() > deadline {
                let log = std::fs::read_to_string(&log_path).unwrap_or_default();
                bail!("the server with {} does not answer; it wrote:\n{log}", settings.display());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    fn stop(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("it ended by itself: {status}");
        }
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &id]).status()?.success();
        let deadline = Instant::now() + STOP;
        while asked && Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        self.child.kill()?;
        self.child.wait()?;
        bail!("it did not end within {} seconds", STOP.as_secs());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        match self.stop() {
            Ok(()) => drop(std::fs::remove_dir_all(&self.folder)),
            Err(error) => {
                let log = self.folder.join("server.log");
                eprintln!("The server on port {}: {error}; see {}.", self.port, log.display());
            }
        }
    }
}

fn command(program: &Program, settings: &Path, port: u16, data: &Path) -> Command {
    match program {
        Program::Nuage(_) => {
            let mut command = Command::new(target().join("debug").join("nuage"));
            command.args(["serve", "--kinto-ini"]).arg(settings);
            command.arg("--listen").arg(format!("127.0.0.1:{port}")).arg("--data").arg(data);
            command
        }
        Program::Kinto(path) => {
            let mut command = Command::new(path);
            command.args(["start", "--ini"]).arg(settings).args(["--port", &port.to_string()]);
            command
        }
    }
}

/// A port that nobody listens on. Somebody may take it before the server does: then the server
/// says so and the run fails, which is rare enough on one machine.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /v1/__lbheartbeat__ HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut start = [0; 12];
        stream.read_exact(&mut start)?;
        Ok(&start == b"HTTP/1.1 200")
    };
    ask().unwrap_or(false)
}
