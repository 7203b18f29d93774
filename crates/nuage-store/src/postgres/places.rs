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
use crate::postgres::rows::{self, is_storable};

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
        WHERE principal = own.principal OFFSET 0) AS d";
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
    let rows = of(pool, GROUPS_OF, members).await?;
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
) -> Result<Vec<CollectionPath>, Fault> {
    let rows = of(pool, COLLECTIONS_OF, principals).await?;
    let paths = rows.iter().map(path);
    Ok(paths.collect::<Result<BTreeSet<_>, Fault>>()?.into_iter().collect())
}

/// The collections that hold something, in order.
pub(super) async fn collections(
    pool: &Pool,
    after: Option<&CollectionPath>,
    limit: usize,
) -> Result<Vec<CollectionPath>, Fault> {
    // No collection has two empty names.
    let after = after.map_or(("", ""), |after| (after.bucket.as_str(), after.name.as_str()));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    pool.read(&Collections { after, limit }, TALLY).await?.iter().map(path).collect()
}

/// Live records and tombstones of each kind that there are any of.
pub(super) async fn tally(pool: &Pool) -> Result<BTreeMap<Kind, Tally>, Fault> {
    let _slot = pool.slot(TALLY).await?;
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    for row in pool.read(&Tallies, TALLY).await? {
        let name: &str = rows::value(&row, 0)?;
        let (live, tombstones): (i64, i64) = (rows::value(&row, 1)?, rows::value(&row, 2)?);
        let tally = tallies.entry(CollectionPath::new("", name).kind()).or_default();
        tally.live += u64::try_from(live).unwrap_or(0);
        tally.tombstones += u64::try_from(tombstones).unwrap_or(0);
    }
    tallies.retain(|_, tally| *tally != Tally::default());
    Ok(tallies)
}

async fn of(pool: &Pool, sql: &'static str, who: &[Principal]) -> Result<Vec<Row>, Fault> {
    let who = who.iter().map(Principal::as_str).filter(|text| is_storable(text)).collect();
    let of = Of { sql, who };
    if of.who.is_empty() { Ok(Vec::new()) } else { pool.read(&of, ANSWER).await }
}

struct Of<'a> {
    sql: &'static str,
    who: Vec<&'a str>,
}

impl Read for Of<'_> {
    type Answer = Vec<Row>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let statement = reader.prepare_cached(self.sql).await?;
        Ok(reader.query(&statement, &[&self.who]).await?)
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
    Ok((rows::value(row, 0)?, rows::value(row, 1)?))
}

fn path(row: &Row) -> Result<CollectionPath, Fault> {
    let (bucket, name) = pair(row)?;
    Ok(CollectionPath::new(bucket, name))
}
