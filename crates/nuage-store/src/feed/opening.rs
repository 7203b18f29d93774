//! The opening of a moment: all that decides who may see what of a collection.

use std::collections::BTreeSet;

use futures_util::future::try_join4;
use nuage_model::copy::Cell;
use nuage_model::{
    Ask, Bodies, CollectionPath, GroupPath, Opening, Principal, Record, Seq, Standing,
};

use crate::cells;
use crate::places::{self, Pairs};
use crate::reads::{Columns, Reads};
use crate::records::{self, sequence};
use crate::rules::{Old, Sequence};

/// Begins a moment, and reads what is asked first.
pub(crate) async fn open<R: Reads>(reads: &R, ask: &Ask) -> Result<Opening, R::Fault> {
    let first = try_join4(
        reads.epoch(),
        sequence(reads, &ask.collection),
        records::get(reads, &ask.paths, Bodies::All),
        places::pairs_of(reads, &ask.members, ask.groups_max),
    );
    let (epoch, sequence, records, pairs) = reads.begin(first).await?;
    let groups = closure(reads, pairs, ask.groups_max).await?;
    let entered = |found: Option<(Record, Old)>| match found {
        Some((record, row)) => (Some(record), row.entered),
        None => (None, Seq(0)),
    };
    let (records, entered) = records.into_iter().map(entered).unzip();
    let standing = sequence.and_then(|sequence| standing(&sequence));
    Ok(Opening { epoch, standing, groups, records, entered })
}

fn standing(sequence: &Sequence) -> Option<Standing> {
    Some(Standing {
        incarnation: sequence.incarnation,
        head: sequence.head()?,
        horizon: sequence.gc_seq,
        tombstones: u64::try_from(sequence.tombstones).unwrap_or(0),
        gone: u64::try_from(sequence.gone).unwrap_or(0),
    })
}

/// The groups that somebody is in, directly or through other groups, in any bucket, in order: at
/// most one more than so many, with the position of each one's record, or zero where there is none.
///
/// Each group is visited once, so that groups may contain each other. The walk stops as soon as
/// there are more than are wanted.
async fn closure<R: Reads>(
    reads: &R,
    mut pairs: Pairs,
    groups_max: usize,
) -> Result<Vec<(GroupPath, Seq)>, R::Fault> {
    let mut groups: BTreeSet<GroupPath> = BTreeSet::new();
    while !pairs.is_empty() {
        let found = places::groups_in(reads, &pairs, groups_max).await?;
        let new: Vec<GroupPath> = found.into_iter().filter(|path| !groups.contains(path)).collect();
        let members: Vec<Principal> = new.iter().map(GroupPath::principal).collect();
        groups.extend(new);
        if groups.len() > groups_max {
            break;
        }
        pairs = places::pairs_of(reads, &members, groups_max).await?;
    }
    while groups.len() > groups_max.saturating_add(1) {
        groups.pop_last();
    }
    let path = |group: &GroupPath| {
        let groups = CollectionPath::groups(group.bucket.clone());
        cells::record(&groups.record(group.group.clone()))
    };
    let keys: Vec<Vec<Cell>> = groups.iter().map(path).collect();
    let rows = reads.get(&keys, Columns::TRACE, usize::MAX, Old::of_columns).await?.into_iter();
    let seqs = rows.map(|row| row.filter(|row| !row.dead).map_or(Seq(0), |row| row.seq));
    Ok(groups.into_iter().zip(seqs).collect())
}
