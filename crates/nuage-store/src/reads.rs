//! The words in which everything above the databases reads rows: by keys, and along an index.
//!
//! Lists, feeds and directories are written once above them. A database that is asked across a
//! network answers futures that are joined in one round trip.

use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, PoisonError, RwLock};

use foldhash::HashMap;
use nuage_model::StoreError;
use nuage_model::copy::{Cell, Column, Table};

use crate::cells::{CellRef, Source};
use crate::list::Signatures;
use crate::schema::{Index, Range, slim};

/// Columns of a table: those from one place to another. The cells of a row that is read are those.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Columns {
    pub(crate) table: Table,
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// The last one is a text, which is read as an empty one where it is so large that reading it
    /// costs more than the rest of the row.
    pub(crate) small: bool,
}

/// A text of more bytes is large: it may lie apart from its row.
pub(crate) const SMALL_BYTES: usize = 2_000;

impl Columns {
    /// Identifier, position, time, signature, since when, whether it is dead.
    pub(crate) const TRACE: Self = Self::of(Table::Records, 2, 8);
    /// The same, and permissions.
    pub(crate) const SLIM: Self = Self::of(Table::Records, 2, 9);
    /// The same, and the body.
    pub(crate) const RECORD: Self = Self::of(Table::Records, 2, 10);
    /// The same, but for a large body.
    pub(crate) const SMALL: Self = Self { small: true, ..Self::RECORD };
    /// Position, identifier, signature, since when.
    pub(crate) const GONE: Self = Self::of(Table::Gone, 2, 6);
    /// All columns of a collection but for its names.
    pub(crate) const SEQUENCE: Self = Self::of(Table::Collections, 2, 14);

    /// These.
    pub(crate) const fn of(table: Table, from: usize, to: usize) -> Self {
        Self { table, from, to, small: false }
    }

    /// All of a table.
    pub(crate) fn all(table: Table) -> Self {
        Self::of(table, 0, table.columns().len())
    }

    /// What they are.
    pub(crate) fn columns(self) -> &'static [Column] {
        &self.table.columns()[self.from..self.to]
    }

    /// What a row that is read along an index is ordered by after the prefix of its range.
    pub(crate) fn place(self, row: &dyn Source, like: &Range) -> Vec<Cell> {
        let order = order(like.index, like.prefix.len()).iter();
        order.filter_map(|at| Some(row.cell(self.at(*at))?.to_cell())).collect()
    }

    /// How many bytes there are in those of its texts that may be large.
    pub(crate) fn large_bytes(self, row: &dyn Source) -> usize {
        let large = slim(self.table).len().max(self.from)..self.to;
        large.filter_map(|at| row.cell(self.at(at))).map(CellRef::bytes).sum()
    }

    /// Where the column of this place is among them.
    pub(crate) fn at(self, place: usize) -> usize {
        place.wrapping_sub(self.from)
    }
}

/// What is demanded of a row beside its place in the index. Rows that do not meet it are passed
/// over where they lie.
#[derive(Clone, Debug)]
pub(crate) enum Condition<'q> {
    /// The flag at this place is not set.
    Unset(usize),
    /// There is nothing at this place.
    Absent(usize),
    /// The number at this place is not greater.
    AtMost(usize, i64),
    /// The signature at this place is one of these.
    Among(usize, &'q Signatures),
}

/// In which order rows of several ranges come.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Together {
    /// Those of the first range, then those of the next.
    Chained,
    /// All in one order: that of what follows the prefix in the index. Those that are equal there
    /// come once.
    Merged,
}

/// Rows along an index.
#[derive(Clone, Debug)]
pub(crate) struct Scan<'q> {
    /// Where. All of one index, with prefixes of one length and the same kinds of bounds; none has
    /// a limit of its own.
    pub(crate) ranges: Vec<Range>,
    pub(crate) together: Together,
    pub(crate) descending: bool,
    pub(crate) conditions: Vec<Condition<'q>>,
    pub(crate) columns: Columns,
    /// Most rows.
    pub(crate) limit: usize,
    /// No further row once those that came have so many bytes of texts that may be large.
    pub(crate) bytes: usize,
}

impl Scan<'_> {
    /// All rows of some ranges, one range after the other, all columns.
    pub(crate) fn of(ranges: Vec<Range>, limit: usize) -> Self {
        let table = ranges.first().map_or(Table::Records, |range| range.index.table());
        Self {
            ranges,
            together: Together::Chained,
            descending: false,
            conditions: Vec::new(),
            columns: Columns::all(table),
            limit,
            bytes: usize::MAX,
        }
    }

    /// What all its ranges are like; none where there is no range.
    pub(crate) fn like(&self) -> Option<&Range> {
        let like = self.ranges.first();
        #[cfg(debug_assertions)]
        assert!(
            like.is_none_or(|like| self.is_known(like)),
            "nobody looks at the plan of {like:?}"
        );
        like
    }

    /// All that its statement depends on.
    pub(crate) fn key(&self, like: &Range) -> ScanKey {
        let Range { index, prefix, after, low, high, .. } = like;
        let condition = |condition: &Condition<'_>| match condition {
            Condition::Unset(at) => *at,
            Condition::Absent(at) => 16 + at,
            Condition::AtMost(at, _) => 32 + at,
            Condition::Among(at, _) => 48 + at,
        };
        let conditions = self.conditions.iter().fold(0, |all, one| all << 8 | condition(one));
        let bounds = [prefix.len(), after.len(), low.is_some().into(), high.is_some().into()];
        let is_merged = self.together == Together::Merged;
        let way = [self.descending, self.ranges.len() > 1, is_merged];
        (*index, bounds, way, self.columns, conditions)
    }

    #[cfg(debug_assertions)]
    fn is_known(&self, like: &Range) -> bool {
        let Range { index, prefix, after, low, high, descending, limit } = like;
        let shape = (*index, prefix.len(), after.len(), low.is_some(), high.is_some());
        let is_known = |(index, prefix, after, low, high, together, can_turn): &Shape| {
            (*index, *prefix, *after, *low, *high) == shape
                && *together == self.together
                && (*can_turn || !self.descending)
        };
        limit.is_none() && !descending && SHAPES.iter().any(is_known)
    }

    /// One scan of each shape, and of each direction, of so many ranges.
    #[cfg(test)]
    pub(crate) fn of_all_shapes(ranges: usize) -> Vec<Self> {
        let mut all = Vec::new();
        for (index, prefix, after, low, high, together, can_turn) in SHAPES {
            let table = index.table();
            let cell = |at: &usize| match table.columns()[*at].form {
                nuage_model::copy::Form::Text => Cell::Text("b7".to_owned()),
                nuage_model::copy::Form::Bytes => Cell::Bytes(Vec::new()),
                _ => Cell::Whole(7),
            };
            let order = order(*index, *prefix);
            let range = Range {
                after: order[..*after].iter().map(cell).collect(),
                low: low.then(|| cell(&order[0])),
                high: high.then(|| cell(&order[0])),
                ..Range::of(*index, index.columns()[..*prefix].iter().map(cell).collect())
            };
            let columns = match (table, together) {
                (Table::Records, _) => Columns::RECORD,
                (table, _) => Columns::all(table),
            };
            for descending in [false, true].into_iter().filter(|down| !down || *can_turn) {
                let conditions = match table {
                    Table::Records => vec![Condition::Unset(7), Condition::AtMost(6, 9)],
                    _ => Vec::new(),
                };
                let ranges = vec![range.clone(); ranges];
                let of = Scan::of(ranges, 100);
                all.push(Scan { together: *together, descending, conditions, columns, ..of });
            }
        }
        all
    }
}

/// The places of what rows of an index are ordered by after so many of its columns.
pub(crate) fn order(index: Index, prefix: usize) -> &'static [usize] {
    let columns = index.columns();
    &columns[prefix.min(columns.len())..]
}

/// What a statement that follows ranges depends on: index, columns of the prefix, columns that say
/// after what, whether there is a least and a greatest, in which order several ranges come, and
/// whether the order may be turned round.
#[cfg(any(test, debug_assertions))]
type Shape = (Index, usize, usize, bool, bool, Together, bool);

/// Every shape that is asked for: the tests of both databases look at its plans, and nothing else
/// may be asked.
#[cfg(any(test, debug_assertions))]
pub(crate) const SHAPES: &[Shape] = {
    use Together::{Chained, Merged};
    &[
        (Index::RecordsSeq, 2, 0, true, true, Chained, true),
        (Index::RecordsSeq, 2, 1, false, false, Chained, false),
        (Index::RecordsTimestamp, 2, 0, true, true, Chained, true),
        (Index::RecordsSignature, 3, 0, true, true, Merged, true),
        (Index::RecordsSignature, 3, 1, false, false, Merged, false),
        (Index::RecordsSignature, 3, 1, false, true, Chained, false),
        (Index::RecordsDead, 2, 0, true, true, Chained, false),
        (Index::Key(Table::Gone), 2, 0, true, true, Chained, false),
        (Index::Key(Table::Gone), 2, 1, false, false, Chained, false),
        (Index::GoneSignature, 3, 1, false, false, Merged, false),
        (Index::Key(Table::Marks), 2, 0, false, false, Chained, false),
        (Index::Key(Table::Signatures), 2, 0, false, false, Chained, false),
        (Index::Key(Table::Signatures), 2, 1, false, false, Chained, false),
        (Index::Key(Table::SignaturePrincipals), 3, 0, false, false, Chained, false),
        (Index::Key(Table::SignaturePrincipals), 3, 0, false, false, Merged, false),
        (Index::Key(Table::SignaturePrincipals), 3, 1, false, false, Merged, false),
        (Index::SignaturePrincipalsSignature, 3, 0, false, false, Chained, false),
        (Index::Key(Table::Members), 2, 0, false, false, Chained, false),
        (Index::MembersInner, 2, 0, false, false, Chained, false),
        (Index::Key(Table::Names), 2, 0, false, false, Chained, false),
        (Index::Key(Table::DirectoryGroups), 1, 0, false, false, Chained, false),
        (Index::Key(Table::DirectoryCollections), 1, 0, false, false, Merged, false),
        (Index::Key(Table::DirectoryCollections), 1, 2, false, false, Merged, false),
        (Index::Key(Table::Collections), 0, 0, false, false, Chained, false),
        (Index::Key(Table::Collections), 0, 2, false, false, Chained, false),
    ]
};

/// What the statement of a scan depends on.
pub(crate) type ScanKey = (Index, [usize; 4], [bool; 3], Columns, usize);

/// Texts of statements, made once.
pub(crate) struct Texts<K>(RwLock<HashMap<K, Arc<str>>>);

impl<K: Eq + Hash> Texts<K> {
    pub(crate) fn new() -> Self {
        Self(RwLock::default())
    }

    /// The text for this; there are only so many of them.
    pub(crate) fn get(&self, key: K, make: impl FnOnce() -> String) -> Arc<str> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.unwrap_or_else(|| {
            let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(key).or_insert_with(|| make().into()).clone()
        })
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found<T> {
    pub(crate) rows: Vec<T>,
    /// Whether there are no others.
    pub(crate) is_all: bool,
}

impl<T> Found<T> {
    /// That there is nothing.
    pub(crate) fn nothing() -> Self {
        Self { rows: Vec::new(), is_all: true }
    }
}

/// What a row is read as.
pub(crate) trait Of<T>: Fn(&dyn Source) -> Result<T, StoreError> + Send + Sync {}

impl<T, F: Fn(&dyn Source) -> Result<T, StoreError> + Send + Sync> Of<T> for F {}

/// One moment of a database, or what is read of it by one question.
pub(crate) trait Reads: Sync + Sized {
    /// Why something could not be read.
    type Fault: From<StoreError> + Send;

    /// Whether a round trip costs more than a row that turns out not to be wanted.
    const IS_FAR: bool;

    /// From now on everything is of one moment; what is asked first is asked along.
    fn begin<T: Send>(
        &self,
        first: impl Future<Output = Result<T, Self::Fault>> + Send,
    ) -> impl Future<Output = Result<T, Self::Fault>> + Send;

    /// To be called now and then where what was read takes long to look at: lets others go on, and
    /// fails when the time is over, or nobody waits any more.
    fn pause(&self) -> impl Future<Output = Result<(), Self::Fault>> + Send;

    /// What is noted under a name.
    fn note(&self, name: &str) -> impl Future<Output = Result<Option<String>, Self::Fault>> + Send;

    /// The rows with these keys, in that order: as many as fit in so many bytes of their last
    /// column, and at least one that is there.
    fn get<T: Send>(
        &self,
        keys: &[Vec<Cell>],
        columns: Columns,
        bytes: usize,
        of: impl Of<T>,
    ) -> impl Future<Output = Result<Vec<Option<T>>, Self::Fault>> + Send;

    /// Rows along an index.
    fn scan<T: Send>(
        &self,
        scan: Scan<'_>,
        of: impl Of<T>,
    ) -> impl Future<Output = Result<Found<T>, Self::Fault>> + Send;
}
