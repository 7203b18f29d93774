//! Rows, read as [`crate::reads`] asks for them: each question is answered at once, by the thread
//! that asks.
//!
//! The index is chosen by the caller and never by SQLite. What is passed over is looked at before
//! anything is copied, row by row, so that no question goes on beyond its deadline.

use std::collections::{BTreeMap, BinaryHeap};
use std::future::{Future, ready};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use nuage_model::StoreError;
use nuage_model::copy::{Cell, Table};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::cells::{CellRef, Source};
use crate::reads::{
    Columns, Condition, Found, Of, Reads, SMALL_BYTES, Scan, ScanKey, Texts, Together, order,
};
use crate::schema::{Index, Only, Range, is_group};
use crate::sqlite::cells::Sql;
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::readers::Reader;
use crate::sqlite::tables::{equal, from, names_of, selected};

const NOTED: &str = "SELECT value FROM meta WHERE key = ?1";
/// The least number of keys that are merged in one go.
const KEYS_MIN: usize = 100;
/// The greatest, which bounds the memory for keys.
const KEYS_MAX: usize = 10_000;

static GETS: LazyLock<Texts<Columns>> = LazyLock::new(Texts::new);
static SCANS: LazyLock<Texts<ScanKey>> = LazyLock::new(Texts::new);

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

    fn pause(&self) -> impl Future<Output = Result<(), Fault>> + Send {
        ready(self.read(|_, deadline| deadline.check()))
    }

    fn note(&self, name: &str) -> impl Future<Output = Result<Option<String>, Fault>> + Send {
        ready(self.read(|connection, _| {
            let mut noted = connection.prepare_cached(NOTED)?;
            Ok(noted.query_row([name], |row| row.get(0)).optional()?)
        }))
    }

    fn get<T: Send>(
        &self,
        keys: &[Vec<Cell>],
        columns: Columns,
        bytes: usize,
        of: impl Of<T>,
    ) -> impl Future<Output = Result<Vec<Option<T>>, Fault>> + Send {
        let within = Within { columns, bytes };
        ready(self.read(|connection, deadline| get(connection, deadline, keys, within, &of)))
    }

    fn scan<T: Send>(
        &self,
        scan: Scan<'_>,
        of: impl Of<T>,
    ) -> impl Future<Output = Result<Found<T>, Fault>> + Send {
        ready(self.read(|connection, deadline| run(connection, deadline, &scan, &of)))
    }
}

impl Source for rusqlite::Row<'_> {
    fn cell(&self, at: usize) -> Option<CellRef<'_>> {
        Some(match self.get_ref(at).ok()? {
            ValueRef::Null => CellRef::Nothing,
            ValueRef::Integer(number) => CellRef::Whole(number),
            ValueRef::Text(text) => CellRef::Text(str::from_utf8(text).ok()?),
            ValueRef::Blob(bytes) => CellRef::Bytes(bytes),
            ValueRef::Real(_) => return None,
        })
    }
}

/// Which columns are read, and how many bytes of the last one.
struct Within {
    columns: Columns,
    bytes: usize,
}

fn get<T>(
    connection: &Connection,
    deadline: &Deadline,
    keys: &[Vec<Cell>],
    Within { columns, bytes }: Within,
    of: &impl Of<T>,
) -> Result<Vec<Option<T>>, Fault> {
    let table = columns.table;
    let sql = GETS.get(columns, || {
        let is_key = equal(Index::Key(table), table.key().len(), 0);
        format!("SELECT {} FROM {} WHERE {is_key}", names(columns), table.name())
    });
    let mut statement = connection.prepare_cached(&sql)?;
    let last = columns.to - columns.from - 1;
    let mut found = Vec::with_capacity(keys.len());
    let mut filled = 0_usize;
    for key in keys {
        deadline.check()?;
        let mut rows = statement.query(params_from_iter(key.iter().map(Sql)))?;
        let Some(row) = rows.next()? else {
            found.push(None);
            continue;
        };
        let is_first = filled == 0;
        filled = filled.saturating_add(row.cell(last).map_or(0, CellRef::bytes));
        if filled > bytes && !is_first {
            return Ok(found);
        }
        found.push(Some(of(row)?));
    }
    Ok(found)
}

fn run<T>(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    of: &impl Of<T>,
) -> Result<Found<T>, Fault> {
    let Some(like) = scan.like() else { return Ok(Found::nothing()) };
    let is_merged = scan.together == Together::Merged && scan.ranges.len() > 1;
    // Where a row holds more than the index does, it is copied when it is known to be wanted.
    let is_wide = scan.columns.table == Table::Records;
    match is_merged {
        true if is_wide => merged_keys(connection, deadline, scan, of),
        true => merged(connection, deadline, scan, like, of),
        false => chained(connection, deadline, scan, like, of),
    }
}

/// What was copied so far.
struct Copied<'s, T, O> {
    scan: &'s Scan<'s>,
    of: &'s O,
    found: Found<T>,
    bytes: usize,
}

impl<'s, T, O: Of<T>> Copied<'s, T, O> {
    fn new(scan: &'s Scan<'s>, of: &'s O) -> Self {
        Self { scan, of, found: Found::nothing(), bytes: 0 }
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
        self.bytes = self.bytes.saturating_add(self.scan.columns.large_bytes(row));
        self.found.rows.push((self.of)(row)?);
        Ok(true)
    }
}

fn text_of(scan: &Scan<'_>, like: &Range) -> Arc<str> {
    SCANS.get(scan.key(like), || sql(&names(scan.columns), scan, like))
}

fn chained<T>(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    like: &Range,
    of: &impl Of<T>,
) -> Result<Found<T>, Fault> {
    let mut statement = connection.prepare_cached(&text_of(scan, like))?;
    let mut copied = Copied::new(scan, of);
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
fn merged<T>(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    like: &Range,
    of: &impl Of<T>,
) -> Result<Found<T>, Fault> {
    let columns = scan.columns;
    let mut statement = connection.prepare_cached(&text_of(scan, like))?;
    let mut kept: BTreeMap<Vec<Cell>, T> = BTreeMap::new();
    for range in &scan.ranges {
        deadline.check()?;
        let mut rows = statement.query(params_from_iter(given(range).map(Sql)))?;
        while let Some(row) = rows.next()? {
            deadline.check()?;
            if !meets(scan, row)? {
                continue;
            }
            let mut place = columns.place(row, like);
            // What is equal in the index is another row, where it is not the key.
            if !like.index.is_key() {
                let all = 0..columns.to - columns.from;
                place.extend(all.filter_map(|at| Some(row.cell(at)?.to_cell())));
            }
            let is_full = kept.len() > scan.limit;
            if is_full && kept.last_key_value().is_some_and(|(last, _)| place >= *last) {
                break;
            }
            kept.insert(place, of(row)?);
            if kept.len() > scan.limit.saturating_add(1) {
                kept.pop_last();
            }
        }
    }
    let is_all = kept.len() <= scan.limit;
    Ok(Found { rows: kept.into_values().take(scan.limit).collect(), is_all })
}

// The same of records: what is next in the index, and then the rows themselves.
fn merged_keys<T>(
    connection: &Connection,
    deadline: &Deadline,
    scan: &Scan<'_>,
    of: &impl Of<T>,
) -> Result<Found<T>, Fault> {
    let columns = scan.columns;
    let fetch = format!("SELECT {} FROM {} WHERE rowid = ?1", names(columns), columns.table.name());
    let mut fetch = connection.prepare_cached(&fetch)?;
    let mut left = scan.clone();
    let mut copied = Copied::new(scan, of);
    let mut chunk = scan.limit.clamp(KEYS_MIN, KEYS_MAX);
    loop {
        let keys = first_keys(connection, deadline, &left, chunk)?;
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
        for range in &mut left.ranges {
            // The same kinds of bounds as before: of two lower ones, SQLite would begin at either.
            match (scan.descending, &range.low) {
                (true, _) => range.high = Some(Cell::Whole(last.saturating_sub(1))),
                (false, Some(_)) => range.low = Some(Cell::Whole(last.saturating_add(1))),
                (false, None) => range.after = vec![Cell::Whole(*last)],
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
    most: usize,
) -> Result<Vec<(i64, i64)>, Fault> {
    let Some(like) = scan.like() else { return Ok(Vec::new()) };
    let sign = if scan.descending { -1 } else { 1 };
    let next = names_of(like.index, like.prefix.len() + 1).pop().unwrap_or("rowid");
    let mut statement = connection.prepare_cached(&sql(&format!("{next}, rowid"), scan, like))?;
    let mut kept: BinaryHeap<(i64, i64)> = BinaryHeap::with_capacity(most.min(1_024));
    for range in &scan.ranges {
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
        wanted.push(equal(index, like.prefix.len(), 0));
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
        Some(Only::Group(at)) => wanted.push(is_group(name(at))),
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

/// The columns, in a list; those that name the collection are the first parameters.
pub(super) fn names(columns: Columns) -> String {
    let names = selected(columns.table, columns.from..columns.to);
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
