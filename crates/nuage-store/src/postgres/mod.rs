//! The Store port on PostgreSQL: lanes that write, a pool of connections for reads, hints between
//! processes.
//!
//! Any number of processes may work on one database. Nothing is kept in memory that another
//! process could make wrong, except what a transaction has locked. Whatever takes a connection
//! keeps it for one statement or one transaction only, so that a pooler may be in between; only
//! hints need one that stays.

mod aside;
mod beat;
mod cells;
mod check;
mod connect;
mod copy;
mod errors;
mod group;
mod guess;
mod hints;
mod in_order;
mod lane;
mod lineage;
mod migrations;
mod moment;
mod pool;
mod read;
mod reader;
mod reads;
mod servers;
mod start;
mod statements;
#[cfg(test)]
mod tests;
mod tls;
mod url;
mod write;
mod write_set;

use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foldhash::fast::FixedState;
use nuage_model::copy::{Dump, Progress, Step};
use nuage_model::{
    Admin, ApplyError, Batch, Bodies, BucketId, CollectionPath, Finding, GroupPath, Head, Kind,
    Listener, MembershipQuery, Memberships, Outcome, Pace, Page, Pending, Principal, Query,
    ReaderFilter, Record, RecordPath, Snapshot, SnapshotHeader, SnapshotRequest, Store, StoreError,
    Tally, Total,
};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::feed;
use crate::list;
use crate::memberships::memberships;
use crate::places;
use crate::postgres::aside::Aside;
pub(crate) use crate::postgres::connect::Target;
use crate::postgres::group::Tools;
use crate::postgres::hints::Hints;
use crate::postgres::lane::{Answer, Job, Lane, Task};
use crate::postgres::lineage::Lineage;
use crate::postgres::pool::Pool;
use crate::postgres::reader::read;
use crate::postgres::start::Prepared;
use crate::pulse::Pulse;
use crate::reads::Reads;
use crate::records;
use crate::waiting::bucket_of;
use crate::{Options, Synchronous};

/// How a transaction that writes begins, whatever the session would do by itself: it sees what was
/// committed while it waited for a lock.
macro_rules! begin {
    ($more:literal) => {
        concat!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", $more)
    };
}
const BEGIN_FULL: &str = begin!("");
const BEGIN_STRICT: &str = begin!("; SET LOCAL synchronous_commit = on");
const BEGIN_NORMAL: &str = begin!("; SET LOCAL synchronous_commit = off");
/// How long closing waits for the writes that were asked for.
const CLOSING: Duration = Duration::from_secs(30);
/// How long a read of known rows may take before the database counts as not answering.
const ANSWER: Duration = Duration::from_secs(10);
/// How long counting all collections may take.
const TALLY: Duration = Duration::from_secs(30);
/// How many tasks apply what lanes set aside.
const ASIDE: usize = 3;

/// A store in a PostgreSQL database.
pub(crate) struct PostgresStore {
    pool: Arc<Pool>,
    list_ms: u64,
    lanes: Vec<mpsc::Sender<Job>>,
    aside: Arc<Aside>,
    writers: Arc<Pool>,
    begin: &'static str,
    hints: Arc<Hints>,
    lineage: Arc<Lineage>,
    pulse: Pulse,
    closed: AtomicBool,
}

impl PostgresStore {
    /// Checks the server, brings the tables to this version's form, and starts the lanes.
    pub(crate) async fn connect(target: &Target, options: &Options) -> Result<Self, StoreError> {
        let Prepared { target, is_lax } = start::prepare(target).await?;
        let target = &target;
        let lanes = options.writers.max(1);
        let pool = Arc::new(Pool::new(target, options.connections)?);
        let writers = Arc::new(Pool::new(target, lanes)?);
        Pool::pair(&pool, &writers);
        for pool in [&pool, &writers] {
            pool.begin().await;
            tokio::spawn(Pool::give_back(Arc::downgrade(pool)));
        }
        let hints = Arc::new(Hints::new(options.trust_ms));
        let begin = match options.synchronous {
            Synchronous::Full if is_lax => BEGIN_STRICT,
            Synchronous::Full => BEGIN_FULL,
            Synchronous::Normal => BEGIN_NORMAL,
        };
        let aside = Arc::new(Aside::new(options.queued_writes));
        let tools = Tools {
            pool: Arc::clone(&writers),
            hints: Arc::clone(&hints),
            begin,
            lineage: Arc::clone(target.lineage()),
        };
        let lineage = Arc::clone(target.lineage());
        for _ in 0..(options.connections / 2).clamp(1, ASIDE) {
            let tools = Tools { pool: Arc::clone(&pool), ..tools.clone() };
            tokio::spawn(Arc::clone(&aside).run(tools));
        }
        let queued = (options.queued_writes / lanes).max(1);
        let lanes = (0..lanes).map(|_| {
            let (jobs, queue) = mpsc::channel(queued);
            tokio::spawn(Lane::new(&tools, Arc::clone(&aside)).run(queue));
            jobs
        });
        let lanes = lanes.collect();
        tokio::spawn(Arc::clone(&hints).run(target.clone()));
        let (list_ms, closed) = (options.list_ms, AtomicBool::new(false));
        let pulse = Pulse::default();
        Ok(Self { pool, list_ms, lanes, aside, writers, begin, hints, lineage, pulse, closed })
    }

    async fn submit(&self, lane: usize, batch: Batch) -> Answer {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed.into());
        }
        let (reply, answer) = oneshot::channel();
        let begun = Instant::now();
        match self.lanes[lane].try_send(Job::Apply(Task { batch, reply, begun })) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let why = "too many writes wait for the database".to_owned();
                return Err(StoreError::Unavailable(why).into());
            }
            Err(TrySendError::Closed(_)) => return Err(StoreError::Closed.into()),
        }
        answer.await.unwrap_or_else(|_| {
            let why = "the writer ended before it answered".to_owned();
            Err(StoreError::Unknown(why).into())
        })
    }

    async fn read_heads(
        &self,
        collections: &[CollectionPath],
    ) -> Result<Vec<Option<Head>>, StoreError> {
        if collections.is_empty() {
            return Ok(Vec::new());
        }
        Ok(read!(self.pool, ANSWER, |reader| records::heads(reader, collections))?.1)
    }

    // What is written to one bucket goes one way, and so into one transaction.
    fn lane_of(&self, batch: &Batch) -> usize {
        let bucket = batch.writes.iter().find_map(bucket_of);
        let hash = FixedState::default().hash_one(bucket.map_or("", BucketId::as_str));
        usize::try_from(hash % self.lanes.len() as u64).unwrap_or(0)
    }
}

impl Store for PostgresStore {
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            Ok(read!(self.pool, ANSWER, |reader| records::get(reader, paths, bodies))?.1)
        })
    }

    fn list_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Page>, StoreError>> {
        Box::pin(async move {
            let within = Duration::from_millis(self.list_ms);
            let _slot = match (list::looks_quick(query), pace) {
                (true, _) => None,
                (false, Pace::Quick) => return Ok(None),
                (false, Pace::Patient) => Some(self.pool.slot(within).await?),
            };
            let page = read!(self.pool, within, |reader| list::list(reader, query, Pace::Patient));
            Ok(page?.1)
        })
    }

    fn count_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Total>, StoreError>> {
        Box::pin(async move {
            let within = Duration::from_millis(self.list_ms);
            let _slot = match (list::is_counted(query), pace) {
                (true, _) => None,
                (false, Pace::Quick) => return Ok(None),
                (false, Pace::Patient) => Some(self.pool.slot(within).await?),
            };
            let total =
                read!(self.pool, within, |reader| list::count(reader, query, Pace::Patient));
            Ok(total?.1)
        })
    }

    fn memberships<'a>(
        &'a self,
        query: &'a MembershipQuery,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Memberships>, StoreError>> {
        Box::pin(async move {
            let within = Duration::from_millis(self.list_ms);
            let _slot = match pace {
                Pace::Quick => None,
                Pace::Patient => Some(self.pool.slot(within).await?),
            };
            let asked =
                read!(self.pool, within, |reader| reader.begin(memberships(reader, query, pace)));
            Ok(asked?.1)
        })
    }

    fn standing<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<SnapshotHeader, StoreError>> {
        Box::pin(async move {
            let opening = read!(self.pool, ANSWER, |reader| feed::open(reader, ask))?.1;
            if let Some(standing) = &opening.standing {
                self.lineage.note_shown(&ask.collection, standing.head.seq);
            }
            Ok(opening)
        })
    }

    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
        most: usize,
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        Box::pin(async move {
            Ok(read!(self.pool, ANSWER, |reader| places::groups_of(reader, members, most))?.1)
        })
    }

    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        Box::pin(self.read_heads(collections))
    }

    fn snapshot<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<(SnapshotHeader, Box<dyn Snapshot + 'a>), StoreError>> {
        Box::pin(async move {
            let within = Duration::from_millis(self.list_ms);
            let (opening, moment) = moment::snapshot(&self.pool, ask, within).await?;
            if let Some(standing) = &opening.standing {
                self.lineage.note_shown(&ask.collection, standing.head.seq);
            }
            let moment: Box<dyn Snapshot + 'a> = Box::new(moment);
            Ok((opening, moment))
        })
    }

    fn note<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Option<String>, StoreError>> {
        Box::pin(async move { Ok(read!(self.pool, ANSWER, |reader| reader.note(name))?.1) })
    }

    fn listen(&self, listener: Listener) {
        self.hints.listen(listener);
    }

    fn collections<'a>(
        &'a self,
        whose: ReaderFilter<'a>,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        Box::pin(async move {
            let found =
                read!(self.pool, ANSWER, |reader| places::collections(reader, whose, after, limit));
            Ok(found?.1)
        })
    }

    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        let lane = self.lane_of(&batch);
        Box::pin(self.submit(lane, batch))
    }

    fn foreign_writes(&self) -> u64 {
        self.hints.moves()
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if self.closed.swap(true, Ordering::SeqCst) {
                return;
            }
            for lane in &self.lanes {
                let (reply, closed) = oneshot::channel();
                let ended = async {
                    if lane.send(Job::Close(reply)).await.is_ok() {
                        // An error means that the lane has ended already.
                        let _ = closed.await;
                    }
                };
                if tokio::time::timeout(CLOSING, ended).await.is_err() {
                    tracing::warn!("a writer did not end in time");
                }
            }
            if !self.aside.close(CLOSING).await {
                tracing::warn!("what was set aside was not written in time");
            }
            self.hints.stop();
            self.pool.close();
            self.writers.close();
        })
    }
}

impl Admin for PostgresStore {
    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>> {
        Box::pin(async move {
            let _slot = self.pool.slot(TALLY).await?;
            Ok(read!(self.pool, TALLY, |reader| places::tally(reader))?.1)
        })
    }

    fn ping(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.read_heads(&[CollectionPath::buckets()]).await?;
            self.pulse.beat(beat::beat(&self.writers, self.begin)).await
        })
    }

    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>> {
        Box::pin(async move { Ok(check::check(&self.pool).await?) })
    }

    fn backup<'a>(&'a self, _: &'a Path) -> Pending<'a, Result<(), StoreError>> {
        let why = "PostgreSQL makes its own copies: use pg_dump, or nuage copy for a SQLite file";
        Box::pin(std::future::ready(Err(StoreError::Unsupported(why.to_owned()))))
    }

    fn dump(&self) -> Pending<'_, Result<Box<dyn Dump>, StoreError>> {
        Box::pin(async { Ok(copy::dump(&self.pool).await?) })
    }

    fn load(&self, step: Step) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(copy::load(&self.pool, &step).await?) })
    }

    fn unfinished(&self) -> Pending<'_, Result<Option<Progress>, StoreError>> {
        Box::pin(async { Ok(copy::unfinished(&self.pool).await?) })
    }
}
