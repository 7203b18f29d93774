//! Starting who is measured: each in a process of its own, with a folder of its own, on a port
//! that the system chose.

pub(crate) mod database;
mod kinto;
mod nuage;
mod raw;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::floor::write_answers;
use crate::load::{Kept, Target};
use crate::options::Subject;
use crate::process::{Memory, Running, free_address, memory, pinned, wait_for_heartbeat};
use crate::servers::database::Database;
use crate::workload::Workload;

pub(crate) use raw::Raw;

/// Starts that the median start-up time is taken of.
const STARTS: usize = 7;

/// The folders and programs of a run.
pub(crate) struct Places {
    /// Emptied at the start of a run.
    pub(crate) data: PathBuf,
    /// Python with Kinto in it, kept between runs.
    pub(crate) venv: PathBuf,
    /// The server under test.
    pub(crate) nuage: PathBuf,
    /// Whether servers and load driver have cores of their own.
    pub(crate) pin: bool,
}

/// A running HTTP server, loaded and ready.
pub(crate) struct Server {
    pub(crate) target: Arc<Target>,
    pub(crate) figures: Figures,
    processes: Vec<Running>,
    database: Option<Database>,
}

/// What is told of a server beside its requests.
#[derive(Clone, Default)]
pub(crate) struct Figures {
    /// From starting the process to the first answer, with no data yet.
    pub(crate) start_up: Option<Duration>,
    pub(crate) idle: Memory,
    pub(crate) loaded: Memory,
    pub(crate) after: Memory,
    pub(crate) records: u64,
    pub(crate) load_time: Duration,
    /// What serves, in a few words.
    pub(crate) served_by: String,
}

impl Places {
    /// Beside the program that is running: the target folder.
    pub(crate) fn find(pin: bool, nuage: Option<PathBuf>) -> Result<Self> {
        let release = std::env::current_exe()?;
        let release = release.parent().context("the program lies in a folder")?;
        let bench = release.parent().context("the target folder")?.join("bench");
        let nuage = nuage.unwrap_or_else(|| release.join("nuage"));
        let data = bench.join("data");
        if data.exists() {
            fs::remove_dir_all(&data)?;
        }
        fs::create_dir_all(&data)?;
        Ok(Self { data, venv: bench.join("venv"), nuage, pin })
    }

    /// A new folder for one server.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.data.join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// Starts a server that keeps records, and loads them.
pub(crate) async fn start(subject: Subject, places: &Places, records: u64) -> Result<Server> {
    let folder = places.folder(subject.name())?;
    let mut server = match subject {
        Subject::Nuage => nuage::start_with_account(places, &folder, &nuage::PLAIN)?,
        Subject::NuageHistory => nuage::start_with_account(places, &folder, &nuage::HISTORY)?,
        Subject::NuageBasicauth => nuage::start_with_ini(places, &folder)?,
        Subject::Kinto => kinto::start_on_memory(places, &folder)?,
        Subject::KintoPostgresql => kinto::start_on_postgresql(places, &folder)?,
        Subject::Postgres => nuage::start_on_postgres(places, &folder, 1)?,
        Subject::PostgresThree => nuage::start_on_postgres(places, &folder, 3)?,
        Subject::Hyper | Subject::Rusqlite | Subject::PostgresRaw => {
            bail!("{} keeps no records", subject.title())
        }
    };
    server.target.make_collection().await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.figures.idle = server.memory();
    // Writes that meet in one collection make Kinto on PostgreSQL fail.
    let connections = if subject.is_kinto() { 1 } else { 4 };
    server.figures.load_time = server.target.load(records, connections).await?;
    server.figures.records = records;
    server.figures.loaded = server.memory();
    Ok(server)
}

/// Starts Nuage on the data in this folder, with these arguments.
pub(crate) fn serve(
    places: &Places,
    folder: &Path,
    arguments: &[&str],
) -> Result<(Running, SocketAddr)> {
    let address = free_address()?;
    Ok((nuage::serve(places, folder, address, arguments)?, address))
}

/// Starts one more process of Nuage on the data of this server, of which the traffic with the
/// database is counted.
pub(crate) fn start_metered(places: &Places, server: &Server) -> Result<Server> {
    nuage::start_metered(places, server)
}

/// Starts the floor, which answers what another server answered.
pub(crate) fn start_floor(
    places: &Places,
    kept: &[(Workload, Kept)],
    records: u64,
) -> Result<Server> {
    let folder = places.folder(Subject::Hyper.name())?;
    let answers = folder.join("answers.json");
    write_answers(&answers, kept)?;
    let address = free_address()?;
    let mut command = pinned(std::env::current_exe()?, places.pin);
    command.args(["floor", "--listen", &address.to_string(), "--answers"]).arg(&answers);
    let started = Instant::now();
    let mut running = Running::start(command, &folder.join("log"))?;
    let start_up = wait_for_heartbeat(&mut running, address, started)?;
    let target = Target::new(vec![address], vec![running.pid()]).with_records(records);
    let mut server = Server::new(target, vec![running], "hyper 1");
    server.figures.start_up = Some(start_up);
    server.figures.idle = server.memory();
    server.figures.loaded = server.figures.idle;
    Ok(server)
}

impl Server {
    fn new(target: Target, processes: Vec<Running>, served_by: &str) -> Self {
        let figures = Figures { served_by: served_by.to_owned(), ..Figures::default() };
        Self { target: Arc::new(target), figures, processes, database: None }
    }

    fn on(self, database: Database) -> Self {
        Self { database: Some(database), ..self }
    }

    fn memory(&self) -> Memory {
        let database = self.database.iter().map(Database::pid);
        memory(&self.target.pids.iter().copied().chain(database).collect::<Vec<_>>())
    }

    /// Reads its memory once more and ends it, the last started process first, its database last.
    pub(crate) fn finish(mut self) -> Figures {
        self.figures.after = self.memory();
        while let Some(mut process) = self.processes.pop() {
            process.stop();
        }
        self.figures
    }
}

/// The median of several starts with an empty folder each.
pub(crate) fn start_up_of_nuage(places: &Places) -> Result<Duration> {
    let mut times = Vec::new();
    for number in 0..STARTS {
        let folder = places.folder(&format!("start-{number}"))?;
        let address = free_address()?;
        let command = nuage::command(places, &folder, address);
        let started = Instant::now();
        let mut running = Running::start(command, &folder.join("log"))?;
        times.push(wait_for_heartbeat(&mut running, address, started)?);
        running.stop();
    }
    times.sort_unstable();
    Ok(times[STARTS / 2])
}
