//! Where to look: groups of a member, collections of a reader, collections at all.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::copy::{Cell, Table};
use nuage_model::{CollectionPath, GroupPath, Kind, Principal, ReaderFilter, Tally};

use crate::cells::{self, Cells, Source};
use crate::reads::{Columns, Reads, Scan, Together};
use crate::rules::CollectionRow;
use crate::schema::{Index, Range};

/// Collections that are counted, or ranges that are followed, in one go.
const CHUNK: usize = 1_000;

/// The groups that have one of these members, at most so many, in order.
pub(crate) async fn groups_of<R: Reads>(
    reads: &R,
    members: &[Principal],
    most: usize,
) -> Result<Vec<GroupPath>, R::Fault> {
    let index = Index::Key(Table::DirectoryGroups);
    let ranges = members.iter().map(|who| Range::of(index, vec![cells::text(who.as_str())]));
    // Each bucket that is told has one.
    let limit = most.saturating_mul(members.len());
    let pairs = reads.scan(Scan::of(ranges.collect(), limit), |row: &dyn Source| {
        let mut cells = Cells::of(Table::DirectoryGroups, row, 0);
        let (member, bucket) = (cells.text()?, cells.text()?);
        Ok(Range::of(Index::Key(Table::Members), [bucket, member].map(cells::text).to_vec()))
    });
    let ranges = reads.begin(pairs).await?.rows;
    let mut groups = BTreeSet::new();
    for ranges in ranges.chunks(CHUNK) {
        let left = limit.saturating_sub(groups.len());
        let found = reads.scan(Scan::of(ranges.to_vec(), left), |row: &dyn Source| {
            let mut cells = Cells::of(Table::Members, row, 0);
            let (bucket, _, group) = (cells.text()?, cells.text()?, cells.text()?);
            Ok(GroupPath { bucket: bucket.into(), group: group.into() })
        });
        groups.extend(found.await?.rows);
        if groups.len() >= most {
            break;
        }
    }
    Ok(groups.into_iter().take(most).collect())
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
