//! Lists and counts: which way through a collection, and what is kept on it.
//!
//! What indexes serve is answered on the calling thread; what must look into bodies or pass
//! over many rows says so, and is asked again on a thread that may block.

use std::borrow::Cow;
use std::ops::ControlFlow;

use nuage_model::{
    CollectionPath, Direction, Head, Page, Principal, Query, Record, Scope, Signature, States,
    StoreError,
};
use rusqlite::Connection;

use crate::list::{Asked, Best, InOrder, LOOKUPS_TRIED, SIGNATURES_FEW, Signatures, Way};
use crate::rules::Sequence;
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::scan::{Columns, Scan, Trial, Visible, Visit};
use crate::sqlite::tables;

/// Records that a page read on the calling thread may have.
const QUICK_PAGE: i64 = 1_000;
/// Bytes of records that may be copied there, shown or not.
const QUICK_BYTES: usize = 256 * 1024;
/// Rows that may be passed over there.
const QUICK_ROWS: i64 = 2_000;

/// So often it is looked up there whether one principal may see a row.
const LOOKUPS_TRIED_QUICKLY: usize = 1_000;

const SIGNATURES: &str = "
    SELECT signature, 0 FROM signature_principals
    WHERE bucket = ?1 AND collection = ?2 AND principal = ?3";
const COUNTED_SIGNATURES: &str = "
    SELECT p.signature, coalesce(s.live, 0)
    FROM signature_principals p LEFT JOIN signatures s
    ON s.bucket = p.bucket AND s.collection = p.collection AND s.signature = p.signature
    WHERE p.bucket = ?1 AND p.collection = ?2 AND p.principal = ?3";

/// On which thread an answer is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Pace {
    /// That of the caller: only if it is quick.
    Quick,
    /// One that may block.
    Patient,
}

/// One page; `None` if it is not quick but has to be. To be called in a snapshot.
pub(super) fn list(
    connection: &Connection,
    query: &Query,
    pace: Pace,
    deadline: &Deadline,
) -> Result<Option<Page>, Fault> {
    let Some(sequence) = present(connection, &query.collection)? else {
        return Ok(Some(Page { head: None, records: Vec::new(), more: false }));
    };
    let empty = Page { head: sequence.head(), records: Vec::new(), more: false };
    let asked = match asked(connection, query, &sequence, SIGNATURES, SIGNATURES_FEW)? {
        Some(asked) => asked,
        None => match try_rows(connection, query, &sequence, pace, deadline)? {
            Some((records, more)) => return Ok(Some(Page { records, more, ..empty })),
            None if pace == Pace::Quick => return Ok(None),
            None => all_asked(connection, query, &sequence, SIGNATURES)?,
        },
    };
    if asked.is_vain() {
        return Ok(Some(empty));
    }
    let way = asked.way();
    if pace == Pace::Quick && !is_quick(&asked, way) {
        return Ok(None);
    }
    let direction = asked.shape.by_time.unwrap_or(Direction::Ascending);
    let columns = if asked.wants_bodies() { Columns::Full } else { Columns::Slim };
    let scan = scan(&asked, connection, deadline, direction, columns);
    let (is_done, (records, more)) = if asked.shape.by_time.is_some() && way != Way::Ids {
        let mut kept = InOrder::new(query.limit, query.limit_bytes);
        let is_done = walk(&asked, way, pace, &scan, &mut |record| {
            Ok(if asked.shows(&record) { kept.push(record) } else { ControlFlow::Continue(()) })
        })?;
        (is_done, kept.finish())
    } else {
        let mut kept = Best::new(query);
        let is_done = walk(&asked, way, pace, &scan, &mut |record| {
            if asked.shows(&record) {
                kept.push(record);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        (is_done, kept.finish())
    };
    Ok(is_done.then_some(Page { records, more, ..empty }))
}

/// How many match; `None` if it is not quick but has to be. To be called in a snapshot.
pub(super) fn count(
    connection: &Connection,
    query: &Query,
    pace: Pace,
    deadline: &Deadline,
) -> Result<Option<(Option<Head>, u64)>, Fault> {
    let query = match query.after {
        None => Cow::Borrowed(query),
        Some(_) => Cow::Owned(Query { after: None, ..query.clone() }),
    };
    let Some(sequence) = present(connection, &query.collection)? else {
        return Ok(Some((None, 0)));
    };
    let head = sequence.head();
    let asked = all_asked(connection, &query, &sequence, COUNTED_SIGNATURES)?;
    if asked.is_vain() {
        return Ok(Some((head, 0)));
    }
    if let Some(counted) = asked.counted() {
        return Ok(Some((head, counted)));
    }
    let way = asked.way();
    let is_short = way == Way::Ids || asked.rows_between() <= QUICK_ROWS;
    if pace == Pace::Quick && (asked.shape.filters_bodies || !is_short) {
        return Ok(None);
    }
    let columns = if asked.shape.filters_bodies { Columns::Full } else { Columns::Slim };
    let scan = scan(&asked, connection, deadline, Direction::Ascending, columns);
    let mut counted = 0;
    let is_done = walk(&asked, way, pace, &scan, &mut |record| {
        counted += u64::from(asked.shows(&record));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(is_done.then_some((head, counted)))
}

/// The head of a collection.
pub(super) fn head(connection: &Connection, path: &CollectionPath) -> Result<Option<Head>, Fault> {
    Ok(tables::read_sequence(connection, path)?.as_ref().and_then(Sequence::head))
}

fn present(connection: &Connection, path: &CollectionPath) -> Result<Option<Sequence>, Fault> {
    Ok(tables::read_sequence(connection, path)?.filter(|sequence| !sequence.dropped))
}

/// The query with all signatures of its scope, as one of the statements above reads them.
fn all_asked<'a>(
    connection: &Connection,
    query: &'a Query,
    sequence: &'a Sequence,
    sql: &'static str,
) -> Result<Asked<'a>, Fault> {
    let asked = asked(connection, query, sequence, sql, usize::MAX)?;
    asked.ok_or_else(|| StoreError::Unavailable("there are too many signatures".to_owned()).into())
}

/// The same, unless there are more than so many.
fn asked<'a>(
    connection: &Connection,
    query: &'a Query,
    sequence: &'a Sequence,
    sql: &'static str,
    most: usize,
) -> Result<Option<Asked<'a>>, Fault> {
    let signatures = match &query.scope {
        Scope::All => None,
        Scope::Readers(who) | Scope::Holders(_, who) => {
            let found = signatures_of(connection, &query.collection, who, sql, most)?;
            let Some(found) = found else { return Ok(None) };
            Some(found)
        }
    };
    Ok(Some(Asked::new(query, sequence, signatures)))
}

/// A page for somebody who has many signatures, if it is among the first rows.
fn try_rows(
    connection: &Connection,
    query: &Query,
    sequence: &Sequence,
    pace: Pace,
    deadline: &Deadline,
) -> Result<Option<(Vec<Record>, bool)>, Fault> {
    let asked = Asked::new(query, sequence, None);
    let Scope::Readers(who) = &query.scope else { return Ok(None) };
    if asked.is_vain() || !asked.can_be_tried() {
        return Ok(None);
    }
    let lookups = match pace {
        Pace::Quick => LOOKUPS_TRIED_QUICKLY,
        Pace::Patient => LOOKUPS_TRIED,
    };
    let trial = Trial::new(connection, &query.collection, who, lookups);
    let direction = asked.shape.by_time.unwrap_or(Direction::Ascending);
    let columns = if asked.wants_bodies() { Columns::Full } else { Columns::Slim };
    let scan = Scan {
        visible: Visible::Tried(&trial),
        ..scan(&asked, connection, deadline, direction, columns)
    };
    let mut kept = InOrder::new(query.limit, query.limit_bytes);
    let mut is_full = false;
    let is_done = walk(&asked, Way::Positions, pace, &scan, &mut |record| {
        let flow = kept.push(record);
        is_full = flow.is_break();
        Ok(flow)
    })?;
    Ok((is_done && (is_full || !trial.is_over())).then(|| kept.finish()))
}

/// Whether a page is found soon enough for the calling thread.
fn is_quick(asked: &Asked<'_>, way: Way) -> bool {
    if way == Way::Ids {
        let reads_bodies = asked.shape.filters_bodies || !asked.sorts_by_name();
        return !reads_bodies;
    }
    if asked.shape.by_time.is_none() || !asked.shape.is_exact {
        return false;
    }
    let mut passed_over = 0;
    if asked.query.states == States::Live {
        passed_over += asked.sequence.tombstones.min(asked.rows_between());
    }
    let sees_all = asked.signatures.is_none();
    match way {
        Way::Ids => {}
        Way::Signatures => passed_over += asked.probes(),
        Way::Positions if sees_all => {}
        Way::Positions => passed_over += asked.rows_between(),
        Way::Times if sees_all => passed_over += asked.sequence.chosen,
        Way::Times => passed_over += asked.sequence.rows(),
    }
    if asked.reads_permissions() {
        passed_over += asked.sequence.rows();
    }
    let shown = i64::try_from(asked.query.limit).unwrap_or(i64::MAX).min(asked.rows_between());
    shown <= QUICK_PAGE && passed_over <= QUICK_ROWS
}

fn scan<'s>(
    asked: &'s Asked<'_>,
    connection: &'s Connection,
    deadline: &'s Deadline,
    direction: Direction,
    columns: Columns,
) -> Scan<'s> {
    Scan {
        connection,
        collection: &asked.query.collection,
        times: asked.shape.times,
        direction,
        columns,
        deadline,
        live_only: asked.query.states == States::Live,
        visible: asked.signatures.as_ref().map_or(Visible::All, Visible::These),
    }
}

/// Whether it went as far as `visit` wanted: a quick one stops where records become too much to
/// copy.
fn walk(
    asked: &Asked<'_>,
    way: Way,
    pace: Pace,
    scan: &Scan<'_>,
    visit: &mut Visit<'_>,
) -> Result<bool, Fault> {
    let bytes_max = if pace == Pace::Quick { QUICK_BYTES } else { usize::MAX };
    let mut bytes = 0_usize;
    let visit: &mut Visit<'_> = &mut |record| {
        bytes = bytes.saturating_add(Query::cost(&record));
        if bytes > bytes_max { Ok(ControlFlow::Break(())) } else { visit(record) }
    };
    match way {
        Way::Ids => scan.by_ids(asked.shape.ids.as_deref().unwrap_or_default(), visit),
        Way::Signatures => scan.by_signatures(asked.query.limit.saturating_add(1), visit),
        Way::Positions => scan.by_position(visit),
        Way::Times => scan.by_time(visit),
    }?;
    Ok(bytes <= bytes_max)
}

fn signatures_of(
    connection: &Connection,
    path: &CollectionPath,
    principals: &[Principal],
    sql: &'static str,
    most: usize,
) -> Result<Option<Signatures>, Fault> {
    let mut signatures = Signatures::default();
    let mut statement = connection.prepare_cached(sql)?;
    for principal in principals {
        let key = [path.bucket.as_str(), path.name.as_str(), principal.as_str()];
        let mut rows = statement.query(key)?;
        while let Some(row) = rows.next()? {
            signatures.insert(Signature(row.get(0)?), row.get(1)?);
            if signatures.len() > most {
                return Ok(None);
            }
        }
    }
    Ok(Some(signatures))
}
