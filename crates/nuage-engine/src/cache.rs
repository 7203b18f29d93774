//! What is remembered between requests: the records of buckets and collections, the groups of
//! callers, what views stand for. Each cache has a bound in bytes.
//!
//! An entry is dropped when it changes. One that was being read meanwhile is not kept: the reader
//! notes the age of the cache before it reads, and the age moves with each change.

use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use foldhash::HashMap;
use nuage_model::Principal;

/// What an entry costs beside what it says of itself: its place in the table, and allocations.
const ENTRY_BYTES: usize = 256;

/// What is kept for a value of a cache.
pub(crate) trait Weigh {
    /// Bytes on the heap, about.
    fn bytes(&self) -> usize;
}

/// Bytes that principals take, about.
pub(crate) fn bytes_of<'a>(principals: impl IntoIterator<Item = &'a Principal>) -> usize {
    principals.into_iter().map(|principal| principal.as_str().len() + 48).sum()
}

/// Entries of two generations. What is used stays young; when the young ones fill half of the room,
/// the old ones go. So whoever fills it pushes out what nobody used for a while, not what others
/// are using.
pub(crate) struct Bounded<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    young_bytes: usize,
    bytes_max: usize,
}

impl<K: Eq + Hash + Clone, V: Weigh> Bounded<K, V> {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), young_bytes: 0, bytes_max }
    }

    /// The value, and whether it is young.
    pub(crate) fn get(&self, key: &K) -> Option<(&V, bool)> {
        let young = self.young.get(key).map(|(value, _)| (value, true));
        young.or_else(|| self.old.get(key).map(|(value, _)| (value, false)))
    }

    /// Keeps a value, unless it alone would take the place of many.
    pub(crate) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        let bytes = value.bytes() + ENTRY_BYTES;
        let half = self.bytes_max / 2;
        if bytes > half / 4 {
            return;
        }
        if self.young_bytes + bytes > half {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, (value, bytes));
    }

    /// Makes an old entry young.
    pub(crate) fn renew(&mut self, key: &K) {
        if let Some((key, (value, _))) = self.old.remove_entry(key) {
            self.insert(key, value);
        }
    }

    pub(crate) fn remove(&mut self, key: &K) {
        if let Some((_, bytes)) = self.young.remove(key) {
            self.young_bytes -= bytes;
        }
        self.old.remove(key);
    }

    pub(crate) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }
}

pub(crate) struct Cache<K, V>(RwLock<Inner<K, V>>);

struct Inner<K, V> {
    age: u64,
    foreign_writes: u64,
    entries: Bounded<K, V>,
}

/// The age of a cache at the moment of a look-up that found nothing.
pub(crate) struct Age(u64);

impl<K: Eq + Hash + Clone, V: Weigh> Inner<K, V> {
    // Another process may have changed everything.
    fn see(&mut self, foreign_writes: u64) {
        if self.foreign_writes != foreign_writes {
            self.foreign_writes = foreign_writes;
            self.age += 1;
            self.entries.clear();
        }
    }
}

impl<K: Eq + Hash + Clone, V: Clone + Weigh> Cache<K, V> {
    /// A cache that takes so many bytes, about.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self(RwLock::new(Inner { age: 0, foreign_writes: 0, entries: Bounded::new(bytes_max) }))
    }

    /// The entry, unless another process wrote since; or the age to store it with.
    pub(crate) fn get(&self, key: &K, foreign_writes: u64) -> Result<V, Age> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if inner.foreign_writes == foreign_writes {
            let found = inner.entries.get(key).map(|(value, young)| (value.clone(), young));
            let (value, is_young) = found.ok_or(Age(inner.age))?;
            drop(inner);
            if !is_young {
                let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
                inner.entries.renew(key);
            }
            return Ok(value);
        }
        drop(inner);
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.see(foreign_writes);
        Err(Age(inner.age))
    }

    /// The age to store with what is read from now on.
    pub(crate) fn age(&self, foreign_writes: u64) -> Age {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.see(foreign_writes);
        Age(inner.age)
    }

    /// Keeps what was read at that age, unless something changed since.
    pub(crate) fn put(&self, age: &Age, key: K, value: V) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.age == age.0 {
            inner.entries.insert(key, value);
        }
    }

    /// Forgets everything.
    pub(crate) fn forget(&self) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.age += 1;
        inner.entries.clear();
    }

    /// Forgets one entry.
    pub(crate) fn forget_one(&self, key: &K) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.age += 1;
        inner.entries.remove(key);
    }
}

#[cfg(test)]
mod tests;
