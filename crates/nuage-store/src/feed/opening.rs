//! The opening of a moment: all that decides who may see what of a collection.

use std::collections::BTreeSet;

use futures_util::future::try_join4;
use nuage_model::copy::{Cell, STORE};
use nuage_model::{
    Bodies, CollectionPath, CollectionStats, GroupPath, Seq, SnapshotHeader, SnapshotRequest,
    StoreError,
};

use crate::cells;
use crate::reads::{Columns, Depth, Reads};
use crate::records::{self, sequence};
use crate::rules::{CollectionRow, StoredRow};

/// Begins a moment, and reads what is asked first.
pub(crate) async fn open<R: Reads>(
    reads: &R,
    ask: &SnapshotRequest,
) -> Result<SnapshotHeader, R::Fault> {
    let first = try_join4(
        reads.note(STORE),
        sequence(reads, &ask.collection),
        // How long it takes must not tell how large they are.
        records::get(reads, &ask.paths, Bodies::Small),
        reads.groups(&ask.members, Depth::Nested, ask.groups_max),
    );
    let (epoch, sequence, records, groups) = reads.begin(first).await?;
    let epoch =
        epoch.ok_or_else(|| StoreError::Corrupt("the data has lost its name".to_owned()))?;
    let groups = placed(reads, groups).await?;
    let standing = sequence.and_then(|sequence| standing(&sequence));
    Ok(SnapshotHeader { epoch, standing, groups, records })
}

fn standing(sequence: &CollectionRow) -> Option<CollectionStats> {
    Some(CollectionStats {
        incarnation: sequence.incarnation,
        head: sequence.head()?,
        horizon: sequence.gc_seq,
        tombstones: u64::try_from(sequence.tombstones).unwrap_or(0),
        gone: u64::try_from(sequence.gone).unwrap_or(0),
        names: u64::try_from(sequence.names).unwrap_or(0),
        named: sequence.named,
    })
}

// The position of each group's record, or zero where there is none.
async fn placed<R: Reads>(
    reads: &R,
    groups: BTreeSet<GroupPath>,
) -> Result<Vec<(GroupPath, Seq)>, R::Fault> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let path = |group: &GroupPath| {
        let groups = CollectionPath::groups(group.bucket.clone());
        cells::record(&groups.record(group.group.clone()))
    };
    let keys: Vec<Vec<Cell>> = groups.iter().map(path).collect();
    let rows =
        reads.get(&keys, Columns::TRACE, usize::MAX, StoredRow::of_columns).await?.into_iter();
    let seqs = rows.map(|row| row.filter(|row| !row.dead).map_or(Seq(0), |row| row.seq));
    Ok(groups.into_iter().zip(seqs).collect())
}
