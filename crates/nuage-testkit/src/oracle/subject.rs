//! What is put to the test: something that takes changes and gives pages.

use std::collections::BTreeSet;
use std::fmt;

use crate::oracle::step::Who;

/// What a change comes to in the state that it met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A record gets this content and these readers.
    Put {
        /// Which.
        record: usize,
        /// Who may read it.
        readers: BTreeSet<Who>,
        /// What it holds.
        content: u64,
        /// The time wished for.
        chosen: Option<i64>,
    },
    /// A live record is deleted.
    Delete {
        /// Which.
        record: usize,
        /// The time wished for.
        chosen: Option<i64>,
    },
    /// A group has these members.
    SetMembers {
        /// Which.
        group: usize,
        /// All that are in it.
        members: BTreeSet<Who>,
    },
    /// A group that was there is deleted.
    DropGroup(usize),
    /// The collection has these readers.
    CollectionReaders(BTreeSet<Who>),
    /// The bucket has these readers.
    BucketReaders(BTreeSet<Who>),
    /// The collection is deleted.
    DropCollection,
    /// A bucket is deleted with all that is in it.
    DropBucket(usize),
    /// A bucket is made, without readers.
    CreateBucket(usize),
    /// The collection is made, without readers.
    CreateCollection,
}

/// A request for a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ask<'a> {
    /// Which person asks; a stranger is beyond the last.
    pub person: usize,
    /// What it brings.
    pub token: Option<&'a str>,
    /// Most entries.
    pub limit: usize,
    /// Whether the sum is asked for.
    pub sum: bool,
}

/// What comes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// A page.
    Page(Page),
    /// There is nothing to see.
    Refused,
}

/// One page.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Page {
    /// Whether the mirror begins anew.
    pub reset: bool,
    /// What it tells, in order.
    pub entries: Vec<Entry>,
    /// What to bring next time.
    pub token: String,
    /// Whether more is to be told already.
    pub more: bool,
    /// Where the collection stood, if that is told.
    pub head: Option<i64>,
    /// Count and sum of digests, if they are told.
    pub sum: Option<(u64, u64)>,
}

/// What is told of a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Its id, what it holds, its time.
    Change(String, u64, i64),
    /// Its id.
    Removal(String),
}

/// Letters of a token that are shown: enough to tell one from another.
const SHOWN: usize = 12;

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Page(page) = self else { return f.write_str("refused") };
        if page.reset {
            f.write_str("anew: ")?;
        }
        for entry in &page.entries {
            match entry {
                Entry::Change(id, content, time) => write!(f, "{id} = {content} at {time}, ")?,
                Entry::Removal(id) => write!(f, "{id} gone, ")?,
            }
        }
        f.write_str(if page.more { "and more" } else { "at rest" })?;
        if let Some(head) = page.head {
            write!(f, " at {head}")?;
        }
        if let Some((count, sum)) = page.sum {
            write!(f, " with {count} of sum {sum}")?;
        }
        let letters = page.token.len().saturating_sub(SHOWN);
        write!(f, ", token …{}", page.token.get(letters..).unwrap_or_default())
    }
}

/// One collection of the first of some buckets, not yet made.
pub trait Subject: Send {
    /// Makes these changes, all at once; gives the time shown of each.
    fn change(&mut self, deeds: &[Deed]) -> impl Future<Output = Result<Vec<i64>, String>> + Send;

    /// Gives a page.
    fn page(&mut self, ask: Ask<'_>) -> impl Future<Output = Result<Reply, String>> + Send;

    /// Forgets what ended up to this position, or to the present head, and tells up to where; none
    /// if it cannot be told to.
    fn compact(
        &mut self,
        up_to: Option<i64>,
    ) -> impl Future<Output = Result<Option<i64>, String>> + Send;

    /// Forgets kept views, if it can be told to; whether tokens speak of any.
    fn forget_views(&mut self) -> impl Future<Output = Result<bool, String>> + Send;
}

/// Gives fresh subjects.
pub trait Stage: Send + Sync + 'static {
    /// What it gives.
    type Subject: Subject;

    /// Another one, with a bucket and people of its own. The seed decides what else differs.
    fn subject(&self, seed: u64) -> impl Future<Output = Self::Subject> + Send;
}
