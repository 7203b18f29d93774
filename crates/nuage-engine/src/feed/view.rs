//! Views: what a person may see of a collection, and the names by which tokens speak of them.
//!
//! A view is the whole, or what is readable for the person, for everybody, and for those groups
//! among the names of the collection that the person counts as. Small ones are in the token; the
//! groups of larger ones are kept, for as long as tokens speak of them, under a hash of them.

use std::sync::{Arc, Mutex, PoisonError};

use nuage_model::{BucketId, Principal, ReaderFilter, Seq, Timestamp, Write};
use sha2::{Digest, Sha256};

use crate::Caller;
use crate::cache::{Bounded, Weigh, bytes_of};
use crate::feed::mutants::{self, Mutant};
use crate::feed::names::Names;
use crate::feed::token::{ORDINALS_MAX, ViewName};

/// Room for views that are remembered; those that were forgotten come back from the store.
const REMEMBERED_BYTES: usize = 16 * 1024 * 1024;
/// How long a view that was kept is not kept again.
const KEPT_MS: i64 = 24 * 60 * 60 * 1_000;

/// What is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    /// Nothing: that of a device without anything.
    Nothing,
    /// Everything.
    Whole,
    /// What the person may see with these names of the collection, by their places, in order.
    With(Vec<usize>),
}

impl Scope {
    /// What both see.
    pub(super) fn meet(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => Self::Nothing,
            (Self::Whole, both) | (both, Self::Whole) => both.clone(),
            (Self::With(all), Self::With(others)) => {
                let in_both = all.iter().filter(|place| others.binary_search(place).is_ok());
                Self::With(in_both.copied().collect())
            }
        }
    }

    /// Whether this one sees what the other one does not. Groups that are no names see nothing.
    pub(super) fn has_lost(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Whole) => false,
            (Self::Whole, _) | (_, Self::Nothing) => true,
            (Self::With(_), Self::With(_)) if mutants::is(Mutant::LostGroupIgnored) => false,
            (Self::With(all), Self::With(others)) => is_more(all, others, |_| true),
        }
    }

    /// Whether the other one sees what this one does not, and did not change since this position.
    /// The records of a group that was no name then did.
    pub(super) fn has_gained(&self, other: &Self, named: &Names, since: Seq) -> bool {
        match (self, other) {
            (Self::Whole, _) | (_, Self::Nothing) => false,
            (Self::Nothing, _) | (_, Self::Whole) => true,
            (Self::With(_), Self::With(_)) if mutants::is(Mutant::GainedWereNoNames) => false,
            (Self::With(all), Self::With(others)) => {
                is_more(others, all, |place| named.since(place) <= since)
            }
        }
    }
}

// Whether there is one more that counts.
fn is_more(all: &[usize], others: &[usize], counts: impl Fn(usize) -> bool) -> bool {
    all.iter().any(|place| others.binary_search(place).is_err() && counts(*place))
}

/// What a person may see.
pub(super) struct View {
    pub(super) scope: Scope,
    /// All that the person counts as, and the same as a list.
    caller: Caller,
    principals: Vec<Principal>,
}

impl View {
    /// That of a person, or of a stranger.
    pub(super) fn of(user: Option<&Principal>, scope: Scope, named: &Names) -> Self {
        let places: &[usize] = if let Scope::With(places) = &scope { places } else { &[] };
        let mut caller = Caller::new(user.cloned());
        let mut principals = caller.base();
        for place in places {
            let group = named.principal(*place);
            caller.note(group.clone(), true);
            principals.push(group);
        }
        Self { scope, caller, principals }
    }

    /// Whether a record with these readers may be seen.
    pub(super) fn sees(&self, readers: &[Principal]) -> bool {
        match self.scope {
            Scope::Nothing => false,
            Scope::Whole => true,
            Scope::With(_) => readers.iter().any(|reader| self.caller.is(reader.as_str())),
        }
    }

    /// Whether what it sees depends on who the readers are.
    pub(super) fn is_choosy(&self) -> bool {
        matches!(self.scope, Scope::With(_))
    }

    /// Whether it sees everything.
    pub(super) fn is_whole(&self) -> bool {
        self.scope == Scope::Whole
    }

    /// Whose signatures it sees, if any.
    pub(super) fn whose(&self) -> Option<ReaderFilter<'_>> {
        match self.scope {
            Scope::Nothing => None,
            Scope::Whole => Some(ReaderFilter::All),
            Scope::With(_) => Some(ReaderFilter::Of(&self.principals)),
        }
    }

    /// By which a token speaks of it; and its groups, if these must be kept.
    pub(super) fn name(&self, named: &Names) -> (ViewName, Option<Vec<Principal>>) {
        let places = match &self.scope {
            Scope::Nothing => return (ViewName::Nothing, None),
            Scope::Whole => return (ViewName::Whole, None),
            Scope::With(places) => places,
        };
        let few = if mutants::is(Mutant::NoOrdinals) { 0 } else { ORDINALS_MAX };
        if places.len() > few {
            let groups: Vec<Principal> =
                places.iter().map(|place| named.principal(*place)).collect();
            return (ViewName::Many(hash_of(&groups)), Some(groups));
        }
        let mut ordinals: Vec<i64> = places.iter().map(|place| named.ordinal(*place)).collect();
        ordinals.sort_unstable();
        (ViewName::Few(ordinals), None)
    }
}

// The groups are in order.
pub(super) fn hash_of(groups: &[Principal]) -> [u8; 16] {
    let mut hash = Sha256::new();
    for group in groups {
        hash.update((group.as_str().len() as u64).to_be_bytes());
        hash.update(group.as_str());
    }
    let mut name = [0; 16];
    name.copy_from_slice(&hash.finalize()[..16]);
    name
}

/// Whether this is the name of these groups, as it is kept.
pub(crate) fn is_named(groups: &[Principal], name: &[u8]) -> bool {
    !groups.is_empty() && hash_of(groups) == name
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

/// Whose view, by its hash.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) bucket: BucketId,
    /// Of the collection: what was kept goes with the bucket, and all that is in it.
    pub(super) incarnation: [u8; 8],
    pub(super) person: Principal,
    pub(super) hash: [u8; 16],
}

#[derive(Clone)]
struct Known {
    groups: Arc<[Principal]>,
    /// When the store was last told to keep it, if it was from here.
    kept: Option<Timestamp>,
}

impl Views {
    /// The groups of a view, if they are remembered here.
    pub(super) fn remembered(&self, key: &Key) -> Option<Arc<[Principal]>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.renew(key);
        known.get(key).map(|(known, _)| Arc::clone(&known.groups))
    }

    /// Remembers the groups of a view as the store kept them.
    pub(super) fn learn(&self, key: Key, groups: Arc<[Principal]>) {
        self.remember(key, Known { groups, kept: None });
    }

    /// The write that keeps these groups, unless it was made a short while ago.
    pub(super) fn to_keep(&self, key: &Key, groups: &[Principal], now: Timestamp) -> Option<Write> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.renew(key);
        let kept = known.get(key).and_then(|(known, _)| known.kept);
        if kept.is_some_and(|kept| now.0 < kept.0.saturating_add(KEPT_MS)) {
            return None;
        }
        let Key { bucket, person, hash: name, .. } = key.clone();
        Some(Write::KeepView { bucket, person, name, groups: groups.to_vec() })
    }

    /// Takes note that a view was kept.
    pub(super) fn kept(&self, key: Key, groups: Vec<Principal>, now: Timestamp) {
        self.remember(key, Known { groups: groups.into(), kept: Some(now) });
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

#[cfg(test)]
mod tests;
