//! Where to look: groups of a member, collections of a reader, collections at all.
//!
//! Which buckets to look in is the directory's to say; then each is asked by itself, so that no
//! index but that of the bucket is needed there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nuage_model::{CollectionPath, GroupPath, Kind, Principal, Tally};
use tokio_postgres::Row;

use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use crate::postgres::query::ANSWER;
use crate::postgres::reader::{Read, Reader};
use crate::postgres::rows::{self as columns, is_storable};

/// How long counting all collections may take.
const TALLY: Duration = Duration::from_secs(30);

const GROUPS_OF: &str = "
    SELECT d.bucket, m.grp FROM unnest($1::text[]) AS own (member)
    CROSS JOIN LATERAL (SELECT bucket FROM directory_groups
        WHERE member = own.member OFFSET 0) AS d
    CROSS JOIN LATERAL (SELECT grp FROM members
        WHERE bucket = d.bucket AND member >= own.member AND member <= own.member
        ORDER BY member, grp OFFSET 0) AS m";
const COLLECTIONS_OF: &str = "
    SELECT d.bucket, d.collection FROM unnest($1::text[]) AS own (principal)
    CROSS JOIN LATERAL (SELECT bucket, collection FROM directory_collections
        WHERE principal = own.principal AND (bucket, collection) > ($2, $3)
        ORDER BY bucket, collection LIMIT $4) AS d";
const COLLECTIONS: &str = "
    SELECT bucket, collection FROM collections
    WHERE (bucket, collection) > ($1, $2)
    AND CASE WHEN dropped THEN false ELSE live + tombstones > 0 END
    ORDER BY bucket, collection LIMIT $3";
const TALLIES: &str = "
    SELECT CASE WHEN substr(collection, 1, 1) = '_' THEN collection ELSE '' END AS kind,
        sum(live)::bigint, sum(tombstones)::bigint
    FROM collections WHERE NOT dropped GROUP BY kind";

/// Every statement that follows an index, for the test of their plans.
#[cfg(test)]
pub(super) const DIRECTIONS: &[&str] = &[GROUPS_OF, COLLECTIONS_OF, COLLECTIONS];

/// The groups that have one of these members, in order.
pub(super) async fn groups_of(pool: &Pool, members: &[Principal]) -> Result<Vec<GroupPath>, Fault> {
    let who = names_of(members);
    if who.is_empty() {
        return Ok(Vec::new());
    }
    let rows = pool.read(&GroupsOf(who), ANSWER).await?;
    let groups = rows.iter().map(|row| {
        let (bucket, group) = pair(row)?;
        Ok(GroupPath { bucket: bucket.into(), group: group.into() })
    });
    Ok(groups.collect::<Result<BTreeSet<_>, Fault>>()?.into_iter().collect())
}

/// The collections that may hold records for one of these principals, in order.
pub(super) async fn collections_of(
    pool: &Pool,
    principals: &[Principal],
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, Fault> {
    let who = names_of(principals);
    if who.is_empty() {
        return Ok(Vec::new());
    }
    let of = CollectionsOf { who, after: names(after), limit: rows(limit) };
    let found = pool.read(&of, ANSWER).await?;
    let paths = found.iter().map(path).collect::<Result<BTreeSet<_>, Fault>>()?;
    Ok(paths.into_iter().take(limit).collect())
}

/// The collections that hold something, in order.
pub(super) async fn collections(
    pool: &Pool,
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, Fault> {
    let (after, limit) = (names(after), rows(limit));
    pool.read(&Collections { after, limit }, TALLY).await?.iter().map(path).collect()
}

/// Live records and tombstones of each kind that there are any of.
pub(super) async fn tally(pool: &Pool) -> Result<BTreeMap<Kind, Tally>, Fault> {
    let _slot = pool.slot(TALLY).await?;
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    for row in pool.read(&Tallies, TALLY).await? {
        let name: &str = columns::value(&row, 0)?;
        let (live, tombstones): (i64, i64) = (columns::value(&row, 1)?, columns::value(&row, 2)?);
        let tally = tallies.entry(CollectionPath::new("", name).kind()).or_default();
        tally.live += u64::try_from(live).unwrap_or(0);
        tally.tombstones += u64::try_from(tombstones).unwrap_or(0);
    }
    tallies.retain(|_, tally| *tally != Tally::default());
    Ok(tallies)
}

fn names_of(who: &[Principal]) -> Vec<&str> {
    who.iter().map(Principal::as_str).filter(|text| is_storable(text)).collect()
}

// No collection has two empty names.
fn names(after: Option<&CollectionPath>) -> (&str, &str) {
    after.map_or(("", ""), |after| (after.bucket.as_str(), after.name.as_str()))
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

struct GroupsOf<'a>(Vec<&'a str>);

impl Read for GroupsOf<'_> {
    type Answer = Vec<Row>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let statement = reader.prepare_cached(GROUPS_OF).await?;
        Ok(reader.query(&statement, &[&self.0]).await?)
    }
}

struct CollectionsOf<'a> {
    who: Vec<&'a str>,
    after: (&'a str, &'a str),
    limit: i64,
}

impl Read for CollectionsOf<'_> {
    type Answer = Vec<Row>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let statement = reader.prepare_cached(COLLECTIONS_OF).await?;
        let (bucket, name) = self.after;
        Ok(reader.query(&statement, &[&self.who, &bucket, &name, &self.limit]).await?)
    }
}

struct Collections<'a> {
    after: (&'a str, &'a str),
    limit: i64,
}

impl Read for Collections<'_> {
    type Answer = Vec<Row>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let statement = reader.prepare_cached(COLLECTIONS).await?;
        let (bucket, name) = self.after;
        Ok(reader.query(&statement, &[&bucket, &name, &self.limit]).await?)
    }
}

struct Tallies;

impl Read for Tallies {
    type Answer = Vec<Row>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let statement = reader.prepare_cached(TALLIES).await?;
        Ok(reader.query(&statement, &[]).await?)
    }
}

fn pair(row: &Row) -> Result<(&str, &str), Fault> {
    Ok((columns::value(row, 0)?, columns::value(row, 1)?))
}

fn path(row: &Row) -> Result<CollectionPath, Fault> {
    let (bucket, name) = pair(row)?;
    Ok(CollectionPath::new(bucket, name))
}
