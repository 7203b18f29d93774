//! Records as they were last seen here: what changes are decided by, so that nothing is read before
//! it is written.
//!
//! Nothing is taken from here for true. Whoever decides by it says so in a guard, and the store
//! compares; if the record is another by then, it is forgotten here, and what was decided is decided
//! anew by what there is. So no other process need tell what it writes.

use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use nuage_model::{Kind, Record, RecordPath, State};

use crate::cache::{Bounded, Weigh};

/// Room for all of them: some ten thousand usual ones.
const BYTES: usize = 32 * 1024 * 1024;
/// Parts, so that few wait for each other and one half is thrown away in a moment.
const PARTS: usize = 32;

/// Records as they were last seen.
pub(crate) struct RecordCache {
    parts: Vec<Mutex<Bounded<RecordPath, Arc<Record>>>>,
    hasher: RandomState,
}

impl RecordCache {
    pub(crate) fn new() -> Self {
        let part = || Mutex::new(Bounded::new(BYTES / PARTS));
        Self { parts: (0..PARTS).map(|_| part()).collect(), hasher: RandomState::default() }
    }

    /// The record as it was last seen, or the tombstone that it left.
    pub(crate) fn get(&self, path: &RecordPath) -> Option<Arc<Record>> {
        let mut part = self.part(path);
        let (record, is_young) = part.get(path)?;
        let record = Arc::clone(record);
        if !is_young {
            part.renew(path);
        }
        Some(record)
    }

    /// Keeps what was written, unless something later is known.
    pub(crate) fn insert(&self, path: RecordPath, record: Arc<Record>) {
        // What is written once is not looked for again.
        if path.kind() == Kind::History {
            return;
        }
        let mut part = self.part(&path);
        if part.get(&path).is_none_or(|(known, _)| known.seq < record.seq) {
            part.insert(path, record);
        }
    }

    /// Forgets what was not so, or may be no more.
    pub(crate) fn remove(&self, path: &RecordPath) {
        self.part(path).remove(path);
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        for part in &self.parts {
            part.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn part(&self, path: &RecordPath) -> MutexGuard<'_, Bounded<RecordPath, Arc<Record>>> {
        let number = self.hasher.hash_one(path) as usize % PARTS;
        self.parts[number].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Weigh for Arc<Record> {
    fn bytes(&self) -> usize {
        match &self.state {
            State::Live { body, permissions, .. } => body.len() + permissions.len(),
            State::Tombstone => 0,
        }
    }
}
