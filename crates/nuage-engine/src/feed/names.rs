//! The groups that a collection names, and which of them the caller counts as, in one moment.
//!
//! Groups that a collection does not name decide about none of its records. Views hold places in
//! this list; tokens hold the ordinals of names, or the hash of many.

use std::sync::Arc;

use nuage_model::{GroupPath, NamedGroup, Principal, Seq};

use crate::named::Counted;

/// The names of a collection.
#[derive(Default)]
pub(super) struct Names {
    /// In the order of groups.
    names: Arc<[NamedGroup]>,
    /// Places of those that the caller counts as, in order.
    counted: Vec<usize>,
}

impl Names {
    /// For somebody who counts as some of them.
    pub(super) fn of(counted: &Counted) -> Self {
        let names = counted.all_names();
        let place = |group| names.binary_search_by(|name| name.group.cmp(group)).ok();
        // Both are in the order of groups.
        let places = counted.groups().iter().filter_map(place).collect();
        Self { names: Arc::clone(names), counted: places }
    }

    /// For somebody who sees the whole.
    pub(super) fn of_all(names: Arc<[NamedGroup]>) -> Self {
        Self { names, counted: Vec::new() }
    }

    /// These names, in order, for whoever counts as some of them.
    #[cfg(test)]
    pub(super) fn new(names: Vec<NamedGroup>, is_counted: impl Fn(&GroupPath) -> bool) -> Self {
        let places = names.iter().enumerate().filter(|(_, name)| is_counted(&name.group));
        let counted = places.map(|(place, _)| place).collect();
        Self { names: names.into(), counted }
    }

    /// The places of the names that the caller counts as, in order.
    pub(super) fn counted(&self) -> &[usize] {
        &self.counted
    }

    /// The group at a place.
    pub(super) fn principal(&self, place: usize) -> Principal {
        self.names[place].group.principal()
    }

    /// The position since which the group at a place is a name.
    pub(super) fn since(&self, place: usize) -> Seq {
        self.names[place].since
    }

    /// By which tokens speak of the group at a place.
    pub(super) fn ordinal(&self, place: usize) -> i64 {
        self.names[place].ordinal
    }

    /// The places of these ordinals, in order; those that are none any more are passed over.
    pub(super) fn of_ordinals(&self, ordinals: &[i64]) -> Vec<usize> {
        if ordinals.is_empty() {
            return Vec::new();
        }
        let places = self.names.iter().enumerate();
        let found = places.filter(|(_, name)| ordinals.contains(&name.ordinal));
        found.map(|(place, _)| place).collect()
    }

    /// The places of these groups, in order; those that are no names are passed over.
    pub(super) fn of_groups(&self, groups: &[Principal]) -> Vec<usize> {
        let place = |principal: &Principal| {
            let group = GroupPath::of_principal(principal.as_str())?;
            self.names.binary_search_by(|name| name.group.cmp(&group)).ok()
        };
        let mut places: Vec<usize> = groups.iter().filter_map(place).collect();
        places.sort_unstable();
        places
    }
}
