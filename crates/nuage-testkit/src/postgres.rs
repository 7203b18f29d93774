//! PostgreSQL for tests: a private cluster in a temporary folder, and fresh databases in it.
//!
//! A cluster belongs to the process that made it and goes with it, however that ends: a watchdog
//! waits on a pipe from us, then stops the server and removes the folder. Nothing else on the
//! machine is touched. It does not know what is stored.

mod programs;
mod template;

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::postgres::programs::{Programs, signal};
use crate::server::{free_address, wait};

/// Names another server, by the URL of a database in which others may be created.
pub const SERVER_VARIABLE: &str = "NUAGE_TEST_POSTGRES";

/// Longest wait for a server to take connections, also after a crash.
const START: Duration = Duration::from_secs(60);
/// How often another port is tried, where somebody was faster.
const STARTS: u32 = 5;
/// The account and the database that every cluster has.
const OWNER: &str = "postgres";

/// What an acknowledged write survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Durability {
    /// The death of processes: nothing is ever flushed to the disk.
    Fast,
    /// What PostgreSQL promises by itself.
    Full,
}

/// How a server is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// Sessions are ended, and everything is written.
    Fast,
    /// At once, as if it crashed: the next start recovers from the log.
    Immediate,
    /// All its processes are killed in the middle of whatever they do.
    Kill,
}

/// A PostgreSQL server of our own.
///
/// The account `postgres` needs no password; any other that a test makes does.
#[derive(Debug)]
pub struct Cluster {
    programs: &'static Programs,
    folder: PathBuf,
    address: SocketAddr,
    durability: Durability,
    variables: Vec<(&'static str, String)>,
    server: Mutex<Option<Child>>,
    watchdog: Child,
}

impl Cluster {
    /// Makes one and starts it.
    ///
    /// # Panics
    ///
    /// With a sentence that says what to install, if PostgreSQL is not there.
    pub fn new(durability: Durability) -> Self {
        Self::with_variables(durability, |_| Vec::new())
    }

    /// The same with variables in its environment, which may depend on the folder of its data.
    pub fn with_variables(
        durability: Durability,
        variables: impl FnOnce(&Path) -> Vec<(&'static str, String)>,
    ) -> Self {
        let programs = Programs::find();
        let folder = tempfile::Builder::new().prefix("nuage-postgres-").tempdir();
        let folder = folder.expect("the system has a folder for temporary files").keep();
        programs.give(&folder);
        let watchdog = watch_over(&folder);
        template::copy(programs, &folder.join("data"));
        let server = Mutex::new(None);
        let address = free_address();
        let variables = variables(&folder.join("data"));
        Self { programs, folder, address, durability, variables, server, watchdog }.started()
    }

    /// A standby of this one, which follows it and only lets read until it is promoted.
    ///
    /// # Panics
    ///
    /// If this one does not run.
    pub fn standby(&self) -> Self {
        let programs = self.programs;
        let folder = tempfile::Builder::new().prefix("nuage-postgres-").tempdir();
        let folder = folder.expect("the system has a folder for temporary files").keep();
        programs.give(&folder);
        let watchdog = watch_over(&folder);
        let mut copy = programs.command("pg_basebackup");
        copy.args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "--dbname"]);
        copy.arg(self.url(OWNER)).arg("--pgdata").arg(folder.join("data"));
        let done = copy.stdin(Stdio::null()).output().expect("pg_basebackup can be started");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let (server, address) = (Mutex::new(None), free_address());
        let (durability, variables) = (self.durability, Vec::new());
        Self { programs, folder, address, durability, variables, server, watchdog }.started()
    }

    /// Makes a standby a primary, and waits until it is.
    pub fn promote(&self) {
        const PROMOTE: &str = "SELECT pg_promote(true, 60)";
        let promoted = self.programs.psql(&self.url(OWNER), PROMOTE);
        assert_eq!(promoted.as_deref(), Ok("t"), "the standby was not promoted");
    }

    /// Stops all its processes where they are, until this is dropped: connections stay, the system
    /// takes new ones, and nothing is answered.
    pub fn freeze(&self) -> Frozen<'_> {
        // The first process makes no others from then on.
        signal("STOP", &self.processes()[..1]);
        signal("STOP", &self.processes());
        Frozen(self)
    }

    fn processes(&self) -> Vec<u32> {
        processes_of(self.server().as_ref().expect("the server runs"))
    }

    fn started(mut self) -> Self {
        for _ in 1..STARTS {
            if self.try_start().is_ok() {
                return self;
            }
            self.address = free_address();
        }
        self.start();
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its socket, for clients that prefer that.
    pub fn socket_folder(&self) -> &Path {
        &self.folder
    }

    /// The URL of its database of this name, for the account that may do everything.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{OWNER}@{}/{database}", self.address)
    }

    /// A fresh database in it.
    pub fn database(&self) -> Database {
        Database::on(&self.url(OWNER))
    }

    /// A fresh database in it, made with other options of `CREATE DATABASE`, such as
    /// `TEMPLATE template0 ENCODING 'LATIN1'`.
    pub fn database_with(&self, options: &str) -> Database {
        Database::create(&self.url(OWNER), options)
    }

    /// Starts it and waits until it takes connections.
    pub fn start(&self) {
        if let Err(log) = self.try_start() {
            panic!("PostgreSQL did not start:\n{log}");
        }
    }

    /// Stops it and waits until it has.
    pub fn stop(&self, how: Stop) {
        let Some(mut server) = self.server().take() else { return };
        match how {
            Stop::Fast => signal("INT", &[server.id()]),
            Stop::Immediate => signal("QUIT", &[server.id()]),
            Stop::Kill => kill_all(&server),
        }
        if wait(&mut server).is_none() {
            server.kill().expect("a process of ours can be killed");
            server.wait().expect("a process of ours can be waited for");
        }
    }

    /// Stops it and starts it again, at the same address.
    pub fn restart(&self, how: Stop) {
        self.stop(how);
        self.start();
    }

    /// Kills every process that serves a client with SIGKILL, and says how many. The server takes
    /// that for a crash: it ends all other sessions and recovers by itself.
    pub fn kill_backends(&self) -> usize {
        const SESSIONS: &str = "SELECT pid FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        // It may be recovering from the last time.
        let sessions = self.programs.psql(&self.url(OWNER), SESSIONS).unwrap_or_default();
        let sessions: Vec<u32> = sessions.lines().filter_map(|line| line.parse().ok()).collect();
        if !sessions.is_empty() {
            signal("KILL", &sessions);
        }
        sessions.len()
    }

    /// What the server wrote since it was last started.
    pub fn log(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn try_start(&self) -> Result<(), String> {
        let mut server = self.server();
        if server.is_some() {
            return Ok(());
        }
        let log = File::create(self.folder.join("log")).expect("the log can be written");
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(self.folder.join("data")).arg("-k").arg(&self.folder);
        command.args(["-p", &self.address.port().to_string()]);
        for setting in settings(self.durability) {
            command.args(["-c", setting]);
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        // In a process group of its own, so that what is typed at a terminal ends us first.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().expect("PostgreSQL can be started");
        let deadline = Instant::now() + START;
        while !self.is_ready(&child) {
            if !matches!(child.try_wait(), Ok(None)) || Instant::now() > deadline {
                // It may have ended already.
                let _ = child.kill();
                let _ = child.wait();
                return Err(self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        *server = Some(child);
        Ok(())
    }

    // The server says so in the last line of this file, which its end removes unless it is killed.
    fn is_ready(&self, server: &Child) -> bool {
        let status = std::fs::read_to_string(self.folder.join("data/postmaster.pid"));
        let status = status.unwrap_or_default();
        let mut lines = status.lines().map(str::trim);
        lines.next() == Some(&server.id().to_string()) && lines.nth(6) == Some("ready")
    }

    fn server(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop(Stop::Immediate);
        drop(self.watchdog.stdin.take());
        // It only removes the folder now.
        let _ = self.watchdog.wait();
    }
}

/// A pgbouncer in front of a server. It ends with this.
#[derive(Debug)]
pub struct Pooler {
    address: SocketAddr,
    keeper: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// Starts one that gives a session to each `session`, `transaction` or `statement`.
    ///
    /// # Panics
    ///
    /// With a sentence that says what to install, if it is not there.
    pub fn new(cluster: &Cluster, mode: &str) -> Self {
        // It ends when our end of its standard input is closed, which the system does when we die.
        const SCRIPT: &str = r#""$1" -q "$2" & read -r _; kill "$!"; wait"#;
        let pgbouncer = programs::pgbouncer().unwrap_or_else(|missing| panic!("{missing}"));
        let folder = tempfile::Builder::new().prefix("nuage-pooler-").tempdir();
        let folder = folder.expect("the system has a folder for temporary files");
        cluster.programs.give(folder.path());
        let (address, server) = (free_address(), cluster.address.port());
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user={OWNER}\n[pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {}\nunix_socket_dir =\nauth_type = any\n\
             pool_mode = {mode}\nignore_startup_parameters = options\n",
            address.port()
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).expect("a file of ours can be written");
        let mut command = cluster.programs.unprivileged(Path::new("sh"));
        command.args(["-c", SCRIPT, "pooler"]).arg(pgbouncer).arg(file);
        command.process_group(0).stdin(Stdio::piped());
        let keeper = command.spawn().expect("a shell can be started");
        let deadline = Instant::now() + START;
        while std::net::TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer did not start");
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { address, keeper, _folder: folder }
    }

    /// The URL of a database behind it.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{OWNER}@{}/{database}", self.address)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // It has ended then.
        let _ = self.keeper.wait();
    }
}

/// A server that does nothing. It goes on when this is dropped.
#[derive(Debug)]
pub struct Frozen<'c>(&'c Cluster);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        signal("CONT", &self.0.processes());
    }
}

// The first process of a server, then those that it made.
fn processes_of(server: &Child) -> Vec<u32> {
    let first = server.id();
    // One that ended has none.
    let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
    let children = children.unwrap_or_default();
    let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    std::iter::once(first).chain(children).collect()
}

// Kills all processes of a server, and waits until they are gone: what they share must be free
// before the next start.
fn kill_all(server: &Child) {
    // The first process makes no others from then on.
    signal("STOP", &[server.id()]);
    let processes = processes_of(server);
    signal("KILL", &processes);
    let deadline = Instant::now() + START;
    let is_gone = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        status.rsplit_once(") ").is_none_or(|(_, status)| status.starts_with(['Z', 'X']))
    };
    while !processes.iter().all(is_gone) {
        assert!(Instant::now() < deadline, "killed processes of PostgreSQL stay");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn settings(durability: Durability) -> Vec<&'static str> {
    let mut settings = vec![
        "listen_addresses=127.0.0.1",
        "max_connections=300",
        "shared_buffers=64MB",
        "max_wal_size=512MB",
        "log_checkpoints=off",
        "lc_messages=C",
        "timezone=UTC",
        "log_line_prefix=%m [%p] ",
    ];
    if durability == Durability::Fast {
        settings.extend(["fsync=off", "full_page_writes=off"]);
    }
    settings
}

// Waits until our end of its standard input is closed, which the system does when we die.
fn watch_over(folder: &Path) -> Child {
    const SCRIPT: &str = r#"
        read -r _
        if pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then kill -QUIT "$pid"; fi
        tries=0
        while [ -e "$1/data/postmaster.pid" ] && [ "$tries" -lt 100 ]; do
            sleep 0.1
            tries=$((tries + 1))
        done
        rm -rf -- "$1"
    "#;
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "watchdog"]).arg(folder).process_group(0).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().expect("a shell can be started")
}

/// A database that nobody else uses. It is dropped with this.
#[derive(Debug)]
pub struct Database {
    url: String,
    name: String,
    maintenance: String,
}

impl Database {
    /// What Nuage asks for.
    const USUAL: &str = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";

    /// A fresh one on a server, given the URL of any database there.
    pub fn on(maintenance: &str) -> Self {
        Self::create(maintenance, Self::USUAL)
    }

    fn create(maintenance: &str, options: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("nuage_test_{now}_{}_{number}", std::process::id());
        let sql = format!("CREATE DATABASE {name} {options}");
        if let Err(said) = Programs::find().psql(maintenance, &sql) {
            panic!("{sql}: {said}");
        }
        let url = with_database(maintenance, &name);
        Self { url, name, maintenance: maintenance.to_owned() }
    }

    /// How to reach it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs statements in it and gives what they print: a line for each row, `|` between columns.
    ///
    /// # Panics
    ///
    /// With what the server says, if it refuses.
    pub fn execute(&self, sql: &str) -> String {
        self.try_execute(sql).unwrap_or_else(|said| panic!("{sql}: {said}"))
    }

    /// Begins a transaction in a session of its own, runs a statement in it and leaves it open: what
    /// it locked is locked until the holder is dropped.
    ///
    /// # Panics
    ///
    /// If the server refuses.
    pub fn hold(&self, sql: &str) -> Holder {
        Holder(Programs::find().session(&self.url, &format!("BEGIN; {sql};")))
    }

    /// How many sessions have waited for a lock for longer than this.
    pub fn waiting(&self, longer: Duration) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
             AND wait_event_type = 'Lock' AND state_change < now() - interval '{} ms'",
            longer.as_millis()
        );
        self.execute(&sql).parse().expect("a count is a number")
    }

    /// The same, where it may fail.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub fn try_execute(&self, sql: &str) -> Result<String, String> {
        Programs::find().psql(&self.url, sql)
    }

    /// Runs the statements of a file in it, such as those of a dump.
    ///
    /// # Panics
    ///
    /// With what the server says, if it refuses.
    pub fn load(&self, file: &Path) {
        if let Err(said) = Programs::find().psql_file(&self.url, file) {
            panic!("{}: {said}", file.display());
        }
    }
}

/// An open transaction. It is rolled back with this.
#[derive(Debug)]
pub struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends with its input.
        let _ = self.0.wait();
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be gone, and the database with it.
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let _ = Programs::find().psql(&self.maintenance, &sql);
    }
}

/// A fresh database: on the server that `NUAGE_TEST_POSTGRES` names, else in a cluster that all
/// tests of this process share.
pub fn database() -> Database {
    static SHARED: OnceLock<Cluster> = OnceLock::new();
    match std::env::var(SERVER_VARIABLE) {
        Ok(url) if !url.is_empty() => Database::on(&url),
        _ => SHARED.get_or_init(|| Cluster::new(Durability::Fast)).database(),
    }
}

/// Whether PostgreSQL's programs and pgbouncer are on this machine.
///
/// # Errors
///
/// What to install.
pub fn is_installed() -> Result<(), &'static str> {
    Programs::look()?;
    programs::pgbouncer().map(|_| ())
}

// The same URL with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let (place, parameters) = match url.split_once('?') {
        Some((place, parameters)) => (place, format!("?{parameters}")),
        None => (url, String::new()),
    };
    let authority = place.find("://").map_or(0, |at| at + 3);
    let end = place[authority..].find('/').map_or(place.len(), |at| authority + at);
    format!("{}/{name}{parameters}", &place[..end])
}

#[cfg(test)]
mod tests;
