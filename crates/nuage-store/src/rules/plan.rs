//! What must be locked and read before batches can be decided in memory.
//!
//! Rows of `collections` are locked in the order of their names, so that no two transactions wait
//! for each other. Who changes a bucket or a collection also locks what lies under it: what other
//! writers read of it then holds until they commit.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::copy::{Cell, Table};
use nuage_model::{
    Batch, BucketId, CollectionPath, Kind, Placement, Put, RecordPath, Seq, Timestamp, Write,
};

use crate::cells;
use crate::rules::horizon::{compacted, marks, old_views, oldest};
use crate::rules::place::shown;
use crate::schema::{Index, Range};

/// What a group of batches locks and reads.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Collections whose rows are locked and read, and whether a missing one will be made.
    pub(crate) collections: BTreeMap<CollectionPath, bool>,
    /// Buckets, the rows of all whose collections are locked and read.
    pub(crate) buckets: BTreeSet<BucketId>,
    /// Everything is locked.
    pub(crate) all: bool,
    /// Records whose rows are read.
    pub(crate) records: BTreeSet<RecordPath>,
    /// Those of them that hold buckets and collections, and will be written: they are locked too.
    pub(crate) parents: BTreeSet<RecordPath>,
    /// Other rows that are read, by their keys.
    pub(crate) rows: BTreeSet<(Table, Vec<Cell>)>,
    /// Keys of signatures that name groups, and that records get: whether they are there is read,
    /// where anything is.
    pub(crate) signatures: BTreeSet<Vec<Cell>>,
    /// Notes that are locked and read.
    pub(crate) notes: BTreeSet<String>,
    /// Ranges that are read.
    pub(crate) ranges: BTreeSet<Range>,
}

/// What is found out only by deciding: that it would have to be read as well.
#[derive(Default, PartialEq, Eq, Debug)]
pub(crate) struct Missing {
    /// Rows, by their keys.
    pub(crate) rows: BTreeSet<(Table, Vec<Cell>)>,
    pub(crate) ranges: BTreeSet<Range>,
}

impl Missing {
    /// Whether everything was there.
    pub(crate) fn is_nothing(&self) -> bool {
        self.rows.is_empty() && self.ranges.is_empty()
    }
}

/// Whether a batch locks or reads more than rows that it names, and is applied by itself.
pub(crate) fn is_wide(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| match write {
        Write::DropBucket { .. }
        | Write::Compact { .. }
        | Write::Mark { .. }
        | Write::Erase { .. }
        | Write::ForgetViews { .. }
        | Write::Note { .. }
        | Write::Renew { .. }
        | Write::Flush { .. } => true,
        Write::Put(Put { path, .. }) | Write::Delete { path, .. } => path.kind() == Kind::Bucket,
        Write::Touch { .. }
        | Write::DropCollection { .. }
        | Write::SetMembers { .. }
        | Write::KeepView { .. } => false,
    })
}

impl Plan {
    /// What these batches lock and read.
    pub(crate) fn of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let mut plan = Self::default();
        for batch in batches {
            plan.records.extend(batch.guards.iter().map(|guard| guard.path.clone()));
            for write in &batch.writes {
                plan.add(write);
            }
        }
        plan
    }

    /// Reads this as well.
    pub(crate) fn read_missing(&mut self, missing: Missing) {
        self.rows.extend(missing.rows);
        self.ranges.extend(missing.ranges);
    }

    fn add(&mut self, write: &Write) {
        if let Write::Put(Put { path, readers, .. }) = write
            && readers.groups().next().is_some()
        {
            self.signatures.insert(cells::signature_of(&path.collection, readers.signature()));
        }
        match write {
            Write::Put(Put { path, placement, .. }) | Write::Delete { path, placement } => {
                self.add_record(path, true);
                let time = match placement {
                    Placement::Next | Placement::Ahead(_) => None,
                    Placement::At(time) => Some(time.0),
                    Placement::Exact { chosen, .. } => chosen.map(|time| time.0),
                };
                if let Some(time) = time {
                    let last = time.saturating_add(Seq::TIMES_TRIED);
                    self.ranges.extend(shown(&path.collection, time, last));
                }
            }
            Write::Erase { path } => {
                self.add_record(path, false);
                self.ranges.insert(oldest(&path.collection));
            }
            Write::Touch { collection } => self.add_collection(collection, true),
            Write::DropCollection { collection } => self.add_collection(collection, false),
            Write::Compact { collection, up_to } => {
                self.add_collection(collection, false);
                self.ranges.extend(compacted(collection, *up_to));
            }
            Write::Mark { collection, .. } => {
                self.add_collection(collection, false);
                self.ranges.insert(marks(collection));
            }
            Write::KeepView { bucket, person, name, .. } => {
                let names = [bucket.as_str(), person.as_str()].map(cells::text);
                let key = names.into_iter().chain([Cell::Bytes(name.to_vec())]);
                self.rows.insert((Table::Views, key.collect()));
            }
            Write::DropBucket { bucket } => {
                self.buckets.insert(bucket.clone());
                self.ranges.insert(old_views(bucket, Timestamp(i64::MAX)));
            }
            Write::SetMembers { group, .. } => {
                self.add_collection(&CollectionPath::groups(group.bucket.clone()), true);
                self.ranges.insert(Range::of(Index::MembersGrp, cells::group(group)));
            }
            Write::Note { name, .. } => {
                self.notes.insert(name.clone());
            }
            Write::ForgetViews { bucket, before } => {
                self.ranges.insert(old_views(bucket, *before));
            }
            Write::Renew { .. } => {}
            Write::Flush { .. } => self.all = true,
        }
    }

    fn add_record(&mut self, path: &RecordPath, makes: bool) {
        self.add_collection(&path.collection, makes);
        self.records.insert(path.clone());
        match path.kind() {
            Kind::Bucket => {
                self.buckets.insert(BucketId::from(path.id.as_str()));
                self.parents.insert(path.clone());
            }
            Kind::Collection => {
                let bucket = path.collection.bucket.clone();
                self.add_collection(&CollectionPath::new(bucket, path.id.as_str()), false);
                self.parents.insert(path.clone());
            }
            Kind::Group | Kind::Account | Kind::Record | Kind::History => {}
        }
    }

    fn add_collection(&mut self, path: &CollectionPath, makes: bool) {
        *self.collections.entry(path.clone()).or_default() |= makes;
    }
}
