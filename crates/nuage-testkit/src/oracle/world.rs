//! The truth, kept as simply as possible: who may see what, in each moment, and who ever could.

use std::collections::{BTreeMap, BTreeSet};

use crate::oracle::step::{BUCKETS, Change, GROUPS, PERSONS, Who, bucket_of};
use crate::oracle::subject::Deed;

/// A live record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Live {
    pub(crate) readers: BTreeSet<Who>,
    pub(crate) content: u64,
    pub(crate) time: i64,
}

#[derive(Clone, Default)]
pub(crate) struct World {
    buckets: [bool; BUCKETS],
    collection: bool,
    /// Moves with each collection that is made.
    pub(crate) incarnation: u64,
    /// Whether anything was written to it.
    pub(crate) written: bool,
    live: BTreeMap<usize, Live>,
    last_readers: BTreeMap<usize, BTreeSet<Who>>,
    groups: [Option<BTreeSet<Who>>; GROUPS],
    collection_readers: BTreeSet<Who>,
    bucket_readers: BTreeSet<Who>,
    /// How many commits there were.
    pub(crate) commits: u64,
    /// Records that a person could see after some commit, in this incarnation.
    seen: [BTreeSet<usize>; PERSONS + 1],
    contents: u64,
    latest: i64,
    /// Up to where it is forgotten what ended.
    pub(crate) horizon: i64,
    /// Where pages told that the head was, in this incarnation.
    pub(crate) heads: Vec<i64>,
    /// How often views were forgotten.
    pub(crate) forgotten: u64,
}

impl World {
    /// What a change comes to now, if anything.
    pub(crate) fn resolve(&self, change: &Change) -> Vec<Deed> {
        let deed = match change {
            Change::Create => return self.missing(),
            Change::DropBucket(bucket) if self.buckets[*bucket] => Deed::DropBucket(*bucket),
            Change::BucketReader(who) if self.buckets[0] => {
                Deed::BucketReaders(toggled(&self.bucket_readers, *who))
            }
            Change::Member(group, who) if self.buckets[bucket_of(*group)] => {
                let members = self.groups[*group].clone().unwrap_or_default();
                Deed::SetMembers { group: *group, members: toggled(&members, *who) }
            }
            Change::DropGroup(group) if self.groups[*group].is_some() => Deed::DropGroup(*group),
            Change::DropCollection if self.collection => Deed::DropCollection,
            Change::CollectionReader(who) if self.collection => {
                Deed::CollectionReaders(toggled(&self.collection_readers, *who))
            }
            Change::Put(record, readers, chosen) if self.collection => {
                let known = || self.last_readers.get(record).cloned().unwrap_or_default();
                let readers = readers.clone().unwrap_or_else(known);
                self.put(*record, readers, *chosen)
            }
            Change::Share(record, who) => match self.live.get(record) {
                Some(live) if !live.readers.contains(who) => {
                    self.put(*record, toggled(&live.readers, *who), None)
                }
                _ => return Vec::new(),
            },
            Change::Unshare(record, who) => match self.live.get(record) {
                Some(live) if live.readers.contains(who) => {
                    self.put(*record, toggled(&live.readers, *who), None)
                }
                _ => return Vec::new(),
            },
            Change::Delete(record, chosen) if self.live.contains_key(record) => {
                let chosen = chosen.map(|away| self.latest + away);
                Deed::Delete { record: *record, chosen }
            }
            _ => return Vec::new(),
        };
        vec![deed]
    }

    fn missing(&self) -> Vec<Deed> {
        let buckets = (0..BUCKETS).filter(|bucket| !self.buckets[*bucket]);
        let mut missing: Vec<Deed> = buckets.map(Deed::CreateBucket).collect();
        if !self.collection {
            missing.push(Deed::CreateCollection);
        }
        missing
    }

    fn put(&self, record: usize, readers: BTreeSet<Who>, chosen: Option<i64>) -> Deed {
        let chosen = chosen.map(|away| self.latest + away);
        Deed::Put { record, readers, content: self.contents + 1, chosen }
    }

    /// Makes a change true. Times are told later.
    pub(crate) fn apply(&mut self, deed: &Deed) {
        match deed {
            Deed::Put { record, readers, content, .. } => {
                (self.contents, self.written) = (*content, true);
                self.last_readers.insert(*record, readers.clone());
                let live = Live { readers: readers.clone(), content: *content, time: 0 };
                self.live.insert(*record, live);
            }
            Deed::Delete { record, .. } => {
                self.live.remove(record);
            }
            Deed::SetMembers { group, members } => {
                self.groups[*group] = Some(members.clone());
            }
            Deed::DropGroup(group) => {
                self.groups[*group] = None;
            }
            Deed::CollectionReaders(readers) => {
                self.collection_readers.clone_from(readers);
            }
            Deed::BucketReaders(readers) => {
                self.bucket_readers.clone_from(readers);
            }
            Deed::DropCollection => self.end(),
            Deed::DropBucket(bucket) => {
                self.buckets[*bucket] = false;
                for group in (0..GROUPS).filter(|group| bucket_of(*group) == *bucket) {
                    self.groups[group] = None;
                }
                if *bucket == 0 {
                    self.end();
                    self.bucket_readers.clear();
                }
            }
            Deed::CreateBucket(bucket) => self.buckets[*bucket] = true,
            Deed::CreateCollection => self.collection = true,
        }
    }

    /// What was applied since the last commit is one.
    pub(crate) fn commit(&mut self) {
        self.commits += 1;
        for person in 0..=PERSONS {
            let visible: Vec<usize> = self.visible(person).map(|(record, _)| record).collect();
            self.seen[person].extend(visible);
        }
    }

    fn end(&mut self) {
        if !self.collection {
            return;
        }
        let kept = Self {
            buckets: self.buckets,
            incarnation: self.incarnation + 1,
            groups: self.groups.clone(),
            bucket_readers: self.bucket_readers.clone(),
            contents: self.contents,
            latest: self.latest,
            commits: self.commits,
            forgotten: self.forgotten,
            ..Self::default()
        };
        *self = kept;
    }

    /// Takes note of the time that a change is shown under.
    pub(crate) fn stamp(&mut self, deed: &Deed, time: i64) {
        if let Deed::Put { record, content, .. } = deed
            && let Some(live) = self.live.get_mut(record)
            && live.content == *content
        {
            live.time = time;
        }
        self.latest = self.latest.max(time);
    }

    /// All that a person counts as.
    fn closure(&self, person: usize) -> BTreeSet<Who> {
        let mut all = BTreeSet::from([Who::Everyone]);
        if person < PERSONS {
            all.extend([Who::Person(person), Who::Authenticated]);
            loop {
                let before = all.len();
                for (group, members) in self.groups.iter().enumerate() {
                    if members.as_ref().is_some_and(|members| !members.is_disjoint(&all)) {
                        all.insert(Who::Group(group));
                    }
                }
                if all.len() == before {
                    break;
                }
            }
        }
        all
    }

    /// Whether a person may see all of the collection, as far as there is one.
    pub(crate) fn sees_whole(&self, person: usize) -> bool {
        let who = self.closure(person);
        self.collection
            && !(who.is_disjoint(&self.collection_readers) && who.is_disjoint(&self.bucket_readers))
    }

    /// What a person may see.
    pub(crate) fn visible(&self, person: usize) -> impl Iterator<Item = (usize, &Live)> {
        let (who, whole) = (self.closure(person), self.sees_whole(person));
        let shown = move |live: &Live| whole || !live.readers.is_disjoint(&who);
        self.live.iter().map(|(record, live)| (*record, live)).filter(move |(_, live)| shown(live))
    }

    /// Whether a person could ever see a record of this incarnation.
    pub(crate) fn could_see(&self, person: usize, record: usize) -> bool {
        self.seen[person].contains(&record)
    }
}

fn toggled(all: &BTreeSet<Who>, who: Who) -> BTreeSet<Who> {
    let mut all = all.clone();
    if !all.remove(&who) {
        all.insert(who);
    }
    all
}
