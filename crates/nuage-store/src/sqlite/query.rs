//! Lists and counts: which way through a collection, and what is kept on it.
//!
//! What indexes serve is answered on the calling thread; what must look into bodies or pass
//! over many rows says so, and is asked again on a thread that may block.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::ControlFlow;

use nuage_model::{
    CollectionPath, Direction, Head, Page, Permissions, Principal, Query, Record, Scope, Signature,
    States, View,
};
use rusqlite::{Connection, OptionalExtension, params};

use crate::rules::Sequence;
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::page::{Best, InOrder};
use crate::sqlite::scan::{Columns, Scan, Times, Visit};
use crate::sqlite::tables;

use crate::sqlite::shape::Shape;

/// Records that a page read on the calling thread may have.
const QUICK_PAGE: i64 = 1_000;
/// Rows that may be passed over there.
const QUICK_ROWS: i64 = 2_000;
/// Rows of a walk that cost as much as one look into the index of signatures.
const ROWS_PER_PROBE: i64 = 1;

const SIGNATURES: &str = "
    SELECT signature FROM signature_principals
    WHERE bucket = ?1 AND collection = ?2 AND principal = ?3";
const LIVE_WITH_SIGNATURE: &str = "
    SELECT live FROM signatures WHERE bucket = ?1 AND collection = ?2 AND signature = ?3";

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
    let asked = Asked::new(connection, query, &sequence)?;
    let empty = Page { head: sequence.head(), records: Vec::new(), more: false };
    if asked.is_vain() {
        return Ok(Some(empty));
    }
    let way = asked.way();
    if pace == Pace::Quick && !asked.is_quick(way) {
        return Ok(None);
    }
    let direction = asked.shape.by_time.unwrap_or(Direction::Ascending);
    let scan = asked.scan(connection, deadline, direction, Columns::Full);
    let (records, more) = if asked.shape.by_time.is_some() && way != Way::Ids {
        let mut kept = InOrder::new(query.limit);
        asked.walk(way, &scan, &mut |record| {
            Ok(if asked.shows(&record) { kept.push(record) } else { ControlFlow::Continue(()) })
        })?;
        kept.finish()
    } else {
        let mut kept = Best::new(query);
        asked.walk(way, &scan, &mut |record| {
            if asked.shows(&record) {
                kept.push(record);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        kept.finish()
    };
    Ok(Some(Page { records, more, ..empty }))
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
    let asked = Asked::new(connection, &query, &sequence)?;
    if asked.is_vain() {
        return Ok(Some((head, 0)));
    }
    if let Some(counted) = asked.counted(connection)? {
        return Ok(Some((head, counted)));
    }
    let way = asked.way();
    let is_short = way == Way::Ids || asked.rows_between() <= QUICK_ROWS;
    if pace == Pace::Quick && (asked.shape.filters_bodies || !is_short) {
        return Ok(None);
    }
    let columns = if asked.shape.filters_bodies { Columns::Full } else { Columns::Slim };
    let scan = asked.scan(connection, deadline, Direction::Ascending, columns);
    let mut counted = 0;
    asked.walk(way, &scan, &mut |record| {
        counted += u64::from(asked.shows(&record));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Some((head, counted)))
}

/// The head of a collection.
pub(super) fn head(connection: &Connection, path: &CollectionPath) -> Result<Option<Head>, Fault> {
    Ok(tables::read_sequence(connection, path)?.as_ref().and_then(Sequence::head))
}

fn present(connection: &Connection, path: &CollectionPath) -> Result<Option<Sequence>, Fault> {
    Ok(tables::read_sequence(connection, path)?.filter(|sequence| !sequence.dropped))
}

/// How to go through a collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Ids,
    Signatures,
    Positions,
    Times,
}

/// A query, with what is known before a record is read.
struct Asked<'a> {
    query: &'a Query,
    sequence: &'a Sequence,
    shape: Shape<'a>,
    /// Those that the scope lets see, where it does not let see all.
    signatures: Option<HashSet<Signature>>,
    holders: Option<(&'static str, HashSet<&'a str>)>,
}

impl<'a> Asked<'a> {
    fn new(
        connection: &Connection,
        query: &'a Query,
        sequence: &'a Sequence,
    ) -> Result<Self, Fault> {
        let signatures = match &query.scope {
            Scope::All => None,
            Scope::Readers(who) | Scope::Holders(_, who) => {
                Some(signatures_of(connection, &query.collection, who)?)
            }
        };
        let holders = match &query.scope {
            Scope::All | Scope::Readers(_) => None,
            Scope::Holders(permission, who) => {
                Some((*permission, who.iter().map(Principal::as_str).collect()))
            }
        };
        Ok(Self { query, sequence, shape: Shape::of(query), signatures, holders })
    }

    /// Whether nothing can match.
    fn is_vain(&self) -> bool {
        let rows = match self.query.states {
            States::Live => self.sequence.live,
            States::Both => self.sequence.rows(),
        };
        rows == 0
            || self.rows_between() == 0
            || self.signatures.as_ref().is_some_and(HashSet::is_empty)
    }

    fn way(&self) -> Way {
        if self.shape.ids.is_some() {
            return Way::Ids;
        }
        if self.sequence.chosen > 0 {
            return Way::Times;
        }
        match &self.signatures {
            Some(some) if self.rows_between() > ROWS_PER_PROBE * length(some) => Way::Signatures,
            _ => Way::Positions,
        }
    }

    fn is_quick(&self, way: Way) -> bool {
        if way == Way::Ids {
            let reads_bodies = self.shape.filters_bodies || !self.sorts_by_name();
            return !reads_bodies;
        }
        if self.shape.by_time.is_none() || !self.shape.is_exact {
            return false;
        }
        let mut passed_over = 0;
        if self.query.states == States::Live {
            passed_over += self.sequence.tombstones.min(self.rows_between());
        }
        match way {
            Way::Ids => {}
            Way::Signatures => passed_over += self.signatures.as_ref().map_or(0, length),
            Way::Positions if self.signatures.is_none() => {}
            Way::Positions => passed_over += self.rows_between(),
            Way::Times if self.signatures.is_none() => passed_over += self.sequence.chosen,
            Way::Times => passed_over += self.sequence.rows(),
        }
        if self.holders.is_some() {
            passed_over += self.sequence.rows();
        }
        let shown = i64::try_from(self.query.limit).unwrap_or(i64::MAX).min(self.rows_between());
        shown <= QUICK_PAGE && passed_over <= QUICK_ROWS
    }

    fn sorts_by_name(&self) -> bool {
        use nuage_model::Field::{Id, Timestamp};
        self.query.sort.iter().all(|sort| matches!(sort.field, Id | Timestamp))
    }

    /// The most rows there can be between the times: no two show the same, and none shows one
    /// beyond the head.
    fn rows_between(&self) -> i64 {
        let Times { low, high } = self.shape.times;
        let high = high.min(self.sequence.seq.0);
        let times = high.saturating_sub(low).saturating_add(1).max(0);
        self.sequence.rows().min(times)
    }

    fn scan<'s>(
        &'s self,
        connection: &'s Connection,
        deadline: &'s Deadline,
        direction: Direction,
        columns: Columns,
    ) -> Scan<'s> {
        Scan {
            connection,
            collection: &self.query.collection,
            times: self.shape.times,
            direction,
            columns,
            deadline,
            live_only: self.query.states == States::Live,
            signatures: self.signatures.as_ref(),
        }
    }

    fn walk(&self, way: Way, scan: &Scan<'_>, visit: &mut Visit<'_>) -> Result<(), Fault> {
        match way {
            Way::Ids => scan.by_ids(self.shape.ids.as_deref().unwrap_or_default(), visit),
            Way::Signatures => scan.by_signatures(self.query.limit.saturating_add(1), visit),
            Way::Positions => scan.by_position(visit),
            Way::Times => scan.by_time(visit),
        }
    }

    /// Whether a record that the scan gave is shown: what no index could decide.
    fn shows(&self, record: &Record) -> bool {
        let is_decided = self.shape.is_exact && self.shape.ids.is_none();
        if !is_decided && !self.query.matches(&View::new(record)) {
            return false;
        }
        let Some((permission, who)) = &self.holders else { return true };
        // What does not parse grants nothing; `nuage check` reports it.
        Permissions::from_text(&record.permissions())
            .is_ok_and(|own| own.grants(permission, &|holder| who.contains(holder)))
    }

    /// The count, where the counters tell it.
    fn counted(&self, connection: &Connection) -> Result<Option<u64>, Fault> {
        if !self.query.filters.is_empty() || self.holders.is_some() {
            return Ok(None);
        }
        let counted = match (&self.signatures, self.query.states) {
            (None, States::Live) => self.sequence.live,
            (None, States::Both) => self.sequence.rows(),
            (Some(_), States::Both) => return Ok(None),
            (Some(signatures), States::Live) => {
                let path = &self.query.collection;
                let mut sum = 0;
                let mut statement = connection.prepare_cached(LIVE_WITH_SIGNATURE)?;
                for signature in signatures {
                    let key = params![path.bucket.as_str(), path.name.as_str(), signature.0];
                    let live: Option<i64> =
                        statement.query_row(key, |row| row.get(0)).optional()?;
                    sum += live.unwrap_or(0);
                }
                sum
            }
        };
        Ok(Some(u64::try_from(counted).unwrap_or(0)))
    }
}

fn signatures_of(
    connection: &Connection,
    path: &CollectionPath,
    principals: &[Principal],
) -> Result<HashSet<Signature>, Fault> {
    let mut signatures = HashSet::new();
    let mut statement = connection.prepare_cached(SIGNATURES)?;
    for principal in principals {
        let key = [path.bucket.as_str(), path.name.as_str(), principal.as_str()];
        let mut rows = statement.query(key)?;
        while let Some(row) = rows.next()? {
            signatures.insert(Signature(row.get(0)?));
        }
    }
    Ok(signatures)
}

fn length(set: &HashSet<Signature>) -> i64 {
    i64::try_from(set.len()).unwrap_or(i64::MAX)
}
