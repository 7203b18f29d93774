//! A query, with what is known of its collection before any record is read.

use std::collections::HashSet;

use foldhash::HashMap;
use nuage_model::{Field, Permissions, Principal, Query, Record, Scope, Signature, States, View};

use crate::list::shape::{Shape, Times};
use crate::rules::CollectionRow;

/// Rows of a walk that cost as much as one look into the index of signatures.
const ROWS_PER_PROBE: i64 = 1;
/// Along more signatures than so many nobody goes: the ranges alone would take megabytes.
const PROBES_MAX: i64 = 16_384;

/// How to go through a collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccessPath {
    /// To the records that the query names.
    Ids,
    /// Along the positions of each signature.
    Signatures,
    /// Along the positions.
    Positions,
    /// Along the positions and the chosen times, merged.
    Times,
}

/// Signatures with the number of live records that have each.
pub(crate) type Signatures = HashMap<Signature, i64>;

/// A query to a collection that is there.
pub(crate) struct PlannedQuery<'a> {
    pub(crate) query: &'a Query,
    pub(crate) sequence: &'a CollectionRow,
    pub(crate) shape: Shape<'a>,
    /// Those that the scope lets see, where it does not let see all.
    pub(crate) signatures: Option<Signatures>,
    holders: Option<(&'static str, HashSet<&'a str>)>,
}

impl<'a> PlannedQuery<'a> {
    /// `signatures` are those of the principals that the scope names, if it names any.
    pub(crate) fn new(
        query: &'a Query,
        sequence: &'a CollectionRow,
        signatures: Option<Signatures>,
    ) -> Self {
        let holders = match &query.scope {
            Scope::All | Scope::Readers(_) => None,
            Scope::Holders(permission, who) => {
                Some((*permission, who.iter().map(Principal::as_str).collect()))
            }
        };
        Self { query, sequence, shape: Shape::of(query), signatures, holders }
    }

    /// Whether nothing can match.
    pub(crate) fn is_empty(&self) -> bool {
        let rows = match self.query.states {
            States::Live => self.sequence.live,
            States::Both => self.sequence.rows(),
        };
        rows == 0
            || self.rows_between() == 0
            || self.signatures.as_ref().is_some_and(Signatures::is_empty)
    }

    /// The way that passes the fewest rows.
    pub(crate) fn way(&self) -> AccessPath {
        if self.shape.ids.is_some() {
            return AccessPath::Ids;
        }
        if self.sequence.chosen > 0 {
            return AccessPath::Times;
        }
        let probes = self.probes();
        let are_cheap = probes <= PROBES_MAX && self.rows_between() > ROWS_PER_PROBE * probes;
        match &self.signatures {
            Some(_) if are_cheap => AccessPath::Signatures,
            _ => AccessPath::Positions,
        }
    }

    /// Whether the first rows of a walk may be tried, each by itself.
    pub(crate) fn can_be_tried(&self) -> bool {
        let is_by_time = self.shape.by_time.is_some() && self.sequence.chosen == 0;
        is_by_time && self.is_exact()
    }

    /// How many signatures there are to follow.
    pub(crate) fn probes(&self) -> i64 {
        let signatures = self.signatures.as_ref().map_or(0, Signatures::len);
        i64::try_from(signatures).unwrap_or(i64::MAX)
    }

    /// Whether every record that indexes give is shown.
    pub(crate) fn is_exact(&self) -> bool {
        self.shape.is_exact && self.shape.ids.is_none() && self.holders.is_none()
    }

    /// Whether the scope is one of permissions, which are told record by record.
    pub(crate) fn reads_permissions(&self) -> bool {
        self.holders.is_some()
    }

    /// Whether bodies are looked at, or shown.
    pub(crate) fn wants_bodies(&self) -> bool {
        self.query.bodies || self.shape.filters_bodies || !self.sorts_by_name()
    }

    /// Whether the order is one of names and times, which are told without a body.
    pub(crate) fn sorts_by_name(&self) -> bool {
        self.query.sort.iter().all(|sort| matches!(sort.field, Field::Id | Field::Timestamp))
    }

    /// The most rows there can be between the times: no two show the same, and none shows one
    /// beyond the head.
    pub(crate) fn rows_between(&self) -> i64 {
        let Times { low, high } = self.shape.times;
        let high = high.min(self.sequence.seq.0);
        let times = high.saturating_sub(low).saturating_add(1).max(0);
        self.sequence.rows().min(times)
    }

    /// Whether a record that indexes gave is shown: what no index could decide.
    pub(crate) fn shows(&self, record: &Record) -> bool {
        let is_decided = self.shape.is_exact && self.shape.ids.is_none();
        if !is_decided && !self.query.matches(&View::new(record)) {
            return false;
        }
        let Some((permission, who)) = &self.holders else { return true };
        // What does not parse grants nothing; `nuage check` reports it.
        Permissions::from_text(&record.permissions())
            .is_ok_and(|own| own.grants(permission, &|holder| who.contains(holder)))
    }

    /// The count, where the counters tell it.
    pub(crate) fn counted(&self) -> Option<u64> {
        if !self.query.filters.is_empty() || self.holders.is_some() {
            return None;
        }
        let counted = match (&self.signatures, self.query.states) {
            (None, States::Live) => self.sequence.live,
            (None, States::Both) => self.sequence.rows(),
            (Some(_), States::Both) => return None,
            (Some(signatures), States::Live) => signatures.values().sum(),
        };
        Some(u64::try_from(counted).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use nuage_model::{CollectionPath, Seq};

    use super::*;

    #[test]
    fn very_many_signatures_are_not_followed_one_by_one() {
        let query = Query {
            scope: Scope::Readers(vec![Principal::from("alice")]),
            ..Query::all(CollectionPath::new("b", "c"), 10)
        };
        let sequence = CollectionRow { live: 10_000_000, ..CollectionRow::begin(Seq(1 << 50)) };
        for (count, way) in [
            (1, AccessPath::Signatures),
            (16_384, AccessPath::Signatures),
            (16_385, AccessPath::Positions),
        ] {
            let one = |n: u128| (Signature(n.to_be_bytes()), 1);
            let signatures = (0..count).map(one).collect();
            assert_eq!(
                PlannedQuery::new(&query, &sequence, Some(signatures)).way(),
                way,
                "{count}"
            );
        }
    }
}
