//! One watched collection: who watches, up to where it was looked, and whether it moved since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::HashSet;
use nuage_model::{BucketId, CollectionPath, Principal, Seq};

use crate::Interest;
use crate::feed::hub::index::{Index, Key, Waker};
use crate::feed::hub::news::MembersChange;

/// A collection that somebody watches.
pub(super) struct Watch {
    pub(super) collection: CollectionPath,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    index: Index,
    /// Up to where it is known whom changes concern.
    seen: Option<Moment>,
    /// How often somebody was woken by the index, or nobody: whoever was not in it then, or for
    /// something else, must look by itself.
    wakes: u64,
    scan: Scan,
}

/// Up to where a collection was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    pub(super) seq: Seq,
    /// How often the set of the groups that it names had changed.
    pub(super) named: i64,
    /// Of which life of the store and of the collection; unknown at first.
    pub(super) life: Option<CollectionVersion>,
}

/// Positions of one life have nothing to do with those of another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CollectionVersion {
    pub(super) epoch: String,
    pub(super) incarnation: Option<[u8; 8]>,
}

/// Whom changes concern.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Audience {
    /// Nobody.
    Nobody,
    /// Whoever counts as one of these, or sees the whole collection.
    Holders(HashSet<Principal>),
    /// Perhaps anybody.
    Everybody,
}

/// Whether somebody looks at a collection that moved.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Scan {
    #[default]
    None,
    Queued,
    Running,
    /// It moved again since this one began.
    RunningLate,
}

impl Watch {
    pub(super) fn new(collection: CollectionPath) -> Self {
        Self { collection, inner: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, waker: Arc<Waker>) -> Key {
        self.lock().index.add(waker)
    }

    /// True if nobody is left.
    pub(super) fn remove(&self, key: Key) -> bool {
        let mut inner = self.lock();
        inner.index.remove(key);
        inner.index.is_empty()
    }

    pub(super) fn is_deserted(&self) -> bool {
        self.lock().index.is_empty()
    }

    /// What [`Watch::set_interest`] is given later of a page that begins now.
    pub(super) fn wakes(&self) -> u64 {
        self.lock().wakes
    }

    /// Notes what concerns a subscription, as told by a page that began after so many wakes and
    /// shows this head. Wakes it if others were woken meanwhile whom this interest is not among.
    pub(super) fn set_interest(&self, key: Key, interest: &Interest, wakes: u64, head: Seq) -> u64 {
        let mut inner = self.lock();
        let is_new = inner.index.set_interest(key, interest);
        let moment = Moment { seq: head, named: interest.named, life: None };
        let seen = inner.seen.get_or_insert(moment).seq;
        if is_new && (inner.wakes != wakes || seen > head) { inner.index.wake(key) } else { 0 }
    }

    /// Up to where it was looked.
    pub(super) fn seen(&self) -> Option<Moment> {
        self.lock().seen.clone()
    }

    /// Wakes whom the changes up to this moment concern.
    pub(super) fn wake_changes(&self, whom: &Audience, up_to: Moment) -> u64 {
        let mut inner = self.lock();
        inner.wakes += 1;
        inner.seen = Some(up_to);
        match whom {
            Audience::Nobody => 0,
            Audience::Holders(principals) => {
                inner.index.wake_whole() + inner.index.wake_holders(principals)
            }
            Audience::Everybody => inner.index.wake_all(),
        }
    }

    pub(super) fn wake_all(&self) -> u64 {
        let mut inner = self.lock();
        inner.wakes += 1;
        inner.index.wake_all()
    }

    /// Wakes whom a change of a group concerns: who counts as it or comes to, if views depend on groups
    /// of its bucket. Through a group that comes into it that may be anybody.
    pub(super) fn wake_members(&self, change: &MembersChange) -> u64 {
        let mut inner = self.lock();
        inner.wakes += 1;
        let index = &inner.index;
        let woken = index.wake_nameless();
        woken
            + match (index.depends_on(&change.bucket), change.has_groups) {
                (false, _) => 0,
                (true, true) => index.wake_groups_of(&change.bucket),
                (true, false) => index.wake_holders(&change.principals),
            }
    }

    /// Wakes those whose view depends on groups of this bucket.
    pub(super) fn wake_groups_of(&self, bucket: &BucketId) -> u64 {
        let mut inner = self.lock();
        inner.wakes += 1;
        inner.index.wake_nameless() + inner.index.wake_groups_of(bucket)
    }

    /// The buckets on whose groups the views of watchers depend.
    pub(super) fn group_buckets(&self) -> Vec<BucketId> {
        self.lock().index.group_buckets().cloned().collect()
    }

    /// Whether there is something after what was looked at.
    pub(super) fn is_behind(&self, head: Option<Seq>) -> bool {
        match &self.lock().seen {
            Some(seen) => seen.seq != head.unwrap_or_default(),
            None => true,
        }
    }

    /// Notes that it moved; true if it must be queued for a scan.
    pub(super) fn moved(&self) -> bool {
        let mut inner = self.lock();
        match inner.scan {
            Scan::None => {
                inner.scan = Scan::Queued;
                true
            }
            Scan::Running => {
                inner.scan = Scan::RunningLate;
                false
            }
            Scan::Queued | Scan::RunningLate => false,
        }
    }

    #[cfg(test)]
    pub(super) fn has_scan(&self) -> bool {
        self.lock().scan != Scan::None
    }

    pub(super) fn begin_scan(&self) {
        self.lock().scan = Scan::Running;
    }

    /// True if it moved since, and must be queued again.
    pub(super) fn end_scan(&self) -> bool {
        let mut inner = self.lock();
        let late = inner.scan == Scan::RunningLate;
        inner.scan = if late { Scan::Queued } else { Scan::None };
        late
    }
}
