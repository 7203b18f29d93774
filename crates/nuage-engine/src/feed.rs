//! Feeds: what changed in a collection since a token, filtered by what the caller may see, with
//! removals for whoever lost sight of something.
//!
//! - `page`: one page, from one moment of the store;
//! - `rest`: the page that tells nothing, without a snapshot;
//! - `present`: what decides about a page;
//! - `run`: the three phases that lead from what a device has to what its person may see;
//! - `names`: the groups that a collection names;
//! - `view`: what a person may see, by name;
//! - `token`: what a device brings back, sealed;
//! - `epoch`: what a token shows that knows more than the store;
//! - `follow`: pages one after the other, waiting at rest until something happens;
//! - `hub`: who waits, and who wakes them.
//!
//! The laws are in `docs/feed.md`. Nothing here knows how a feed is shown.

mod epoch;
mod follow;
mod hub;
#[cfg(not(feature = "mutants"))]
mod mutants;
#[cfg(feature = "mutants")]
pub mod mutants;
mod names;
mod page;
mod present;
mod rest;
mod run;
mod token;
mod view;

use std::fmt;
use std::sync::Arc;

use foldhash::HashSet;
use nuage_model::{BucketId, Checksum, CollectionPath, Principal, Record, RecordId, Seq};
use tokio::sync::Mutex;

use crate::{Places, Turns};

pub use follow::Follow;
pub use hub::FeedStatistics;
pub(crate) use hub::Hub;
use mutants::Mutant;
use token::Tokens;
use view::Views;
pub(crate) use view::is_named;

/// Pages that are read at a time, one person's in turn with the others': a page takes some
/// milliseconds of a thread.
const PAGES: usize = 4;

/// What the engine keeps for feeds.
pub(crate) struct Feeds {
    pub(crate) hub: Hub,
    tokens: Tokens,
    views: Views,
    turns: Turns,
    /// Held by whoever begins a new epoch.
    leaving: Mutex<()>,
}

impl Feeds {
    /// Tokens are sealed with this secret.
    pub(crate) fn new(secret: &str, hub: Hub) -> Self {
        // Those who wait are connections, which are bounded.
        let turns = Places { turns: PAGES, waiting_own: usize::MAX, waiting: usize::MAX };
        Self {
            hub,
            tokens: Tokens::new(secret),
            views: Views::default(),
            turns: Turns::new(turns),
            leaving: Mutex::default(),
        }
    }

    /// The store was emptied.
    pub(crate) fn forget(&self) {
        self.views.forget();
    }
}

/// How feeds behave.
#[derive(Clone, PartialEq, Eq)]
pub struct FeedSettings {
    /// What tokens are sealed with: the same in all processes on the same data. Empty: tokens are
    /// good as long as the process lives.
    pub secret: String,
    /// How long it is remembered that something was deleted or lost, in milliseconds: a device
    /// that was away for longer starts afresh.
    pub horizon_ms: i64,
    /// So many deletions and losses are remembered in a collection, and ...
    pub kept_min: u64,
    /// ... so many for each live record, whichever is more: beyond that the horizon moves sooner.
    pub kept_factor: u64,
    /// Time between two rounds of forgetting, in milliseconds; zero for never.
    pub compact_ms: u64,
    /// Bytes of bodies in one page, unless a single record is larger.
    pub page_bytes: usize,
    /// Time between two looks at the heads of watched collections, in milliseconds, for what no
    /// hint told of.
    pub look_ms: u64,
}

impl fmt::Debug for FeedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeedSettings")
            .field("horizon_ms", &self.horizon_ms)
            .field("kept_min", &self.kept_min)
            .field("kept_factor", &self.kept_factor)
            .field("compact_ms", &self.compact_ms)
            .field("page_bytes", &self.page_bytes)
            .field("look_ms", &self.look_ms)
            .finish_non_exhaustive()
    }
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            secret: String::new(),
            horizon_ms: 90 * 24 * 60 * 60 * 1_000,
            kept_min: 10_000,
            kept_factor: 4,
            compact_ms: 10 * 60 * 1_000,
            page_bytes: 1024 * 1024,
            look_ms: 1_000,
        }
    }
}

/// One page of a feed. A device applies it as a whole, with its token.
#[derive(Clone, Debug)]
pub struct FeedPage {
    /// Whether the device must begin with an empty mirror, and forget what it had once it is at
    /// rest again.
    pub reset: bool,
    /// In order; each record at most once.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub token: String,
    /// Whether the next page has more to tell already. Otherwise the device is at rest: it has
    /// exactly what its person may see. A page that ends because of the work that it took, and
    /// not because it is full, may be followed by one that tells nothing.
    pub more: bool,
    /// Whether it goes on where a page with `more` ended: its end is news, even if it is empty.
    pub continues: bool,
    /// The head of the collection in the moment of the page.
    pub head: Seq,
    /// What the device has, once it is at rest; only where it was asked for.
    pub sum: Option<Checksum>,
    /// Whose changes concern the caller.
    pub interest: Interest,
}

/// What a feed tells of a record.
#[derive(Clone, PartialEq, Debug)]
pub enum Entry {
    /// It is so now.
    Change(Record),
    /// It was deleted, or the caller may not see it any more: nobody is told which.
    Removal(RecordId),
}

/// Which changes of a collection a caller is shown.
#[derive(Clone, Debug)]
pub struct Interest {
    /// All.
    pub whole: bool,
    /// Else those of records that one of these may read, ...
    pub principals: Arc<HashSet<Principal>>,
    /// ... and those that name a group which was not named when this was the state of the names
    /// (see [`nuage_model::CollectionStats::named`]).
    pub named: i64,
    /// Buckets on whose groups the view depends, in order.
    pub buckets: Arc<[BucketId]>,
}

impl Interest {
    /// Stands for all buckets among those on whose groups a view depends.
    pub(crate) fn any_bucket() -> BucketId {
        // The root, which has no groups.
        CollectionPath::buckets().bucket
    }
}

/// What is asked of a feed.
#[derive(Clone, Debug)]
pub struct FeedQuery {
    /// Who asks; `None` for a stranger.
    pub user: Option<Principal>,
    /// A collection of records.
    pub collection: nuage_model::CollectionPath,
    /// Most entries of one page, at least one.
    pub limit: usize,
    /// Whether to tell the sum of what is visible at rest.
    pub sum: bool,
}
