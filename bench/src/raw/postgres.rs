//! The row work on plain tokio-postgres: reads of all share a few connections, and those who
//! write go by one of several [`Way`]s, so that the ways can be compared.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use tokio::sync::mpsc;

use crate::raw::postgres::session::{Applied, Session};
use crate::raw::{
    Engine, GROUP_MAX, Job, LOAD_ROWS, QUEUE_MAX, make_id, make_row, make_rows, write,
};
use crate::workload::{BATCH_PUTS, Workload};

mod session;

/// Connections that reads share.
const READERS: usize = 8;
/// Connections that write, where each request has a transaction of its own.
const LANES: usize = 8;

/// How rows are written. All but the blind ones first lock the collection and read what is there,
/// as whoever judges must: two round trips.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Way {
    /// What waits goes into one transaction; a few statements that take arrays.
    Grouped,
    /// The same, all in one data-modifying statement.
    GroupedOne,
    /// The same, a statement for each row, pipelined.
    GroupedSingles,
    /// A transaction for each request; a statement for each row, pipelined.
    Singles,
    /// A transaction for each request; a few statements that take arrays.
    Arrays,
    /// What waits goes into one statement that judges nothing: one round trip.
    GroupedBlind,
    /// A statement for each request that judges nothing: one round trip.
    Blind,
}

impl Way {
    pub(crate) const ALL: [Self; 7] = [
        Self::Grouped,
        Self::GroupedOne,
        Self::GroupedSingles,
        Self::Singles,
        Self::Arrays,
        Self::GroupedBlind,
        Self::Blind,
    ];

    /// Its name between the benchmark's processes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Grouped => "grouped",
            Self::GroupedOne => "grouped-one",
            Self::GroupedSingles => "grouped-singles",
            Self::Singles => "singles",
            Self::Arrays => "arrays",
            Self::GroupedBlind => "grouped-blind",
            Self::Blind => "blind",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Grouped => "grouped; lock and read, then a few statements with arrays",
            Self::GroupedOne => "grouped; lock and read, then one statement (CTE) with arrays",
            Self::GroupedSingles => "grouped; lock and read, then one upsert per row, pipelined",
            Self::Singles => "each by itself; lock and read, then one upsert per row, pipelined",
            Self::Arrays => "each by itself; lock and read, then a few statements with arrays",
            Self::GroupedBlind => "grouped; one statement (CTE), nothing read or judged",
            Self::Blind => "each by itself; one statement (CTE), nothing read or judged",
        }
    }

    fn group_max(self) -> usize {
        match self {
            Self::Singles | Self::Arrays | Self::Blind => 1,
            _ => GROUP_MAX,
        }
    }
}

/// A database with connections that read and connections that write.
pub(super) struct Postgres {
    readers: Vec<Session>,
    lanes: Vec<mpsc::Sender<Job>>,
    way: Rc<Cell<Way>>,
    turn: Cell<usize>,
    loaded: u64,
    next: Cell<u64>,
}

impl Postgres {
    /// Connects, makes the tables and fills them, unless they are there.
    pub(super) async fn open(url: &str, records: u64) -> Result<Self> {
        let loader = Session::open(url).await?;
        let mut next = loader.count_records().await?;
        let way = Rc::new(Cell::new(Way::Grouped));
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            let session = Session::open(url).await?;
            let (jobs, queue) = mpsc::channel(QUEUE_MAX);
            tokio::task::spawn_local(write_groups(session, queue, Rc::clone(&way)));
            lanes.push(jobs);
        }
        while next < records {
            write(&lanes[0], make_rows(next, LOAD_ROWS.min(records - next))).await?;
            next += LOAD_ROWS.min(records - next);
        }
        loader.vacuum().await?;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(Session::open(url).await?);
        }
        let turn = Cell::new(0);
        Ok(Self { readers, lanes, way, turn, loaded: records, next: Cell::new(next) })
    }

    /// From now on.
    pub(super) fn set_way(&self, way: Way) {
        self.way.set(way);
    }

    async fn write(&self, rows: Vec<crate::raw::Row>) -> Result<()> {
        let alone = self.way.get().group_max() == 1;
        let lane = if alone { self.next_turn() % LANES } else { 0 };
        write(&self.lanes[lane], rows).await
    }

    fn reader(&self) -> &Session {
        &self.readers[self.next_turn() % READERS]
    }

    fn next_turn(&self) -> usize {
        self.turn.replace(self.turn.get().wrapping_add(1))
    }

    fn take_new(&self, count: u64) -> u64 {
        self.next.replace(self.next.get() + count)
    }
}

impl Engine for Postgres {
    async fn step(&self, workload: Workload, index: u64) -> Result<()> {
        match workload {
            Workload::Get | Workload::NotModified => self.reader().get(&make_id(index)).await,
            Workload::List => self.reader().list().await,
            Workload::Poll => self.reader().poll().await,
            Workload::Put => self.write(vec![make_row(self.take_new(1))]).await,
            Workload::Update => self.write(vec![make_row(index)]).await,
            Workload::Batch => self.write(make_rows(self.take_new(BATCH_PUTS), BATCH_PUTS)).await,
        }
    }

    fn loaded(&self) -> u64 {
        self.loaded
    }
}

// Everything that waits goes into one transaction, if that is the way, and so into one fsync.
async fn write_groups(
    session: Session,
    mut queue: mpsc::Receiver<Job>,
    way: Rc<Cell<Way>>,
) -> Result<()> {
    while let Some(job) = queue.recv().await {
        let way = way.get();
        let mut group = vec![job];
        while group.len() < way.group_max()
            && let Ok(job) = queue.try_recv()
        {
            group.push(job);
        }
        let rows: Vec<_> = group.iter().flat_map(|job| &job.rows).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as i64;
        let seq = match way {
            Way::GroupedBlind | Way::Blind => session.write_blindly(&rows, now).await,
            Way::GroupedSingles | Way::Singles => session.write(&rows, now, Applied::Singly).await,
            Way::GroupedOne => session.write(&rows, now, Applied::InOne).await,
            Way::Grouped | Way::Arrays => session.write(&rows, now, Applied::InArrays).await,
        };
        // Who waits is told that the writer failed; why, the log says.
        let seq = seq.inspect_err(|error| eprintln!("{}: {error:#}", way.name()))?;
        for job in group {
            let _ = job.done.send(seq);
        }
    }
    Ok(())
}
