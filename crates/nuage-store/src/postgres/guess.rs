//! Applying a group in a single round trip, on a guess of what its transaction would read.
//!
//! What this process last saw of the rows is taken for what they are. The database compares, once
//! the rows of `collections` are locked, and writes nothing if anything differs: then the group
//! is read and applied as usual. A wrong guess costs a round trip and can do no harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use deadpool_postgres::Object;
use foldhash::HashMap;
use nuage_model::copy::{Cell, Row, Table};
use nuage_model::{Batch, CollectionPath, Put, RecordPath, Seq, Signature, Write};
use tokio_postgres::types::ToSql;

use crate::cells::{collection, record};
use crate::postgres::cells;
use crate::postgres::errors::Fault;
use crate::postgres::statements::{self, Statements};
use crate::postgres::write::Steps;
use crate::postgres::write_set::{Effects, Known, WriteSet};
use crate::rules::{CollectionRow, Plan, StoredRow};
use crate::schema::slim;

/// Rows that are remembered; beyond, all are forgotten.
const ROWS_MAX: usize = 65_536;
/// Collections that are remembered, likewise.
const SEQUENCES_MAX: usize = 4_096;
/// For how many groups nothing is guessed of a collection that another process writes to.
const BACKOFF: u32 = 32;

/// Rows of `records` as this process last saw them, without their texts.
#[derive(Default)]
pub(super) struct RowCache {
    rows: Mutex<HashMap<RecordPath, Option<StoredRow>>>,
    flushes: AtomicU64,
}

impl RowCache {
    /// Remembers what was read or written.
    pub(super) fn learn(&self, rows: impl IntoIterator<Item = (RecordPath, Option<StoredRow>)>) {
        let mut known = self.lock();
        if known.len() > ROWS_MAX {
            known.clear();
        }
        known.extend(rows);
    }

    /// Forgets all, because everything was removed.
    pub(super) fn forget(&self) {
        self.lock().clear();
        self.flushes.fetch_add(1, Ordering::AcqRel);
    }

    /// How often everything was removed here.
    pub(super) fn flushes(&self) -> u64 {
        self.flushes.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RecordPath, Option<StoredRow>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Rows of `collections` as a lane last saw them.
#[derive(Default)]
pub(super) struct CollectionRows {
    known: HashMap<CollectionPath, CollectionRow>,
    backoffs: HashMap<CollectionPath, u32>,
}

impl CollectionRows {
    /// Remembers what was read or written.
    pub(super) fn learn(
        &mut self,
        sequences: impl IntoIterator<Item = (CollectionPath, CollectionRow)>,
    ) {
        if self.known.len() > SEQUENCES_MAX {
            self.known.clear();
            self.backoffs.clear();
        }
        self.known.extend(sequences);
    }

    /// Takes note that a guess was wrong.
    pub(super) fn backoff(&mut self, plan: &Plan) {
        for path in plan.collections.keys() {
            self.known.remove(path);
            self.backoffs.insert(path.clone(), BACKOFF);
        }
    }

    /// Forgets everything, because nobody knows what was committed.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn get(&mut self, path: &CollectionPath) -> Option<&CollectionRow> {
        if let Some(backoff) = self.backoffs.get_mut(path) {
            *backoff -= 1;
            if *backoff > 0 {
                return None;
            }
            self.backoffs.remove(path);
        }
        self.known.get(path).filter(|sequence| !sequence.dropped)
    }
}

/// What a transaction is taken to find.
pub(super) struct Guess {
    sequences: Vec<(Vec<Cell>, Expected)>,
    records: Vec<(Vec<Cell>, Expected)>,
}

/// What is expected at a key.
enum Expected {
    /// There is no row.
    Missing,
    /// There is one at the position of this one; nothing else of it matters.
    At(Row),
    /// There is this one. Positions alone do not tell rows from each other: after everything was
    /// removed, another record may get the same one.
    Same(Row),
}

impl Expected {
    fn row(&self) -> Option<&Row> {
        match self {
            Self::Missing => None,
            Self::At(row) | Self::Same(row) => Some(row),
        }
    }

    // Whether all of it is compared.
    fn is_whole(&self) -> bool {
        !matches!(self, Self::At(_))
    }
}

/// Says whether everything is as guessed, and keeps the answer for the statements that write.
static FITS: LazyLock<String> = LazyLock::new(|| statements::fits(&TABLES));
const TABLES: [Table; 2] = [Table::Records, Table::Collections];

/// The rows that these batches would probably find, if they are of the kind that is guessed for.
pub(super) fn guess<'a, 'k>(
    plan: &Plan,
    batches: impl Iterator<Item = &'a Batch>,
    rows: &RowCache,
    sequences: &mut CollectionRows,
    known: &'k Known,
) -> Option<(Guess, WriteSet<'k>)> {
    let is_plain = !plan.all
        && plan.buckets.is_empty()
        && plan.rows.is_empty()
        && plan.ranges.is_empty()
        && plan.parents.is_empty()
        && plan.notes.is_empty()
        && !plan.collections.is_empty();
    if !is_plain {
        return None;
    }
    let mut found = WriteSet::new(known);
    let mut guess = Guess { sequences: Vec::new(), records: Vec::new() };
    for path in plan.collections.keys() {
        let row = sequences.get(path)?.to_row(path);
        found.add_row(Table::Collections, collection(path), Some(row.clone()));
        guess.sequences.push((collection(path), Expected::Same(row)));
    }
    let mut guarded: HashMap<&RecordPath, Option<Seq>> = HashMap::default();
    let mut written: HashMap<&RecordPath, ()> = HashMap::default();
    for batch in batches {
        for guard in &batch.guards {
            guarded.entry(&guard.path).or_insert(guard.live_at);
        }
        for write in &batch.writes {
            match write {
                Write::Put(Put { path, .. }) | Write::Delete { path, .. } => {
                    written.insert(path, ());
                }
                Write::Touch { .. } => {}
                _ => return None,
            }
        }
    }
    let seen = rows.lock();
    for path in &plan.records {
        let live_at = guarded.get(path).copied();
        let expected = match (seen.get(path), live_at) {
            (Some(old), _) if written.contains_key(path) => {
                old.map_or(Expected::Missing, |old| Expected::Same(old.to_row(path)))
            }
            // Nothing was read of it, so probably it is new.
            (None, None | Some(None)) => Expected::Missing,
            // Only where it is matters, as nobody writes to it.
            (_, Some(live_at)) if !written.contains_key(path) => {
                live_at.map_or(Expected::Missing, |seq| Expected::At(live(seq).to_row(path)))
            }
            _ => return None,
        };
        found.add_row(Table::Records, record(path), expected.row().cloned());
        guess.records.push((record(path), expected));
    }
    Some((guess, found))
}

fn live(seq: Seq) -> StoredRow {
    StoredRow { seq, chosen: None, signature: Signature([0; 16]), entered: Seq(0), dead: false }
}

/// Writes the effects and commits, unless the guess is wrong: then nothing is written. One round
/// trip.
pub(super) async fn commit(
    client: &Object,
    begin: &str,
    guess: &Guess,
    effects: &Effects,
) -> Result<bool, Fault> {
    let lock = &Statements::for_table(Table::Collections).get_to_change;
    let lock = client.prepare_cached(lock).await?;
    let fit = client.prepare_cached(&FITS).await?;
    let steps = Steps::of(client, effects).await?;
    let paths: Vec<&[Cell]> = guess.sequences.iter().map(|(key, _)| key.as_slice()).collect();
    let table = Table::Collections;
    let locked = cells::arrays(table, table.key(), &paths)?;
    let locked: Vec<&(dyn ToSql + Sync)> = locked.iter().map(|(one, _)| &**one as _).collect();
    let mut expected = Vec::new();
    for (table, rows) in TABLES.into_iter().zip([&guess.records, &guess.sequences]) {
        let columns = slim(table);
        let key = table.key().len();
        for (at, column) in columns.iter().enumerate() {
            let cells = rows.iter().map(|(key, expected)| match key.get(at) {
                Some(cell) => Some(cell),
                None => expected.row().and_then(|row| row.0.get(at)),
            });
            expected.push(match at < key {
                true => cells::array(table, column, cells)?.0,
                false => cells::nullable(column, cells)?,
            });
        }
        let whole: Vec<bool> = rows.iter().map(|(_, expected)| expected.is_whole()).collect();
        expected.push(Box::new(whole));
    }
    let expected: Vec<&(dyn ToSql + Sync)> = expected.iter().map(|one| &**one as _).collect();
    // Joined futures send in their order, without waiting for each other's answers.
    let (begun, locked, fits, written) = tokio::join!(
        biased;
        client.batch_execute(begin),
        client.execute(&lock, &locked),
        client.query_one(&fit, &expected),
        steps.run(),
    );
    begun?;
    locked?;
    let fits: String = fits?.try_get(0)?;
    written?;
    Ok(fits == "yes")
}
