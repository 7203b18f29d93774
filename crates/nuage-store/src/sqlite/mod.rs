//! The Store port on one SQLite file: a writer thread, pools of readers, heads in memory.
//!
//! Short reads run on the calling thread, since a point read costs less than a change of
//! threads. Everything that may take longer runs on threads that may block.

mod backup;
mod check;
mod checkpoint;
mod copy;
mod deadline;
mod errors;
mod heads;
mod migrations;
mod open;
mod places;
mod query;
mod readers;
mod rows;
mod scan;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeMap;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use nuage_model::{
    ApplyError, Ask, Batch, BucketId, CollectionPath, Finding, GroupPath, Head, Kind, Listener,
    Opening, Outcome, Page, Pending, Principal, Query, Record, RecordPath, Rows, Seq, Snapshot,
    Store, StoreError, Tally, Timestamp,
};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot};

use crate::Options;
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::heads::Heads;
use crate::sqlite::query::Pace;
use crate::sqlite::readers::Readers;
use crate::sqlite::writer::{Answer, Job, Writer};

/// A store in one SQLite file.
pub(crate) struct SqliteStore {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    heads: Arc<Heads>,
    foreign_writes: Arc<AtomicU64>,
    closed: AtomicBool,
}

// What goes along to threads that may block.
struct Shared {
    path: PathBuf,
    options: Options,
    quick: Readers,
    patient: Readers,
    // As many as there are patient readers, so that no thread waits for one.
    slots: Arc<Semaphore>,
    list_ms: u64,
}

impl SqliteStore {
    /// Opens the file and starts the writer.
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, StoreError> {
        let heads = Arc::new(Heads::default());
        let foreign_writes = Arc::new(AtomicU64::new(0));
        let (jobs, queue) = sync_channel(options.queued_writes.max(1));
        let writer =
            Writer::open(path.to_owned(), options.clone(), heads.clone(), foreign_writes.clone())?;
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| StoreError::Unavailable(format!("no thread to write: {error}")))?;
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            options: options.clone(),
            quick: Readers::new(path, options.readers),
            patient: Readers::new(path, options.readers),
            slots: Arc::new(Semaphore::new(options.readers.max(1))),
            list_ms: options.list_ms,
        });
        Ok(Self { shared, jobs, heads, foreign_writes, closed: AtomicBool::new(false) })
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Fault>) -> Result<T, StoreError> {
        Ok(self.shared.quick.read(read)?)
    }

    fn snapshot<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        Ok(self.shared.quick.snapshot(read)?)
    }

    // On a thread that may block.
    async fn patiently<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection, &Deadline) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = self.shared.clone();
        let slot = shared.slots.clone().acquire_owned();
        let slot = tokio::time::timeout(Duration::from_millis(shared.list_ms), slot).await;
        let slot = slot.map_err(|_| StoreError::TooSlow)?;
        let read = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            let deadline = Deadline::after_ms(shared.list_ms);
            shared.patient.snapshot(|connection| read(connection, &deadline))
        });
        match read.await {
            Ok(answer) => Ok(answer?),
            Err(error) => Err(StoreError::Unavailable(format!("a read stopped: {error}"))),
        }
    }

    // On the calling thread, where `read` must stop early if it is not quick.
    fn quickly<T>(
        &self,
        read: impl FnOnce(&Connection, &Deadline) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        let deadline = Deadline::after_ms(self.shared.list_ms);
        self.snapshot(|connection| read(connection, &deadline))
    }

    fn read_head(&self, collection: &CollectionPath) -> Result<Option<Head>, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let since = match self.heads.get(collection) {
            Ok(head) => return Ok(Some(head)),
            Err(since) => since,
        };
        let head = self.read(|connection| query::head(connection, collection))?;
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
            let why = "the writer gave up before this batch".to_owned();
            Err(StoreError::Unavailable(why).into())
        })
    }

    async fn keep_text(&self, name: &str, value: &str) -> Result<String, StoreError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(StoreError::Closed);
        }
        let (reply, answer) = oneshot::channel();
        let job = Job::Keep { name: name.to_owned(), value: value.to_owned(), reply };
        self.jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => {
                StoreError::Unavailable("too many writes wait for the disk".to_owned())
            }
            TrySendError::Disconnected(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or_else(|_| {
            Err(StoreError::Unavailable("the writer gave up before this text".to_owned()))
        })
    }
}

impl Store for SqliteStore {
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>> {
        Box::pin(async move {
            let get_all = |connection: &Connection| {
                paths.iter().map(|path| scan::get(connection, path)).collect()
            };
            // One statement is a snapshot by itself.
            if paths.len() > 1 { self.snapshot(get_all) } else { self.read(get_all) }
        })
    }

    fn head<'a>(
        &'a self,
        collection: &'a CollectionPath,
    ) -> Pending<'a, Result<Option<Head>, StoreError>> {
        Box::pin(ready(self.read_head(collection)))
    }

    fn list<'a>(&'a self, query: &'a Query) -> Pending<'a, Result<Page, StoreError>> {
        Box::pin(async move {
            let quick = self.quickly(|c, deadline| query::list(c, query, Pace::Quick, deadline));
            if let Some(page) = quick? {
                return Ok(page);
            }
            let query = query.clone();
            let page =
                self.patiently(move |c, deadline| query::list(c, &query, Pace::Patient, deadline));
            page.await?.ok_or(StoreError::TooSlow)
        })
    }

    fn count<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<(Option<Head>, u64), StoreError>> {
        Box::pin(async move {
            let quick = self.quickly(|c, deadline| query::count(c, query, Pace::Quick, deadline));
            if let Some(count) = quick? {
                return Ok(count);
            }
            let query = query.clone();
            let count =
                self.patiently(move |c, deadline| query::count(c, &query, Pace::Patient, deadline));
            count.await?.ok_or(StoreError::TooSlow)
        })
    }

    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>> {
        Box::pin(async move { self.snapshot(|c| places::groups_of(c, members)) })
    }

    fn heads<'a>(
        &'a self,
        _collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>> {
        crate::unfinished()
    }

    fn snapshot<'a>(
        &'a self,
        _ask: &'a Ask,
    ) -> Pending<'a, Result<(Opening, Box<dyn Snapshot + 'a>), StoreError>> {
        crate::unfinished()
    }

    fn view<'a>(
        &'a self,
        _bucket: &'a BucketId,
        _person: &'a Principal,
        _name: [u8; 16],
    ) -> Pending<'a, Result<Option<Vec<Principal>>, StoreError>> {
        crate::unfinished()
    }

    fn overdue<'a>(
        &'a self,
        _collection: &'a CollectionPath,
        _before: Seq,
        _keep: u64,
        _limit: usize,
    ) -> Pending<'a, Result<Option<Seq>, StoreError>> {
        crate::unfinished()
    }

    fn lease<'a>(
        &'a self,
        _chore: &'a str,
        _holder: &'a str,
        _now: Timestamp,
        _until: Timestamp,
    ) -> Pending<'a, Result<bool, StoreError>> {
        crate::unfinished()
    }

    fn listen(&self, _listener: Listener) {}

    fn collections_of<'a>(
        &'a self,
        principals: &'a [Principal],
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        Box::pin(async move { self.snapshot(|c| places::collections_of(c, principals)) })
    }

    fn collections<'a>(
        &'a self,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>> {
        let after = after.cloned();
        Box::pin(self.patiently(move |c, _| places::collections(c, after.as_ref(), limit)))
    }

    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>> {
        Box::pin(self.submit(Some(batch)))
    }

    fn foreign_writes(&self) -> u64 {
        self.foreign_writes.load(Ordering::SeqCst)
    }

    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>> {
        Box::pin(self.patiently(|c, _| places::tally(c)))
    }

    fn ping(&self) -> Pending<'_, Result<(), StoreError>> {
        Box::pin(async move {
            self.read(|connection| query::head(connection, &CollectionPath::buckets()))?;
            match self.submit(None).await {
                Ok(_) => Ok(()),
                Err(ApplyError::Store(error)) => Err(error),
                Err(ApplyError::Conflict) => Err(StoreError::Unavailable("it is busy".to_owned())),
            }
        })
    }

    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>> {
        Box::pin(self.patiently(|c, _| check::check(c)))
    }

    fn backup<'a>(&'a self, to: &'a Path) -> Pending<'a, Result<(), StoreError>> {
        let (from, to) = (self.shared.path.clone(), to.to_owned());
        Box::pin(async move {
            if self.closed.load(Ordering::Relaxed) {
                return Err(StoreError::Closed);
            }
            match tokio::task::spawn_blocking(move || backup::copy(&from, &to)).await {
                Ok(copied) => Ok(copied?),
                Err(error) => Err(StoreError::Unavailable(format!("the copy stopped: {error}"))),
            }
        })
    }

    fn keep<'a>(
        &'a self,
        name: &'a str,
        value: &'a str,
    ) -> Pending<'a, Result<String, StoreError>> {
        Box::pin(self.keep_text(name, value))
    }

    fn rows(&self) -> &dyn Rows {
        self
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if self.closed.swap(true, Ordering::SeqCst) {
                return;
            }
            self.shared.quick.close();
            self.shared.patient.close();
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
