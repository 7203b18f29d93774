//! The Store port on one SQLite file: a writer thread, pools of readers, heads in memory.
//!
//! Short reads run on the calling thread, since a point read costs less than a change of
//! threads. Everything that may take longer runs on threads that may block.

mod backup;
mod cells;
mod check;
mod checkpoint;
mod copy;
mod damage;
mod deadline;
mod dropped;
mod errors;
mod foreign;
mod heads;
mod identity;
mod mark;
mod migrations;
mod open;
mod readers;
mod reads;
mod room;
mod salvage;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use nuage_model::copy::{Dump, Progress, Step};
use nuage_model::{
    Admin, ApplyError, Batch, Bodies, CollectionPath, Finding, GroupPath, Head, Kind, Listener,
    MembershipQuery, Memberships, Outcome, Pace, Page, Pending, Principal, Query, ReaderFilter,
    Record, RecordPath, Snapshot, SnapshotHeader, SnapshotRequest, Store, StoreError, Tally, Total,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::feed::{self, Hold, Moment};
use crate::list;
use crate::memberships::memberships;
use crate::places;
use crate::pulse::Pulse;
use crate::reads::Reads;
use crate::records;
use crate::sqlite::damage::Damage;
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::foreign::Foreign;
use crate::sqlite::heads::Heads;
use crate::sqlite::identity::Identity;
use crate::sqlite::open::Way;
use crate::sqlite::readers::{Readers, Source};
use crate::sqlite::reads::{Look, answer};
use crate::sqlite::writer::{Answer, Job, Told, Writer};
use crate::{Lost, Options};

/// Groups of somebody that are read on the spot.
const FEW_GROUPS: usize = 1_024;

/// A store in one SQLite file.
pub(crate) struct SqliteStore {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    heads: Arc<Heads>,
    foreign: Arc<Foreign>,
    /// None where nothing is written.
    identity: Option<Arc<Identity>>,
    pulse: Pulse,
    closed: AtomicBool,
}

// What goes along to threads that may block.
struct Shared {
    path: PathBuf,
    way: Way,
    damage: Arc<Damage>,
    options: Options,
    quick: Readers,
    patient: Readers,
    // As many as there are readers in the pool, so that no thread waits for one.
    slots: Arc<Semaphore>,
    feeds: Readers,
    feed_slots: Arc<Semaphore>,
    list_ms: u64,
}

impl Shared {
    fn new(source: Source, options: &Options) -> Self {
        Self {
            quick: Readers::new(&source, options.readers),
            patient: Readers::new(&source, options.readers),
            slots: Arc::new(Semaphore::new(options.readers.max(1))),
            feeds: Readers::new(&source, options.readers),
            feed_slots: Arc::new(Semaphore::new(options.readers.max(1))),
            list_ms: options.list_ms,
            options: options.clone(),
            path: source.path,
            way: source.way,
            damage: source.damage,
        }
    }

    async fn slot(&self, slots: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, StoreError> {
        let slot = slots.clone().acquire_owned();
        let slot = tokio::time::timeout(Duration::from_millis(self.list_ms), slot).await;
        slot.map_err(|_| StoreError::TooSlow)?.map_err(|_| StoreError::Closed)
    }
}

/// Writes what can be read of a damaged file to a new one; tells what cannot.
pub(crate) fn salvage(path: &Path, to: &Path) -> Result<Vec<Lost>, StoreError> {
    Ok(salvage::salvage(path, to)?)
}

impl SqliteStore {
    /// Opens the file and starts the writer.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let heads = Arc::new(Heads::default());
        let foreign = Arc::new(Foreign::default());
        let (jobs, queue) = sync_channel(options.queued_writes.max(1));
        let damage = Damage::of(path.to_owned());
        let told = Told { heads: heads.clone(), foreign: foreign.clone(), damage: damage.clone() };
        let writer = Writer::open(path.to_owned(), options.clone(), told)?;
        let identity = Some(writer.identity());
        let source =
            Source { path: path.to_owned(), way: Way::Shared, identity: identity.clone(), damage };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Unavailable(format!("no thread to write: {error}")))?;
        let shared = Arc::new(Shared::new(source, options));
        let (pulse, closed) = (Pulse::default(), AtomicBool::new(false));
        Ok(Self { shared, jobs, heads, foreign, identity, pulse, closed })
    }

    /// Opens the file only to read, where nothing may be written: nothing can be applied.
    pub(crate) fn look(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let way = open::look(path)?;
        let damage = Damage::of(path.to_owned());
        let source = Source { path: path.to_owned(), way, identity: None, damage };
        // Nobody takes what is asked of the writer.
        let (jobs, _) = sync_channel(1);
        let shared = Arc::new(Shared::new(source, options));
        let (heads, foreign) = (Arc::default(), Arc::default());
        let (pulse, closed) = (Pulse::default(), AtomicBool::new(false));
        Ok(Self { shared, jobs, heads, foreign, identity: None, pulse, closed })
    }

    // On the calling thread, which must not be kept for long.
    fn at_once<T>(
        &self,
        read: impl AsyncFnOnce(&Look<'_>) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let deadline = Deadline::after_ms(self.shared.list_ms);
        let look = Look::new(self.shared.quick.get()?, deadline);
        Ok(answer(read(&look))?)
    }

    // On a thread that may block, until whoever asks waits no longer.
    async fn patiently<T: Send + 'static>(
        &self,
        read: impl AsyncFnOnce(&Look<'_>) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        let slot = shared.slot(&shared.slots).await?;
        // Dropped with this future: a thread that walks does not end with who waits for it.
        let waiting = Arc::new(());
        let deadline = Deadline::after_ms(shared.list_ms).while_held(&waiting);
        let read = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            answer(read(&Look::new(shared.patient.get()?, deadline)))
        });
        match read.await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(StoreError::Unavailable(format!("a read stopped: {error}"))),
        }
    }

    // On a thread that may block, with a connection of its own, for as long as it takes.
    async fn aside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done?),
            Err(error) => Err(StoreError::Unavailable(format!("it stopped: {error}"))),
        }
    }

    fn read_head(&self, collection: &CollectionPath) -> Result<Option<Head>, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let since = match self.heads.get(collection) {
            Ok(head) => return Ok(Some(head)),
            Err(since) => since,
        };
        let paths = std::slice::from_ref(collection);
        let head = self.at_once(async |look| records::heads(look, paths).await)?;
        let head = head.into_iter().flatten().next();
        if let Some(head) = head {
            self.heads.learn(collection, head, since);
        }
        Ok(head)
    }

    async fn submit(&self, batch: Option<Batch>) -> Answer {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed.into());
        }
        let (reply, answer) = oneshot::channel();
        match self.jobs.try_send(Job::Apply(batch, reply)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                let why = "too many writes wait for the disk".to_owned();
                return Err(StoreError::Unavailable(why).into());
            }
            Err(TrySendError::Disconnected(_)) => return Err(StoreError::Closed.into()),
        }
        answer.await.unwrap_or_else(|_| {
            let why = "the writer ended before it answered".to_owned();
            Err(StoreError::Unknown(why).into())
        })
    }
}

/// What a moment of a feed is read with.
struct Held<'a> {
    // Goes back before its slot does, since fields are dropped in this order.
    look: Look<'a>,
    _slot: OwnedSemaphorePermit,
    list_ms: u64,
}

impl<'a> Hold for Held<'a> {
    type Reads = Look<'a>;

    fn reads(&self) -> Result<&Look<'a>, StoreError> {
        Ok(&self.look)
    }

    async fn within<T: Send>(
        &self,
        asked: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Option<Result<T, Fault>> {
        self.look.until(Deadline::after_ms(self.list_ms));
        Some(asked.await)
    }

    fn settle<T>(&mut self, answer: Option<Result<T, Fault>>) -> Result<T, StoreError> {
        Ok(answer.ok_or(StoreError::TooSlow)??)
    }
}

impl Store for SqliteStore {
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            self.at_once(async |look| {
                let asked = records::get(look, paths, bodies);
                // One statement is of one moment by itself.
                if paths.len() > 1 { look.begin(asked).await } else { asked.await }
            })
        })
    }

    fn list_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Page>, StoreError>> {
        Box::pin(async move {
            let quick = self.at_once(async |look| list::list(look, query, Pace::Quick).await)?;
            if quick.is_some() || pace == Pace::Quick {
                return Ok(quick);
            }
            let query = query.clone();
            let list = async move |look: &Look<'_>| list::list(look, &query, Pace::Patient).await;
            self.patiently(list).await
        })
    }

    fn count_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Total>, StoreError>> {
        Box::pin(async move {
            let quick = self.at_once(async |look| list::count(look, query, Pace::Quick).await)?;
            if quick.is_some() || pace == Pace::Quick {
                return Ok(quick);
            }
            let query = query.clone();
            let count = async move |look: &Look<'_>| list::count(look, &query, Pace::Patient).await;
            self.patiently(count).await
        })
    }

    fn memberships<'a>(
        &'a self,
        query: &'a MembershipQuery,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Memberships>, StoreError>> {
        Box::pin(async move {
            let quick =
                self.at_once(async |look| look.begin(memberships(look, query, Pace::Quick)).await)?;
            if quick.is_some() || pace == Pace::Quick {
                return Ok(quick);
            }
            let query = query.clone();
            self.patiently(async move |look: &Look<'_>| {
                look.begin(memberships(look, &query, Pace::Patient)).await
            })
            .await
        })
    }

    fn standing<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<SnapshotHeader, StoreError>> {
        Box::pin(ready(self.at_once(async |look| feed::open(look, ask).await)))
    }

    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
        most: usize,
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        let members = members.to_vec();
        let groups = async move |look: &Look<'_>| places::groups_of(look, &members, most).await;
        Box::pin(async move {
            match most {
                ..=FEW_GROUPS => self.at_once(groups),
                _ => self.patiently(groups).await,
            }
        })
    }

    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        Box::pin(async move { collections.iter().map(|path| self.read_head(path)).collect() })
    }

    fn snapshot<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<(SnapshotHeader, Box<dyn Snapshot + 'a>), StoreError>> {
        Box::pin(async move {
            let slot = self.shared.slot(&self.shared.feed_slots).await?;
            let list_ms = self.shared.list_ms;
            let look = Look::new(self.shared.feeds.get()?, Deadline::after_ms(list_ms));
            let opening = answer(feed::open(&look, ask))?;
            let moment = Moment::new(Held { look, _slot: slot, list_ms }, ask.collection.clone());
            Ok((opening, Box::new(moment) as Box<dyn Snapshot>))
        })
    }

    fn note<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Option<String>, StoreError>> {
        Box::pin(ready(self.at_once(async |look| look.note(name).await)))
    }

    fn listen(&self, listener: Listener) {
        self.foreign.listen(listener);
    }

    fn collections<'a>(
        &'a self,
        whose: ReaderFilter<'a>,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        let principals = match whose {
            ReaderFilter::All => None,
            ReaderFilter::Of(principals) => Some(principals.to_vec()),
        };
        let after = after.cloned();
        Box::pin(self.patiently(async move |look: &Look<'_>| {
            let whose = principals.as_deref().map_or(ReaderFilter::All, ReaderFilter::Of);
            places::collections(look, whose, after.as_ref(), limit).await
        }))
    }

    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        Box::pin(self.submit(Some(batch)))
    }

    fn foreign_writes(&self) -> u64 {
        self.foreign.count()
    }

    fn admin(&self) -> &dyn Admin {
        self
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if self.closed.swap(true, Ordering::SeqCst) {
                return;
            }
            self.shared.quick.close();
            self.shared.patient.close();
            self.shared.feeds.close();
            let (reply, closed) = oneshot::channel();
            let jobs = self.jobs.clone();
            let asked = tokio::task::spawn_blocking(move || jobs.send(Job::Close(reply)).is_ok());
            if asked.await.unwrap_or(false) {
                // An error means that the writer has ended already.
                let _ = closed.await;
            }
        })
    }
}

impl Admin for SqliteStore {
    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>> {
        Box::pin(self.patiently(async |look: &Look<'_>| places::tally(look).await))
    }

    fn ping(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let paths = [CollectionPath::buckets()];
            self.at_once(async |look| records::heads(look, &paths).await)?;
            self.shared.damage.expect_none()?;
            self.identity.as_ref().map_or(Ok(()), |identity| identity.expect())?;
            self.pulse.beat(self.submit(None)).await
        })
    }

    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>> {
        let (path, way) = (self.shared.path.clone(), self.shared.way);
        Box::pin(self.aside(move || check::check(&open::reader(&path, way)?)))
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Pending<'a, Result<(), StoreError>> {
        let (from, way, to) = (self.shared.path.clone(), self.shared.way, to.to_owned());
        Box::pin(self.aside(move || backup::copy(&from, way, &to)))
    }

    fn dump(&self) -> Pending<'_, Result<Box<dyn Dump>, StoreError>> {
        Box::pin(self.begin_dump())
    }

    fn load(&self, step: Step) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(self.load_step(step))
    }

    fn unfinished(&self) -> Pending<'_, Result<Option<Progress>, StoreError>> {
        Box::pin(self.unfinished_copy())
    }
}
