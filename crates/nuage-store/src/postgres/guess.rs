//! Applying a group in a single round trip, on a guess of what its transaction would read.
//!
//! The rows of records are taken to be what the guards say, those of collections what this lane saw
//! last. The database compares, once the rows of `collections` are locked, and writes nothing if
//! anything differs: then the group is read and applied as usual. A wrong guess costs a round trip
//! and can do no harm.

use std::sync::LazyLock;

use deadpool_postgres::Object;
use foldhash::{HashMap, HashSet};
use nuage_model::copy::{Cell, Row, Table};
use nuage_model::{Batch, CollectionPath, Put, RecordPath, Write};
use tokio_postgres::types::ToSql;

use crate::cells::{collection, record};
use crate::postgres::cells;
use crate::postgres::errors::Fault;
use crate::postgres::statements::{self, Statements};
use crate::postgres::write::Steps;
use crate::postgres::write_set::{Effects, Known, WriteSet};
use crate::rules::{CollectionRow, Plan, StoredRow};
use crate::schema::slim;

/// Collections that are remembered; beyond, all are forgotten.
const SEQUENCES_MAX: usize = 4_096;
/// For how many groups nothing is guessed of a collection that another process writes to.
const BACKOFF: u32 = 32;

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
    let mut guarded: HashMap<&RecordPath, Option<StoredRow>> = HashMap::default();
    let mut written: HashSet<&RecordPath> = HashSet::default();
    for batch in batches {
        for guard in &batch.guards {
            guarded.entry(&guard.path).or_insert(guard.found.map(StoredRow::from));
        }
        for write in &batch.writes {
            match write {
                Write::Put(Put { path, .. }) | Write::Delete { path, .. } => {
                    written.insert(path);
                }
                Write::Touch { .. } => {}
                _ => return None,
            }
        }
    }
    for path in &plan.records {
        // What no guard speaks of is probably new.
        let expected = match guarded.get(path).copied().flatten() {
            None => Expected::Missing,
            Some(row) if written.contains(path) => Expected::Same(row.to_row(path)),
            // Only where it is matters, as nobody writes to it.
            Some(row) => Expected::At(row.to_row(path)),
        };
        found.add_row(Table::Records, record(path), expected.row().cloned());
        guess.records.push((record(path), expected));
    }
    Some((guess, found))
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
