//! The rows that a group of batches reads, in memory: the rules read and change them there, and
//! what became of them is written in one go.
//!
//! Everything was read in the transaction in which it will be written, after its rows of
//! `collections` were locked; nobody else changes it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::{HashMap, HashSet};
use nuage_model::StoreError;
use nuage_model::copy::{Cell, Row, Table};

use crate::postgres::errors::Fault;
use crate::rules::Missing;
use crate::schema::{Generation, Index, Prune, Range, Rows, Was, add_counters, passed_on, slim};

/// A table and a key.
pub(super) type Named = (Table, Vec<Cell>);

/// What begins so in an index.
pub(super) type Cleared = (Index, Vec<Cell>);

/// Where what lies in a bucket is found, beside the rows of its collections.
const OF_BUCKET: [Index; 9] = [
    Index::Key(Table::Records),
    Index::Key(Table::Gone),
    Index::Key(Table::Signatures),
    Index::Key(Table::SignaturePrincipals),
    Index::Key(Table::Marks),
    Index::Key(Table::Names),
    Index::DirectoryCollectionsBucket,
    Index::DirectoryGroupsBucket,
    Index::Key(Table::Members),
];
/// Those of them where what lies in a collection is found.
const OF_COLLECTION: &[Index] = OF_BUCKET.split_at(7).0;
/// So many times more rows are read of a range where too few of it stayed in it.
const MORE: usize = 16;
/// Rows whose presence is remembered; beyond, all are forgotten.
const KNOWN_MAX: usize = 16_384;

/// Rows that are known to be there. Another process may remove them when the horizon of their
/// collection moves: what is known holds for the stage that it was learned in. It may also empty
/// the store and make a collection that looks like the old one: they are trusted no longer than
/// anything else that is remembered.
#[derive(Default)]
pub(super) struct Known {
    moves: [u64; 2],
    /// By the keys of their collections.
    rows: HashMap<Vec<Cell>, (Generation, HashSet<Named>)>,
    count: usize,
}

impl Known {
    /// Forgets all if another process may have removed something, or this one everything.
    pub(super) fn trust(&mut self, moves: [u64; 2]) {
        if self.moves != moves {
            *self = Self { moves, ..Self::default() };
        }
    }

    /// Remembers rows that were written. Of collections that began nothing else is there.
    pub(super) fn learn(&mut self, learned: Vec<(Named, Generation)>, begun: &[Vec<Cell>]) {
        for collection in begun {
            self.rows.remove(collection);
        }
        if self.count + learned.len() > KNOWN_MAX {
            (self.rows, self.count) = Default::default();
        }
        for (named, stage) in learned {
            let known = self.rows.entry(collection_of(&named.1).to_vec()).or_default();
            if known.0 != stage {
                *known = (stage, HashSet::default());
            }
            self.count += usize::from(known.1.insert(named));
        }
    }

    fn has(&self, named: &Named, stage: Generation) -> bool {
        let known = self.rows.get(collection_of(&named.1));
        known.is_some_and(|(known, rows)| *known == stage && rows.contains(named))
    }
}

// The key of the collection that a row lies in.
fn collection_of(key: &[Cell]) -> &[Cell] {
    &key[..Table::Collections.key().len().min(key.len())]
}

/// What a group does to the tables, in the order in which it is to be written.
#[derive(Default, Debug)]
pub(super) struct Effects {
    /// Everything is removed first.
    pub(super) clear_all: bool,
    /// What is noted, by its names.
    pub(super) notes: BTreeMap<String, String>,
    /// Then whatever begins so in these indexes is removed.
    pub(super) cleared: BTreeSet<Cleared>,
    /// Rows that lose what another row may get.
    pub(super) freed: BTreeSet<Named>,
    /// Rows that are written, or removed.
    pub(super) rows: BTreeMap<Named, Option<Row>>,
    /// What is added to the counters of rows, which are made if they are missing.
    pub(super) added: BTreeMap<Named, Row>,
    /// What is removed in the end unless it is needed.
    pub(super) pruned: BTreeSet<Prune>,
    /// The collections that begin: nothing was in the tables of such a one.
    pub(super) begun: Vec<Vec<Cell>>,
    /// What was needed and not read. If there is any, nothing else here holds.
    pub(super) missing: Missing,
}

impl Effects {
    /// The rows of a table that are written, or removed.
    pub(super) fn of(&self, table: Table) -> impl Iterator<Item = (&[Cell], Option<&Row>)> {
        let from = (table, Vec::new());
        let rows = self.rows.range(from..).take_while(move |((other, _), _)| *other == table);
        rows.map(|((_, key), row)| (key.as_slice(), row.as_ref()))
    }
}

/// The rows that were read, with what is done to them.
pub(super) struct WriteSet<'k> {
    known: &'k Known,
    read: HashMap<Named, Option<Row>>,
    notes: BTreeMap<String, String>,
    /// By index and prefix.
    ranges: HashMap<Cleared, Vec<(Range, Vec<Row>)>>,
    effects: Effects,
    learned: Vec<(Named, Generation)>,
}

impl<'k> WriteSet<'k> {
    /// Nothing was read yet.
    pub(super) fn new(known: &'k Known) -> Self {
        let (read, ranges) = (HashMap::default(), HashMap::default());
        let (notes, effects, learned) = Default::default();
        Self { known, read, notes, ranges, effects, learned }
    }

    /// Takes in what was read at a key.
    pub(super) fn add_row(&mut self, table: Table, key: Vec<Cell>, row: Option<Row>) {
        self.read.insert((table, key), row);
    }

    /// Whether there is a row, as far as it was read.
    pub(super) fn has_row(&self, table: Table, key: Vec<Cell>) -> bool {
        self.read.get(&(table, key)).is_some_and(Option::is_some)
    }

    /// Takes in what was noted.
    pub(super) fn add_notes(&mut self, notes: impl IntoIterator<Item = (String, String)>) {
        self.notes.extend(notes);
    }

    /// Takes in what was read of a range.
    pub(super) fn add_range(&mut self, range: Range, rows: Vec<Row>) {
        let alike = self.ranges.entry((range.index, range.prefix.clone())).or_default();
        alike.push((range, rows));
    }

    /// What is to be written, and which rows will be known then to be there.
    pub(super) fn into_effects(mut self) -> (Effects, Vec<(Named, Generation)>) {
        let written = self.effects.of(Table::Collections);
        let begins = |(key, row): (&[Cell], Option<&Row>)| {
            let was = self.incarnation(key);
            (was.is_none() || was != row.map(incarnation_of)).then(|| key.to_vec())
        };
        self.effects.begun = written.filter_map(begins).collect();
        (self.effects, self.learned)
    }

    // By what the collection with this key differs from others of its name, as it was read.
    fn incarnation(&self, key: &[Cell]) -> Option<&Cell> {
        let row = self.read.get(&(Table::Collections, key.to_vec()))?.as_ref();
        row.map(incarnation_of)
    }

    fn found(&mut self, named: &Named) -> Result<Option<&Row>, Fault> {
        if let Some(row) = self.effects.rows.get(named) {
            return Ok(row.as_ref());
        }
        match self.read.get(named) {
            Some(row) => return Ok(row.as_ref()),
            None if self.effects.clear_all => {}
            None if depends(named.0) => {
                self.effects.missing.rows.insert(named.clone());
            }
            None => return Err(unplanned(named.0)),
        }
        Ok(None)
    }

    // Another row may get what this one shows and will not show any more.
    fn free(&mut self, named: &Named, new: Option<&Row>) {
        let Some(at) = passed_on(named.0) else { return };
        let shown = |row: &Row| row.0.get(at).cloned().filter(|cell| *cell != Cell::Nothing);
        let was = self.read.get(named).and_then(Option::as_ref).and_then(shown);
        if was.is_some() && new.is_some() && new.and_then(shown) != was {
            self.effects.freed.insert(named.clone());
        }
    }

    fn stage(&mut self, named: Named, row: Option<Row>) {
        self.free(&named, row.as_ref());
        self.effects.rows.insert(named, row);
    }
}

impl WriteSet<'_> {
    // Removes all rows whose first columns in an index are these. None of them is read.
    fn clear(&mut self, index: Index, prefix: &[Cell]) {
        let table = index.table();
        let all = Range::of(index, prefix.to_vec());
        let is_cleared = |row: &Row| all.has(row);
        for ((other, _), row) in &mut self.read {
            if *other == table && row.as_ref().is_some_and(is_cleared) {
                *row = None;
            }
        }
        let ranges = self.ranges.iter_mut().filter(|((index, _), _)| index.table() == table);
        let ranges = ranges.flat_map(|(_, alike)| alike);
        ranges.for_each(|(_, rows)| rows.retain(|row| !is_cleared(row)));
        let under = |named: &Named, row: &Row| named.0 == table && is_cleared(row);
        let effects = &mut self.effects;
        // A key is enough to tell where what was removed lay, for all that is cleared by its key.
        effects.rows.retain(|named, row| match row {
            Some(row) => !under(named, row),
            None => !under(named, &Row(named.1.clone())),
        });
        effects.freed.retain(|named| !under(named, &Row(named.1.clone())));
        effects.added.retain(|named, row| !under(named, row));
        effects.cleared.insert((index, prefix.to_vec()));
    }
}

impl Rows for WriteSet<'_> {
    type Fault = Fault;

    fn get(&mut self, table: Table, key: &[Cell]) -> Result<Option<Row>, Fault> {
        let named = (table, key.to_vec());
        let row = self.found(&named)?.cloned();
        let added = self.effects.added.get(&named);
        let mut row = match (row, added) {
            (None, added) => added.cloned(),
            (Some(mut row), Some(more)) => {
                add_counters(table, &mut row, more);
                Some(row)
            }
            (row, None) => row,
        };
        row.iter_mut().for_each(|row| row.0.truncate(slim(table).len()));
        Ok(row)
    }

    fn range(&mut self, range: &Range) -> Result<Vec<Row>, Fault> {
        let table = range.index.table();
        let covers = |(planned, _): &&(Range, Vec<Row>)| planned.covers(range);
        let alike = self.ranges.get(&(range.index, range.prefix.clone()));
        let most = |(planned, _): &&(Range, Vec<Row>)| planned.limit.unwrap_or(usize::MAX);
        let depends = depends(table) || range.index == Index::RecordsSignature;
        let (read, cut_at) = match alike.into_iter().flatten().filter(covers).max_by_key(most) {
            Some((planned, rows)) => {
                (rows.as_slice(), planned.limit.filter(|most| rows.len() >= *most))
            }
            None if self.effects.clear_all => (&[][..], None),
            None if depends => {
                self.effects.missing.ranges.insert(range.clone());
                (&[][..], None)
            }
            None => return Err(unplanned(table)),
        };
        let staged = |row: &&Row| self.effects.rows.contains_key(&(table, row.key(table).to_vec()));
        let written = self.effects.of(table).filter_map(|(_, row)| row);
        let mut rows: Vec<Row> = read
            .iter()
            .filter(|row| !staged(row))
            .chain(written)
            .filter(|row| range.has(row))
            .cloned()
            .collect();
        rows.sort_by(|one, other| range.order(one, other));
        if let Some(most) = cut_at.filter(|_| depends && Some(rows.len()) < range.limit) {
            // Those that were read are elsewhere now, and there are others after them.
            let more = Range { limit: Some(most * MORE), ..range.clone() };
            self.effects.missing.ranges.insert(more);
        }
        rows.truncate(range.limit.unwrap_or(usize::MAX));
        rows.iter_mut().for_each(|row| row.0.truncate(slim(table).len()));
        Ok(rows)
    }

    fn put(&mut self, table: Table, row: Row, _: Was) -> Result<(), Fault> {
        let named = (table, row.key(table).to_vec());
        // Whoever writes a row that has counters has read it, and with it what was added.
        self.effects.added.remove(&named);
        self.stage(named, Some(row));
        Ok(())
    }

    fn add(&mut self, table: Table, row: Row) -> Result<(), Fault> {
        let named = (table, row.key(table).to_vec());
        let Some(sum) = self.effects.added.get_mut(&named) else {
            self.effects.added.insert(named, row);
            return Ok(());
        };
        add_counters(table, sum, &row);
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[Cell]) -> Result<(), Fault> {
        let named = (table, key.to_vec());
        self.effects.added.remove(&named);
        self.stage(named, None);
        Ok(())
    }

    fn prune(&mut self, prune: Prune) -> Result<(), Fault> {
        self.effects.pruned.insert(prune);
        Ok(())
    }

    fn drop_under(&mut self, prefix: &[Cell]) -> Result<(), Fault> {
        let is_collection = prefix.len() == Table::Collections.key().len();
        let all = if is_collection { OF_COLLECTION } else { &OF_BUCKET };
        all.iter().for_each(|index| self.clear(*index, prefix));
        Ok(())
    }

    fn clear_all(&mut self) -> Result<(), Fault> {
        let notes = std::mem::take(&mut self.notes);
        let noted = std::mem::take(&mut self.effects.notes);
        let missing = std::mem::take(&mut self.effects.missing);
        *self = Self { notes, ..Self::new(self.known) };
        (self.effects.notes, self.effects.missing) = (noted, missing);
        self.effects.clear_all = true;
        Ok(())
    }

    fn note(&mut self, name: &str) -> Result<Option<String>, Fault> {
        let staged = self.effects.notes.get(name);
        Ok(staged.or_else(|| self.notes.get(name)).cloned())
    }

    fn set_note(&mut self, name: &str, text: &str) -> Result<(), Fault> {
        self.effects.notes.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    fn surely_has(&mut self, table: Table, key: &[Cell], stage: Generation) -> Result<bool, Fault> {
        let named = (table, key.to_vec());
        let present = Cell::Bytes(stage.incarnation.to_vec());
        let is_known =
            self.incarnation(collection_of(key)) == Some(&present) && self.known.has(&named, stage);
        if !is_known {
            self.learned.push((named, stage));
        }
        Ok(is_known)
    }
}

fn incarnation_of(row: &Row) -> &Cell {
    row.0.get(2).unwrap_or(&Cell::Nothing)
}

// Whether rows of a table are read as others are found, and cannot all be planned.
fn depends(table: Table) -> bool {
    matches!(table, Table::Signatures | Table::SignaturePrincipals | Table::Names)
}

// The rules read what they did not say that they would.
fn unplanned(table: Table) -> Fault {
    let why = format!("a row of {} was needed that was not read", table.name());
    debug_assert!(false, "{why}");
    StoreError::Unavailable(why).into()
}
