//! Cells of rows, and what the rules know them as.

use nuage_model::copy::{Cell, Row, Table};
use nuage_model::{
    CollectionPath, GroupPath, Record, RecordId, RecordPath, Seq, Signature, State, StoreError,
    Timestamp,
};

use crate::reads::Columns;
use crate::rules::{CollectionRow, Ended, Mark, Name, StoredRow};

pub(crate) fn text(text: impl Into<String>) -> Cell {
    Cell::Text(text.into())
}

pub(crate) fn flag(is_set: bool) -> Cell {
    Cell::Whole(is_set.into())
}

pub(crate) fn time(time: Option<Timestamp>) -> Cell {
    time.map_or(Cell::Nothing, |time| Cell::Whole(time.0))
}

pub(crate) fn signature(signature: Signature) -> Cell {
    Cell::Bytes(signature.0.to_vec())
}

/// The key of a collection, and the prefix of what lies in it.
pub(crate) fn collection(path: &CollectionPath) -> Vec<Cell> {
    vec![text(path.bucket.as_str()), text(path.stored_name())]
}

/// The key of a record.
pub(crate) fn record(path: &RecordPath) -> Vec<Cell> {
    let mut key = collection(&path.collection);
    key.push(text(path.id.as_str()));
    key
}

/// The key of a signature.
pub(crate) fn signature_of(path: &CollectionPath, of: Signature) -> Vec<Cell> {
    let mut key = collection(path);
    key.push(signature(of));
    key
}

/// The key of a group that signatures of a collection name.
pub(crate) fn name(path: &CollectionPath, of: &GroupPath) -> Vec<Cell> {
    let mut key = collection(path);
    key.extend(group(of));
    key
}

/// The prefix of the members of a group.
pub(crate) fn group(path: &GroupPath) -> Vec<Cell> {
    vec![text(path.bucket.as_str()), text(path.group.as_str())]
}

/// What is in one column of a row, wherever the row lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum CellRef<'r> {
    Nothing,
    Whole(i64),
    Text(&'r str),
    Bytes(&'r [u8]),
}

impl CellRef<'_> {
    /// The same, by itself.
    pub(crate) fn to_cell(self) -> Cell {
        match self {
            Self::Nothing => Cell::Nothing,
            Self::Whole(number) => Cell::Whole(number),
            Self::Text(text) => Cell::Text(text.to_owned()),
            Self::Bytes(bytes) => Cell::Bytes(bytes.to_vec()),
        }
    }

    /// How many bytes it holds.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Whole(_) => size_of::<i64>(),
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }
}

/// A row, wherever it lies.
pub(crate) trait Source {
    /// What is in this column of those that were read; none if it is nothing that can be there.
    fn cell(&self, at: usize) -> Option<CellRef<'_>>;
}

impl Source for Row {
    fn cell(&self, at: usize) -> Option<CellRef<'_>> {
        Some(match self.0.get(at)? {
            Cell::Nothing => CellRef::Nothing,
            Cell::Whole(number) => CellRef::Whole(*number),
            Cell::Text(text) => CellRef::Text(text),
            Cell::Bytes(bytes) => CellRef::Bytes(bytes),
        })
    }
}

/// Takes the cells of a row one after the other.
pub(crate) struct Cells<'r> {
    table: Table,
    /// The place of the first column of the row.
    first: usize,
    row: &'r dyn Source,
    at: usize,
}

impl<'r> Cells<'r> {
    /// From this place on.
    pub(crate) fn of(table: Table, row: &'r dyn Source, at: usize) -> Self {
        Self { table, first: 0, row, at }
    }

    /// The same, of a row of which these columns were read; the place is that in the table.
    pub(crate) fn from(columns: Columns, row: &'r dyn Source, place: usize) -> Self {
        Self { table: columns.table, first: columns.from, row, at: columns.at(place) }
    }

    fn next<T>(&mut self, take: impl FnOnce(CellRef<'r>) -> Option<T>) -> Result<T, StoreError> {
        let at = self.at;
        self.at += 1;
        self.row.cell(at).and_then(take).ok_or_else(|| {
            let column = self.table.columns().get(self.first + at);
            let column = column.map_or("column", |column| column.name);
            let why = format!("a {column} in {} is not what it must be", self.table.name());
            StoreError::Corrupt(why)
        })
    }

    pub(crate) fn text(&mut self) -> Result<&'r str, StoreError> {
        self.next(|cell| match cell {
            CellRef::Text(text) => Some(text),
            _ => None,
        })
    }

    pub(crate) fn whole(&mut self) -> Result<i64, StoreError> {
        self.next(|cell| match cell {
            CellRef::Whole(number) => Some(number),
            _ => None,
        })
    }

    pub(crate) fn seq(&mut self) -> Result<Seq, StoreError> {
        self.whole().map(Seq)
    }

    pub(crate) fn flag(&mut self) -> Result<bool, StoreError> {
        self.whole().map(|number| number != 0)
    }

    pub(crate) fn time(&mut self) -> Result<Option<Timestamp>, StoreError> {
        self.next(|cell| match cell {
            CellRef::Nothing => Some(None),
            CellRef::Whole(number) => Some(Some(Timestamp(number))),
            _ => None,
        })
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        self.next(|cell| match cell {
            CellRef::Bytes(bytes) => bytes.try_into().ok(),
            _ => None,
        })
    }
}

impl CollectionRow {
    /// The row of the collection of this name.
    pub(crate) fn to_row(&self, path: &CollectionPath) -> Row {
        let mut row = collection(path);
        row.extend([
            Cell::Bytes(self.incarnation.to_vec()),
            Cell::Whole(self.seq.0),
            self.shown().map_or(Cell::Nothing, Cell::Whole),
            Cell::Whole(self.gc_seq.0),
            Cell::Whole(self.live),
            Cell::Whole(self.tombstones),
            Cell::Whole(self.chosen),
            Cell::Whole(self.gone),
            flag(self.dropped),
            Cell::Whole(self.names),
            Cell::Whole(self.named),
            Cell::Whole(self.nested),
        ]);
        Row(row)
    }

    /// Reads it back.
    pub(crate) fn of_row(row: &dyn Source) -> Result<Self, StoreError> {
        Self::of_cells(Cells::of(Table::Collections, row, 2))
    }

    fn of_cells(mut cells: Cells<'_>) -> Result<Self, StoreError> {
        let (incarnation, seq) = (cells.bytes()?, cells.seq()?);
        Ok(Self {
            incarnation,
            seq,
            timestamp: cells.time()?.unwrap_or(seq.into()),
            gc_seq: cells.seq()?,
            live: cells.whole()?,
            tombstones: cells.whole()?,
            chosen: cells.whole()?,
            gone: cells.whole()?,
            dropped: cells.flag()?,
            names: cells.whole()?,
            named: cells.whole()?,
            nested: cells.whole()?,
        })
    }

    /// The same of a row that is read without the names.
    pub(crate) fn of_columns(row: &dyn Source) -> Result<Self, StoreError> {
        Self::of_cells(Cells::from(Columns::SEQUENCE, row, 2))
    }

    /// Of which collection a row is.
    pub(crate) fn path_of(row: &dyn Source) -> Result<CollectionPath, StoreError> {
        let mut cells = Cells::of(Table::Collections, row, 0);
        Ok(CollectionPath::of_stored(cells.text()?, cells.text()?))
    }
}

impl StoredRow {
    /// The row of a record, without its texts.
    pub(crate) fn to_row(self, path: &RecordPath) -> Row {
        let mut row = record(path);
        row.extend([
            Cell::Whole(self.seq.0),
            time(self.chosen),
            signature(self.signature),
            Cell::Whole(self.entered.0),
            flag(self.dead),
        ]);
        Row(row)
    }

    /// Reads it back.
    pub(crate) fn of_row(row: &Row) -> Result<Self, StoreError> {
        Self::of_cells(Cells::of(Table::Records, row, 3))
    }

    /// The same of a row that is read without the names of its collection.
    pub(crate) fn of_columns(row: &dyn Source) -> Result<Self, StoreError> {
        Self::of_cells(Cells::from(Columns::TRACE, row, 3))
    }

    fn of_cells(mut cells: Cells<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            seq: cells.seq()?,
            chosen: cells.time()?,
            signature: Signature(cells.bytes()?),
            entered: cells.seq()?,
            dead: cells.flag()?,
        })
    }

    /// The identifier in a row that is read without the names of its collection.
    pub(crate) fn id_in_columns(row: &dyn Source) -> Result<RecordId, StoreError> {
        Cells::from(Columns::TRACE, row, 2).text().map(RecordId::from)
    }

    /// The identifier in a row.
    pub(crate) fn id_of(row: &Row) -> Result<RecordId, StoreError> {
        Cells::of(Table::Records, row, 2).text().map(RecordId::from)
    }
}

impl Ended {
    /// The row of an ended residency.
    pub(crate) fn to_row(&self, path: &CollectionPath) -> Row {
        let mut row = collection(path);
        row.extend([
            Cell::Whole(self.seq.0),
            text(self.id.as_str()),
            signature(self.signature),
            Cell::Whole(self.entered.0),
        ]);
        Row(row)
    }

    /// Reads it back.
    pub(crate) fn of_row(row: &Row) -> Result<Self, StoreError> {
        Self::of_cells(Cells::of(Table::Gone, row, 2))
    }

    /// The same of a row that is read without the names of its collection.
    pub(crate) fn of_columns(row: &dyn Source) -> Result<Self, StoreError> {
        Self::of_cells(Cells::from(Columns::GONE, row, 2))
    }

    fn of_cells(mut cells: Cells<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            seq: cells.seq()?,
            id: RecordId::from(cells.text()?),
            signature: Signature(cells.bytes()?),
            entered: cells.seq()?,
        })
    }
}

impl Mark {
    /// The row of a note.
    pub(crate) fn to_row(self, path: &CollectionPath) -> Row {
        let mut row = collection(path);
        row.extend([Cell::Whole(self.seq.0), Cell::Whole(self.time.0)]);
        Row(row)
    }

    /// Reads it back.
    pub(crate) fn of_row(row: &dyn Source) -> Result<Self, StoreError> {
        let mut cells = Cells::of(Table::Marks, row, 2);
        Ok(Self { seq: cells.seq()?, time: Timestamp(cells.whole()?) })
    }
}

impl Name {
    /// The row with this key.
    pub(crate) fn to_row(self, mut key: Vec<Cell>) -> Row {
        let Self { signatures, since, ordinal } = self;
        key.extend([signatures, since.0, ordinal].map(Cell::Whole));
        Row(key)
    }

    /// Reads it back.
    pub(crate) fn of_row(row: &dyn Source) -> Result<Self, StoreError> {
        let mut cells = Cells::of(Table::Names, row, 4);
        let (signatures, since, ordinal) = (cells.whole()?, cells.seq()?, cells.whole()?);
        Ok(Self { signatures, since, ordinal })
    }
}

/// The record in the columns of a row.
pub(crate) fn record_of(row: &dyn Source, columns: Columns) -> Result<Record, StoreError> {
    let mut cells = Cells::from(columns, row, 2);
    let id = RecordId::from(cells.text()?);
    let (seq, chosen) = (cells.seq()?, cells.time()?);
    let signature = Signature(cells.bytes()?);
    let (entered, dead) = (cells.seq()?, cells.flag()?);
    // What was not read is not looked at.
    let mut text = |without: &str| match cells.at < columns.to - columns.from {
        true => cells.text().map(str::to_owned),
        false => Ok(without.to_owned()),
    };
    let state = match dead {
        true => State::Tombstone,
        false => State::Live { permissions: text("")?, body: text("{}")? },
    };
    Ok(Record { id, seq, chosen, signature, entered, state })
}
