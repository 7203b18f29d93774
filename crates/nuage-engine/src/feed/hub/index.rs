//! Who is to be woken for what, in one collection: from principals to subscriptions.
//!
//! What a write costs here follows from whom it concerns, not from how many watch. A subscription
//! costs a few hundred bytes: principals are shared between those who count as the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::{HashMap, HashMapExt};
use nuage_model::{BucketId, Principal};
use tokio::sync::Notify;

use crate::Interest;

/// What wakes one subscription. Once or often comes to the same.
#[derive(Default)]
pub(super) struct Waker {
    is_woken: AtomicBool,
    notify: Notify,
}

impl Waker {
    /// Wakes; false if it woke already.
    fn wake(&self) -> bool {
        let first = !self.is_woken.swap(true, Ordering::SeqCst);
        if first {
            self.notify.notify_one();
        }
        first
    }

    /// Forgets that it woke.
    pub(super) fn rest(&self) {
        self.is_woken.store(false, Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::SeqCst)
    }

    /// Completes once it woke.
    pub(super) async fn woken(&self) {
        while !self.is_woken.load(Ordering::SeqCst) {
            self.notify.notified().await;
        }
    }
}

/// Names a subscription in its collection.
pub(super) type Key = u32;

/// The subscriptions of one collection.
#[derive(Default)]
pub(super) struct Index {
    entries: Vec<Option<Entry>>,
    free: Vec<Key>,
    /// Those that all changes concern, in order.
    whole: Vec<Key>,
    /// Those of whom it is not known as whom they count, in order.
    nameless: Vec<Key>,
    /// Who counts as a principal, in order.
    holders: HashMap<Principal, Vec<Key>>,
    /// Those whose view depends on groups of a bucket, in order.
    buckets: BTreeMap<BucketId, Vec<Key>>,
}

struct Entry {
    waker: Arc<Waker>,
    /// Whether an interest was told.
    is_told: bool,
    is_whole: bool,
    principals: Box<[Principal]>,
    buckets: Arc<[BucketId]>,
}

impl Index {
    /// Adds one that everything concerns, until its interest is told.
    pub(super) fn add(&mut self, waker: Arc<Waker>) -> Key {
        let entry = Entry {
            waker,
            is_told: false,
            is_whole: true,
            principals: Box::default(),
            buckets: Arc::default(),
        };
        let key = match self.free.pop() {
            Some(key) => {
                self.entries[key as usize] = Some(entry);
                key
            }
            None => {
                self.entries.push(Some(entry));
                Key::try_from(self.entries.len() - 1).expect("there are not so many connections")
            }
        };
        insert(&mut self.whole, key);
        insert(&mut self.nameless, key);
        key
    }

    pub(super) fn remove(&mut self, key: Key) {
        let Some(entry) = self.entries.get_mut(key as usize).and_then(Option::take) else {
            return;
        };
        self.unlist(key, &entry);
        self.free.push(key);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.len() == self.free.len()
    }

    /// Notes what concerns a subscription; false if that is as it was.
    pub(super) fn set_interest(&mut self, key: Key, interest: &Interest) -> bool {
        let Some(mut entry) = self.entries.get_mut(key as usize).and_then(Option::take) else {
            return false;
        };
        let is_same = entry.is_told
            && entry.is_whole == interest.whole
            && entry.buckets == interest.buckets
            && entry.principals.len() == interest.principals.len()
            && entry.principals.iter().all(|principal| interest.principals.contains(principal));
        if !is_same {
            self.unlist(key, &entry);
            entry.is_told = true;
            entry.is_whole = interest.whole;
            entry.principals = interest.principals.iter().map(|it| self.list(key, it)).collect();
            entry.buckets = Arc::clone(&interest.buckets);
            for bucket in entry.buckets.iter() {
                match self.buckets.get_mut(bucket) {
                    Some(keys) => insert(keys, key),
                    None => drop(self.buckets.insert(bucket.clone(), vec![key])),
                }
            }
            if entry.is_whole {
                insert(&mut self.whole, key);
            }
            if entry.principals.is_empty() {
                insert(&mut self.nameless, key);
            }
        }
        self.entries[key as usize] = Some(entry);
        !is_same
    }

    /// Wakes all, and gives how many.
    pub(super) fn wake_all(&self) -> u64 {
        self.entries.iter().flatten().map(|entry| u64::from(entry.waker.wake())).sum()
    }

    /// Wakes one.
    pub(super) fn wake(&self, key: Key) -> u64 {
        match self.entries.get(key as usize) {
            Some(Some(entry)) => u64::from(entry.waker.wake()),
            _ => 0,
        }
    }

    /// Wakes those that all changes concern.
    pub(super) fn wake_whole(&self) -> u64 {
        self.wake_each(&self.whole)
    }

    /// Wakes those of whom it is not known as whom they count.
    pub(super) fn wake_nameless(&self) -> u64 {
        self.wake_each(&self.nameless)
    }

    /// Wakes those who count as one of these.
    pub(super) fn wake_holders(&self, principals: &foldhash::HashSet<Principal>) -> u64 {
        if principals.len() <= self.holders.len() {
            let found = principals.iter().filter_map(|principal| self.holders.get(principal));
            found.map(|keys| self.wake_each(keys)).sum()
        } else {
            let found = self.holders.iter().filter(|(holder, _)| principals.contains(*holder));
            found.map(|(_, keys)| self.wake_each(keys)).sum()
        }
    }

    /// Wakes those whose view depends on groups of this bucket.
    pub(super) fn wake_groups_of(&self, bucket: &BucketId) -> u64 {
        let keys = [bucket, &Interest::any_bucket()].map(|bucket| self.buckets.get(bucket));
        keys.into_iter().flatten().map(|keys| self.wake_each(keys)).sum()
    }

    /// Whether there is one whose view depends on groups of this bucket.
    pub(super) fn depends_on(&self, bucket: &BucketId) -> bool {
        self.buckets.contains_key(bucket) || self.buckets.contains_key(&Interest::any_bucket())
    }

    /// The buckets on whose groups a view depends.
    pub(super) fn group_buckets(&self) -> impl Iterator<Item = &BucketId> {
        self.buckets.keys()
    }

    fn wake_each(&self, keys: &[Key]) -> u64 {
        keys.iter().map(|key| self.wake(*key)).sum()
    }

    // The principal is given back as it is kept, so that equal ones share their text.
    fn list(&mut self, key: Key, principal: &Principal) -> Principal {
        if let Some((kept, _)) = self.holders.get_key_value(principal) {
            let kept = kept.clone();
            insert(self.holders.entry(kept.clone()).or_default(), key);
            return kept;
        }
        self.holders.insert(principal.clone(), vec![key]);
        principal.clone()
    }

    fn unlist(&mut self, key: Key, entry: &Entry) {
        remove(&mut self.whole, key);
        remove(&mut self.nameless, key);
        for principal in &entry.principals {
            let Some(keys) = self.holders.get_mut(principal) else { continue };
            remove(keys, key);
            if keys.is_empty() {
                self.holders.remove(principal);
            }
        }
        for bucket in entry.buckets.iter() {
            let Some(keys) = self.buckets.get_mut(bucket) else { continue };
            remove(keys, key);
            if keys.is_empty() {
                self.buckets.remove(bucket);
            }
        }
        if self.holders.is_empty() {
            self.holders = HashMap::new();
        }
    }
}

fn insert(keys: &mut Vec<Key>, key: Key) {
    if let Err(at) = keys.binary_search(&key) {
        keys.insert(at, key);
    }
}

fn remove(keys: &mut Vec<Key>, key: Key) {
    if let Ok(at) = keys.binary_search(&key) {
        keys.remove(at);
    }
}
