//! The engine underneath: the row work of each workload on plain rusqlite, with the tables,
//! the durability and the grouping of `nuage-store`, and nothing else: no HTTP, no JSON, no
//! judgement. What Nuage costs beyond it is what Nuage adds.
//!
//! Runs as a process that reads one measurement a line and prints what came out.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::histogram::Histogram;
use crate::process::cpu_time;
use crate::raw::rows::{Reader, Row, Writer};
use crate::workload::{
    BATCH_PUTS, KNOWN_RECORDS, Workload, known_record, scramble, write_id, write_record,
};

mod rows;

/// Requests that one commit takes at most, as in the store.
const GROUP_MAX: usize = 512;
/// Requests that wait for the writer at most.
const QUEUE_MAX: usize = 4_096;
/// Rows in one transaction while loading.
const LOAD_ROWS: u64 = 1_000;

/// Rows to write in one transaction, and who waits for it.
struct Job {
    rows: Vec<Row>,
    done: tokio::sync::oneshot::Sender<i64>,
}

/// What the clients share.
struct Shared {
    reader: Reader,
    jobs: mpsc::Sender<Job>,
    loaded: u64,
    next: AtomicU64,
}

/// Loads the records, says `ready`, then measures what is asked for on standard input.
pub(crate) fn serve(file: &Path, records: u64) -> Result<()> {
    let mut writer = Writer::open(file)?;
    let mut from = 0;
    while from < records {
        let to = records.min(from + LOAD_ROWS);
        let rows = (from..to).map(make_row).collect::<Vec<_>>();
        writer.transaction(|writer| writer.put(&rows).map(drop))?;
        from = to;
    }
    let reader = Reader::open(file)?;
    let (jobs, queue) = mpsc::channel(QUEUE_MAX);
    std::thread::spawn(move || write_groups(writer, queue));
    let next = AtomicU64::new(records);
    let shared = Arc::new(Shared { reader, jobs, loaded: records, next });
    println!("{}", json!({ "ready": true }));
    for line in std::io::stdin().lock().lines() {
        println!("{}", answer(&shared, &serde_json::from_str(&line?)?)?);
    }
    Ok(())
}

/// What to measure, as a line.
pub(crate) fn question(
    workload: Workload,
    connections: usize,
    warm_up: Duration,
    duration: Duration,
) -> String {
    json!({
        "workload": workload.name(),
        "connections": connections,
        "warm_up_ms": warm_up.as_millis() as u64,
        "duration_ms": duration.as_millis() as u64,
    })
    .to_string()
}

fn answer(shared: &Arc<Shared>, question: &Value) -> Result<Value> {
    let name = question["workload"].as_str().unwrap_or("");
    let workload = Workload::ALL.into_iter().find(|w| w.name() == name).context("a workload")?;
    let connections = question["connections"].as_u64().context("connections")?;
    let time = |key: &str| Duration::from_millis(question[key].as_u64().unwrap_or(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let me = [std::process::id()];
    local.block_on(&runtime, run(shared, workload, connections, time("warm_up_ms")))?;
    let before = cpu_time(&me);
    let started = Instant::now();
    let run = run(shared, workload, connections, time("duration_ms"));
    let (requests, histogram) = local.block_on(&runtime, run)?;
    let elapsed = started.elapsed();
    Ok(json!({
        "requests": requests,
        "elapsed_ns": elapsed.as_nanos() as u64,
        "cpu_ns": cpu_time(&me).since(&before),
        "p50_ns": histogram.percentile(50.0).as_nanos() as u64,
        "p99_ns": histogram.percentile(99.0).as_nanos() as u64,
    }))
}

async fn run(
    shared: &Arc<Shared>,
    workload: Workload,
    connections: u64,
    duration: Duration,
) -> Result<(u64, Histogram)> {
    let until = Instant::now() + duration;
    let left = Arc::new(AtomicU64::new(workload.requests_max()));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..connections {
        let shared = Arc::clone(shared);
        let left = Arc::clone(&left);
        tasks.spawn_local(async move {
            let mut histogram = Histogram::new();
            let mut requests = 0;
            let mut turn = 0;
            let take_one =
                || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
            while Instant::now() < until && take_one().is_ok() {
                let index = match workload {
                    Workload::Get => scramble(scramble(number) ^ turn) % shared.loaded,
                    _ => known_record(number, connections, turn % KNOWN_RECORDS, shared.loaded),
                };
                let started = Instant::now();
                shared.step(workload, index).await?;
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

impl Shared {
    async fn step(&self, workload: Workload, known: u64) -> Result<()> {
        match workload {
            Workload::Get | Workload::NotModified => self.reader.get(known)?,
            Workload::List => self.reader.list()?,
            Workload::Poll => self.reader.poll()?,
            Workload::Put => {
                let index = self.next.fetch_add(1, Ordering::Relaxed);
                return self.write(vec![make_row(index)]).await;
            }
            Workload::Update => {
                self.reader.get(known)?;
                return self.write(vec![make_row(known)]).await;
            }
            Workload::Batch => {
                let first = self.next.fetch_add(BATCH_PUTS, Ordering::Relaxed);
                return self.write((first..first + BATCH_PUTS).map(make_row).collect()).await;
            }
        }
        // Reads do not wait for anything: let the others have their turn.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn write(&self, rows: Vec<Row>) -> Result<()> {
        let (done, written) = tokio::sync::oneshot::channel();
        self.jobs.send(Job { rows, done }).await?;
        written.await.context("the writer failed")?;
        Ok(())
    }
}

fn make_row(index: u64) -> Row {
    let mut row = Row { id: String::with_capacity(36), body: String::with_capacity(400) };
    write_id(&mut row.id, index);
    write_record(&mut row.body, index);
    row
}

// Everything that waits goes into one transaction, and so into one fsync.
fn write_groups(mut writer: Writer, mut queue: mpsc::Receiver<Job>) -> Result<()> {
    let mut group = Vec::with_capacity(GROUP_MAX);
    while queue.blocking_recv_many(&mut group, GROUP_MAX) > 0 {
        let mut seqs = Vec::with_capacity(group.len());
        writer.transaction(|writer| {
            for job in &group {
                seqs.push(writer.put(&job.rows)?);
            }
            Ok(())
        })?;
        for (job, seq) in group.drain(..).zip(seqs) {
            let _ = job.done.send(seq);
        }
    }
    Ok(())
}
