//! The row work on plain drivers: processes that are asked a line at a time.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::load::{Plan, Sample};
use crate::meter::{Meter, Traffic};
use crate::options::Subject;
use crate::process::{Running, memory, pinned};
use crate::raw::{self, Way};
use crate::servers::database::{Database, url};
use crate::servers::{Figures, Places};

/// A process that does the row work.
pub(crate) struct Raw {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    running: Running,
    served_by: &'static str,
    meter: Option<Meter>,
    database: Option<Database>,
}

impl Raw {
    /// On a file of SQLite with so many records.
    pub(crate) fn on_sqlite(places: &Places, records: u64) -> Result<Self> {
        let folder = places.folder(Subject::Rusqlite.name())?;
        let mut command = pinned(std::env::current_exe()?, places.pin);
        command.arg("raw-sqlite").arg("--file").arg(folder.join("records.sqlite"));
        command.args(["--records", &records.to_string()]);
        Self::start(command, "rusqlite")
    }

    /// On a database of PostgreSQL with so many records.
    pub(crate) fn on_postgres(places: &Places, records: u64) -> Result<Self> {
        let folder = places.folder(Subject::PostgresRaw.name())?;
        let database = Database::start(places, &folder)?;
        let command = postgres_command(places, &database.url(), &database, records)?;
        let raw = Self::start(command, "tokio-postgres, and PostgreSQL, default settings")?;
        Ok(Self { database: Some(database), ..raw })
    }

    /// Another process on the same database, of which the traffic is counted; with no records,
    /// it works on those that are there.
    pub(crate) fn metered(&self, places: &Places, records: u64) -> Result<Self> {
        let database = self.database.as_ref().context("a database")?;
        let meter = Meter::start(database.address)?;
        let command = postgres_command(places, &url(meter.address), database, records)?;
        Ok(Self { meter: Some(meter), ..Self::start(command, "")? })
    }

    fn start(mut command: Command, served_by: &'static str) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child: Child = command.spawn()?;
        let input = child.stdin.take().context("its input")?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        let running = Running::adopt(child);
        let mut raw = Self { input, output, running, served_by, meter: None, database: None };
        raw.read()?;
        Ok(raw)
    }

    /// Runs one measurement, written by this way where there are several.
    pub(crate) fn measure(&mut self, way: Way, plan: Plan) -> Result<Sample> {
        let line = raw::question(way, plan.workload, plan.connections, plan.warm_up, plan.duration);
        let before = self.traffic();
        writeln!(self.input, "{line}")?;
        let answer = self.read()?;
        let number = |key: &str| answer[key].as_u64().with_context(|| format!("no {key}"));
        let database_nanos = number("database_cpu_ns")?;
        Ok(Sample {
            requests: number("requests")?,
            errors: 0,
            elapsed: Duration::from_nanos(number("elapsed_ns")?),
            database_nanos,
            cpu_nanos: number("cpu_ns")? + database_nanos,
            p50: Duration::from_nanos(number("p50_ns")?),
            p99: Duration::from_nanos(number("p99_ns")?),
            traffic: self.traffic().since(before),
        })
    }

    pub(crate) fn finish(mut self) -> Figures {
        let after = memory(&[self.running.pid()]);
        self.running.stop();
        Figures { after, served_by: self.served_by.to_owned(), ..Figures::default() }
    }

    fn traffic(&self) -> Traffic {
        self.meter.as_ref().map_or(Traffic::default(), Meter::traffic)
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the raw engine ended");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

fn postgres_command(
    places: &Places,
    url: &str,
    database: &Database,
    records: u64,
) -> Result<Command> {
    let mut command = pinned(std::env::current_exe()?, places.pin);
    command.args(["raw-postgres", "--url", url, "--database", &database.pid().to_string()]);
    command.args(["--records", &records.to_string()]);
    Ok(command)
}
