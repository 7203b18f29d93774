//! Which groups the signatures of a collection name: how many signatures do, since when, and the
//! counters by which others notice that it changed.
//!
//! A group is named as long as anything has such a signature, be it a tombstone or an ended
//! residency. Who is in the group is of no interest here.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::copy::Table;
use nuage_model::{BucketId, CollectionPath, GroupPath, Seq};

use crate::cells;
use crate::rules::{CollectionCache, CollectionRow};
use crate::schema::{Rows, Was};

/// A group that is named in a collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    /// How many signatures name it.
    pub(crate) signatures: i64,
    /// The position since which there is one; 0: always.
    pub(crate) since: Seq,
    /// By which others speak of it. Never given again to another one in the collection.
    pub(crate) ordinal: i64,
}

impl CollectionCache {
    /// Whether a collection may name these groups as well, if it may name so many; all of them new where
    /// it is dropped before.
    pub(super) fn names_fit<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &CollectionPath,
        (groups, is_dropped): (BTreeSet<GroupPath>, bool),
        most: i64,
    ) -> Result<bool, T::Fault> {
        let count = i64::try_from(groups.len()).unwrap_or(i64::MAX);
        let sequence = self.entry(tables, path)?.sequence.as_ref();
        let sequence = sequence.filter(|one| !one.dropped && !is_dropped);
        let Some(there) = sequence.map(|one| one.names) else { return Ok(count <= most) };
        // Nearly always there is room for all of them, whether they are new or not.
        if count <= most - there {
            return Ok(true);
        }
        // All are looked at, for a database that is asked once.
        let mut new = 0;
        for group in groups {
            let known = tables.get(Table::Names, &cells::name(path, &group))?;
            new += i64::from(known.is_none());
        }
        Ok(new == 0 || there + new <= most)
    }

    /// A signature that was not there names these groups.
    pub(super) fn add_names<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &CollectionPath,
        groups: impl Iterator<Item = GroupPath>,
    ) -> Result<(), T::Fault> {
        for group in groups {
            let key = cells::name(path, &group);
            let row = tables.get(Table::Names, &key)?;
            let kept = row.as_ref().map(|row| Name::of_row(row)).transpose()?;
            if let Some(kept) = kept {
                let name = Name { signatures: kept.signatures + 1, ..kept };
                tables.put(Table::Names, name.to_row(key), Was::Present)?;
            } else if let Some(sequence) = &mut self.change(tables, path)?.sequence {
                sequence.names += 1;
                sequence.named += 1;
                let (since, ordinal) = (sequence.seq, sequence.named);
                let name = Name { signatures: 1, since, ordinal };
                tables.put(Table::Names, name.to_row(key), Was::Absent)?;
            }
        }
        Ok(())
    }

    /// Signatures were forgotten that named these groups: so many for each.
    pub(super) fn forget_names<T: Rows>(
        &mut self,
        tables: &mut T,
        path: &CollectionPath,
        groups: BTreeMap<GroupPath, i64>,
    ) -> Result<(), T::Fault> {
        for (group, less) in groups {
            let key = cells::name(path, &group);
            let Some(row) = tables.get(Table::Names, &key)? else { continue };
            let kept = Name::of_row(&row)?;
            let name = Name { signatures: kept.signatures - less, ..kept };
            if name.signatures > 0 {
                tables.put(Table::Names, name.to_row(key), Was::Present)?;
                continue;
            }
            tables.delete(Table::Names, &key)?;
            if let Some(sequence) = &mut self.change(tables, path)?.sequence {
                sequence.names -= 1;
                sequence.named += 1;
            }
        }
        Ok(())
    }

    /// A group that is a member of another one of this bucket came or went.
    pub(super) fn nest<T: Rows>(
        &mut self,
        tables: &mut T,
        bucket: &BucketId,
    ) -> Result<(), T::Fault> {
        let entry = self.change(tables, &CollectionPath::groups(bucket.clone()))?;
        entry.sequence.get_or_insert_with(CollectionRow::unbegun).nested += 1;
        Ok(())
    }
}
