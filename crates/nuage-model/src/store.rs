//! The port behind which everything is kept.
//!
//! A store keeps records, sequences, residencies and memberships. It does not know what a
//! permission means, who is asking, or what a body says beyond what a [`Query`] compares.
//!
//! Laws that every store keeps, and that one contract suite tries on each:
//!
//! 1. Commit order equals the order of positions in a collection: who sees head H sees everything
//!    up to H.
//! 2. What [`Store::apply`] acknowledged survives a crash.
//! 3. A reader that starts after an acknowledgement sees what was acknowledged.
//! 4. Each record has exactly one residency at a time: the interval of positions in which it had
//!    one signature. An ended one is kept until the collection's horizon passes it.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use crate::copy::{Dump, Progress, Step};
use crate::{
    ApplyError, Batch, BucketId, CollectionPath, Head, Kind, Listener, MembershipQuery,
    Memberships, Moment, Outcome, Page, Principal, Query, ReaderFilter, Record, RecordId,
    RecordPath, SnapshotHeader, SnapshotRequest,
};

/// A boxed future: the port is used through `dyn Store`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The head of a collection, and how many of its records match.
pub type Total = (Option<Head>, u64);

/// Where everything is kept. Unless it says otherwise, a question fails as [`StoreError`] says, and
/// reads what was acknowledged before it was asked.
pub trait Store: Send + Sync {
    /// Checks the guards, then writes, in one transaction. Returns when it is durable, with one
    /// outcome for each write. It happens also if nobody waits for the answer any more.
    ///
    /// # Errors
    ///
    /// [`ApplyError::Conflict`] if a guard does not hold, and nothing was written. After
    /// [`StoreError::Unknown`] nobody knows whether anything was; after all others nothing was.
    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>>;

    /// The records at these paths, tombstones included, in one snapshot.
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>>;

    /// The heads of several collections, in that order; `None` of one that was never touched.
    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>>;

    /// One page of a list, with the head of the collection in the same snapshot.
    ///
    /// # Errors
    ///
    /// [`StoreError::TooSlow`] if it takes longer than a list may.
    fn list_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Page>, StoreError>>;

    /// How many records match, whatever the limit and the position of the query, with the head of
    /// the collection in the same snapshot.
    ///
    /// # Errors
    ///
    /// As [`Store::list_at`].
    fn count_at<'a>(
        &'a self,
        query: &'a Query,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Total>, StoreError>>;

    /// Which of some groups have which groups and members inside, all of one moment. `None` if it is
    /// more than can be found in a moment, and [`Pace::Quick`] was asked for.
    fn memberships<'a>(
        &'a self,
        query: &'a MembershipQuery,
        pace: Pace,
    ) -> Pending<'a, Result<Option<Memberships>, StoreError>>;

    /// The beginning of [`Store::snapshot`] alone.
    fn standing<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<SnapshotHeader, StoreError>>;

    /// The groups, of any bucket, that have one of these members: directly only, at most so many. In
    /// order.
    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
        most: usize,
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>>;

    /// Collections that were ever touched and hold something (live or dead), in order, after this
    /// one. Those of somebody may hold records that one of these principals may read: a hint, to
    /// be followed by a list of each.
    fn collections<'a>(
        &'a self,
        whose: ReaderFilter<'a>,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>>;

    /// A moment of the store, with what a page of a feed begins with.
    fn snapshot<'a>(
        &'a self,
        ask: &'a SnapshotRequest,
    ) -> Pending<'a, Result<Moment<'a>, StoreError>>;

    /// What [`crate::Write::Note`] noted last under this name.
    fn note<'a>(&'a self, name: &'a str) -> Pending<'a, Result<Option<String>, StoreError>>;

    /// Calls this one with the hints of other processes, from now on; a later listener replaces
    /// it.
    fn listen(&self, listener: Listener);

    /// A number that moves when somebody else than this value wrote to the data (another
    /// process), and that caches must be compared with. Costs nothing to ask.
    fn foreign_writes(&self) -> u64;

    /// What is asked of it as a whole.
    fn admin(&self) -> &dyn Admin;

    /// Waits for what was asked, then closes. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> Pending<'_, ()>;

    /// The head of one collection.
    fn head<'a>(
        &'a self,
        collection: &'a CollectionPath,
    ) -> Pending<'a, Result<Option<Head>, StoreError>> {
        Box::pin(async move {
            let heads = self.heads(std::slice::from_ref(collection)).await?;
            Ok(heads.into_iter().next().flatten())
        })
    }

    /// The same as [`Store::list_at`], however long it may take.
    fn list<'a>(&'a self, query: &'a Query) -> Pending<'a, Result<Page, StoreError>> {
        Box::pin(
            async move { self.list_at(query, Pace::Patient).await?.ok_or(StoreError::TooSlow) },
        )
    }

    /// The same as [`Store::count_at`], however long it may take.
    fn count<'a>(&'a self, query: &'a Query) -> Pending<'a, Result<Total, StoreError>> {
        Box::pin(
            async move { self.count_at(query, Pace::Patient).await?.ok_or(StoreError::TooSlow) },
        )
    }
}

/// A store as a whole: for its operator, and for copies.
pub trait Admin: Send + Sync {
    /// Whether it can read and write.
    fn ping(&self) -> Pending<'_, Result<(), StoreError>>;

    /// Live records and tombstones by kind.
    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>>;

    /// Everything that is wrong in the data; empty when nothing is.
    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>>;

    /// Writes a consistent copy of everything to a new file, while others read and write.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] with what to do instead where the database has its own means.
    fn backup<'a>(&'a self, to: &'a Path) -> Pending<'a, Result<(), StoreError>>;

    /// Everything as of one moment, to be read page after page.
    fn dump(&self) -> Pending<'_, Result<Box<dyn Dump>, StoreError>>;

    /// One step of a copy into this store, in one transaction.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unsupported`] if the store is not empty as the step says.
    fn load(&self, step: Step) -> Pending<'_, Result<(), StoreError>>;

    /// How far a copy into this store came that has not ended.
    fn unfinished(&self) -> Pending<'_, Result<Option<Progress>, StoreError>>;
}

/// How long somebody waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Not at all: there is none if it is not found in a moment, and it is to be asked for again
    /// when it is the turn of whoever asks.
    Quick,
    /// As long as a list may take.
    Patient,
}

/// Which bodies are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bodies {
    /// All of them.
    All,
    /// Small ones: those that cost no more to read than the row without them. The others are left
    /// out, see [`Record::lacks_body`]. For who must not notice how large a record is before it is
    /// known whether they may read it.
    Small,
}

/// A group of a bucket.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct GroupPath {
    /// The bucket that holds it.
    pub bucket: BucketId,
    /// Its name there.
    pub group: RecordId,
}

impl GroupPath {
    /// The principal that its members get.
    pub fn principal(&self) -> Principal {
        Principal::from(format!("/buckets/{}/groups/{}", self.bucket, self.group))
    }

    /// The group whose members get this principal, if it is that of a group.
    pub fn of_principal(principal: &str) -> Option<Self> {
        let (bucket, group) = principal.strip_prefix("/buckets/")?.split_once("/groups/")?;
        let is_name = |name: &str| !name.is_empty() && !name.contains('/');
        (is_name(bucket) && is_name(group))
            .then(|| Self { bucket: bucket.into(), group: group.into() })
    }
}

/// How many of a kind there are.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Alive.
    pub live: u64,
    /// Deleted and remembered.
    pub tombstones: u64,
}

/// Something wrong in the data, told in one sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding(pub String);

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a store may answer when it cannot. Texts are for the log, never for clients.
#[derive(Clone, Debug)]
pub enum StoreError {
    /// It cannot now and may later: the disk is full or fails, too much waits.
    Unavailable(String),
    /// A write was begun and no answer came: it happened, or it did not.
    Unknown(String),
    /// It took longer than a list or a count may.
    TooSlow,
    /// The data does not say what it must.
    Corrupt(String),
    /// The data was written by a newer version, or by something else.
    Unsupported(String),
    /// It was closed.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) => write!(f, "the storage is unavailable: {why}"),
            Self::Unknown(why) => write!(f, "it is not known whether it was written: {why}"),
            Self::TooSlow => f.write_str("the list took longer than it may"),
            Self::Corrupt(why) => write!(f, "the stored data is damaged: {why}"),
            Self::Unsupported(why) => f.write_str(why),
            Self::Closed => f.write_str("the storage is closed"),
        }
    }
}

impl std::error::Error for StoreError {}
