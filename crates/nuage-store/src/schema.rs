//! What is said once of the tables, for every database: indexes, counters, what is large; and the
//! words in which the rules read and change rows.
//!
//! Tables and columns are those of [`nuage_model::copy`]. A new table is described there and here,
//! and costs no SQL.

use std::cmp::Ordering;

use nuage_model::StoreError;
use nuage_model::copy::{Cell, Column, Row, Table};

/// An index, by which a range of rows is read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) enum Index {
    /// The key of a table.
    Key(Table),
    /// Records of a collection by position.
    RecordsSeq,
    /// Those with a time of their own, by that time.
    RecordsTimestamp,
    /// Records of a collection by signature.
    RecordsSignature,
    /// Tombstones by position: for the horizon.
    RecordsDead,
    /// Ended residencies by signature.
    GoneSignature,
    /// Principals of a signature.
    SignaturePrincipalsSignature,
    /// Members of a group.
    MembersGrp,
    /// Those that are groups themselves.
    MembersInner,
    /// Views of a bucket by when they were used last.
    ViewsUsed,
    /// In which buckets there are groups to look for, by bucket: to drop one.
    DirectoryGroupsBucket,
    /// The same of collections.
    DirectoryCollectionsBucket,
}

/// Which rows an index has, where it does not have all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Only {
    /// Those where this column, by its place, holds something.
    Present(usize),
    /// Those where this flag is set.
    Set(usize),
    /// Those where this column holds a principal that may be that of a group: see [`GROUP_PRINCIPALS`].
    Group(usize),
}

/// The principals of all groups, and hardly any other, lie from the first of these on and before the
/// second.
pub(crate) const GROUP_PRINCIPALS: [&str; 2] = ["/buckets/", "/buckets0"];

/// Whether a principal may be that of a group.
pub(crate) fn may_be_group(principal: &str) -> bool {
    (GROUP_PRINCIPALS[0]..GROUP_PRINCIPALS[1]).contains(&principal)
}

/// Says so of a column, on every database.
pub(crate) fn is_group(column: &str) -> String {
    let [first, after] = GROUP_PRINCIPALS;
    format!("{column} >= '{first}' AND {column} < '{after}'")
}

impl Index {
    /// Those of a table beside its key.
    pub(crate) fn of(table: Table) -> impl Iterator<Item = Self> {
        const ALL: [Index; 11] = [
            Index::RecordsSeq,
            Index::RecordsTimestamp,
            Index::RecordsSignature,
            Index::RecordsDead,
            Index::GoneSignature,
            Index::SignaturePrincipalsSignature,
            Index::MembersGrp,
            Index::MembersInner,
            Index::ViewsUsed,
            Index::DirectoryGroupsBucket,
            Index::DirectoryCollectionsBucket,
        ];
        ALL.into_iter().filter(move |index| index.table() == table)
    }

    /// Whether no two rows are equal in it.
    pub(crate) fn is_unique(self) -> bool {
        let of_others = [Self::RecordsSeq, Self::RecordsTimestamp, Self::MembersGrp];
        self.is_key() || of_others.contains(&self)
    }

    /// Of which table.
    pub(crate) fn table(self) -> Table {
        match self {
            Self::Key(table) => table,
            Self::RecordsSeq
            | Self::RecordsTimestamp
            | Self::RecordsSignature
            | Self::RecordsDead => Table::Records,
            Self::GoneSignature => Table::Gone,
            Self::SignaturePrincipalsSignature => Table::SignaturePrincipals,
            Self::MembersGrp | Self::MembersInner => Table::Members,
            Self::ViewsUsed => Table::Views,
            Self::DirectoryGroupsBucket => Table::DirectoryGroups,
            Self::DirectoryCollectionsBucket => Table::DirectoryCollections,
        }
    }

    /// Whether it is the key of its table.
    pub(crate) fn is_key(self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// Its name in the databases; `None` for a key.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Key(_) => None,
            Self::RecordsSeq => Some("records_seq"),
            Self::RecordsTimestamp => Some("records_timestamp"),
            Self::RecordsSignature => Some("records_signature"),
            Self::RecordsDead => Some("records_dead"),
            Self::GoneSignature => Some("gone_signature"),
            Self::SignaturePrincipalsSignature => Some("signature_principals_signature"),
            Self::MembersGrp => Some("members_grp"),
            Self::MembersInner => Some("members_inner"),
            Self::ViewsUsed => Some("views_used"),
            Self::DirectoryGroupsBucket => Some("directory_groups_bucket"),
            Self::DirectoryCollectionsBucket => Some("directory_collections_bucket"),
        }
    }

    /// The places of its columns in the table.
    pub(crate) fn columns(self) -> &'static [usize] {
        match self {
            Self::Key(table) => &[0, 1, 2, 3][..table.key().len()],
            Self::RecordsSeq | Self::RecordsDead => &[0, 1, 3],
            Self::RecordsTimestamp => &[0, 1, 4],
            Self::RecordsSignature => &[0, 1, 5, 3],
            Self::GoneSignature => &[0, 1, 4, 2],
            Self::SignaturePrincipalsSignature => &[0, 1, 3, 2],
            Self::MembersGrp | Self::MembersInner => &[0, 2, 1],
            Self::ViewsUsed => &[0, 4, 1, 2],
            Self::DirectoryGroupsBucket => &[1, 0],
            Self::DirectoryCollectionsBucket => &[1, 2, 0],
        }
    }

    /// Which rows it has.
    pub(crate) fn only(self) -> Option<Only> {
        match self {
            Self::RecordsTimestamp => Some(Only::Present(4)),
            Self::RecordsDead => Some(Only::Set(7)),
            Self::MembersInner => Some(Only::Group(1)),
            _ => None,
        }
    }

    /// Whether it has this row.
    fn has(self, row: &Row) -> bool {
        match self.only() {
            None => true,
            Some(Only::Present(place)) => row.0.get(place) != Some(&Cell::Nothing),
            Some(Only::Set(place)) => row.0.get(place) == Some(&Cell::Whole(1)),
            Some(Only::Group(place)) => match row.0.get(place) {
                Some(Cell::Text(text)) => may_be_group(text),
                _ => false,
            },
        }
    }
}

/// The columns that are read of a row where its large ones are not asked for: they come last.
pub(crate) fn slim(table: Table) -> &'static [Column] {
    let large = match table {
        Table::Records => 2,
        _ => 0,
    };
    let columns = table.columns();
    &columns[..columns.len() - large]
}

/// How many of the first columns of a row name the collection that it lies in: bucket and collection,
/// or the bucket alone for what lies under its groups. None for what lies under no collection.
pub(crate) fn under_collection(table: Table) -> usize {
    match table {
        Table::Records
        | Table::Gone
        | Table::Signatures
        | Table::SignaturePrincipals
        | Table::Marks
        | Table::Names => 2,
        Table::Members => 1,
        Table::Collections
        | Table::DirectoryGroups
        | Table::DirectoryCollections
        | Table::Views => 0,
    }
}

/// The name of the view in which a table that lies under a collection has the columns of its
/// description, on every database.
pub(crate) fn named(table: Table) -> String {
    format!("named_{}", table.name())
}

/// What comes of a column that changes without being read, and of what is added to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Counter {
    /// The sum.
    Sum,
    /// The sum modulo this.
    SumModulo(i64),
    /// The greater one.
    Greatest,
}

impl Counter {
    /// Says it of two terms; greatest is the function of that name in the database.
    pub(crate) fn sql(self, old: &str, more: &str, greatest: &str) -> String {
        match self {
            Self::Sum => format!("{old} + {more}"),
            Self::SumModulo(modulus) => format!("({old} + {more}) % CAST({modulus} AS bigint)"),
            Self::Greatest => format!("{greatest}({old}, {more})"),
        }
    }

    fn of(self, old: i64, more: i64) -> i64 {
        match self {
            Self::Sum => old + more,
            Self::SumModulo(modulus) => (old + more) % modulus,
            Self::Greatest => old.max(more),
        }
    }
}

/// The columns of a table that only count, by their places: what is added to them needs no reading.
pub(crate) fn counters(table: Table) -> &'static [(usize, Counter)] {
    const DIGEST: Counter = Counter::SumModulo(1 << 48);
    match table {
        Table::Signatures => {
            &[(3, Counter::Sum), (4, DIGEST), (5, Counter::Sum), (6, Counter::Greatest)]
        }
        _ => &[],
    }
}

/// Adds to the counters of a row those of another one.
pub(crate) fn add_counters(table: Table, row: &mut Row, more: &Row) {
    for (at, counter) in counters(table) {
        if let (Some(Cell::Whole(old)), Some(Cell::Whole(more))) =
            (row.0.get_mut(*at), more.0.get(*at))
        {
            *old = counter.of(*old, *more);
        }
    }
}

/// The column of a table whose values no two rows share, and which may pass from one row to another
/// within one commit.
pub(crate) fn passed_on(table: Table) -> Option<usize> {
    (table == Table::Records).then_some(4)
}

/// Rows that lie one after the other in an index: those whose first columns there are `prefix`, and
/// whose next one is from `low` to `high`, in the order of the index; only those after `after`,
/// where it says something of the next columns.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct Range {
    pub(crate) index: Index,
    pub(crate) prefix: Vec<Cell>,
    pub(crate) after: Vec<Cell>,
    pub(crate) low: Option<Cell>,
    pub(crate) high: Option<Cell>,
    /// The last ones come first.
    pub(crate) descending: bool,
    /// Most that are read.
    pub(crate) limit: Option<usize>,
}

impl Range {
    /// All rows with this prefix.
    pub(crate) fn of(index: Index, prefix: Vec<Cell>) -> Self {
        let (after, low, high) = (Vec::new(), None, None);
        Self { index, prefix, after, low, high, descending: false, limit: None }
    }

    /// Those after this.
    pub(crate) fn after(self, after: Vec<Cell>) -> Self {
        Self { after, ..self }
    }

    /// Those up to this one.
    pub(crate) fn up_to(self, high: i64) -> Self {
        Self { high: Some(Cell::Whole(high)), ..self }
    }

    /// Those between, both included.
    pub(crate) fn between(self, low: i64, high: i64) -> Self {
        Self { low: Some(Cell::Whole(low)), high: Some(Cell::Whole(high)), ..self }
    }

    /// Whether a row is in it, whatever the limit.
    pub(crate) fn has(&self, row: &Row) -> bool {
        let columns = self.index.columns();
        let starts = self.prefix.iter().zip(columns).all(|(cell, at)| row.0.get(*at) == Some(cell));
        let next = columns.get(self.prefix.len()).and_then(|at| row.0.get(*at));
        starts
            && self.low.as_ref().is_none_or(|low| next >= Some(low))
            && self.high.as_ref().is_none_or(|high| next <= Some(high))
            && self.index.has(row)
    }

    /// Whether all rows of another one are in it.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let low = self.low.as_ref();
        let high = self.high.as_ref();
        let is_same = || *other == Self { limit: other.limit, ..self.clone() };
        let is_enough = match (self.limit, other.limit) {
            (None, _) => true,
            (Some(most), Some(wanted)) => most >= wanted && is_same(),
            (Some(_), None) => false,
        };
        is_enough
            && self.index == other.index
            && self.prefix == other.prefix
            && low.is_none_or(|low| other.low.as_ref().is_some_and(|other| low <= other))
            && high.is_none_or(|high| other.high.as_ref().is_some_and(|other| high >= other))
    }

    /// The order of the index.
    pub(crate) fn order(&self, one: &Row, other: &Row) -> Ordering {
        let columns = self.index.columns().iter().chain(Index::Key(self.index.table()).columns());
        let mut compared = columns.map(|at| one.0.get(*at).cmp(&other.0.get(*at)));
        let order = compared.find(|order| order.is_ne()).unwrap_or(Ordering::Equal);
        if self.descending { order.reverse() } else { order }
    }
}

/// What is known of a row before it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Was {
    /// It is not there.
    Absent,
    /// It is there.
    Present,
    /// It may be there; then, if it has columns beside its key, they are replaced.
    Unknown,
}

/// Rows that are removed unless there is a row in one of some ranges, once everything else that is
/// written together is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Prune {
    /// Which, by the first columns of an index.
    pub(crate) index: Index,
    pub(crate) prefix: Vec<Cell>,
    /// What must not be there, likewise.
    pub(crate) unless: Vec<(Index, Vec<Cell>)>,
}

/// A transaction that is open already, as the rules read and change its rows. Rows are read without
/// their large columns.
pub(crate) trait Rows {
    /// Why something could not be done.
    type Fault: From<StoreError>;

    /// The row with this key.
    fn get(&mut self, table: Table, key: &[Cell]) -> Result<Option<Row>, Self::Fault>;

    /// The rows of a range.
    fn range(&mut self, range: &Range) -> Result<Vec<Row>, Self::Fault>;

    /// Writes a row.
    fn put(&mut self, table: Table, row: Row, was: Was) -> Result<(), Self::Fault>;

    /// Adds to the counters of a row; makes it if it is missing.
    fn add(&mut self, table: Table, row: Row) -> Result<(), Self::Fault>;

    /// Removes the row with this key, if it is there.
    fn delete(&mut self, table: Table, key: &[Cell]) -> Result<(), Self::Fault>;

    /// Removes what nothing needs any more.
    fn prune(&mut self, prune: Prune) -> Result<(), Self::Fault>;

    /// Removes what lies under the collections whose names begin so, and nothing of their own rows:
    /// under one collection, or in a bucket. It is gone for whoever reads, if not from the disk.
    fn drop_under(&mut self, prefix: &[Cell]) -> Result<(), Self::Fault>;

    /// Removes all rows of all tables.
    fn clear_all(&mut self) -> Result<(), Self::Fault>;

    /// What is noted under a name, in `meta`.
    fn note(&mut self, name: &str) -> Result<Option<String>, Self::Fault>;

    /// Notes something under a name.
    fn set_note(&mut self, name: &str, text: &str) -> Result<(), Self::Fault>;

    /// Whether the row with this key is there. Where that would have to be asked for, no may be
    /// said of one that is.
    fn surely_has(
        &mut self,
        table: Table,
        key: &[Cell],
        stage: Generation,
    ) -> Result<bool, Self::Fault>;
}

/// What holds for rows of a collection as long as its incarnation and its horizon stay.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
pub(crate) struct Generation {
    pub(crate) incarnation: [u8; 8],
    pub(crate) gc_seq: i64,
}
