//! Rows, read as [`crate::reads`] asks for them: each question is answered at once, by the thread
//! that asks.
//!
//! The index is chosen by the caller and never by SQLite. What is passed over is looked at before
//! anything is copied, row by row, so that no question goes on beyond its deadline.

use std::collections::{BTreeMap, BinaryHeap};
use std::future::{Future, ready};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use nuage_model::StoreError;
use nuage_model::copy::{Cell, Row};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params_from_iter};

use crate::reads::{Columns, Condition, Found, Reads, SMALL_BYTES, Scan, Together, order};
use crate::schema::{Only, Range};
use crate::sqlite::cells::{self, Sql};
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::readers::Reader;
use crate::sqlite::tables::{equal, first, from};

const EPOCH: &str = "SELECT value FROM meta WHERE key = 'store'";
/// The least number of keys that are merged in one go.
const KEYS_MIN: usize = 100;
/// The greatest, which bounds the memory for keys.
const KEYS_MAX: usize = 10_000;

/// A reader, and the time that it has.
pub(super) struct Look<'a>(Mutex<(Reader<'a>, Deadline)>);

impl<'a> Look<'a> {
    pub(super) fn new(reader: Reader<'a>, deadline: Deadline) -> Self {
        Self(Mutex::new((reader, deadline)))
    }

    /// From now on it has this time.
    pub(super) fn until(&self, deadline: Deadline) {
        self.lock().1 = deadline;
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Connection, &Deadline) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (reader, deadline) = &mut *self.lock();
        reader.read(|connection| read(connection, deadline))
    }

    fn lock(&self) -> MutexGuard<'_, (Reader<'a>, Deadline)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer of a future that waits for nothing but a [`Look`].
pub(super) fn answer<T>(asked: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    asked.now_or_never().unwrap_or_else(|| {
        Err(StoreError::Unavailable("a read waits for something".to_owned()).into())
    })
}

impl Reads for Look<'_> {
    type Fault = Fault;

    const IS_FAR: bool = false;

    async fn begin<T: Send>(
        &self,
        first: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        self.lock().0.begin()?;
        first.await
    }

    fn epoch(&self) -> impl Future<Output = Result<String, Fault>> + Send {
        ready(self.read(|connection, _| {
            Ok(connection.prepare_cached(EPOCH)?.query_row([], |row| row.get(0))?)
        }))
    }

    fn get(
        &self,
        keys: &[Vec<Cell>],
        columns: Columns,
        bytes: usize,
    ) -> impl Future<Output = Result<Vec<Option<Row>>, Fault>> + Send {
        ready(self.read(|connection, deadline| get(connection, deadline, keys, columns, bytes)))
    }

    fn scan(&self, scan: Scan<'_>) -> impl Future<Output = Result<Found, Fault>> + Send {
        ready(self.read(|connection, deadline| run(connection, deadline, &scan)))
    }
}

fn get(
    connection: &Connection,
    deadline: &Deadline,
    keys: &[Vec<Cell>],
    columns: Columns,
    bytes: usize,
) -> Result<Vec<Option<Row>>, Fault> {
    let table = columns.table;
    let is_key = equal(table.key(), 0);
    let sql = format!("SELECT {} FROM {} WHERE {is_key}", names(columns), table.name());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::with_capacity(keys.len());
    let mut filled = 0_usize;
    for key in keys {
        deadline.check()?;
        let mut rows = statement.query(params_from_iter(key.iter().map(Sql)))?;
        let row = rows.next()?.map(|row| cells::row(table, columns.columns(), row)).transpose()?;
        let last = row.as_ref().and_then(|row: &Row| row.0.last()).map_or(0, Cell::bytes);
        let is_first = filled == 0;
        filled = filled.saturating_add(last);
        if filled > bytes && !is_first {
            return Ok(found);
        }
        found.push(row);
    }
    Ok(found)
}

fn run(connection: &Connection, deadline: &Deadline, scan: &Scan<'_>) -> Result<Found, Fault> {
    let Some(like) = scan.like() else { return Ok(Found::nothing()) };
    let is_merged = scan.together == Together::Merged && scan.ranges.len() > 1;
    // Where a row holds more than the index does, it is copied when it is known to be wanted.
    let is_wide = scan.columns.table == nuage_model::copy::Table::Records;
    match is_merged {
        true if is_wide => merged_keys(connection, deadline, scan, like),
        true => merged(connection, deadline, scan, like),
        false => chained(connection, deadline, scan, like),
    }
}

/// What was copied so far.
struct Copied<'s> {
    scan: &'s Scan<'s>,
    found: Found,
    bytes: usize,
}

impl<'s> Copied<'s> {
    fn new(scan: &'s Scan<'s>) -> Self {
        Self { scan, found: Found::nothing(), bytes: 0 }
    }

    // Whether others may follow.
    fn take(&mut self, row: &rusqlite::Row<'_>) -> Result<bool, Fault> {
        if !meets(self.scan, row)? {
            return Ok(true);
        }
        if self.found.rows.len() >= self.scan.limit || self.bytes >= self.scan.bytes {
            self.found.is_all = false;
            return Ok(false);
        }
        let columns = self.scan.columns;
        let row = cells::row(columns.table, columns.columns(), row)?;
        self.bytes = self.bytes.saturating_add(row.bytes());
        self.found.rows.push(row);
        Ok(true)
    }
}

fn chained(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    like: &Range,
) -> Result<Found, Fault> {
    let mut statement = connection.prepare_cached(&sql(&names(scan.columns), scan, like))?;
    let mut copied = Copied::new(scan);
    for range in &scan.ranges {
        deadline.check()?;
        let mut rows = statement.query(params_from_iter(given(range).map(Sql)))?;
        while let Some(row) = rows.next()? {
            deadline.check()?;
            if !copied.take(row)? {
                return Ok(copied.found);
            }
        }
    }
    Ok(copied.found)
}

// The first of several ranges: a range is left as soon as its rows come after all that are kept.
fn merged(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    like: &Range,
) -> Result<Found, Fault> {
    let columns = scan.columns;
    let mut statement = connection.prepare_cached(&sql(&names(columns), scan, like))?;
    let mut kept: BTreeMap<Vec<Cell>, Row> = BTreeMap::new();
    for range in &scan.ranges {
        deadline.check()?;
        let mut rows = statement.query(params_from_iter(given(range).map(Sql)))?;
        while let Some(row) = rows.next()? {
            deadline.check()?;
            if !meets(scan, row)? {
                continue;
            }
            let row = cells::row(columns.table, columns.columns(), row)?;
            let mut place = columns.place(&row, like);
            // What is equal in the index is another row, where it is not the key.
            if !like.index.is_key() {
                place.extend(row.0.iter().cloned());
            }
            let is_full = kept.len() > scan.limit;
            if is_full && kept.last_key_value().is_some_and(|(last, _)| place >= *last) {
                break;
            }
            kept.insert(place, row);
            if kept.len() > scan.limit.saturating_add(1) {
                kept.pop_last();
            }
        }
    }
    let is_all = kept.len() <= scan.limit;
    Ok(Found { rows: kept.into_values().take(scan.limit).collect(), is_all })
}

// The same of records: what is next in the index, and then the rows themselves.
fn merged_keys(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    like: &Range,
) -> Result<Found, Fault> {
    let columns = scan.columns;
    let fetch = format!("SELECT {} FROM {} WHERE rowid = ?1", names(columns), columns.table.name());
    let mut fetch = connection.prepare_cached(&fetch)?;
    let mut ranges = scan.ranges.clone();
    let mut copied = Copied::new(scan);
    let mut chunk = scan.limit.clamp(KEYS_MIN, KEYS_MAX);
    loop {
        let keys = first_keys(connection, deadline, scan, like, &ranges, chunk)?;
        for (_, rowid) in &keys {
            deadline.check()?;
            let mut rows = fetch.query([rowid])?;
            if let Some(row) = rows.next()?
                && !copied.take(row)?
            {
                return Ok(copied.found);
            }
        }
        let Some((last, _)) = keys.last().filter(|_| keys.len() == chunk) else {
            return Ok(copied.found);
        };
        for range in &mut ranges {
            match scan.descending {
                true => range.high = Some(Cell::Whole(last.saturating_sub(1))),
                false => range.after = vec![Cell::Whole(*last)],
            }
        }
        chunk = (chunk * 2).min(KEYS_MAX);
    }
}

// The first of all ranges together: the next number in the index, and where the row lies.
fn first_keys(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    like: &Range,
    ranges: &[Range],
    most: usize,
) -> Result<Vec<(i64, i64)>, Fault> {
    let sign = if scan.descending { -1 } else { 1 };
    let like = ranges.first().unwrap_or(like);
    let next = first(like.index, like.prefix.len() + 1);
    let next = next.last().map_or("rowid", |column| column.name);
    let mut statement = connection.prepare_cached(&sql(&format!("{next}, rowid"), scan, like))?;
    let mut kept: BinaryHeap<(i64, i64)> = BinaryHeap::with_capacity(most.min(1_024));
    for range in ranges {
        deadline.check()?;
        let mut rows = statement.query(params_from_iter(given(range).map(Sql)))?;
        while let Some(row) = rows.next()? {
            deadline.check()?;
            let key = (row.get::<_, i64>(0)?.saturating_mul(sign), row.get(1)?);
            if kept.len() < most {
                kept.push(key);
            } else if kept.peek().is_some_and(|last| key < *last) {
                kept.pop();
                kept.push(key);
            } else {
                break;
            }
        }
    }
    let keys = kept.into_sorted_vec().into_iter();
    Ok(keys.map(|(next, rowid)| (next.saturating_mul(sign), rowid)).collect())
}

/// The statement that follows the ranges of a scan.
pub(super) fn sql(columns: &str, scan: &Scan<'_>, like: &Range) -> String {
    let (index, table) = (like.index, like.index.table());
    let name = |at: usize| table.columns()[at].name;
    let mut wanted = Vec::new();
    if !like.prefix.is_empty() {
        wanted.push(equal(&first(index, like.prefix.len()), 0));
    }
    let mut number = like.prefix.len();
    let mut next = |count: usize| {
        let numbers = number + 1..=number + count;
        number += count;
        numbers.map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
    };
    let order = order(index, like.prefix.len());
    if !like.after.is_empty() {
        let names: Vec<&str> = order[..like.after.len()].iter().map(|at| name(*at)).collect();
        wanted.push(format!("({}) > ({})", names.join(", "), next(like.after.len())));
    }
    for (bound, comparison) in [(&like.low, ">="), (&like.high, "<=")] {
        if bound.is_some() {
            wanted.push(format!("{} {comparison} {}", name(order[0]), next(1)));
        }
    }
    match index.only() {
        None => {}
        Some(Only::Present(at)) => wanted.push(format!("{} IS NOT NULL", name(at))),
        Some(Only::Set(at)) => wanted.push(format!("{} = 1", name(at))),
    }
    let wanted = match wanted.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", wanted.join(" AND ")),
    };
    let direction = if scan.descending { " DESC" } else { "" };
    let order = order.iter().map(|at| format!("{}{direction}", name(*at)));
    let order = order.collect::<Vec<_>>().join(", ");
    format!("SELECT {columns} FROM {}{wanted} ORDER BY {order}", from(index))
}

fn given(range: &Range) -> impl Iterator<Item = &Cell> {
    range.prefix.iter().chain(&range.after).chain(&range.low).chain(&range.high)
}

/// The columns, in a list.
pub(super) fn names(columns: Columns) -> String {
    let names = cells::names(columns.columns());
    match columns.columns().last().filter(|_| columns.small) {
        None => names,
        // How long it is stands where the row begins.
        Some(last) => {
            let (rest, last) = (names.trim_end_matches(last.name), last.name);
            format!("{rest}CASE WHEN octet_length({last}) <= {SMALL_BYTES} THEN {last} ELSE '' END")
        }
    }
}

fn meets(scan: &Scan<'_>, row: &rusqlite::Row<'_>) -> Result<bool, Fault> {
    let cell = |place: usize| row.get_ref(scan.columns.at(place));
    for condition in &scan.conditions {
        let is_met = match condition {
            Condition::Unset(at) => cell(*at)? == ValueRef::Integer(0),
            Condition::Absent(at) => cell(*at)? == ValueRef::Null,
            Condition::AtMost(at, most) => {
                matches!(cell(*at)?, ValueRef::Integer(number) if number <= *most)
            }
            Condition::Among(at, signatures) => {
                let signature = cell(*at)?.as_bytes().ok();
                let signature = signature.and_then(|bytes| bytes.try_into().ok());
                let signature = signature.map(nuage_model::Signature);
                signature.is_some_and(|signature| signatures.contains_key(&signature))
            }
        };
        if !is_met {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests;
