//! Going through the records of a collection, a chunk at a time.
//!
//! The way is chosen by the caller and never by the planner. Therefore each statement wants rows
//! in the order of one index and no more than a few, and what is passed over is told in a CASE,
//! of which the planner thinks nothing: where it believed that a filter leaves few rows, it would
//! read the whole table rather than follow the index. A test looks at the plans.

use std::ops::ControlFlow;

use nuage_model::{CollectionPath, Direction, Head, Principal, Record, Seq, StoreError, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::list::{Signatures, Times};
use crate::postgres::errors::Fault;
use crate::postgres::reader::Reader;
use crate::postgres::rows::{self, one_record};

// Whether a row is wanted: $6 tombstones too, $7 only these signatures unless null.
macro_rules! wanted {
    () => {
        "WHEN dead AND NOT $6 THEN false ELSE $7::bytea[] IS NULL OR signature = ANY ($7) END"
    };
}
// Records along the positions and the chosen times, merged: $1 bucket, $2 collection, times from
// $3 to $4, at most $5.
macro_rules! merged {
    ($columns:literal, $order:literal) => {
        concat!(
            "(SELECT ",
            $columns,
            "seq AS shown FROM records
            WHERE bucket = $1 AND collection = $2 AND seq BETWEEN $3 AND $4
            AND CASE WHEN timestamp IS NOT NULL THEN false ",
            wanted!(),
            " ORDER BY seq ",
            $order,
            " LIMIT $5) UNION ALL (SELECT ",
            $columns,
            "timestamp AS shown FROM records
            WHERE bucket = $1 AND collection = $2 AND timestamp BETWEEN $3 AND $4
            AND timestamp IS NOT NULL AND CASE ",
            wanted!(),
            " ORDER BY timestamp ",
            $order,
            " LIMIT $5)"
        )
    };
}
// The row of the collection, whose id is null, then the records; $8 whether with their bodies. A
// collection without a live record may have any number of tombstones to pass over.
macro_rules! by_time {
    ($order:literal) => {
        concat!(
            "SELECT NULL AS id, seq, timestamp, dropped AS dead, NULL::bytea AS signature,
                NULL AS permissions, NULL AS body, live
            FROM collections WHERE bucket = $1 AND collection = $2
            UNION ALL (SELECT id, seq, timestamp, dead, signature, permissions,
                CASE WHEN $8 THEN body ELSE '{}' END, NULL
            FROM (",
            merged!("id, seq, timestamp, dead, signature, permissions, body, ", $order),
            ") AS walk
            WHERE EXISTS (SELECT 1 FROM collections
                WHERE bucket = $1 AND collection = $2 AND (live > 0 OR $6))
            ORDER BY shown ",
            $order,
            " LIMIT $5)"
        )
    };
}
const COUNT: &str = concat!(
    "SELECT count(*), max(shown) FROM (SELECT shown FROM (",
    merged!("", "ASC"),
    ") AS walk ORDER BY shown LIMIT $5) AS counted"
);
// $3 signatures, positions from $4 to $5, at most $6, tombstones too, $7 whether with bodies. The
// keys are found in one index alone, which no other index can do, and compared with the signature
// three times: so it is the cheapest to the planner even where it expects one signature, or one
// record.
macro_rules! by_signature {
    ($order:literal) => {
        concat!(
            "SELECT r.id, r.seq, r.timestamp, r.dead, r.signature, r.permissions,
                CASE WHEN $7 THEN r.body ELSE '{}' END
            FROM (SELECT one.seq FROM unnest($3::bytea[]) AS own (signature)
                CROSS JOIN LATERAL (SELECT seq FROM records
                    WHERE bucket = $1 AND collection = $2 AND signature = own.signature
                    AND signature BETWEEN own.signature AND own.signature
                    AND seq BETWEEN $4 AND $5 ORDER BY seq ",
            $order,
            " LIMIT $6) AS one
                ORDER BY one.seq ",
            $order,
            " LIMIT $6) AS keys
            CROSS JOIN LATERAL (SELECT id, seq, timestamp, dead, signature, permissions, body
                FROM records WHERE bucket = $1 AND collection = $2
                AND seq >= keys.seq AND seq <= keys.seq ORDER BY seq LIMIT 1) AS r
            ORDER BY keys.seq ",
            $order
        )
    };
}
// $3 identifiers, $4 tombstones too, $5 whether with bodies.
const BY_ID: &str = concat!(
    "SELECT r.id, r.seq, r.timestamp, r.dead, r.signature, r.permissions,
        CASE WHEN $5 THEN r.body ELSE '{}' END
    FROM unnest($3::text[]) AS asked (id)
    CROSS JOIN LATERAL (",
    one_record!("id, seq, timestamp, dead, signature, permissions, body", "$1", "$2", "asked.id"),
    ") AS r WHERE $4 OR NOT r.dead"
);

// Rows along the positions, from $3 to $4, the first $5 of them; $6 tombstones too; each with
// whether one of $8 is among its readers, and what those may see, $7 whether with bodies.
macro_rules! by_trial {
    ($order:literal) => {
        concat!(
            "SELECT id, seq, timestamp, dead, signature, permissions,
                CASE WHEN is_shown AND $7 THEN body ELSE '{}' END, is_shown
            FROM (SELECT id, seq, timestamp, dead, signature, permissions, body,
                    CASE WHEN dead AND NOT $6 THEN false ELSE EXISTS (
                        SELECT 1 FROM unnest($8::text[]) AS own (principal)
                        CROSS JOIN LATERAL (SELECT 1 FROM signature_principals
                            WHERE bucket = $1 AND collection = $2 AND principal = own.principal
                            AND signature >= tried.signature AND signature <= tried.signature
                            ORDER BY signature LIMIT 1) AS known) END AS is_shown
                FROM (SELECT id, seq, timestamp, dead, signature, permissions, body FROM records
                    WHERE bucket = $1 AND collection = $2 AND seq BETWEEN $3 AND $4
                    ORDER BY seq ",
            $order,
            " LIMIT $5) AS tried) AS judged"
        )
    };
}

/// Every statement that walks, for the test of their plans.
#[cfg(test)]
pub(super) const WALKS: &[&str] = &[
    by_time!("ASC"),
    by_time!("DESC"),
    COUNT,
    by_signature!("ASC"),
    by_signature!("DESC"),
    by_trial!("ASC"),
    by_trial!("DESC"),
    BY_ID,
];

/// Rows tried in the first go: probably enough for a page.
const TRIED_FIRST: usize = 256;

/// Rows counted in one go.
const COUNT_ROWS: i64 = 4_000;

/// Gets each record in turn; may stop the walk.
pub(super) type Visit<'v> = dyn FnMut(Record) -> ControlFlow<()> + Send + 'v;

/// One walk through a collection.
pub(super) struct Scan<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) collection: &'a CollectionPath,
    pub(super) times: Times,
    pub(super) direction: Direction,
    /// Copy bodies; live ones read as empty objects otherwise.
    pub(super) bodies: bool,
    /// Pass over tombstones.
    pub(super) live_only: bool,
    /// Pass over what has none of these.
    pub(super) signatures: Option<&'a Signatures>,
}

impl Scan<'_> {
    /// Along the positions and the chosen times, merged: so many at most, and the head of the
    /// collection, all of one moment.
    pub(super) async fn some_by_time(
        &self,
        rows: i64,
        visit: &mut Visit<'_>,
    ) -> Result<Option<Head>, Fault> {
        let mut head = None;
        let mut order = Order::of(self.direction);
        self.time_rows(self.times, rows, &mut |row| {
            if let Some(found) = sequence_row(row)? {
                head = found;
                return Ok(ControlFlow::Continue(()));
            }
            let record = rows::record(row)?;
            order.follow(&record)?;
            Ok(visit(record))
        })
        .await?;
        Ok(head)
    }

    /// The same to the end, so many at a time.
    pub(super) async fn by_time(&self, rows: i64, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let mut chunk = Chunk::new(self, rows);
        while chunk.begin() {
            let (times, rows) = (chunk.times, chunk.rows);
            self.time_rows(times, rows, &mut |row| {
                if sequence_row(row)?.is_some() {
                    return Ok(ControlFlow::Continue(()));
                }
                chunk.take(row, visit)
            })
            .await?;
        }
        Ok(())
    }

    /// Along the positions of each signature, where no record has a time of its own, so many at
    /// a time.
    pub(super) async fn by_signatures(
        &self,
        rows: i64,
        visit: &mut Visit<'_>,
    ) -> Result<(), Fault> {
        let (bucket, name) = self.names();
        let signatures = self.signature_params().unwrap_or_default();
        let sql = match self.direction {
            Direction::Ascending => by_signature!("ASC"),
            Direction::Descending => by_signature!("DESC"),
        };
        let mut chunk = Chunk::new(self, rows);
        while chunk.begin() {
            let (Times { low, high }, rows) = (chunk.times, chunk.rows);
            self.reader
                .each(
                    sql,
                    &[&bucket, &name, &signatures, &low, &high, &rows, &self.bodies],
                    &mut |row| {
                        let live_only = self.live_only;
                        chunk.take(row, &mut |record| {
                            let is_passed = live_only && !record.is_live();
                            if is_passed { ControlFlow::Continue(()) } else { visit(record) }
                        })
                    },
                )
                .await?;
        }
        Ok(())
    }

    /// Along the positions, where no record has a time of its own: rows of each of which it is
    /// looked up whether one of these may see it, in so many look-ups at most. Whether that was
    /// enough.
    pub(super) async fn by_trial(
        &self,
        who: &[Principal],
        lookups: usize,
        visit: &mut Visit<'_>,
    ) -> Result<bool, Fault> {
        let (bucket, name) = self.names();
        let who = who.iter().map(Principal::as_str);
        let who: Vec<&str> = who.filter(|text| rows::is_storable(text)).collect();
        let sql = match self.direction {
            Direction::Ascending => by_trial!("ASC"),
            Direction::Descending => by_trial!("DESC"),
        };
        let both = !self.live_only;
        let Times { mut low, mut high } = self.times;
        let rows = lookups / who.len().max(1);
        for rows in [TRIED_FIRST.min(rows), rows] {
            let most = i64::try_from(rows).unwrap_or(i64::MAX);
            let (mut count, mut is_full, mut last) = (0, false, None);
            let asked: [&(dyn ToSql + Sync); 8] =
                [&bucket, &name, &low, &high, &most, &both, &self.bodies, &who];
            self.reader
                .each(sql, &asked, &mut |row| {
                    count += 1;
                    let seq: i64 = rows::value(row, 1)?;
                    last = Some(seq);
                    if !rows::value::<bool>(row, 7)? {
                        return Ok(ControlFlow::Continue(()));
                    }
                    let flow = visit(rows::record(row)?);
                    is_full = flow.is_break();
                    Ok(flow)
                })
                .await?;
            let Some(last) = last.filter(|_| !is_full && count == most) else { return Ok(true) };
            match self.direction {
                Direction::Ascending => low = last.saturating_add(1),
                Direction::Descending => high = last.saturating_sub(1),
            }
        }
        Ok(false)
    }

    /// The records with these identifiers, in no order.
    pub(super) async fn by_ids(&self, ids: &[&str], visit: &mut Visit<'_>) -> Result<(), Fault> {
        let (bucket, name) = self.names();
        let ids: Vec<&str> = ids.iter().copied().filter(|id| rows::is_storable(id)).collect();
        let mut visit_row = |row: &Row| {
            let seen = self.signatures.map(|seen| Ok::<_, Fault>((seen, rows::signature(row, 4)?)));
            let is_hidden = seen.transpose()?.is_some_and(|(seen, own)| !seen.contains_key(&own));
            Ok(if is_hidden { ControlFlow::Continue(()) } else { visit(rows::record(row)?) })
        };
        let both = !self.live_only;
        self.reader.each(BY_ID, &[&bucket, &name, &ids, &both, &self.bodies], &mut visit_row).await
    }

    /// How many rows there are on the way along the positions and chosen times.
    pub(super) async fn count(&self) -> Result<u64, Fault> {
        let (bucket, name) = self.names();
        let (signatures, both) = (self.signature_params(), !self.live_only);
        let statement = self.reader.prepare_cached(COUNT).await?;
        let Times { mut low, high } = self.times;
        let mut sum = 0;
        while low <= high {
            let params: [&(dyn ToSql + Sync); 7] =
                [&bucket, &name, &low, &high, &COUNT_ROWS, &both, &signatures];
            let row = self.reader.query_one(&statement, &params).await?;
            let counted: i64 = rows::value(&row, 0)?;
            sum += u64::try_from(counted).unwrap_or(0);
            let last: Option<i64> = rows::value(&row, 1)?;
            match last.and_then(|last| last.checked_add(1)) {
                Some(next) if counted >= COUNT_ROWS => low = next,
                _ => break,
            }
        }
        Ok(sum)
    }

    async fn time_rows(
        &self,
        Times { low, high }: Times,
        rows: i64,
        visit: &mut (dyn FnMut(&Row) -> Result<ControlFlow<()>, Fault> + Send),
    ) -> Result<(), Fault> {
        let (bucket, name) = self.names();
        let (signatures, both) = (self.signature_params(), !self.live_only);
        let sql = match self.direction {
            Direction::Ascending => by_time!("ASC"),
            Direction::Descending => by_time!("DESC"),
        };
        let bodies = self.bodies;
        self.reader
            .each(sql, &[&bucket, &name, &low, &high, &rows, &both, &signatures, &bodies], visit)
            .await
    }

    fn names(&self) -> (&str, &str) {
        (self.collection.bucket.as_str(), self.collection.name.as_str())
    }

    fn signature_params(&self) -> Option<Vec<&[u8]>> {
        Some(self.signatures?.keys().map(|signature| signature.0.as_slice()).collect())
    }
}

/// Where a walk is.
struct Chunk {
    times: Times,
    rows: i64,
    order: Order,
    /// Rows that came of those that were asked for.
    came: i64,
    is_done: bool,
}

impl Chunk {
    fn new(scan: &Scan<'_>, rows: i64) -> Self {
        let rows = rows.max(1);
        let order = Order::of(scan.direction);
        Self { times: scan.times, rows, order, came: rows, is_done: false }
    }

    // Whether there may be more.
    fn begin(&mut self) -> bool {
        if self.is_done || self.came < self.rows {
            return false;
        }
        self.came = 0;
        if let Some(last) = self.order.last {
            match self.order.direction {
                Direction::Ascending => self.times.low = last.saturating_add(1),
                Direction::Descending => self.times.high = last.saturating_sub(1),
            }
        }
        self.times.low <= self.times.high
    }

    fn take(&mut self, row: &Row, visit: &mut Visit<'_>) -> Result<ControlFlow<()>, Fault> {
        let record = rows::record(row)?;
        self.came += 1;
        self.order.follow(&record)?;
        let flow = visit(record);
        self.is_done |= flow.is_break();
        Ok(flow)
    }
}

/// Holds the database to the order that it was asked for.
struct Order {
    direction: Direction,
    last: Option<i64>,
}

impl Order {
    fn of(direction: Direction) -> Self {
        Self { direction, last: None }
    }

    fn follow(&mut self, record: &Record) -> Result<(), Fault> {
        let next = record.timestamp().0;
        let follows = self.last.is_none_or(|last| match self.direction {
            Direction::Ascending => last < next,
            Direction::Descending => last > next,
        });
        self.last = Some(next);
        if !follows {
            let why = format!("records come out of order, or twice, at {next}");
            return Err(StoreError::Corrupt(why).into());
        }
        Ok(())
    }
}

// The head in the row that stands for the collection itself.
fn sequence_row(row: &Row) -> Result<Option<Option<Head>>, Fault> {
    if rows::value::<Option<&str>>(row, 0)?.is_some() {
        return Ok(None);
    }
    if rows::value(row, 3)? {
        return Ok(Some(None));
    }
    let seq = Seq(rows::value(row, 1)?);
    let timestamp: Option<i64> = rows::value(row, 2)?;
    let live: i64 = rows::value(row, 7)?;
    let timestamp = timestamp.map_or(seq.into(), Timestamp);
    Ok(Some(Some(Head { seq, timestamp, live: u64::try_from(live).unwrap_or(0) })))
}
