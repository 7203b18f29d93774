//! Who is in which group, from groups that a place names down to those whom they contain.
//!
//! What it costs is bounded by what the place names and by what these groups contain, whatever else
//! anybody put somebody into.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{try_join, try_join_all};
use nuage_model::copy::{Cell, Table};
use nuage_model::{
    BucketId, CollectionPath, GroupPath, GroupsStanding, MembershipQuery, Memberships, NamedGroup,
    Pace, Principal, StoreError,
};

use crate::cells::{self, Cells, Source};
use crate::reads::{Columns, Found, Reads, Scan};
use crate::records::sequences;
use crate::schema::{Index, Range};

/// Groups that are looked at in a moment.
const QUICK: usize = 256;
/// Memberships of groups in groups that are read for each group that may be found so: a group may be
/// inside several.
const WAYS: usize = 8;
/// Groups of a bucket from which on it is seen first whether somebody is in few of that bucket.
const MANY: usize = 64;
/// Rows asked for by one question.
const CHUNK: usize = 10_000;

/// Everything that is asked; none if it is too much for a moment.
pub(crate) async fn memberships<R: Reads>(
    reads: &R,
    query: &MembershipQuery,
    pace: Pace,
) -> Result<Option<Memberships>, R::Fault> {
    let most = if pace == Pace::Quick { QUICK } else { usize::MAX };
    let mut found = Memberships::default();
    if query.groups.len() > most {
        return Ok(None);
    }
    if let Some(collection) = &query.collection {
        let names = match query.only_named {
            true => names_among(reads, collection, &query.groups).await?,
            false => names(reads, collection, most).await?,
        };
        if !names.is_all {
            return Ok(None);
        }
        found.names = names.rows;
    }
    let names = found.names.iter().map(|named| &named.group);
    let others = query.groups.iter().filter(|_| !query.only_named);
    let mut all: BTreeSet<GroupPath> = names.chain(others).cloned().collect();
    if all.len() > most {
        return Ok(None);
    }
    let roots: Vec<GroupPath> = all.iter().cloned().collect();
    let members = &query.members;
    // Most groups contain none, so that this is all.
    let first = try_join(standings(reads, buckets_of(&roots)), direct(reads, &roots, members));
    let (mut stand, mut direct_ones) = first.await?;
    let mut inner: Vec<GroupPath> = Vec::new();
    let mut frontier = roots;
    for _ in 0..query.depth {
        frontier.retain(|group| stand.get(&group.bucket).is_some_and(|here| here.nested > 0));
        if frontier.is_empty() {
            break;
        }
        let left = query.inner_max.saturating_mul(WAYS).saturating_sub(found.inside.len());
        let pairs = inside(reads, &frontier, left).await?;
        found.is_cut |= !pairs.is_all;
        frontier.clear();
        for (group, outer) in pairs.rows {
            if all.insert(group.clone()) {
                frontier.push(group.clone());
            }
            found.inside.push((group, outer));
        }
        inner.extend(frontier.iter().cloned());
        found.is_cut |= inner.len() > query.inner_max;
        if found.is_cut {
            break;
        }
        if all.len() > most {
            return Ok(None);
        }
        let unknown = buckets_of(&frontier).into_iter().filter(|one| !stand.contains_key(one));
        let unknown = standings(reads, unknown.collect()).await?;
        stand.extend(unknown);
    }
    if !inner.is_empty() && !found.is_cut {
        inner.sort_unstable();
        direct_ones.extend(direct(reads, &inner, members).await?);
    }
    found.direct = direct_ones.into_iter().collect();
    found.standings = stand.into_iter().collect();
    Ok(Some(found))
}

/// What is read of a name.
const NAMED: Columns = Columns::of(Table::Names, 2, 7);

/// The groups that signatures of a collection name.
async fn names<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    most: usize,
) -> Result<Found<NamedGroup>, R::Fault> {
    let range = Range::of(Index::Key(Table::Names), cells::collection(path));
    reads.scan(Scan { columns: NAMED, ..Scan::of(vec![range], most) }, named).await
}

/// Those of these groups, in their order.
async fn names_among<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    groups: &[GroupPath],
) -> Result<Found<NamedGroup>, R::Fault> {
    let mut found = Found::nothing();
    for groups in groups.chunks(CHUNK) {
        let keys: Vec<Vec<Cell>> = groups.iter().map(|group| cells::name(path, group)).collect();
        let rows = reads.get(&keys, NAMED, usize::MAX, named).await?;
        found.rows.extend(rows.into_iter().flatten());
    }
    Ok(found)
}

fn named(row: &dyn Source) -> Result<NamedGroup, StoreError> {
    let mut cells = Cells::from(NAMED, row, 2);
    let group = GroupPath { bucket: cells.text()?.into(), group: cells.text()?.into() };
    let (_, since, ordinal) = (cells.whole()?, cells.seq()?, cells.whole()?);
    Ok(NamedGroup { group, since, ordinal })
}

/// Where the groups of these buckets stand.
pub(crate) async fn standings<R: Reads>(
    reads: &R,
    buckets: Vec<BucketId>,
) -> Result<BTreeMap<BucketId, GroupsStanding>, R::Fault> {
    let paths: Vec<CollectionPath> = buckets.iter().cloned().map(CollectionPath::groups).collect();
    let rows = sequences(reads, &paths).await?.into_iter().map(|row| {
        row.map_or_else(GroupsStanding::default, |row| GroupsStanding {
            incarnation: row.incarnation,
            dropped: row.dropped,
            seq: row.seq,
            nested: row.nested,
        })
    });
    Ok(buckets.into_iter().zip(rows).collect())
}

// The groups are in order.
fn buckets_of(groups: &[GroupPath]) -> Vec<BucketId> {
    let buckets: BTreeSet<&BucketId> = groups.iter().map(|group| &group.bucket).collect();
    buckets.into_iter().cloned().collect()
}

// Pairs of a group and the one of these that it is a member of.
async fn inside<R: Reads>(
    reads: &R,
    groups: &[GroupPath],
    most: usize,
) -> Result<Found<(GroupPath, GroupPath)>, R::Fault> {
    let mut found = Found::nothing();
    for groups in groups.chunks(CHUNK) {
        let range = |group: &GroupPath| Range::of(Index::MembersInner, cells::group(group));
        let left = most.saturating_sub(found.rows.len());
        let scan = Scan::of(groups.iter().map(range).collect(), left);
        let pairs = reads.scan(scan, |row: &dyn Source| {
            let mut cells = Cells::of(Table::Members, row, 0);
            let (bucket, member, group) = (cells.text()?, cells.text()?, cells.text()?);
            let outer = GroupPath { bucket: bucket.into(), group: group.into() };
            Ok(GroupPath::of_principal(member).map(|inner| (inner, outer)))
        });
        let pairs = pairs.await?;
        found.rows.extend(pairs.rows.into_iter().flatten());
        found.is_all &= pairs.is_all;
    }
    Ok(found)
}

// Which of these groups, in order, have one of the members. Of each bucket the shorter side is
// read: the groups that somebody is in there, or the groups that are asked about.
async fn direct<R: Reads>(
    reads: &R,
    groups: &[GroupPath],
    members: &[Principal],
) -> Result<BTreeSet<GroupPath>, R::Fault> {
    let mut found = BTreeSet::new();
    let mut probed: Vec<(&GroupPath, &Principal)> = Vec::new();
    let mut walked: Vec<(&[GroupPath], &Principal)> = Vec::new();
    for inside in groups.chunk_by(|a, b| a.bucket == b.bucket) {
        for member in members {
            match inside.len() {
                ..MANY => probed.extend(inside.iter().map(|group| (group, member))),
                MANY.. => walked.push((inside, member)),
            }
        }
    }
    let walks = walked.iter().map(|(inside, member)| {
        let bucket = inside[0].bucket.as_str();
        let prefix = vec![cells::text(bucket), cells::text(member.as_str())];
        let range = Range::of(Index::Key(Table::Members), prefix);
        reads.scan(Scan::of(vec![range], inside.len()), |row: &dyn Source| {
            let mut cells = Cells::of(Table::Members, row, 0);
            let (bucket, _, group) = (cells.text()?, cells.text()?, cells.text()?);
            Ok(GroupPath { bucket: bucket.into(), group: group.into() })
        })
    });
    for ((inside, member), own) in walked.iter().zip(try_join_all(walks).await?) {
        if own.is_all {
            let is_asked = |group: &GroupPath| inside.binary_search(group).is_ok();
            found.extend(own.rows.into_iter().filter(is_asked));
        } else {
            probed.extend(inside.iter().map(|group| (group, *member)));
        }
    }
    for probed in probed.chunks(CHUNK) {
        let key = |(group, member): &(&GroupPath, &Principal)| -> Vec<Cell> {
            let [bucket, group] = [group.bucket.as_str(), group.group.as_str()];
            [bucket, member.as_str(), group].map(cells::text).to_vec()
        };
        let keys: Vec<Vec<Cell>> = probed.iter().map(key).collect();
        let columns = Columns::all(Table::Members);
        let rows = reads.get(&keys, columns, usize::MAX, |_: &dyn Source| Ok(())).await?;
        let is_in = probed.iter().zip(rows).filter(|(_, row)| row.is_some());
        found.extend(is_in.map(|((group, _), _)| (*group).clone()));
    }
    Ok(found)
}
