//! What is underneath Nuage: the row work of each workload on a plain driver, with the tables,
//! the durability and the grouping of `nuage-store`, and nothing else: no HTTP, no JSON, no
//! judgement. What Nuage costs beyond it is what Nuage adds. The store itself makes the tables, so
//! that they are those of the day.
//!
//! Runs as a process that reads one measurement a line and prints what came out.

use std::io::BufRead;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use clap::ValueEnum as _;
use nuage_model::{
    Batch, CollectionPath, Placement, Principal, Put, Readers, Store, Timestamp, Write,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::histogram::Histogram;
use crate::process::cpu_time;
use crate::workload::{KNOWN_RECORDS, Workload, known_record, scramble, write_id, write_record};

mod postgres;
mod sqlite;

pub(crate) use postgres::Way;

/// Requests that one commit takes at most, as in the store.
const GROUP_MAX: usize = 512;
/// Requests that wait for the writer at most.
const QUEUE_MAX: usize = 4_096;
/// Rows in one transaction while loading.
const LOAD_ROWS: u64 = 1_000;
/// Where the records are, and who may read them.
const BUCKET: &str = "bench";
const COLLECTION: &str = "items";
const PERMISSIONS: &str = r#"{"write":["account:bench"]}"#;
const READER: &str = "account:bench";
/// A record that is there besides: with it the store makes the rows of the collection and of who
/// reads it.
const FIRST: &str = "first";

/// What is written.
struct Row {
    id: String,
    body: String,
}

/// Rows to write in one transaction, and who waits for it.
struct Job {
    rows: Vec<Row>,
    done: tokio::sync::oneshot::Sender<i64>,
}

/// A driver that does the row work of one request.
trait Engine {
    /// Does it: about the record of this number, or about new records.
    async fn step(&self, workload: Workload, index: u64) -> Result<()>;
    /// Records that were there at first.
    fn loaded(&self) -> u64;
}

/// Loads the records into SQLite, says `ready`, then measures what is asked for.
pub(crate) fn serve_sqlite(file: &Path, records: u64) -> Result<()> {
    let runtime = runtime()?;
    runtime.block_on(async {
        let store = nuage_store::open(file, nuage_store::Options::default()).await?;
        make_rows_around(store.as_ref()).await
    })?;
    let engine = Rc::new(sqlite::Sqlite::open(file, records)?);
    answer_all(&runtime, &LocalSet::new(), &[], |_| Ok(Rc::clone(&engine)))
}

/// The same on PostgreSQL, whose processes descend from `database`. Records that are there
/// already stay.
pub(crate) fn serve_postgres(url: &str, database: u32, records: u64) -> Result<()> {
    let (runtime, local) = (runtime()?, LocalSet::new());
    let engine = local.block_on(&runtime, async {
        let address = nuage_store::Address { url: url.to_owned(), password: None };
        let store = nuage_store::connect(&address, nuage_store::Options::default()).await?;
        make_rows_around(store.as_ref()).await?;
        postgres::Postgres::open(url, records).await
    })?;
    let engine = Rc::new(engine);
    answer_all(&runtime, &local, &[database], |way| {
        engine.set_way(way);
        Ok(Rc::clone(&engine))
    })
}

async fn make_rows_around(store: &dyn Store) -> Result<()> {
    let first = Write::Put(Put {
        path: CollectionPath::new(BUCKET, COLLECTION).record(FIRST),
        body: "{}".to_owned().into(),
        permissions: PERMISSIONS.to_owned(),
        readers: readers(),
        placement: Placement::Next,
    });
    let applied = store.apply(Batch::new(Timestamp(0), vec![first])).await;
    applied.map_err(|error| anyhow!("{error:?}"))?;
    store.close().await;
    Ok(())
}

fn readers() -> Readers {
    Readers::new([Principal::from(READER)].into())
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// What to measure, as a line.
pub(crate) fn question(
    way: Way,
    workload: Workload,
    connections: usize,
    warm_up: Duration,
    duration: Duration,
) -> String {
    json!({
        "way": way.name(),
        "workload": workload.name(),
        "connections": connections,
        "warm_up_ms": warm_up.as_millis() as u64,
        "duration_ms": duration.as_millis() as u64,
    })
    .to_string()
}

fn answer_all<E: Engine + 'static>(
    runtime: &Runtime,
    local: &LocalSet,
    database: &[u32],
    engine: impl Fn(Way) -> Result<Rc<E>>,
) -> Result<()> {
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        let question = serde_json::from_str(&line?)?;
        let way = Way::from_str(text(&question, "way"), false).ok().context("a way")?;
        let engine = engine(way)?;
        println!("{}", local.block_on(runtime, answer(&engine, database, &question))?);
    }
    Ok(())
}

fn text<'a>(question: &'a Value, key: &str) -> &'a str {
    question[key].as_str().unwrap_or("")
}

async fn answer<E: Engine + 'static>(
    engine: &Rc<E>,
    database: &[u32],
    question: &Value,
) -> Result<Value> {
    let name = text(question, "workload");
    let workload = Workload::ALL.into_iter().find(|w| w.name() == name).context("a workload")?;
    let connections = question["connections"].as_u64().context("connections")?;
    let time = |key: &str| Duration::from_millis(question[key].as_u64().unwrap_or(0));
    let me = [std::process::id()];
    run(engine, workload, connections, time("warm_up_ms")).await?;
    let (before, database_before) = (cpu_time(&me), cpu_time(database));
    let started = Instant::now();
    let (requests, histogram) = run(engine, workload, connections, time("duration_ms")).await?;
    let elapsed = started.elapsed();
    Ok(json!({
        "requests": requests,
        "elapsed_ns": elapsed.as_nanos() as u64,
        "cpu_ns": cpu_time(&me).since(&before),
        "database_cpu_ns": cpu_time(database).since(&database_before),
        "p50_ns": histogram.percentile(50.0).as_nanos() as u64,
        "p99_ns": histogram.percentile(99.0).as_nanos() as u64,
    }))
}

async fn run<E: Engine + 'static>(
    engine: &Rc<E>,
    workload: Workload,
    connections: u64,
    duration: Duration,
) -> Result<(u64, Histogram)> {
    let until = Instant::now() + duration;
    let left = Arc::new(AtomicU64::new(workload.requests_max()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..connections {
        let engine = Rc::clone(engine);
        let left = Arc::clone(&left);
        tasks.spawn_local(async move {
            let mut histogram = Histogram::new();
            let mut requests = 0;
            let mut turn = 0;
            let take_one =
                || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            while Instant::now() < until && take_one().is_ok() {
                let loaded = engine.loaded();
                let index = match workload {
                    Workload::Get => scramble(scramble(number) ^ turn) % loaded,
                    _ => known_record(number, connections, turn % KNOWN_RECORDS, loaded),
                };
                let started = Instant::now();
                engine.step(workload, index).await?;
                histogram.record(started.elapsed());
                requests += 1;
                turn += 1;
            }
            anyhow::Ok((requests, histogram))
        });
    }
    let (mut requests, mut histogram) = (0, Histogram::new());
    while let Some(done) = tasks.join_next().await {
        let (more, durations) = done??;
        requests += more;
        histogram.merge(&durations);
    }
    Ok((requests, histogram))
}

// Hands rows to whoever writes for all, and waits until they are durable.
async fn write(jobs: &mpsc::Sender<Job>, rows: Vec<Row>) -> Result<()> {
    let (done, written) = tokio::sync::oneshot::channel();
    jobs.send(Job { rows, done }).await?;
    written.await.context("the writer failed")?;
    Ok(())
}

fn make_rows(first: u64, count: u64) -> Vec<Row> {
    (first..first + count).map(make_row).collect()
}

fn make_row(index: u64) -> Row {
    let mut row = Row { id: make_id(index), body: String::with_capacity(400) };
    write_record(&mut row.body, index);
    row
}

fn make_id(index: u64) -> String {
    let mut id = String::with_capacity(36);
    write_id(&mut id, index);
    id
}
