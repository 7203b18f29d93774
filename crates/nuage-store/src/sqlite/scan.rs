//! Going through the records of a collection in the order of their shown times.
//!
//! Three ways, chosen by the caller and never by SQLite: along the positions (and along the
//! chosen times, merged, where a collection has any), along the positions of some signatures,
//! or by identifiers. Rows that cannot be wanted are passed over before they are copied.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use foldhash::HashMap;
use nuage_model::{Bodies, CollectionPath, Direction, Principal, Record, Signature};
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

use crate::list::{Signatures, Times};
use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::rows::{self, record_columns, slim_columns, small_columns};

macro_rules! by_position {
    ($columns:ident, $order:literal) => {
        concat!(
            "SELECT ",
            $columns!(),
            " FROM records INDEXED BY records_seq
            WHERE bucket = ?1 AND collection = ?2 AND seq BETWEEN ?3 AND ?4 ORDER BY seq ",
            $order
        )
    };
}
macro_rules! by_chosen_time {
    ($columns:ident, $order:literal) => {
        concat!(
            "SELECT ",
            $columns!(),
            " FROM records INDEXED BY records_timestamp
            WHERE bucket = ?1 AND collection = ?2 AND timestamp BETWEEN ?3 AND ?4
            AND timestamp IS NOT NULL ORDER BY timestamp ",
            $order
        )
    };
}
macro_rules! by_signature {
    ($order:literal) => {
        concat!(
            "SELECT seq, rowid FROM records INDEXED BY records_signature
            WHERE bucket = ?1 AND collection = ?2 AND signature = ?3
            AND seq BETWEEN ?4 AND ?5 ORDER BY seq ",
            $order
        )
    };
}
macro_rules! by_rowid {
    ($columns:ident) => {
        concat!("SELECT ", $columns!(), " FROM records WHERE rowid = ?1")
    };
}
macro_rules! by_id {
    ($columns:ident) => {
        concat!(
            "SELECT ",
            $columns!(),
            " FROM records WHERE bucket = ?1 AND collection = ?2 AND id = ?3"
        )
    };
}
/// One record by its names.
pub(super) const BY_ID: &str = by_id!(record_columns);
const HAS_PRINCIPAL: &str = "
    SELECT 1 FROM signature_principals
    WHERE bucket = ?1 AND collection = ?2 AND principal = ?3 AND signature = ?4";
const SMALL_BY_ID: &str = by_id!(small_columns);

/// Every statement that walks, for the test of their plans.
#[cfg(test)]
pub(super) const WALKS: &[&str] = &[
    by_position!(record_columns, "ASC"),
    by_position!(record_columns, "DESC"),
    by_chosen_time!(record_columns, "ASC"),
    by_chosen_time!(record_columns, "DESC"),
    by_signature!("ASC"),
    by_signature!("DESC"),
];

/// The least number of keys read in one go along signatures.
const CHUNK_MIN: usize = 100;
/// The greatest, which bounds the memory for keys.
const CHUNK_MAX: usize = 10_000;

/// Whether to copy bodies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Columns {
    /// Whole records.
    Full,
    /// Records whose live bodies read as empty objects.
    Slim,
}

/// One walk through a collection.
pub(super) struct Scan<'a> {
    pub(super) connection: &'a Connection,
    pub(super) collection: &'a CollectionPath,
    pub(super) times: Times,
    pub(super) direction: Direction,
    pub(super) columns: Columns,
    pub(super) deadline: &'a Deadline,
    /// Pass over tombstones.
    pub(super) live_only: bool,
    /// Pass over what is not among these.
    pub(super) visible: Visible<'a>,
}

/// Which records are shown.
#[derive(Clone, Copy)]
pub(super) enum Visible<'a> {
    /// All.
    All,
    /// Those with one of these signatures.
    These(&'a Signatures),
    /// Those that prove to be, as long as the trial goes on.
    Tried(&'a Trial<'a>),
}

/// A walk of rows, of each of which it is looked up whether one of these may see it: so many
/// look-ups.
pub(super) struct Trial<'a> {
    connection: &'a Connection,
    collection: &'a CollectionPath,
    who: &'a [Principal],
    known: RefCell<HashMap<Signature, bool>>,
    left: Cell<usize>,
}

impl<'a> Trial<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        collection: &'a CollectionPath,
        who: &'a [Principal],
        lookups: usize,
    ) -> Self {
        let (known, left) = (RefCell::default(), Cell::new(lookups));
        Self { connection, collection, who, known, left }
    }

    /// Whether there was a look-up too many.
    pub(super) fn is_over(&self) -> bool {
        self.left.get() == 0
    }

    // Whether another one may follow.
    fn spend(&self) -> bool {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        left > 0
    }

    fn sees(&self, signature: Signature) -> Result<bool, Fault> {
        if let Some(sees) = self.known.borrow().get(&signature) {
            return Ok(*sees);
        }
        let mut statement = self.connection.prepare_cached(HAS_PRINCIPAL)?;
        let (bucket, name) = (self.collection.bucket.as_str(), self.collection.name.as_str());
        let mut sees = false;
        for principal in self.who {
            if !self.spend() {
                return Ok(false);
            }
            let key = params![bucket, name, principal.as_str(), signature.0];
            sees = sees || statement.exists(key)?;
        }
        self.known.borrow_mut().insert(signature, sees);
        Ok(sees)
    }
}

impl Visible<'_> {
    // Whether another row may be looked at.
    fn goes_on(self) -> bool {
        match self {
            Visible::All | Visible::These(_) => true,
            Visible::Tried(trial) => trial.spend(),
        }
    }
}

/// Gets each record in turn; may stop the walk.
pub(super) type Visit<'v> = dyn FnMut(Record) -> Result<ControlFlow<()>, Fault> + 'v;

impl Scan<'_> {
    /// Along the positions, where no record has a time of its own.
    pub(super) fn by_position(&self, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached(self.position_sql())?;
        let mut rows = statement.query(self.time_params())?;
        while let Some(row) = rows.next()? {
            self.deadline.check()?;
            if !self.visible.goes_on() {
                return Ok(());
            }
            if self.accepts(row)? && visit(rows::record(row)?)?.is_break() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Along the positions and the chosen times, merged.
    pub(super) fn by_time(&self, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let mut positions = self.connection.prepare_cached(self.position_sql())?;
        let mut times = self.connection.prepare_cached(self.chosen_time_sql())?;
        let mut positions = positions.query(self.time_params())?;
        let mut times = times.query(self.time_params())?;
        let mut plain = self.next(&mut positions, false)?;
        let mut chosen = self.next(&mut times, true)?;
        loop {
            let take_plain = match (&plain, &chosen) {
                (Some(plain), Some(chosen)) => self.precedes(plain, chosen),
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => return Ok(()),
            };
            let record = if take_plain {
                std::mem::replace(&mut plain, self.next(&mut positions, false)?)
            } else {
                std::mem::replace(&mut chosen, self.next(&mut times, true)?)
            };
            if let Some(record) = record
                && visit(record)?.is_break()
            {
                return Ok(());
            }
        }
    }

    /// Along the positions of each signature, where no record has a time of its own. `want` is
    /// how many records will probably be looked at.
    pub(super) fn by_signatures(&self, want: usize, visit: &mut Visit<'_>) -> Result<(), Fault> {
        let Visible::These(signatures) = self.visible else { return Ok(()) };
        let sql = match self.columns {
            Columns::Full => by_rowid!(record_columns),
            Columns::Slim => by_rowid!(slim_columns),
        };
        let mut fetch = self.connection.prepare_cached(sql)?;
        let mut times = self.times;
        let mut chunk = want.clamp(CHUNK_MIN, CHUNK_MAX);
        loop {
            let keys = self.keys(signatures, times, chunk)?;
            for &(position, rowid) in &keys {
                self.deadline.check()?;
                let mut rows = fetch.query([rowid])?;
                if let Some(row) = rows.next()?
                    && self.accepts(row)?
                    && visit(rows::record(row)?)?.is_break()
                {
                    return Ok(());
                }
                match self.direction {
                    Direction::Ascending => times.low = position.saturating_add(1),
                    Direction::Descending => times.high = position.saturating_sub(1),
                }
            }
            if keys.len() < chunk || times.low > times.high {
                return Ok(());
            }
            chunk = (chunk * 2).min(CHUNK_MAX);
        }
    }

    /// The records with these identifiers, in no order.
    pub(super) fn by_ids(&self, ids: &[&str], visit: &mut Visit<'_>) -> Result<(), Fault> {
        let sql = match self.columns {
            Columns::Full => BY_ID,
            Columns::Slim => by_id!(slim_columns),
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let (bucket, name) = (self.collection.bucket.as_str(), self.collection.name.as_str());
        for id in ids {
            self.deadline.check()?;
            let mut rows = statement.query([bucket, name, id])?;
            if let Some(row) = rows.next()?
                && self.accepts(row)?
                && visit(rows::record(row)?)?.is_break()
            {
                return Ok(());
            }
        }
        Ok(())
    }

    // The first keys of all signatures together, in order. A signature is left as soon as its
    // keys come after all those that are kept.
    fn keys(
        &self,
        signatures: &Signatures,
        times: Times,
        chunk: usize,
    ) -> Result<Vec<(i64, i64)>, Fault> {
        let (sql, sign) = match self.direction {
            Direction::Ascending => (by_signature!("ASC"), 1),
            Direction::Descending => (by_signature!("DESC"), -1),
        };
        let (bucket, name) = (self.collection.bucket.as_str(), self.collection.name.as_str());
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut kept: BinaryHeap<(i64, i64)> = BinaryHeap::with_capacity(chunk.min(1_024));
        for signature in signatures.keys() {
            self.deadline.check()?;
            let key = params![bucket, name, signature.0, times.low, times.high];
            let mut rows = statement.query(key)?;
            while let Some(row) = rows.next()? {
                self.deadline.check()?;
                let position: i64 = row.get(0)?;
                let key = (position.saturating_mul(sign), row.get(1)?);
                if kept.len() < chunk {
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
        Ok(keys.map(|(key, rowid)| (key.saturating_mul(sign), rowid)).collect())
    }

    fn next(&self, rows: &mut Rows<'_>, chosen: bool) -> Result<Option<Record>, Fault> {
        while let Some(row) = rows.next()? {
            self.deadline.check()?;
            if rows::is_chosen(row)? == chosen && self.accepts(row)? {
                return Ok(Some(rows::record(row)?));
            }
        }
        Ok(None)
    }

    fn precedes(&self, a: &Record, b: &Record) -> bool {
        let order = a.timestamp().cmp(&b.timestamp());
        match self.direction {
            Direction::Ascending => order == Ordering::Less,
            Direction::Descending => order == Ordering::Greater,
        }
    }

    fn accepts(&self, row: &Row<'_>) -> Result<bool, Fault> {
        if self.live_only && rows::is_dead(row)? {
            return Ok(false);
        }
        match self.visible {
            Visible::All => Ok(true),
            Visible::These(signatures) => Ok(signatures.contains_key(&rows::signature(row)?)),
            Visible::Tried(trial) => trial.sees(rows::signature(row)?),
        }
    }

    fn time_params(&self) -> (&str, &str, i64, i64) {
        let (bucket, name) = (self.collection.bucket.as_str(), self.collection.name.as_str());
        (bucket, name, self.times.low, self.times.high)
    }

    fn position_sql(&self) -> &'static str {
        match (self.columns, self.direction) {
            (Columns::Full, Direction::Ascending) => by_position!(record_columns, "ASC"),
            (Columns::Full, Direction::Descending) => by_position!(record_columns, "DESC"),
            (Columns::Slim, Direction::Ascending) => by_position!(slim_columns, "ASC"),
            (Columns::Slim, Direction::Descending) => by_position!(slim_columns, "DESC"),
        }
    }

    fn chosen_time_sql(&self) -> &'static str {
        match (self.columns, self.direction) {
            (Columns::Full, Direction::Ascending) => by_chosen_time!(record_columns, "ASC"),
            (Columns::Full, Direction::Descending) => by_chosen_time!(record_columns, "DESC"),
            (Columns::Slim, Direction::Ascending) => by_chosen_time!(slim_columns, "ASC"),
            (Columns::Slim, Direction::Descending) => by_chosen_time!(slim_columns, "DESC"),
        }
    }
}

/// The record at a path, if there is one.
pub(super) fn get(
    connection: &Connection,
    path: &nuage_model::RecordPath,
    bodies: Bodies,
) -> Result<Option<Record>, Fault> {
    let sql = match bodies {
        Bodies::All => BY_ID,
        Bodies::Small => SMALL_BY_ID,
    };
    let mut statement = connection.prepare_cached(sql)?;
    let key = crate::sqlite::tables::key(path);
    Ok(statement.query_row(key, |row| rows::record_of(path.id.clone(), row)).optional()?)
}
