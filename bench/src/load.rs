//! The load driver: a closed loop on each connection, one request at a time, until the time is
//! over. The servers' CPU time is read while nothing is under way, so that all of it and nothing
//! else belongs to the requests counted.
//!
//! The driver never sleeps: it polls its sockets in a loop. Waking up a client that sleeps is work
//! of the kernel that would count as the server's, more of it the faster the client is; it would
//! hide what servers cost behind what the idle time of this driver costs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use tokio::task::JoinSet;

use crate::histogram::Histogram;
use crate::meter::{Meter, Traffic};
use crate::process::cpu_time;
use crate::servers::database::Database;
use crate::wire::{Answer, Connection};
use crate::workload::{
    BATCH_PUTS, COLLECTION, LIST_RECORDS, PASSWORD, Requests, USER, Workload, known_record,
    scramble,
};

/// How long a slow server may take to answer what is under way when the time is over.
const DRAIN_WAIT: Duration = Duration::from_secs(120);

/// A server, as its clients see it.
pub(crate) struct Target {
    /// One for each process that serves: connections are shared out evenly.
    addresses: Vec<SocketAddr>,
    /// The processes that serve, for their CPU time and memory.
    pub(crate) pids: Vec<u32>,
    /// The database that they use, a process as well.
    pub(crate) database: Option<u32>,
    /// What they reach their database through, if that is counted.
    meter: Option<Meter>,
    /// Records loaded before anything is measured; the first ones.
    loaded: AtomicU64,
    /// Number of the next new record.
    next: AtomicU64,
}

/// One measurement to take.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    pub(crate) connections: usize,
    pub(crate) warm_up: Duration,
    pub(crate) duration: Duration,
    /// Records whose ETags each connection learns first, for the conditional requests; at most
    /// [`crate::workload::KNOWN_RECORDS`].
    pub(crate) known_records: u64,
    /// Requests at most: bounds how far writes grow the data.
    pub(crate) requests_max: u64,
}

/// What came out.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
    pub(crate) elapsed: Duration,
    /// Of the database alone.
    pub(crate) database_nanos: u64,
    /// Of server and database.
    pub(crate) cpu_nanos: u64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Between server and database, where it was counted.
    pub(crate) traffic: Traffic,
}

/// An answer kept whole, for the floor to repeat.
pub(crate) struct Kept {
    pub(crate) head: Vec<u8>,
    pub(crate) body: Vec<u8>,
}

impl Target {
    pub(crate) fn new(addresses: Vec<SocketAddr>, pids: Vec<u32>) -> Self {
        let (loaded, next) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { addresses, pids, database: None, meter: None, loaded, next }
    }

    /// Counts the work of this database as the server's.
    pub(crate) fn on(self, database: &Database) -> Self {
        Self { database: Some(database.pid()), ..self }
    }

    /// The same data, served at another address by who reaches it through this meter.
    pub(crate) fn through(&self, address: SocketAddr, meter: Meter) -> Self {
        let target = Self::new(vec![address], Vec::new()).with_records(self.loaded());
        target.next.store(self.next.load(Ordering::Relaxed), Ordering::Relaxed);
        Self { meter: Some(meter), ..target }
    }

    /// Takes these to be loaded already.
    pub(crate) fn with_records(self, loaded: u64) -> Self {
        self.loaded.store(loaded, Ordering::Relaxed);
        self.next.store(loaded, Ordering::Relaxed);
        self
    }

    pub(crate) fn loaded(&self) -> u64 {
        self.loaded.load(Ordering::Relaxed)
    }

    /// Makes the bucket and the collection.
    pub(crate) async fn make_collection(&self) -> Result<()> {
        let bucket = "/buckets/bench";
        for path in [bucket, COLLECTION] {
            let (status, text) = self.request("PUT", path, "").await?;
            if status != 200 && status != 201 {
                bail!("PUT {path}: {status} {text}");
            }
        }
        Ok(())
    }

    /// One request outside the measurements.
    pub(crate) async fn request(
        &self,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<(u16, String)> {
        let mut connection = Connection::new(self.addresses[0]);
        let mut requests = self.requests(self.addresses[0]);
        let answer = connection.exchange(requests.plain(method, path, body)).await?;
        Ok((answer.status, String::from_utf8_lossy(answer.body).into_owned()))
    }

    /// Fills the collection through batches. Returns the time it took.
    pub(crate) async fn load(
        self: &Arc<Self>,
        records: u64,
        connections: usize,
    ) -> Result<Duration> {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            let target = Arc::clone(self);
            tasks.spawn(async move {
                let mut worker = Worker::new(target, Workload::Batch, number, connections);
                while worker.target.next.load(Ordering::Relaxed) < records {
                    worker.step().await;
                }
                worker.errors_or(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        self.loaded.store(records, Ordering::Relaxed);
        Ok(started.elapsed())
    }

    /// Runs one measurement.
    pub(crate) async fn measure(self: &Arc<Self>, plan: Plan) -> Result<Sample> {
        let mut workers = Vec::new();
        for number in 0..plan.connections {
            workers.push(Worker::new(Arc::clone(self), plan.workload, number, plan.connections));
        }
        let prepared = drive(workers, move |mut worker| async move {
            worker.learn(plan.known_records).await?;
            Ok(worker)
        });
        let workers = in_time(plan.warm_up, prepared).await?;
        let workers = run(workers, plan, plan.warm_up).await?;
        let workers: Vec<_> = workers.into_iter().map(Worker::forget_tally).collect();

        let awake = Awake::keep();
        let traffic = || self.meter.as_ref().map_or(Traffic::default(), Meter::traffic);
        let traffic_before = traffic();
        let database: Vec<u32> = self.database.into_iter().collect();
        let (before, database_before) = (cpu_time(&self.pids), cpu_time(&database));
        let started = Instant::now();
        let workers = run(workers, plan, plan.duration).await?;
        let elapsed = started.elapsed();
        let database_nanos = cpu_time(&database).since(&database_before);
        let cpu_nanos = cpu_time(&self.pids).since(&before) + database_nanos;
        let traffic = traffic().since(traffic_before);
        drop(awake);

        let mut histogram = Histogram::new();
        let (mut requests, mut errors) = (0, 0);
        for worker in &workers {
            histogram.merge(&worker.histogram);
            requests += worker.requests;
            errors += worker.errors;
        }
        if let Some(text) = workers.iter().find_map(|worker| worker.first_error.as_ref()) {
            eprintln!("  {}: {errors} of {requests} failed, for one: {text}", plan.workload.name());
        }
        let (p50, p99) = (histogram.percentile(50.0), histogram.percentile(99.0));
        Ok(Sample { requests, errors, elapsed, database_nanos, cpu_nanos, p50, p99, traffic })
    }

    /// Makes one request of a workload and keeps its answer.
    pub(crate) async fn keep_answer(self: &Arc<Self>, workload: Workload) -> Result<Kept> {
        let mut worker = Worker::new(Arc::clone(self), workload, 0, 1);
        worker.learn(1).await?;
        worker.keep = true;
        worker.step().await;
        worker.errors_or(())?;
        worker.kept.context("nothing was kept")
    }

    fn requests(&self, address: SocketAddr) -> Requests {
        let credentials = base64::prelude::BASE64_STANDARD.encode(format!("{USER}:{PASSWORD}"));
        Requests::new(&address.to_string(), &format!("Basic {credentials}"))
    }
}

/// Keeps the driver from sleeping while it lives.
pub(crate) struct Awake(tokio::task::AbortHandle);

impl Awake {
    pub(crate) fn keep() -> Self {
        let spin = tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        Self(spin.abort_handle())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One connection and what it knows.
struct Worker {
    target: Arc<Target>,
    connection: Connection,
    requests_of: Requests,
    workload: Workload,
    number: u64,
    workers: u64,
    random: u64,
    known: Vec<(u64, String)>,
    list_etag: String,
    turn: usize,
    histogram: Histogram,
    requests: u64,
    errors: u64,
    first_error: Option<String>,
    keep: bool,
    kept: Option<Kept>,
}

impl Worker {
    fn new(target: Arc<Target>, workload: Workload, number: usize, workers: usize) -> Self {
        let address = target.addresses[number % target.addresses.len()];
        Self {
            connection: Connection::new(address),
            requests_of: target.requests(address),
            target,
            workload,
            number: number as u64,
            workers: workers as u64,
            random: scramble(number as u64),
            known: Vec::new(),
            list_etag: String::new(),
            turn: 0,
            histogram: Histogram::new(),
            requests: 0,
            errors: 0,
            first_error: None,
            keep: false,
            kept: None,
        }
    }

    fn forget_tally(mut self) -> Self {
        self.histogram = Histogram::new();
        (self.requests, self.errors, self.first_error) = (0, 0, None);
        self
    }

    fn errors_or<T>(&self, value: T) -> Result<T> {
        match &self.first_error {
            None => Ok(value),
            Some(text) => bail!("{}: {text}", self.workload.name()),
        }
    }

    // Conditional requests need the ETags of records that no other connection changes.
    async fn learn(&mut self, known_records: u64) -> Result<()> {
        match self.workload {
            Workload::NotModified | Workload::Update => {
                let loaded = self.target.loaded();
                for turn in 0..known_records {
                    let index = known_record(self.number, self.workers, turn, loaded);
                    let request = self.requests_of.get(index, None);
                    let answer = self.connection.exchange(request).await?;
                    let etag = answer.etag.context("a record without an ETag")?;
                    self.known.push((index, etag.to_owned()));
                }
            }
            Workload::Poll => {
                let answer = self.connection.exchange(self.requests_of.list()).await?;
                answer.etag.context("a list without an ETag")?.clone_into(&mut self.list_etag);
            }
            _ => {}
        }
        Ok(())
    }

    // One request and its answer. Failures are counted, not ended with.
    async fn step(&mut self) {
        let place = self.turn;
        self.turn = (self.turn + 1) % self.known.len().max(1);
        let request = match self.workload {
            Workload::Get => {
                self.random = scramble(self.random);
                self.requests_of.get(self.random % self.target.loaded(), None)
            }
            Workload::NotModified => {
                let (index, etag) = &self.known[place];
                self.requests_of.get(*index, Some(etag))
            }
            Workload::List => self.requests_of.list(),
            Workload::Poll => self.requests_of.poll(&self.list_etag),
            Workload::Put => {
                self.requests_of.put(self.target.next.fetch_add(1, Ordering::Relaxed), None)
            }
            Workload::Update => {
                let (index, etag) = &self.known[place];
                self.requests_of.put(*index, Some(etag))
            }
            Workload::Batch => {
                let first = self.target.next.fetch_add(BATCH_PUTS, Ordering::Relaxed);
                self.requests_of.batch(first)
            }
        };
        let started = Instant::now();
        let result = self.connection.exchange(request).await;
        self.histogram.record(started.elapsed());
        self.requests += 1;
        match result {
            Ok(answer) if is_done(self.workload, &answer) => {
                if self.workload == Workload::Update {
                    answer.etag.unwrap_or("").clone_into(&mut self.known[place].1);
                }
                if self.keep {
                    self.kept =
                        Some(Kept { head: answer.head.to_vec(), body: answer.body.to_vec() });
                }
            }
            Ok(answer) => {
                let text = String::from_utf8_lossy(answer.body);
                let start: String = text.chars().take(300).collect();
                self.first_error.get_or_insert(format!("status {}: {start}", answer.status));
                self.errors += 1;
            }
            Err(error) => {
                self.first_error.get_or_insert(error.to_string());
                self.errors += 1;
            }
        }
    }
}

fn is_done(workload: Workload, answer: &Answer<'_>) -> bool {
    answer.status == workload.status() && workload.is_done(answer.body)
}

async fn run(workers: Vec<Worker>, plan: Plan, duration: Duration) -> Result<Vec<Worker>> {
    let until = Instant::now() + duration;
    let left = Arc::new(AtomicU64::new(plan.requests_max));
    let all = drive(workers, move |mut worker| {
        let left = Arc::clone(&left);
        async move {
            while Instant::now() < until && take_one(&left) {
                worker.step().await;
            }
            Ok(worker)
        }
    });
    in_time(duration, all).await
}

fn take_one(left: &AtomicU64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

async fn drive<F, Made>(workers: Vec<Worker>, make: F) -> Result<Vec<Worker>>
where
    F: Fn(Worker) -> Made,
    Made: Future<Output = Result<Worker>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for worker in workers {
        tasks.spawn(make(worker));
    }
    let mut done = Vec::new();
    while let Some(worker) = tasks.join_next().await {
        done.push(worker??);
    }
    Ok(done)
}

async fn in_time<T>(duration: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(duration + DRAIN_WAIT, work)
        .await
        .with_context(|| format!("no answer for {DRAIN_WAIT:?}"))?
}

/// A page must be there before it can be asked for.
pub(crate) const RECORDS_MIN: u64 = LIST_RECORDS * 10;
