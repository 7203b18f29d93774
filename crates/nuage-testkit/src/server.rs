//! The program under test as a process: on a free port, on data of its own, to be killed and
//! started again.
//!
//! It does not know what the program answers beyond "I am here".

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::backend::Backend;
use crate::client::{Call, Client};
use crate::postgres::Database;

/// Longest wait for a server to answer after its start.
const START: Duration = Duration::from_secs(20);
/// Longest wait for a server to end after a signal.
const END: Duration = Duration::from_secs(30);
/// The first port that a server under test may get, and how many there are.
const PORT_MIN: u16 = 10_000;
const PORTS: u16 = 20_000;

/// How to start a server.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The program.
    pub binary: PathBuf,
    /// What follows `serve --listen … --data …`.
    pub arguments: Vec<String>,
    /// Added to the environment.
    pub environment: Vec<(String, String)>,
    /// Where everything is kept, if not in a file.
    pub database: Option<Arc<Database>>,
    /// Most bytes of address space that the server may take.
    pub address_space: Option<u64>,
}

impl Setup {
    /// Nothing but the program, which keeps everything in a file.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let binary = binary.into();
        Self {
            binary,
            arguments: Vec::new(),
            environment: Vec::new(),
            database: None,
            address_space: None,
        }
    }

    /// Keeps everything in a fresh database of this kind.
    pub fn on(self, backend: Backend) -> Self {
        Self { database: backend.database(), ..self }
    }

    /// Keeps everything in this database, which others may use too.
    pub fn in_database(self, database: Arc<Database>) -> Self {
        Self { database: Some(database), ..self }
    }

    /// Adds an argument.
    pub fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds a variable of the environment.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Bounds the address space of the server: beyond it, memory is refused to it, and it ends.
    pub fn address_space(self, bytes: u64) -> Self {
        Self { address_space: Some(bytes), ..self }
    }

    /// Starts a server on data in a directory of its own, which goes with it.
    pub fn start(self) -> Server {
        let folder = tempfile::tempdir().expect("the system has a folder for temporary files");
        let data = folder.path().join("data");
        self.start_on(data, folder)
    }

    /// Starts a server on this data. The folder is for its log, and goes with it.
    pub fn start_on(self, data: PathBuf, folder: TempDir) -> Server {
        let mut server = Server { setup: self, address: free_address(), data, folder, child: None };
        server.start();
        server
    }
}

/// A server, running or not.
pub struct Server {
    setup: Setup,
    address: SocketAddr,
    data: PathBuf,
    folder: TempDir,
    child: Option<Child>,
}

impl Server {
    /// Where it listens, also after it is started again.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its data, also where that is in a database.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A client that is not connected yet.
    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// What it said on its outputs since it was last started.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Starts it and waits until it answers.
    pub fn start(&mut self) {
        let log = File::create(self.folder.path().join("log")).expect("the log can be written");
        let child = self
            .command()
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the log can be shared"))
            .stderr(log)
            .spawn()
            .expect("the program can be started");
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while !self.answers() {
            assert!(self.is_alive(), "the server ended at its start:\n{}", self.log());
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// The command that starts it.
    pub fn command(&self) -> Command {
        let mut command = match self.setup.address_space {
            None => clean_command(&self.setup.binary),
            Some(bytes) => {
                let mut command = clean_command(Path::new("prlimit"));
                command.arg(format!("--as={bytes}")).arg(&self.setup.binary);
                command
            }
        };
        command.arg("serve").arg("--listen").arg(self.address.to_string());
        command.args(self.place()).args(&self.setup.arguments);
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    // Where its data is, as arguments of any command.
    fn place(&self) -> Vec<OsString> {
        let mut place = vec!["--data".into(), self.data.clone().into()];
        if let Some(database) = &self.setup.database {
            place.extend(["--storage-url".into(), database.url().into()]);
        }
        place
    }

    /// Whether its process runs.
    pub fn is_alive(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Ends it at once, as a power failure would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process of ours can be killed");
            child.wait().expect("a process of ours can be waited for");
        }
    }

    /// Asks it to end, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.ended()
    }

    /// Waits until it has ended, after a signal.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the server runs");
        wait(&mut child).expect("the server ends after SIGTERM")
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
    }

    /// Its resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        self.memory_kib("VmRSS:")
    }

    /// The most memory that was ever resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        self.memory_kib("VmHWM:")
    }

    fn memory_kib(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()));
        let status = status.expect("the system tells about its processes");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.expect("the system tells how much memory is resident")
    }

    /// Another verb of the program on the same data, with the same settings.
    pub fn tool(&self, verb: &str) -> Command {
        let mut command = clean_command(&self.setup.binary);
        command.arg(verb).args(self.place()).args(&self.setup.arguments);
        command.envs(self.setup.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// What the program's own check finds in the data: its exit code and its words.
    pub fn check(&self) -> (Option<i32>, String) {
        let mut command = clean_command(&self.setup.binary);
        let output = command.arg("check").args(self.place()).output();
        let output = output.expect("the program can be started");
        let mut words = String::from_utf8_lossy(&output.stdout).into_owned();
        words.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code(), words)
    }

    fn answers(&self) -> bool {
        let mut client = self.client().patience(Duration::from_secs(2));
        let answer = client.send(&Call::get("/v1/__lbheartbeat__"));
        answer.is_ok_and(|answer| answer.status == 200)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.char_indices().rev().nth(4_000).map_or(0, |(at, _)| at);
            // A failed test shows it with its own words.
            let _ = io::Write::write_all(&mut io::stderr(), &log.as_bytes()[from..]);
        }
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The program without the settings that the environment of a test may hold.
pub fn clean_command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("NUAGE_") || text.starts_with("KINTO_") {
            command.env_remove(&name);
        }
    }
    command
}

/// An address of this machine that nobody listens on. It is below the ports that the system gives
/// to clients, so that none of them takes it while a server is down.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORT_MIN + (number % u32::from(PORTS)) as u16;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free");
}

/// Waits for a process to end, with patience that has an end.
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + END;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}
