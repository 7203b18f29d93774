//! Records, heads, lists and counts: one round trip where one statement can answer, otherwise a
//! snapshot.
//!
//! The way through a collection, and what is shown of it, are those of [`crate::list`].

use std::borrow::Cow;
use std::ops::ControlFlow;
use std::time::Duration;

use futures_util::future::try_join;
use nuage_model::{
    Bodies, CollectionPath, Direction, Head, Page, Principal, Query, Record, RecordPath, Scope,
    Seq, States,
};

use crate::list::{Asked, Best, InOrder, LOOKUPS_TRIED, SIGNATURES_FEW, Shape, Signatures, Way};
use crate::postgres::errors::Fault;
use crate::postgres::guess::Seen;
use crate::postgres::pool::Pool;
use crate::postgres::reader::{Read, Reader};
use crate::postgres::rows::{self, is_storable, one_record};
use crate::postgres::scan::{Scan, Visit};
use crate::rules::{Old, Sequence};

/// How long a read of known rows may take before the database counts as not answering.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// Records that a page of one statement may have. A page of more is read in a snapshot, unless
/// fewer turn out to be there.
const PLAIN_PAGE: usize = 1_000;
/// Rows that are read in one go where an unknown part of them is shown.
const CHUNK_ROWS: i64 = 500;
/// Tombstones that there may be on a way beyond what is usual in its collection.
const SLACK_ROWS: i64 = 8;

macro_rules! get {
    ($columns:literal) => {
        one_record!($columns, "$1", "$2", "$3")
    };
}
macro_rules! get_all {
    ($columns:literal) => {
        concat!(
            "SELECT asked.n, r.*
            FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY
                AS asked (bucket, collection, id, n)
            CROSS JOIN LATERAL (",
            one_record!($columns, "asked.bucket", "asked.collection", "asked.id"),
            ") AS r"
        )
    };
}
const GET: &str = get!("seq, timestamp, dead, signature, permissions, body, entered");
const GET_ALL: &str = get_all!("seq, timestamp, dead, signature, permissions, body, entered");
// How much a body takes where it is stored is known without reading it.
const GET_SMALL: &str = get!(
    "seq, timestamp, dead, signature, permissions,
    CASE WHEN pg_column_size(body) > 2000 THEN '' ELSE body END AS body, entered"
);
const GET_ALL_SMALL: &str = get_all!(
    "seq, timestamp, dead, signature, permissions,
    CASE WHEN pg_column_size(body) > 2000 THEN '' ELSE body END AS body, entered"
);
const SEQUENCE: &str = "
    SELECT incarnation, seq, timestamp, gc_seq, live, tombstones, chosen, gone, dropped
    FROM collections WHERE bucket = $1 AND collection = $2";
// Not `principal = own.principal`: the index that begins with signatures would do as well then,
// to the planner.
const SIGNATURES: &str = "
    SELECT p.signature, s.live FROM unnest($3::text[]) AS own (principal)
    CROSS JOIN LATERAL (SELECT signature FROM signature_principals
        WHERE bucket = $1 AND collection = $2 AND principal >= own.principal
            AND principal <= own.principal ORDER BY principal OFFSET 0) AS p
    LEFT JOIN LATERAL (SELECT live FROM signatures
        WHERE bucket = $1 AND collection = $2 AND signature = p.signature LIMIT 1) AS s ON true
    LIMIT $4";

/// Every statement that looks something up, for the test of their plans.
#[cfg(test)]
pub(super) const LOOKUPS: &[&str] = &[GET, GET_ALL, GET_SMALL, GET_ALL_SMALL, SEQUENCE, SIGNATURES];

/// The records at these paths, tombstones included. What was seen of their rows is remembered for
/// those who write next.
pub(super) async fn get(
    pool: &Pool,
    paths: &[RecordPath],
    bodies: Bodies,
    seen: &Seen,
) -> Result<Vec<Option<Record>>, Fault> {
    if !paths.iter().any(is_possible) {
        return Ok(vec![None; paths.len()]);
    }
    let found = pool.read(&Get(paths, bodies), ANSWER).await?;
    let rows = found.iter().map(|found| found.as_ref().map(|(_, row)| *row));
    seen.learn(paths.iter().cloned().zip(rows));
    Ok(found.into_iter().map(|found| found.map(|(record, _)| record)).collect())
}

/// The head of a collection.
pub(super) async fn head(pool: &Pool, path: &CollectionPath) -> Result<Option<Head>, Fault> {
    Ok(pool.read(&Sequences(path), ANSWER).await?.as_ref().and_then(Sequence::head))
}

/// One page.
pub(super) async fn list(pool: &Pool, query: &Query, list_ms: u64) -> Result<Page, Fault> {
    let within = Duration::from_millis(list_ms);
    let is_plain = is_plain(&Shape::of(query));
    if is_plain
        && query.scope == Scope::All
        && let Some(page) = pool.read(&PlainList(query), within).await?
    {
        return Ok(page);
    }
    let _slot = match query.scope {
        Scope::Readers(_) if is_plain && query.limit <= PLAIN_PAGE => None,
        _ => Some(pool.slot(within).await?),
    };
    pool.read(&List(query), within).await
}

/// How many match.
pub(super) async fn count(
    pool: &Pool,
    query: &Query,
    list_ms: u64,
) -> Result<(Option<Head>, u64), Fault> {
    let within = Duration::from_millis(list_ms);
    let query = match query.after {
        None => Cow::Borrowed(query),
        Some(_) => Cow::Owned(Query { after: None, ..query.clone() }),
    };
    let _slot = if is_counted(&query) { None } else { Some(pool.slot(within).await?) };
    pool.read(&Count(&query), within).await
}

/// Whether counters tell how many match.
pub(super) fn is_counted(query: &Query) -> bool {
    let has_counter = match query.scope {
        Scope::All => true,
        Scope::Readers(_) => query.states == States::Live,
        Scope::Holders(..) => false,
    };
    query.filters.is_empty() && has_counter
}

/// Whether a page is found soon: along an index, and not too many records.
pub(super) fn is_quick(query: &Query) -> bool {
    let is_short = query.limit <= PLAIN_PAGE && !matches!(query.scope, Scope::Holders(..));
    is_short && is_plain(&Shape::of(query))
}

fn is_plain(shape: &Shape<'_>) -> bool {
    shape.by_time.is_some() && shape.is_exact && shape.ids.is_none()
}

/// Whether there can be such a record at all.
pub(super) fn is_possible(path: &RecordPath) -> bool {
    let RecordPath { collection, id } = path;
    has_names(collection) && is_storable(id.as_str())
}

/// Whether there can be such a collection at all.
pub(super) fn has_names(path: &CollectionPath) -> bool {
    is_storable(path.bucket.as_str()) && is_storable(path.name.as_str())
}

/// Reads the records at these paths, and what is in their rows besides.
pub(super) struct Get<'a>(pub(super) &'a [RecordPath], pub(super) Bodies);

impl Read for Get<'_> {
    type Answer = Vec<Option<(Record, Old)>>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let (get, get_all) = match self.1 {
            Bodies::All => (GET, GET_ALL),
            Bodies::Small => (GET_SMALL, GET_ALL_SMALL),
        };
        if let [path] = self.0 {
            let [bucket, name, id] = names(path);
            let statement = reader.prepare_cached(get).await?;
            let row = reader.query_opt(&statement, &[&bucket, &name, &id]).await?;
            let found = row.map(|row| found(path, &row, 0));
            return Ok(vec![found.transpose()?]);
        }
        let (places, possible): (Vec<usize>, Vec<&RecordPath>) =
            self.0.iter().enumerate().filter(|(_, path)| is_possible(path)).unzip();
        let column =
            |n: usize| -> Vec<&str> { possible.iter().map(|path| names(path)[n]).collect() };
        let (buckets, collections, ids) = (column(0), column(1), column(2));
        let mut all = vec![None; self.0.len()];
        let mut place = |row: &tokio_postgres::Row| {
            let n: i64 = rows::value(row, 0)?;
            let n = usize::try_from(n - 1).ok().and_then(|n| places.get(n).copied());
            if let Some(n) = n {
                all[n] = Some(found(&self.0[n], row, 1)?);
            }
            Ok(ControlFlow::Continue(()))
        };
        reader.each(get_all, &[&buckets, &collections, &ids], &mut place).await?;
        Ok(all)
    }
}

// The record in the row, and the row without its texts.
fn found(
    path: &RecordPath,
    row: &tokio_postgres::Row,
    from: usize,
) -> Result<(Record, Old), Fault> {
    let record = rows::record_of(path.id.clone(), row, from)?;
    let seen = Old {
        seq: record.seq,
        chosen: record.chosen,
        signature: rows::signature(row, from + 3)?,
        entered: Seq(rows::value(row, from + 6)?),
        dead: !record.is_live(),
    };
    Ok((record, seen))
}

fn names(path: &RecordPath) -> [&str; 3] {
    [path.collection.bucket.as_str(), path.collection.name.as_str(), path.id.as_str()]
}

struct Sequences<'a>(&'a CollectionPath);

impl Read for Sequences<'_> {
    type Answer = Option<Sequence>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let path = self.0;
        if !has_names(path) {
            return Ok(None);
        }
        let statement = reader.prepare_cached(SEQUENCE).await?;
        let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
        let row = reader.query_opt(&statement, &[&bucket, &name]).await?;
        let sequence = row.map(|row| rows::sequence(&row, 0)).transpose()?;
        Ok(sequence.filter(|sequence| !sequence.dropped))
    }
}

// The usual page: everything, in the order of time, in one statement. None if there is more than
// one statement should give.
struct PlainList<'a>(&'a Query);

impl Read for PlainList<'_> {
    type Answer = Option<Page>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let query = self.0;
        if !has_names(&query.collection) {
            return Ok(Some(Page { head: None, records: Vec::new(), more: false }));
        }
        let shape = Shape::of(query);
        let scan = Scan {
            reader,
            collection: &query.collection,
            times: shape.times,
            direction: shape.by_time.unwrap_or(Direction::Ascending),
            bodies: query.bodies,
            live_only: query.states == States::Live,
            signatures: None,
        };
        let shown = query.limit.min(PLAIN_PAGE);
        let mut kept = InOrder::new(shown, query.limit_bytes);
        let head = scan.some_by_time(wanted(shown), &mut |record| kept.push(record)).await?;
        let (records, more) = kept.finish();
        if more && records.len() == shown && shown < query.limit {
            return Ok(None);
        }
        Ok(Some(Page { head, records, more }))
    }
}

// One row more than is shown tells whether others follow.
fn wanted(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

struct List<'a>(&'a Query);

impl Read for List<'_> {
    type Answer = Page;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let query = self.0;
        let known = reader.begin(known(reader, query, SIGNATURES_FEW)).await?;
        let (Some(sequence), mut signatures) = known else {
            return Ok(Page { head: None, records: Vec::new(), more: false });
        };
        let empty = Page { head: sequence.head(), records: Vec::new(), more: false };
        if let Scope::Readers(who) | Scope::Holders(_, who) = &query.scope
            && signatures.as_ref().is_some_and(|few| few.len() > SIGNATURES_FEW)
        {
            if let Some((records, more)) = try_rows(reader, query, &sequence, who).await? {
                return Ok(Page { records, more, ..empty });
            }
            signatures = Some(signatures_of(reader, &query.collection, who, usize::MAX).await?);
        }
        let asked = Asked::new(query, &sequence, signatures);
        if asked.is_vain() {
            return Ok(empty);
        }
        let columns = if asked.wants_bodies() { Columns::Full } else { Columns::Slim };
        let way = asked.way();
        let (records, more) = if asked.shape.by_time.is_some() && way != Way::Ids {
            let mut kept = InOrder::new(query.limit, query.limit_bytes);
            let mut visit = |record: Record| {
                if asked.shows(&record) { kept.push(record) } else { ControlFlow::Continue(()) }
            };
            let chunk = if asked.is_exact() { expected_rows(&asked) } else { CHUNK_ROWS };
            walk(reader, &asked, chunk, columns, &mut visit).await?;
            kept.finish()
        } else {
            let mut kept = Best::new(query);
            let mut visit = |record: Record| {
                if asked.shows(&record) {
                    kept.push(record);
                }
                ControlFlow::Continue(())
            };
            walk(reader, &asked, CHUNK_ROWS, columns, &mut visit).await?;
            kept.finish()
        };
        Ok(Page { records, more, ..empty })
    }
}

// Rows on the way of a page, as far as one can tell: those along signatures include tombstones.
fn expected_rows(asked: &Asked<'_>) -> i64 {
    let shown = wanted(asked.query.limit.min(PLAIN_PAGE));
    let (sequence, states) = (asked.sequence, asked.query.states);
    if asked.way() != Way::Signatures || states == States::Both || sequence.tombstones == 0 {
        return shown;
    }
    shown + shown.saturating_mul(sequence.tombstones) / sequence.rows().max(1) + SLACK_ROWS
}

struct Count<'a>(&'a Query);

impl Read for Count<'_> {
    type Answer = (Option<Head>, u64);

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let query = self.0;
        if query.scope == Scope::All && query.filters.is_empty() {
            let sequence = Sequences(&query.collection).read(reader).await?;
            let counted = sequence.as_ref().and_then(|s| Asked::new(query, s, None).counted());
            return Ok((sequence.and_then(|s| s.head()), counted.unwrap_or(0)));
        }
        let known = reader.begin(known(reader, query, usize::MAX)).await?;
        let (Some(sequence), signatures) = known else { return Ok((None, 0)) };
        let head = sequence.head();
        let asked = Asked::new(query, &sequence, signatures);
        if asked.is_vain() {
            return Ok((head, 0));
        }
        if let Some(counted) = asked.counted() {
            return Ok((head, counted));
        }
        if asked.is_exact() && asked.way() != Way::Signatures {
            return Ok((head, scan(reader, &asked, Columns::Slim).count().await?));
        }
        let columns = if asked.shape.filters_bodies { Columns::Full } else { Columns::Slim };
        let mut counted = 0;
        let mut visit = |record: Record| {
            counted += u64::from(asked.shows(&record));
            ControlFlow::Continue(())
        };
        walk(reader, &asked, CHUNK_ROWS, columns, &mut visit).await?;
        Ok((head, counted))
    }
}

/// Whether to copy bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Columns {
    Full,
    Slim,
}

// A page for somebody who has many signatures, if it is among the first rows.
async fn try_rows(
    reader: &Reader<'_>,
    query: &Query,
    sequence: &Sequence,
    who: &[Principal],
) -> Result<Option<(Vec<Record>, bool)>, Fault> {
    let asked = Asked::new(query, sequence, None);
    if asked.is_vain() || !asked.can_be_tried() {
        return Ok(None);
    }
    let columns = if asked.wants_bodies() { Columns::Full } else { Columns::Slim };
    let mut kept = InOrder::new(query.limit, query.limit_bytes);
    let scan = scan(reader, &asked, columns);
    let is_found = scan.by_trial(who, LOOKUPS_TRIED, &mut |record| kept.push(record)).await?;
    Ok(is_found.then(|| kept.finish()))
}

// The collection, if it is there, and the signatures of the scope, unless there are more than so
// many: what decides on the way.
async fn known(
    reader: &Reader<'_>,
    query: &Query,
    most: usize,
) -> Result<(Option<Sequence>, Option<Signatures>), Fault> {
    let sequence = Sequences(&query.collection);
    match &query.scope {
        Scope::All => Ok((sequence.read(reader).await?, None)),
        Scope::Readers(who) | Scope::Holders(_, who) => {
            let signatures = signatures_of(reader, &query.collection, who, most);
            let (sequence, signatures) = try_join(sequence.read(reader), signatures).await?;
            Ok((sequence, Some(signatures)))
        }
    }
}

async fn signatures_of(
    reader: &Reader<'_>,
    path: &CollectionPath,
    principals: &[Principal],
    most: usize,
) -> Result<Signatures, Fault> {
    let mut signatures = Signatures::default();
    let principals = principals.iter().map(Principal::as_str);
    let principals: Vec<&str> = principals.filter(|text| is_storable(text)).collect();
    if principals.is_empty() || !has_names(path) {
        return Ok(signatures);
    }
    let statement = reader.prepare_cached(SIGNATURES).await?;
    let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
    // The same one may come for several principals.
    let most = most.saturating_add(1).saturating_mul(principals.len());
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    for row in reader.query(&statement, &[&bucket, &name, &principals, &most]).await? {
        let live: Option<i64> = rows::value(&row, 1)?;
        signatures.insert(rows::signature(&row, 0)?, live.unwrap_or(0));
    }
    Ok(signatures)
}

fn scan<'s>(reader: &'s Reader<'s>, asked: &'s Asked<'_>, columns: Columns) -> Scan<'s> {
    Scan {
        reader,
        collection: &asked.query.collection,
        times: asked.shape.times,
        direction: asked.shape.by_time.unwrap_or(Direction::Ascending),
        bodies: columns == Columns::Full,
        live_only: asked.query.states == States::Live,
        signatures: asked.signatures.as_ref(),
    }
}

async fn walk(
    reader: &Reader<'_>,
    asked: &Asked<'_>,
    rows: i64,
    columns: Columns,
    visit: &mut Visit<'_>,
) -> Result<(), Fault> {
    let scan = scan(reader, asked, columns);
    match asked.way() {
        Way::Ids => scan.by_ids(asked.shape.ids.as_deref().unwrap_or_default(), visit).await,
        Way::Signatures => scan.by_signatures(rows, visit).await,
        Way::Positions | Way::Times => scan.by_time(rows, visit).await,
    }
}
