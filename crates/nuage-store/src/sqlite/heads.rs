//! Heads of collections, kept in memory so that "nothing new" costs no read.
//!
//! The writer takes out what it is about to commit, and puts in what it committed before it
//! acknowledges: a head in memory is never older than what a reader of the file has seen. Readers
//! may put in what they read, but only if nothing was committed since before they looked.

use foldhash::HashMap;
use std::sync::{PoisonError, RwLock};

use nuage_model::{CollectionPath, Head};

use crate::rules::Changes;

/// Beyond this many heads all are forgotten; they come back as they are asked for.
const HEADS_MAX: usize = 65_536;

/// The heads that are known.
#[derive(Default)]
pub(super) struct Heads(RwLock<Known>);

#[derive(Default)]
struct Known {
    generation: u64,
    /// Between [`Heads::hide`] and [`Heads::publish`]: what readers find may be the old state or
    /// the new one.
    is_committing: bool,
    heads: HashMap<CollectionPath, Head>,
}

/// A moment: what is read after it is no older than what was known then.
#[derive(Clone, Copy)]
pub(super) struct Moment(u64);

impl Heads {
    /// The head if it is known; else the moment for [`Heads::learn`].
    pub(super) fn get(&self, collection: &CollectionPath) -> Result<Head, Moment> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.heads.get(collection).copied().ok_or(Moment(known.generation))
    }

    /// Keeps a head that was read after the moment, unless something was committed meanwhile.
    pub(super) fn learn(&self, collection: &CollectionPath, head: Head, since: Moment) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if known.generation == since.0 && !known.is_committing {
            known.make_room();
            known.heads.insert(collection.clone(), head);
        }
    }

    /// Takes out what is about to be committed.
    pub(super) fn hide(&self, changes: &Changes) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.is_committing = true;
        known.drop_old(changes);
        for (path, _) in &changes.heads {
            known.heads.remove(path);
        }
    }

    /// Takes over what was committed.
    pub(super) fn publish(&self, changes: Changes) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.generation += 1;
        known.is_committing = false;
        known.drop_old(&changes);
        known.make_room();
        for (path, head) in changes.heads {
            match head {
                Some(head) => known.heads.insert(path, head),
                None => known.heads.remove(&path),
            };
        }
    }

    /// Forgets all, because somebody else may have written, or nobody knows what was committed.
    pub(super) fn forget(&self) {
        self.publish(Changes { all: true, ..Changes::default() });
    }
}

impl Known {
    fn drop_old(&mut self, changes: &Changes) {
        if changes.all {
            self.heads.clear();
        }
        for bucket in &changes.buckets {
            self.heads.retain(|path, _| path.bucket != *bucket);
        }
    }

    fn make_room(&mut self) {
        if self.heads.len() >= HEADS_MAX {
            self.heads.clear();
        }
    }
}
