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

use crate::{
    ApplyError, Ask, Batch, BucketId, CollectionPath, Head, Kind, Listener, Moment, Outcome, Page,
    Principal, Query, Record, RecordId, RecordPath, Rows, Seq, Timestamp,
};

/// A boxed future: the port is used through `dyn Store`.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The head of a collection, and how many of its records match.
pub type Total = (Option<Head>, u64);

/// Where everything is kept.
pub trait Store: Send + Sync {
    /// The records at these paths, tombstones included, in one snapshot.
    fn get<'a>(
        &'a self,
        paths: &'a [RecordPath],
        bodies: Bodies,
    ) -> Pending<'a, Result<Vec<Option<Record>>, StoreError>>;

    /// The head of a collection; `None` if it was never touched.
    fn head<'a>(
        &'a self,
        collection: &'a CollectionPath,
    ) -> Pending<'a, Result<Option<Head>, StoreError>>;

    /// One page of a list, with the head of the collection in the same snapshot.
    fn list<'a>(&'a self, query: &'a Query) -> Pending<'a, Result<Page, StoreError>>;

    /// The same as [`Store::list`], if it is found in a moment. Otherwise `None`: to be listed when
    /// it is the turn of whoever asks.
    fn list_at_once<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<Option<Page>, StoreError>>;

    /// The same of [`Store::count`].
    fn count_at_once<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<Option<Total>, StoreError>>;

    /// How many records match, whatever the limit and the position of the query, with the head of
    /// the collection in the same snapshot.
    fn count<'a>(
        &'a self,
        query: &'a Query,
    ) -> Pending<'a, Result<(Option<Head>, u64), StoreError>>;

    /// The groups, of any bucket, that have one of these members: directly only.
    fn groups_of<'a>(
        &'a self,
        members: &'a [Principal],
    ) -> Pending<'a, Result<Vec<GroupPath>, StoreError>>;

    /// The heads of several collections, in that order.
    fn heads<'a>(
        &'a self,
        collections: &'a [CollectionPath],
    ) -> Pending<'a, Result<Vec<Option<Head>>, StoreError>>;

    /// A moment of the store, with what a page of a feed begins with.
    fn snapshot<'a>(&'a self, ask: &'a Ask) -> Pending<'a, Result<Moment<'a>, StoreError>>;

    /// The groups that [`crate::Write::KeepView`] kept for a person under this name.
    fn view<'a>(
        &'a self,
        bucket: &'a BucketId,
        person: &'a Principal,
        name: [u8; 16],
    ) -> Pending<'a, Result<Option<Vec<Principal>>, StoreError>>;

    /// How far the horizon of a collection may move in one step, if at all: so that at most
    /// `limit` tombstones and ended residencies go, all of them of up to `before`, or more than
    /// `keep` of them in all. What position was reached when is told by the position, which is a
    /// time, and by [`crate::Write::Mark`]. In order of positions, the oldest go first.
    fn overdue<'a>(
        &'a self,
        collection: &'a CollectionPath,
        before: Timestamp,
        keep: u64,
        limit: usize,
    ) -> Pending<'a, Result<Option<Seq>, StoreError>>;

    /// Takes or prolongs the right to do a chore until then, of whichever process asks first; false
    /// while another one holds it.
    fn lease<'a>(
        &'a self,
        chore: &'a str,
        holder: &'a str,
        now: Timestamp,
        until: Timestamp,
    ) -> Pending<'a, Result<bool, StoreError>>;

    /// Calls this one with the hints of other processes, from now on; a later listener replaces
    /// it.
    fn listen(&self, listener: Listener);

    /// The collections that may hold records whose readers include one of these principals, in
    /// order, after this one: a hint, to be followed by a list of each.
    fn collections_of<'a>(
        &'a self,
        principals: &'a [Principal],
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>>;

    /// Collections that were ever touched and hold something (live or dead), in order, after this
    /// one: for export, copies and integrity.
    fn collections<'a>(
        &'a self,
        after: Option<&'a CollectionPath>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<CollectionPath>, StoreError>>;

    /// Checks the guards, then writes, in one transaction. Returns when it is durable, with one
    /// outcome for each write.
    fn apply(&self, batch: Batch) -> Pending<'_, Result<Vec<Outcome>, ApplyError>>;

    /// A number that moves when somebody else than this value wrote to the data (another
    /// process), and that caches must be compared with. Costs nothing to ask.
    fn foreign_writes(&self) -> u64;

    /// Live records and tombstones by kind.
    fn tally(&self) -> Pending<'_, Result<BTreeMap<Kind, Tally>, StoreError>>;

    /// Whether it can read and write.
    fn ping(&self) -> Pending<'_, Result<(), StoreError>>;

    /// Everything that is wrong in the data; empty when nothing is.
    fn check(&self) -> Pending<'_, Result<Vec<Finding>, StoreError>>;

    /// Writes a consistent copy of everything to a new file, while others read and write.
    fn backup<'a>(&'a self, to: &'a Path) -> Pending<'a, Result<(), StoreError>>;

    /// Keeps a short text under a name unless one is kept there already, and gives what is kept:
    /// for secrets that all processes on the same data must share.
    fn keep<'a>(&'a self, name: &'a str, value: &'a str)
    -> Pending<'a, Result<String, StoreError>>;

    /// The same store as rows, to be copied to another one or from there.
    fn rows(&self) -> &dyn Rows;

    /// Waits for what was asked, then closes. Later calls fail with [`StoreError::Closed`].
    fn close(&self) -> Pending<'_, ()>;
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
            Self::TooSlow => f.write_str("the list took longer than it may"),
            Self::Corrupt(why) => write!(f, "the stored data is damaged: {why}"),
            Self::Unsupported(why) => f.write_str(why),
            Self::Closed => f.write_str("the storage is closed"),
        }
    }
}

impl std::error::Error for StoreError {}
