//! What is remembered between requests: the records of buckets and collections, and the groups
//! of callers.
//!
//! An entry is dropped when it changes. One that was being read meanwhile is not kept: the reader
//! notes the age of the cache before it reads, and the age moves with each change.

use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use foldhash::HashMap;

/// Entries beyond which the cache is emptied: about 20 MB of buckets and collections.
const ENTRIES_MAX: usize = 20_000;

pub(crate) struct Cache<K, V>(RwLock<Inner<K, V>>);

struct Inner<K, V> {
    age: u64,
    foreign_writes: u64,
    entries: HashMap<K, V>,
}

/// The age of a cache at the moment of a look-up that found nothing.
pub(crate) struct Age(u64);

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new() -> Self {
        Self(RwLock::new(Inner { age: 0, foreign_writes: 0, entries: HashMap::default() }))
    }

    /// The entry, unless another process wrote since; or the age to store it with.
    pub(crate) fn get(&self, key: &K, foreign_writes: u64) -> Result<V, Age> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if inner.foreign_writes == foreign_writes {
            return inner.entries.get(key).cloned().ok_or(Age(inner.age));
        }
        drop(inner);
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.foreign_writes != foreign_writes {
            inner.foreign_writes = foreign_writes;
            inner.age += 1;
            inner.entries.clear();
        }
        Err(Age(inner.age))
    }

    /// Keeps what was read at that age, unless something changed since.
    pub(crate) fn put(&self, age: &Age, key: K, value: V) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.age == age.0 {
            if inner.entries.len() >= ENTRIES_MAX {
                inner.entries.clear();
            }
            inner.entries.insert(key, value);
        }
    }

    /// Forgets what changed.
    pub(crate) fn forget(&self, changed: impl Fn(&K) -> bool) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.age += 1;
        inner.entries.retain(|key, _| !changed(key));
    }

    /// Forgets one entry.
    pub(crate) fn forget_one(&self, key: &K) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.age += 1;
        inner.entries.remove(key);
    }
}
