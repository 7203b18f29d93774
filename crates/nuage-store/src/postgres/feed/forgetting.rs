//! How far the horizon of a collection may move, and which process looks after such chores.

use nuage_model::{CollectionPath, Seq, Timestamp};
use tokio_postgres::types::{ToSql, Type};

use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use crate::postgres::query::{ANSWER, has_names};
use crate::postgres::reader::{Read, Reader};
use crate::postgres::rows;

/// Of what ended beyond the horizon, the oldest $5: up to which of them it is at positions up to
/// $3, or among those that are more than $4. Where there are not more than that, later positions
/// are not looked at.
const OVERDUE: &str = "
    SELECT max(e.seq) FROM (SELECT gc_seq, tombstones + gone - $4 AS excess,
            CASE WHEN tombstones + gone > $4 THEN 9223372036854775807 ELSE $3 END AS last
        FROM collections WHERE bucket = $1 AND collection = $2 AND NOT dropped
        AND tombstones + gone > 0 LIMIT 1) AS c
    CROSS JOIN LATERAL (SELECT seq, row_number() OVER (ORDER BY seq) AS n FROM (
        (SELECT seq FROM records WHERE bucket = $1 AND collection = $2 AND dead
            AND seq > c.gc_seq AND seq <= c.last ORDER BY seq LIMIT $5)
        UNION ALL (SELECT seq FROM gone WHERE bucket = $1 AND collection = $2
            AND seq > c.gc_seq AND seq <= c.last ORDER BY seq LIMIT $5)) AS ended
        ORDER BY seq LIMIT $5) AS e
    WHERE e.seq <= $3 OR e.n <= c.excess";
/// One statement: of two that ask at a time, the second sees what the first wrote. The text is the
/// end of the lease and then the holder.
const LEASE: &str = "
    INSERT INTO meta (key, value) VALUES ('lease.' || $1, $4::text || ' ' || $2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE split_part(meta.value, ' ', 1)::bigint <= $3
    OR substr(meta.value, strpos(meta.value, ' ') + 1) = $2";

/// Every statement that follows an index, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 1] = [OVERDUE];

/// How far the horizon may move in one step, if at all.
pub(in crate::postgres) async fn overdue(
    pool: &Pool,
    collection: &CollectionPath,
    before: Seq,
    keep: u64,
    limit: usize,
) -> Result<Option<Seq>, Fault> {
    if !has_names(collection) {
        return Ok(None);
    }
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    pool.read(&Overdue { collection, before, keep, limit }, ANSWER).await
}

/// Takes or prolongs the right to do a chore, unless another process has it.
pub(in crate::postgres) async fn lease(
    pool: &Pool,
    chore: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, Fault> {
    let asked: [(&(dyn ToSql + Sync), Type); 4] =
        [(&chore, Type::TEXT), (&holder, Type::TEXT), (&now.0, Type::INT8), (&until.0, Type::INT8)];
    Ok(pool.get().await?.execute_typed(LEASE, &asked).await? == 1)
}

struct Overdue<'a> {
    collection: &'a CollectionPath,
    before: Seq,
    keep: i64,
    limit: i64,
}

impl Read for Overdue<'_> {
    type Answer = Option<Seq>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let (bucket, name) = (self.collection.bucket.as_str(), self.collection.name.as_str());
        let statement = reader.prepare_cached(OVERDUE).await?;
        let asked: [&(dyn ToSql + Sync); 5] =
            [&bucket, &name, &self.before.0, &self.keep, &self.limit];
        let row = reader.query_one(&statement, &asked).await?;
        let seq: Option<i64> = rows::value(&row, 0)?;
        Ok(seq.map(Seq))
    }
}
