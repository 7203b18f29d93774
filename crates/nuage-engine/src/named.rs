//! The groups that a collection names, and which of them somebody counts as.
//!
//! Signatures of a collection name groups, and so do the permissions above it. What is inside these
//! depends on the collection alone, and is remembered for all who ask; as which of them somebody
//! counts is remembered beside it. Both are compared with what the store says of the moment that
//! is judged: nothing has to tell that they changed, in whichever process that was.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use nuage_model::{
    BucketId, CollectionPath, GroupPath, GroupsStanding, MembershipQuery, Memberships, NamedGroup,
    Principal, SnapshotHeader,
};

use crate::cache::{Bounded, Weigh};
use crate::groups::{self, Ask, CHAIN_MAX, reached};
use crate::{Caller, EngineError};

/// Room for what collections name.
const NAMED_BYTES: usize = 64 * 1024 * 1024;
/// Room for what people count as.
const COUNTED_BYTES: usize = 32 * 1024 * 1024;
/// What a group takes that was read, and what it takes once more, about.
const GROUP_BYTES: usize = 150;
const AGAIN_BYTES: usize = 40;

/// What a collection names, with what is inside.
pub(crate) struct Named {
    epoch: String,
    incarnation: Option<[u8; 8]>,
    /// Moves with the names.
    named: i64,
    /// Groups in the permissions above, in order.
    above: Vec<GroupPath>,
    names: Arc<[NamedGroup]>,
    /// Of no person, and without the names: what is inside which group.
    found: Memberships,
    /// All these groups, in order.
    groups: Vec<GroupPath>,
    /// Their buckets, in order.
    buckets: Arc<[BucketId]>,
}

/// Which groups of [`Named`] somebody counts as.
pub(crate) struct Counted {
    named: Arc<Named>,
    groups: Arc<BTreeSet<GroupPath>>,
}

/// The same, to be remembered. It does not keep what the collection names, which is remembered by
/// itself.
#[derive(Clone)]
struct Known {
    named: Weak<Named>,
    standings: Vec<GroupsStanding>,
    groups: Arc<BTreeSet<GroupPath>>,
}

impl Counted {
    /// All of them: those that are named, here or above, and those inside them.
    pub(crate) fn groups(&self) -> &BTreeSet<GroupPath> {
        &self.groups
    }

    /// The buckets of all groups that were looked at, whoever counts as them.
    pub(crate) fn buckets(&self) -> Arc<[BucketId]> {
        Arc::clone(&self.named.buckets)
    }

    /// Those that signatures of the collection name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &NamedGroup> {
        self.all_names().iter().filter(|named| self.groups.contains(&named.group))
    }

    /// All groups that signatures of the collection name, whoever counts as them. In order.
    pub(crate) fn all_names(&self) -> &Arc<[NamedGroup]> {
        &self.named.names
    }
}

impl Weigh for Arc<Named> {
    fn bytes(&self) -> usize {
        let read = self.names.len() + 2 * self.found.inside.len();
        read * GROUP_BYTES + self.groups.len() * AGAIN_BYTES
    }
}

impl Weigh for Known {
    fn bytes(&self) -> usize {
        self.groups.len() * AGAIN_BYTES + self.standings.len() * size_of::<GroupsStanding>()
    }
}

/// What is remembered of all collections.
pub(crate) struct AllNamed {
    named: Mutex<Bounded<CollectionPath, Arc<Named>>>,
    counted: Mutex<Bounded<(CollectionPath, Principal), Known>>,
}

impl Default for AllNamed {
    fn default() -> Self {
        Self {
            named: Mutex::new(Bounded::new(NAMED_BYTES)),
            counted: Mutex::new(Bounded::new(COUNTED_BYTES)),
        }
    }
}

/// What is remembered of a collection, to be compared with a moment.
pub(crate) struct Remembered(Option<Arc<Named>>);

impl Remembered {
    /// The buckets of which the moment must say where their groups stand.
    pub(crate) fn buckets(&self) -> Vec<BucketId> {
        self.0.as_ref().map_or_else(Vec::new, |named| named.buckets.to_vec())
    }
}

fn recalled<K: Eq + std::hash::Hash + Clone, V: Weigh + Clone>(
    all: &Mutex<Bounded<K, V>>,
    key: &K,
) -> Option<V> {
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    all.renew(key);
    all.get(key).map(|(value, _)| value.clone())
}

impl AllNamed {
    /// What is remembered of a collection.
    pub(crate) fn remembered(&self, collection: &CollectionPath) -> Remembered {
        Remembered(recalled(&self.named, collection))
    }

    /// The same as [`AllNamed::counted`], if all of it is remembered.
    pub(crate) fn recalled(
        &self,
        (remembered, header): (&Remembered, &SnapshotHeader),
        collection: &CollectionPath,
        above: Vec<GroupPath>,
        caller: &Caller,
    ) -> Option<Counted> {
        let named = remembered.0.as_ref().filter(|named| named.is_of(header, &above))?;
        let groups = self.groups_of(&(collection.clone(), caller.author()), named, header)?;
        Some(Counted { named: Arc::clone(named), groups })
    }

    // What somebody is remembered to count as, if groups still stand so.
    fn groups_of(
        &self,
        key: &(CollectionPath, Principal),
        named: &Arc<Named>,
        header: &SnapshotHeader,
    ) -> Option<Arc<BTreeSet<GroupPath>>> {
        let known = recalled(&self.counted, key)?;
        let is_so = std::ptr::eq(known.named.as_ptr(), Arc::as_ptr(named))
            && known.standings == header.groups;
        is_so.then_some(known.groups)
    }

    /// Which groups somebody counts as, of those that the collection and the permissions above it
    /// name, in the moment that `header` is of: the buckets asked for were those of `remembered`.
    ///
    /// # Errors
    ///
    /// [`EngineError::TooManyInnerGroups`] if the groups that are named contain more than may be
    /// looked at.
    pub(crate) async fn counted(
        &self,
        ask: &mut Ask<'_, '_>,
        (remembered, header): (Remembered, &SnapshotHeader),
        collection: &CollectionPath,
        above: BTreeSet<GroupPath>,
        caller: &Caller,
        inner_max: usize,
    ) -> Result<Counted, EngineError> {
        let above: Vec<GroupPath> = above.into_iter().collect();
        let key = (collection.clone(), caller.author());
        let query = groups::query(Vec::new(), caller, inner_max);
        let known = remembered.0.filter(|named| named.is_of(header, &above));
        let mut read = None;
        if let Some(named) = known {
            if let Some(groups) = self.groups_of(&key, &named, header) {
                return Ok(Counted { named, groups });
            }
            // What is inside is known.
            let groups = named.groups.clone();
            let query = MembershipQuery { groups, depth: 0, ..query.clone() };
            let found = ask.memberships(&query).await?;
            // Unless it moved since the header was read, where that is of another moment.
            if named.has_inside(found.standings.iter().map(|(_, standing)| standing)) {
                let inside = named.found.inside.clone();
                let direct = found.direct;
                let whole = Memberships { inside, direct, ..Memberships::default() };
                read = Some((named, found.standings, reached(&whole, CHAIN_MAX)));
            }
        }
        let (named, standings, groups) = match read {
            Some(read) => read,
            None => {
                let collection = header.standing.map(|_| collection.clone());
                let query = MembershipQuery { collection, groups: above.clone(), ..query };
                let mut found = ask.memberships(&query).await?;
                let groups = reached(&found, CHAIN_MAX);
                found.direct = Vec::new();
                let standings = found.standings.clone();
                (Arc::new(Named::new(header, above, found)), standings, groups)
            }
        };
        let groups = Arc::new(groups);
        // Of places that are not there nothing is kept, whoever asks for how many of them.
        if header.standing.is_some() {
            let standings = standings.into_iter().map(|(_, standing)| standing).collect();
            let (weak, groups) = (Arc::downgrade(&named), Arc::clone(&groups));
            let mut all = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(key.clone(), Known { named: weak, standings, groups });
            drop(all);
            let mut all = self.named.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(key.0, Arc::clone(&named));
        }
        Ok(Counted { named, groups })
    }
}

impl Named {
    fn new(header: &SnapshotHeader, above: Vec<GroupPath>, mut found: Memberships) -> Self {
        let names: Arc<[NamedGroup]> = std::mem::take(&mut found.names).into();
        let named = names.iter().map(|named| &named.group);
        let inside = found.inside.iter().map(|(inner, _)| inner);
        let groups: BTreeSet<&GroupPath> = named.chain(inside).chain(&above).collect();
        let groups = groups.into_iter().cloned().collect();
        Self {
            epoch: header.epoch.clone(),
            incarnation: header.standing.map(|standing| standing.incarnation),
            named: header.standing.map_or(0, |standing| standing.named),
            above,
            names,
            buckets: found.standings.iter().map(|(bucket, _)| bucket.clone()).collect(),
            found,
            groups,
        }
    }

    // Whether it is still so. Persons come and go without a change of what is inside.
    fn is_of(&self, header: &SnapshotHeader, above: &[GroupPath]) -> bool {
        self.epoch == header.epoch
            && self.incarnation == header.standing.map(|standing| standing.incarnation)
            && self.named == header.standing.map_or(0, |standing| standing.named)
            && self.above == above
            && self.has_inside(header.groups.iter())
    }

    // Whether no group came into another one, or went, where groups stand so.
    fn has_inside<'s>(&self, standings: impl Iterator<Item = &'s GroupsStanding>) -> bool {
        let inner = |one: &GroupsStanding| (one.incarnation, one.dropped, one.nested);
        let own = self.found.standings.iter().map(|(_, standing)| inner(standing));
        own.eq(standings.map(inner))
    }
}
