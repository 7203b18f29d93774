//! Where to look: groups of a member, collections of a reader, collections at all.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::copy::{Cell, Table};
use nuage_model::{CollectionPath, GroupPath, Kind, Principal, ReaderFilter, Tally};

use crate::cells::{self, Cells, Source};
use crate::reads::{Columns, Depth, Of, Reads, Scan, Together};
use crate::rules::CollectionRow;
use crate::schema::{Index, Range};

/// Collections that are counted in one go.
const CHUNK: usize = 1_000;

/// Ranges that are looked into in one go, where they have few rows together, and how many that is.
const MANY: usize = 1_024;
const FEW_ROWS: usize = 4_096;
/// Ranges that are looked into in one go otherwise.
const SOME: usize = 8;

/// Members, each with a bucket that has groups for it.
type Pairs = BTreeSet<(Principal, String)>;

/// The groups that have one of these members, in order.
pub(crate) async fn groups_of<R: Reads>(
    reads: &R,
    members: &[Principal],
) -> Result<Vec<GroupPath>, R::Fault> {
    let groups = reads.begin(reads.groups(members, Depth::Direct, usize::MAX)).await?;
    Ok(groups.into_iter().collect())
}

/// The same, step by step: at most one more than so many.
///
/// Each group is visited once, so that groups may contain each other. The walk stops as soon as
/// there are more than are wanted.
pub(crate) async fn walk<R: Reads>(
    reads: &R,
    members: &[Principal],
    depth: Depth,
    most: usize,
) -> Result<BTreeSet<GroupPath>, R::Fault> {
    let mut groups: BTreeSet<GroupPath> = BTreeSet::new();
    let mut pairs = pairs_of(reads, members, most).await?;
    while !pairs.is_empty() {
        let found = groups_in(reads, &pairs, most).await?;
        let new: Vec<GroupPath> = found.into_iter().filter(|path| !groups.contains(path)).collect();
        let members: Vec<Principal> = new.iter().map(GroupPath::principal).collect();
        groups.extend(new);
        if groups.len() > most || depth == Depth::Direct {
            break;
        }
        pairs = pairs_of(reads, &members, most).await?;
    }
    while groups.len() > most.saturating_add(1) {
        groups.pop_last();
    }
    Ok(groups)
}

/// In which buckets there are groups for these members: at most one more than so many.
async fn pairs_of<R: Reads>(
    reads: &R,
    members: &[Principal],
    most: usize,
) -> Result<Pairs, R::Fault> {
    let index = Index::Key(Table::DirectoryGroups);
    let ranges = members.iter().map(|who| Range::of(index, vec![cells::text(who.as_str())]));
    some_of(reads, ranges.collect(), most, |row: &dyn Source| {
        let mut cells = Cells::of(Table::DirectoryGroups, row, 0);
        Ok((Principal::from(cells.text()?), cells.text()?.to_owned()))
    })
    .await
}

/// The groups of these buckets that have these members: at most one more than so many.
async fn groups_in<R: Reads>(
    reads: &R,
    pairs: &Pairs,
    most: usize,
) -> Result<BTreeSet<GroupPath>, R::Fault> {
    let range = |(member, bucket): &(Principal, String)| {
        let prefix = vec![cells::text(bucket.as_str()), cells::text(member.as_str())];
        Range::of(Index::Key(Table::Members), prefix)
    };
    some_of(reads, pairs.iter().map(range).collect(), most, |row: &dyn Source| {
        let mut cells = Cells::of(Table::Members, row, 0);
        let (bucket, _, group) = (cells.text()?, cells.text()?, cells.text()?);
        Ok(GroupPath { bucket: bucket.into(), group: group.into() })
    })
    .await
}

// What the rows of some ranges stand for, each once, at most one more than so many. No two rows of
// one range stand for the same.
async fn some_of<R: Reads, T: Ord + Send>(
    reads: &R,
    ranges: Vec<Range>,
    most: usize,
    of: impl Of<T> + Copy,
) -> Result<BTreeSet<T>, R::Fault> {
    let mut kept = BTreeSet::new();
    for many in ranges.chunks(MANY) {
        if kept.len() > most {
            break;
        }
        let found = reads.scan(Scan::of(many.to_vec(), FEW_ROWS), of).await?;
        if found.is_all {
            kept.extend(found.rows);
            continue;
        }
        // Whoever has too many of them has too many in one of these, or in all that came before.
        for some in many.chunks(SOME) {
            let limit = most.saturating_add(1).saturating_mul(some.len());
            kept.extend(reads.scan(Scan::of(some.to_vec(), limit), of).await?.rows);
            if kept.len() > most {
                break;
            }
        }
    }
    while kept.len() > most.saturating_add(1) {
        kept.pop_last();
    }
    Ok(kept)
}

/// The collections that hold something, or may hold records for one of these principals, in order.
pub(crate) async fn collections<R: Reads>(
    reads: &R,
    whose: ReaderFilter<'_>,
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, R::Fault> {
    match whose {
        ReaderFilter::All => all_collections(reads, after, limit).await,
        ReaderFilter::Of(principals) => collections_of(reads, principals, after, limit).await,
    }
}

async fn collections_of<R: Reads>(
    reads: &R,
    principals: &[Principal],
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, R::Fault> {
    let range = |who: &Principal| {
        let of =
            Range::of(Index::Key(Table::DirectoryCollections), vec![cells::text(who.as_str())]);
        of.after(after.map(cells::collection).unwrap_or_default())
    };
    let scan = Scan {
        together: Together::Merged,
        columns: Columns::of(Table::DirectoryCollections, 1, 3),
        ..Scan::of(principals.iter().map(range).collect(), limit)
    };
    Ok(reads.scan(scan, CollectionRow::path_of).await?.rows)
}

async fn all_collections<R: Reads>(
    reads: &R,
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, R::Fault> {
    let mut after = after.map(cells::collection).unwrap_or_default();
    let mut paths = Vec::new();
    while paths.len() < limit {
        let (rows, is_all) = next(reads, &after, limit).await?;
        for (path, sequence) in rows {
            after = cells::collection(&path);
            if paths.len() < limit && !sequence.dropped && sequence.rows() > 0 {
                paths.push(path);
            }
        }
        if is_all {
            break;
        }
    }
    Ok(paths)
}

/// Live records and tombstones of each kind that there are any of.
pub(crate) async fn tally<R: Reads>(reads: &R) -> Result<BTreeMap<Kind, Tally>, R::Fault> {
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    let mut after = Vec::new();
    loop {
        let (rows, is_all) = next(reads, &after, CHUNK).await?;
        for (path, sequence) in rows {
            after = cells::collection(&path);
            if !sequence.dropped {
                let tally = tallies.entry(path.kind()).or_default();
                tally.live += u64::try_from(sequence.live).unwrap_or(0);
                tally.tombstones += u64::try_from(sequence.tombstones).unwrap_or(0);
            }
        }
        if is_all {
            tallies.retain(|_, tally| *tally != Tally::default());
            return Ok(tallies);
        }
    }
}

// Collections after this one, at most so many, and whether there are no others.
async fn next<R: Reads>(
    reads: &R,
    after: &[Cell],
    limit: usize,
) -> Result<(Vec<(CollectionPath, CollectionRow)>, bool), R::Fault> {
    let range = Range::of(Index::Key(Table::Collections), Vec::new()).after(after.to_vec());
    let both = |row: &dyn Source| Ok((CollectionRow::path_of(row)?, CollectionRow::of_row(row)?));
    let found = reads.scan(Scan::of(vec![range], limit.min(CHUNK)), both).await?;
    Ok((found.rows, found.is_all))
}
