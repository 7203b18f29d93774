//! Views: what a person may see of a collection, and the names by which tokens speak of them.
//!
//! A view follows from the person, the person's groups, and whether the whole collection may be
//! read. Only the groups need to be kept for as long as tokens speak of them, under a name that
//! is a hash of them; a person without groups needs nothing to be kept.

use std::sync::{Arc, Mutex, PoisonError};

use nuage_model::{BucketId, Principal, ReaderFilter, Timestamp, Write};
use sha2::{Digest, Sha256};

use crate::Caller;
use crate::cache::{Bounded, Weigh, bytes_of};
use crate::feed::token::ViewName;

/// Room for views that are remembered; those that were forgotten come back from the store.
const REMEMBERED_BYTES: usize = 16 * 1024 * 1024;
/// How long a view that was kept is not kept again.
const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// What a person may see.
pub(super) struct View {
    pub(super) name: ViewName,
    /// All that the person counts as, and the same as a list.
    pub(super) caller: Caller,
    principals: Vec<Principal>,
}

impl View {
    /// That of a device without anything.
    pub(super) fn nothing() -> Self {
        let caller = Caller::new(None);
        Self { name: ViewName::Nothing, caller, principals: Vec::new() }
    }

    /// That of a caller.
    pub(super) fn of(caller: Caller, whole: bool, groups: &[Principal]) -> Self {
        let name = if whole { ViewName::Whole } else { name_of(groups) };
        let mut principals = caller.base();
        principals.extend(groups.iter().cloned());
        let mut caller = caller;
        groups.iter().for_each(|group| caller.note(group.clone(), true));
        Self { name, caller, principals }
    }

    /// Whether a record with these readers may be seen.
    pub(super) fn sees(&self, readers: &[Principal]) -> bool {
        match self.name {
            ViewName::Nothing => false,
            ViewName::Whole => true,
            ViewName::Alone | ViewName::Groups(_) => {
                readers.iter().any(|reader| self.caller.is(reader.as_str()))
            }
        }
    }

    /// Whether what it sees depends on who the readers are.
    pub(super) fn is_choosy(&self) -> bool {
        matches!(self.name, ViewName::Alone | ViewName::Groups(_))
    }

    /// Whose signatures it sees, if any.
    pub(super) fn whose(&self) -> Option<ReaderFilter<'_>> {
        match self.name {
            ViewName::Nothing => None,
            ViewName::Whole => Some(ReaderFilter::All),
            ViewName::Alone | ViewName::Groups(_) => Some(ReaderFilter::Of(&self.principals)),
        }
    }
}

// The groups are in order.
fn name_of(groups: &[Principal]) -> ViewName {
    if groups.is_empty() {
        return ViewName::Alone;
    }
    let mut hash = Sha256::new();
    for group in groups {
        hash.update((group.as_str().len() as u64).to_be_bytes());
        hash.update(group.as_str());
    }
    let mut name = [0; 16];
    name.copy_from_slice(&hash.finalize()[..16]);
    ViewName::Groups(name)
}

/// Whether this is the name of these groups, as it is kept.
pub(crate) fn is_named(groups: &[Principal], name: &[u8]) -> bool {
    matches!(name_of(groups), ViewName::Groups(expected) if expected == name)
}

/// The groups that names stand for, as far as they were used lately.
pub(super) struct Views(Mutex<Bounded<Key, Known>>);

impl Default for Views {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(REMEMBERED_BYTES)))
    }
}

impl Weigh for Known {
    fn bytes(&self) -> usize {
        bytes_of(self.groups.iter())
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    bucket: BucketId,
    person: Principal,
    name: [u8; 16],
}

#[derive(Clone)]
struct Known {
    groups: Arc<[Principal]>,
    /// When the store was last told to keep it, if it was from here.
    kept: Option<Timestamp>,
}

impl Views {
    /// The groups under a name, if they are remembered here.
    pub(super) fn remembered(
        &self,
        bucket: &BucketId,
        person: &Principal,
        name: [u8; 16],
    ) -> Option<Arc<[Principal]>> {
        let key = Key { bucket: bucket.clone(), person: person.clone(), name };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.renew(&key);
        known.get(&key).map(|(known, _)| Arc::clone(&known.groups))
    }

    /// Remembers the groups under a name as the store kept them.
    pub(super) fn learn(
        &self,
        bucket: &BucketId,
        person: &Principal,
        name: [u8; 16],
        groups: Vec<Principal>,
    ) {
        let key = Key { bucket: bucket.clone(), person: person.clone(), name };
        self.remember(key, Known { groups: groups.into(), kept: None });
    }

    /// The write that keeps these groups, unless it was made a short while ago.
    pub(super) fn to_keep(
        &self,
        bucket: &BucketId,
        person: &Principal,
        name: [u8; 16],
        groups: &[Principal],
        now: Timestamp,
    ) -> Option<Write> {
        let key = Key { bucket: bucket.clone(), person: person.clone(), name };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.renew(&key);
        let kept = known.get(&key).and_then(|(known, _)| known.kept);
        if kept.is_some_and(|kept| now.0 < kept.0.saturating_add(KEPT_MS)) {
            return None;
        }
        Some(Write::KeepView {
            bucket: bucket.clone(),
            person: person.clone(),
            name,
            groups: groups.to_vec(),
        })
    }

    /// Takes note that a view was kept.
    pub(super) fn kept(&self, write: Write, now: Timestamp) {
        if let Write::KeepView { bucket, person, name, groups } = write {
            let known = Known { groups: groups.into(), kept: Some(now) };
            self.remember(Key { bucket, person, name }, known);
        }
    }

    /// Forgets all, which the store did too.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn remember(&self, key: Key, known: Known) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key, known);
    }
}
