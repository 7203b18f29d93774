//! What must be locked and read before batches can be decided in memory.
//!
//! Rows of `collections` are locked in the order of their names, so that no two transactions wait
//! for each other. Who changes a bucket or a collection also locks what lies under it: what other
//! writers read of it then holds until they commit.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{
    Batch, BucketId, CollectionPath, GroupPath, Kind, Placement, RecordPath, Seq, Write,
};

use crate::rules::{MERGED_MAX, PROBES_MAX};

/// What a group of batches touches.
#[derive(Default, PartialEq, Eq, Debug)]
pub(super) struct Needs {
    /// Rows of `collections` to lock, and whether a missing one will be made.
    pub(super) collections: BTreeMap<CollectionPath, bool>,
    /// Buckets whose rows are all locked.
    pub(super) buckets: BTreeSet<BucketId>,
    /// Everything is locked.
    pub(super) all: bool,
    /// Rows of `records` to read.
    pub(super) records: BTreeSet<RecordPath>,
    /// Those of them that hold buckets and collections, and will be written: they are locked too.
    pub(super) parents: BTreeSet<RecordPath>,
    /// Groups whose members are read.
    pub(super) groups: BTreeSet<GroupPath>,
    /// Collections whose tombstones and ended residencies up to a position are read.
    pub(super) compacted: BTreeMap<CollectionPath, Seq>,
    /// Collections whose oldest ended residencies are read.
    pub(super) merged: BTreeSet<CollectionPath>,
    /// Times from which it is asked whether they are taken.
    pub(super) times: BTreeSet<(CollectionPath, i64)>,
}

impl Needs {
    /// What these batches touch.
    pub(super) fn of<'a>(batches: impl IntoIterator<Item = &'a Batch>) -> Self {
        let mut needs = Self::default();
        for batch in batches {
            needs.records.extend(batch.guards.iter().map(|guard| guard.path.clone()));
            for write in &batch.writes {
                needs.add(write);
            }
        }
        needs
    }

    /// Whether a batch locks or reads more than rows that it names, and is applied by itself.
    pub(super) fn is_wide(batch: &Batch) -> bool {
        batch.writes.iter().any(|write| match write {
            Write::DropBucket { .. }
            | Write::Compact { .. }
            | Write::Merge { .. }
            | Write::Renew
            | Write::Flush => true,
            Write::Put { path, .. } | Write::Delete { path, .. } | Write::Erase { path } => {
                path.kind() == Kind::Bucket
            }
            _ => false,
        })
    }

    fn add(&mut self, write: &Write) {
        match write {
            Write::Put { path, placement, .. } | Write::Delete { path, placement } => {
                self.add_record(path, true);
                let time = match placement {
                    Placement::Next => None,
                    Placement::At(time) => Some(*time),
                    Placement::Exact { chosen, .. } => *chosen,
                };
                if let Some(time) = time {
                    self.times.insert((path.collection.clone(), time.0));
                }
            }
            Write::Erase { path } => self.add_record(path, false),
            Write::Touch { collection } => self.add_collection(collection, true),
            Write::DropCollection { collection } => self.add_collection(collection, false),
            Write::Compact { collection, up_to } => {
                self.add_collection(collection, false);
                let most = self.compacted.entry(collection.clone()).or_insert(*up_to);
                *most = (*up_to).max(*most);
            }
            Write::Merge { collection } => {
                self.add_collection(collection, false);
                self.merged.insert(collection.clone());
            }
            Write::KeepView { .. } | Write::ForgetViews { .. } => {}
            Write::DropBucket { bucket } => {
                self.buckets.insert(bucket.clone());
            }
            Write::SetMembers { group, .. } => {
                self.add_collection(&CollectionPath::groups(group.bucket.clone()), false);
                self.groups.insert(group.clone());
            }
            Write::Renew => {}
            Write::Flush => self.all = true,
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

    /// Of which collections ended residencies are read: up to which position, and how many.
    pub(super) fn ended(&self) -> Vec<(&CollectionPath, i64, Option<i64>)> {
        let merged_max = i64::try_from(MERGED_MAX).unwrap_or(i64::MAX);
        let compacted = self.compacted.iter().map(|(path, up_to)| (path, up_to.0, None));
        let merged = self.merged.iter().map(|path| (path, i64::MAX, Some(merged_max)));
        compacted.chain(merged).collect()
    }

    /// The times of one collection that may be probed from a time on.
    pub(super) fn probed(from: i64) -> (i64, i64) {
        (from, from.saturating_add(PROBES_MAX))
    }
}
