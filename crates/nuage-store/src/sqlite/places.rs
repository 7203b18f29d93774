//! Where to look: groups of a member, collections of a reader, collections at all.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{CollectionPath, GroupPath, Kind, Principal, Tally};
use rusqlite::{Connection, params};

use crate::sqlite::errors::Fault;

/// The groups that have a member.
pub(super) const GROUPS: &str = "
    SELECT members.bucket, members.grp FROM directory_groups
    CROSS JOIN members ON members.bucket = directory_groups.bucket
        AND members.member = directory_groups.member
    WHERE directory_groups.member = ?1";
const COLLECTIONS_OF: &str = "
    SELECT bucket, collection FROM directory_collections
    WHERE principal = ?1 AND (bucket, collection) > (?2, ?3)
    ORDER BY bucket, collection LIMIT ?4";
const COLLECTIONS: &str = "
    SELECT bucket, collection FROM collections
    WHERE (bucket, collection) > (?1, ?2) AND dropped = 0 AND live + tombstones > 0
    ORDER BY bucket, collection LIMIT ?3";
const FIRST_COLLECTIONS: &str = "
    SELECT bucket, collection FROM collections
    WHERE dropped = 0 AND live + tombstones > 0
    ORDER BY bucket, collection LIMIT ?1";
const TALLY: &str = "
    SELECT CASE WHEN substr(collection, 1, 1) = '_' THEN collection ELSE '' END AS kind,
        sum(live), sum(tombstones)
    FROM collections WHERE dropped = 0 GROUP BY kind";

/// The groups that have one of these members, in order.
pub(super) fn groups_of(
    connection: &Connection,
    members: &[Principal],
) -> Result<Vec<GroupPath>, Fault> {
    let mut groups = BTreeSet::new();
    let mut statement = connection.prepare_cached(GROUPS)?;
    for member in members {
        let mut rows = statement.query([member.as_str()])?;
        while let Some(row) = rows.next()? {
            let bucket = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?.into();
            let group = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?.into();
            groups.insert(GroupPath { bucket, group });
        }
    }
    Ok(groups.into_iter().collect())
}

/// The collections that may hold records for one of these principals, in order.
pub(super) fn collections_of(
    connection: &Connection,
    principals: &[Principal],
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, Fault> {
    let mut collections = BTreeSet::new();
    // No collection has two empty names.
    let (bucket, name) = after.map_or(("", ""), |path| (path.bucket.as_str(), path.name.as_str()));
    let rows = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(COLLECTIONS_OF)?;
    for principal in principals {
        let paths = statement.query_map(params![principal.as_str(), bucket, name, rows], path)?;
        for path in paths {
            collections.insert(path?);
        }
        while collections.len() > limit {
            collections.pop_last();
        }
    }
    Ok(collections.into_iter().collect())
}

/// The collections that hold something, in order.
pub(super) fn collections(
    connection: &Connection,
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, Fault> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let paths = match after {
        Some(after) => connection
            .prepare_cached(COLLECTIONS)?
            .query_map((after.bucket.as_str(), after.name.as_str(), limit), path)?
            .collect::<rusqlite::Result<_>>()?,
        None => connection
            .prepare_cached(FIRST_COLLECTIONS)?
            .query_map([limit], path)?
            .collect::<rusqlite::Result<_>>()?,
    };
    Ok(paths)
}

/// Live records and tombstones of each kind that there are any of.
pub(super) fn tally(connection: &Connection) -> Result<BTreeMap<Kind, Tally>, Fault> {
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    let mut statement = connection.prepare_cached(TALLY)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let (live, tombstones): (i64, i64) = (row.get(1)?, row.get(2)?);
        let tally = tallies.entry(CollectionPath::new("", name).kind()).or_default();
        tally.live += u64::try_from(live).unwrap_or(0);
        tally.tombstones += u64::try_from(tombstones).unwrap_or(0);
    }
    tallies.retain(|_, tally| *tally != Tally::default());
    Ok(tallies)
}

fn path(row: &rusqlite::Row<'_>) -> rusqlite::Result<CollectionPath> {
    Ok(CollectionPath::new(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?))
}
