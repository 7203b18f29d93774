//! The opening of a moment: all that decides who may see what of a collection, in one round trip.
//!
//! A group is visited once, so that groups may contain each other; the database stops looking as
//! soon as there are more than are wanted.

use futures_util::future::try_join3;
use nuage_model::{
    Ask, Bodies, GroupPath, Head, Opening, Principal, Record, Seq, Standing, StoreError,
};
use tokio_postgres::Row;

use crate::postgres::errors::Fault;
use crate::postgres::feed::head;
use crate::postgres::query::{Get, has_names, is_possible};
use crate::postgres::reader::{Read, Reader};
use crate::postgres::rows::{self, is_storable, one_record};

// The groups of the members that `$members` gives as `own (member)`: their buckets, their names and
// the principals that they are.
macro_rules! groups_of {
    ($members:literal) => {
        concat!(
            "SELECT m.bucket, m.grp, '/buckets/' || m.bucket || '/groups/' || m.grp AS member
            FROM ",
            $members,
            " CROSS JOIN LATERAL (SELECT bucket FROM directory_groups
                WHERE member = own.member OFFSET 0) AS d
            CROSS JOIN LATERAL (SELECT bucket, grp FROM members
                WHERE bucket = d.bucket AND member >= own.member AND member <= own.member
                ORDER BY member, grp OFFSET 0) AS m"
        )
    };
}
/// $1 members, at most $2 groups.
const CLOSURE: &str = concat!(
    "WITH RECURSIVE inside (bucket, grp, member) AS (",
    groups_of!("unnest($1::text[]) AS own (member)"),
    " UNION ",
    groups_of!("inside AS own"),
    ") SELECT g.bucket, g.grp, (SELECT seq FROM (",
    one_record!("seq, dead", "g.bucket", "'_groups'", "g.grp"),
    ") AS r WHERE NOT dead) FROM (SELECT bucket, grp FROM inside LIMIT $2) AS g"
);
const STANDING: &str = "
    SELECT m.value, c.incarnation, c.seq, c.timestamp, c.live, c.dropped, c.gc_seq, c.tombstones,
        c.gone
    FROM (SELECT value FROM meta WHERE key = 'store' ORDER BY key LIMIT 1) AS m
    LEFT JOIN LATERAL (SELECT incarnation, seq, timestamp, live, dropped, gc_seq, tombstones, gone
        FROM collections WHERE bucket = $1 AND collection = $2 LIMIT 1) AS c ON true";

/// Every statement, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 2] = [CLOSURE, STANDING];

/// Begins a moment, and reads what is asked first.
pub(super) struct Begin<'a>(pub(super) &'a Ask);

impl Read for Begin<'_> {
    type Answer = Opening;

    async fn read(&self, reader: &Reader<'_>) -> Result<Opening, Fault> {
        let ask = self.0;
        // What is joined is sent together.
        let first = try_join3(closure(reader, ask), standing(reader, ask), records(reader, ask));
        let (groups, (epoch, standing), records) = reader.begin(first).await?;
        let (records, entered) = records.into_iter().unzip();
        Ok(Opening { epoch, standing, groups, records, entered })
    }
}

async fn closure(reader: &Reader<'_>, ask: &Ask) -> Result<Vec<(GroupPath, Seq)>, Fault> {
    let members = ask.members.iter().map(Principal::as_str);
    let members: Vec<&str> = members.filter(|member| is_storable(member)).collect();
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let most = i64::try_from(ask.groups_max).unwrap_or(i64::MAX).saturating_add(1);
    let statement = reader.prepare_cached(CLOSURE).await?;
    let mut groups = Vec::new();
    for row in reader.query(&statement, &[&members, &most]).await? {
        let (bucket, group): (&str, &str) = (rows::value(&row, 0)?, rows::value(&row, 1)?);
        let seq: Option<i64> = rows::value(&row, 2)?;
        let path = GroupPath { bucket: bucket.into(), group: group.into() };
        groups.push((path, Seq(seq.unwrap_or(0))));
    }
    groups.sort_unstable();
    Ok(groups)
}

async fn standing(reader: &Reader<'_>, ask: &Ask) -> Result<(String, Option<Standing>), Fault> {
    // The epoch is told even where there can be no such collection.
    let path = &ask.collection;
    let (bucket, name) = match has_names(path) {
        true => (path.bucket.as_str(), path.name.as_str()),
        false => ("", ""),
    };
    let statement = reader.prepare_cached(STANDING).await?;
    let Some(row) = reader.query_opt(&statement, &[&bucket, &name]).await? else {
        return Err(StoreError::Corrupt("the database has lost its name".to_owned()).into());
    };
    let incarnation: Option<&[u8]> = rows::value(&row, 1)?;
    let standing = match incarnation {
        None => None,
        Some(incarnation) => {
            head(&row, 2)?.map(|head| standing_of(incarnation, head, &row)).transpose()?
        }
    };
    Ok((rows::value(&row, 0)?, standing))
}

fn standing_of(incarnation: &[u8], head: Head, row: &Row) -> Result<Standing, Fault> {
    let counter =
        |index| Ok::<_, Fault>(u64::try_from(rows::value::<i64>(row, index)?).unwrap_or(0));
    Ok(Standing {
        incarnation: rows::incarnation(incarnation)?,
        head,
        horizon: Seq(rows::value(row, 6)?),
        tombstones: counter(7)?,
        gone: counter(8)?,
    })
}

async fn records(reader: &Reader<'_>, ask: &Ask) -> Result<Vec<(Option<Record>, Seq)>, Fault> {
    if !ask.paths.iter().any(is_possible) {
        return Ok(vec![(None, Seq(0)); ask.paths.len()]);
    }
    let found = Get(&ask.paths, Bodies::All).read(reader).await?.into_iter();
    Ok(found.map(|found| found.map_or((None, Seq(0)), |(r, row)| (Some(r), row.entered))).collect())
}
