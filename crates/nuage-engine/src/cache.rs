//! What is remembered between requests: the records of buckets and collections, and the groups
//! of callers.
//!
//! An entry is dropped when it changes. One that was being read meanwhile is not kept: the reader
//! notes the age of the cache before it reads, and the age moves with each change.

use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use foldhash::HashMap;

/// Bytes beyond which a cache is emptied: tens of thousands of buckets and collections as they
/// usually are, or eight of the largest.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// What an entry takes besides what it holds.
const ENTRY_BYTES: usize = 512;

pub(crate) struct Cache<K, V>(RwLock<Inner<K, V>>);

struct Inner<K, V> {
    age: u64,
    foreign_writes: u64,
    /// With the bytes that each takes.
    entries: HashMap<K, (V, usize)>,
    bytes: usize,
}

impl<K: Eq + Hash, V> Inner<K, V> {
    fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    fn remove(&mut self, key: &K) {
        if let Some((_, bytes)) = self.entries.remove(key) {
            self.bytes -= bytes;
        }
    }
}

/// The age of a cache at the moment of a look-up that found nothing.
pub(crate) struct Age(u64);

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(crate) fn new() -> Self {
        let entries = HashMap::default();
        Self(RwLock::new(Inner { age: 0, foreign_writes: 0, entries, bytes: 0 }))
    }

    /// The entry, unless another process wrote since; or the age to store it with.
    pub(crate) fn get(&self, key: &K, foreign_writes: u64) -> Result<V, Age> {
        let inner = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if inner.foreign_writes == foreign_writes {
            return inner.entries.get(key).map(|(value, _)| value.clone()).ok_or(Age(inner.age));
        }
        drop(inner);
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.foreign_writes != foreign_writes {
            inner.foreign_writes = foreign_writes;
            inner.age += 1;
            inner.clear();
        }
        Err(Age(inner.age))
    }

    /// Keeps what was read at that age and takes about so many bytes, unless something changed
    /// since.
    pub(crate) fn put(&self, age: &Age, key: K, value: V, bytes: usize) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if inner.age == age.0 {
            let bytes = bytes + ENTRY_BYTES;
            inner.remove(&key);
            if inner.bytes + bytes > BYTES_MAX {
                inner.clear();
            }
            if bytes <= BYTES_MAX {
                inner.bytes += bytes;
                inner.entries.insert(key, (value, bytes));
            }
        }
    }

    /// Forgets what changed.
    pub(crate) fn forget(&self, changed: impl Fn(&K) -> bool) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.age += 1;
        let Inner { entries, bytes, .. } = &mut *inner;
        entries.retain(|key, (_, size)| {
            let stays = !changed(key);
            if !stays {
                *bytes -= *size;
            }
            stays
        });
    }

    /// Forgets one entry.
    pub(crate) fn forget_one(&self, key: &K) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        inner.age += 1;
        inner.remove(key);
    }
}

#[cfg(test)]
mod tests;
