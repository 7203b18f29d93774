//! A whole store as rows, to be moved to another store.
//!
//! A copy understands neither bodies nor permissions: it moves the rows of each table in the order
//! of their keys, text as text, so that positions, times, signatures and tombstones arrive as they
//! were, and nobody who comes back with an old position notices. It does not know which database
//! is behind either end: what is the same here has the same bytes in every digest.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{Pending, StoreError};

/// A moment of a store. While it is held, others may write without being seen.
pub trait Dump: Send {
    /// What the store says of itself: its name under [`STORE`], and what was noted under names
    /// that begin with [`KEPT`].
    fn meta(&mut self) -> Pending<'_, Result<BTreeMap<String, String>, StoreError>>;

    /// How many rows a table has.
    fn count(&mut self, table: Table) -> Pending<'_, Result<u64, StoreError>>;

    /// The rows after this key, in order: at least one, unless there is none. Less than a full
    /// page does not say that it is the last; an empty one does.
    fn page<'a>(
        &'a mut self,
        table: Table,
        after: Option<&'a [Cell]>,
        size: PageSize,
    ) -> Pending<'a, Result<Vec<Row>, StoreError>>;
}

/// The key in `meta` of the name that a store was given when it was made. A copy takes it over.
pub const STORE: &str = "store";
/// How the names of notes begin that go along with copies: those of secrets.
pub const KEPT: &str = "kept.";
/// The key in `meta` of the [`Progress`] of a copy that has not ended.
pub const COPY: &str = "copy";

/// What a store keeps, beside `meta`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Table {
    /// One sequence each, also of dropped ones.
    Collections,
    /// Records and tombstones.
    Records,
    /// Residencies that ended.
    Gone,
    /// Sets of readers.
    Signatures,
    /// Who is in them.
    SignaturePrincipals,
    /// Who is in a group.
    Members,
    /// In which buckets to look for groups.
    DirectoryGroups,
    /// In which collections to look for records.
    DirectoryCollections,
    /// Which groups a person was in.
    Views,
    /// When the head of a collection was where.
    Marks,
    /// Groups that sets of readers name.
    Names,
}

/// A column of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What is in it.
    pub form: Form,
}

/// What is in a column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// [`Cell::Text`].
    Text,
    /// [`Cell::Bytes`].
    Bytes,
    /// [`Cell::Whole`].
    Whole,
    /// [`Cell::Whole`] or [`Cell::Nothing`].
    WholeOrNothing,
    /// [`Cell::Whole`], 0 or 1.
    Flag,
}

const fn column(name: &'static str, form: Form) -> Column {
    Column { name, form }
}

impl Table {
    /// All of them, in the order in which they are copied.
    pub const ALL: [Self; 11] = [
        Self::Collections,
        Self::Records,
        Self::Gone,
        Self::Signatures,
        Self::SignaturePrincipals,
        Self::Members,
        Self::DirectoryGroups,
        Self::DirectoryCollections,
        Self::Views,
        Self::Marks,
        Self::Names,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Collections => "collections",
            Self::Records => "records",
            Self::Gone => "gone",
            Self::Signatures => "signatures",
            Self::SignaturePrincipals => "signature_principals",
            Self::Members => "members",
            Self::DirectoryGroups => "directory_groups",
            Self::DirectoryCollections => "directory_collections",
            Self::Views => "views",
            Self::Marks => "marks",
            Self::Names => "names",
        }
    }

    /// The table of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Its columns, those of the key first.
    pub fn columns(self) -> &'static [Column] {
        use Form::{Bytes, Flag, Text, Whole, WholeOrNothing};
        match self {
            Self::Collections => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("incarnation", Bytes),
                        column("seq", Whole),
                        column("timestamp", WholeOrNothing),
                        column("gc_seq", Whole),
                        column("live", Whole),
                        column("tombstones", Whole),
                        column("chosen", Whole),
                        column("gone", Whole),
                        column("dropped", Flag),
                        column("names", Whole),
                        column("named", Whole),
                        column("nested", Whole),
                    ]
                }
            }
            Self::Records => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("id", Text),
                        column("seq", Whole),
                        column("timestamp", WholeOrNothing),
                        column("signature", Bytes),
                        column("entered", Whole),
                        column("dead", Flag),
                        column("permissions", Text),
                        column("body", Text),
                    ]
                }
            }
            Self::Gone => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("seq", Whole),
                        column("id", Text),
                        column("signature", Bytes),
                        column("entered", Whole),
                    ]
                }
            }
            Self::Signatures => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("signature", Bytes),
                        column("live", Whole),
                        column("digest", Whole),
                        column("held", Whole),
                        column("top", Whole),
                    ]
                }
            }
            Self::SignaturePrincipals => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("principal", Text),
                        column("signature", Bytes),
                    ]
                }
            }
            Self::Members => {
                const { &[column("bucket", Text), column("member", Text), column("grp", Text)] }
            }
            Self::DirectoryGroups => const { &[column("member", Text), column("bucket", Text)] },
            Self::DirectoryCollections => {
                const { &[column("principal", Text), column("bucket", Text), column("collection", Text)] }
            }
            Self::Views => {
                const {
                    &[
                        column("bucket", Text),
                        column("person", Text),
                        column("name", Bytes),
                        column("groups", Text),
                        column("used", Whole),
                    ]
                }
            }
            Self::Marks => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("seq", Whole),
                        column("time", Whole),
                    ]
                }
            }
            Self::Names => {
                const {
                    &[
                        column("bucket", Text),
                        column("collection", Text),
                        column("grp_bucket", Text),
                        column("grp", Text),
                        column("signatures", Whole),
                        column("since", Whole),
                        column("ordinal", Whole),
                    ]
                }
            }
        }
    }

    /// The columns of its key.
    pub fn key(self) -> &'static [Column] {
        let columns = match self {
            Self::Collections | Self::DirectoryGroups => 2,
            Self::Records
            | Self::Signatures
            | Self::Members
            | Self::DirectoryCollections
            | Self::Views
            | Self::Marks => 3,
            Self::Gone | Self::SignaturePrincipals | Self::Names => 4,
        };
        &self.columns()[..columns]
    }
}

/// What is in one column of one row.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Cell {
    /// NULL.
    Nothing,
    /// A number, or 0 and 1 for no and yes.
    Whole(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Cell {
    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Whole(_) => size_of::<i64>(),
            Self::Text(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether it may stand in such a column.
    pub fn fits(&self, form: Form) -> bool {
        match self {
            Self::Nothing => form == Form::WholeOrNothing,
            Self::Whole(0 | 1) => matches!(form, Form::Flag | Form::Whole | Form::WholeOrNothing),
            Self::Whole(_) => matches!(form, Form::Whole | Form::WholeOrNothing),
            Self::Text(_) => form == Form::Text,
            Self::Bytes(_) => form == Form::Bytes,
        }
    }

    // One byte for what it is, its length where that is not fixed, its content.
    fn feed(&self, hash: &mut Sha256) {
        let (kind, content) = match self {
            Self::Nothing => return hash.update([0]),
            Self::Whole(number) => {
                hash.update([1]);
                return hash.update(number.to_be_bytes());
            }
            Self::Text(text) => (2, text.as_bytes()),
            Self::Bytes(bytes) => (3, bytes.as_slice()),
        };
        hash.update([kind]);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Nothing => Value::Null,
            Self::Whole(number) => json!(number),
            Self::Text(text) => json!(text),
            Self::Bytes(bytes) => json!({ "bytes": bytes }),
        }
    }

    fn of_json(value: &Value) -> Option<Self> {
        Some(match value {
            Value::Null => Self::Nothing,
            Value::Number(number) => Self::Whole(number.as_i64()?),
            Value::String(text) => Self::Text(text.clone()),
            Value::Object(object) => {
                let bytes = object.get("bytes")?.as_array()?.iter();
                let bytes = bytes.map(|byte| u8::try_from(byte.as_u64()?).ok());
                Self::Bytes(bytes.collect::<Option<_>>()?)
            }
            Value::Bool(_) | Value::Array(_) => return None,
        })
    }
}

/// A row: a cell for each column of its table.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Row(pub Vec<Cell>);

impl Row {
    /// Its key.
    pub fn key(&self, table: Table) -> &[Cell] {
        &self.0[..table.key().len().min(self.0.len())]
    }

    /// What is in the column of this name.
    pub fn cell(&self, table: Table, column: &str) -> Option<&Cell> {
        let at = table.columns().iter().position(|one| one.name == column)?;
        self.0.get(at)
    }

    /// The text in the column of this name; none if it holds no text.
    pub fn text(&self, table: Table, column: &str) -> Option<&str> {
        match self.cell(table, column)? {
            Cell::Text(text) => Some(text),
            _ => None,
        }
    }

    /// How many bytes it holds.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Cell::bytes).sum()
    }
}

/// After how much a page ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageSize {
    /// So many rows.
    pub rows: usize,
    /// The row with which it came to so many bytes.
    pub bytes: usize,
}

impl PageSize {
    /// A transaction that costs little beside its rows, and memory that nobody misses.
    pub const USUAL: Self = Self { rows: 2_000, bytes: 4 * 1024 * 1024 };

    /// Whether a page is full with so many.
    pub fn is_full(self, rows: usize, bytes: usize) -> bool {
        rows >= self.rows || bytes >= self.bytes
    }
}

/// How far a copy came. It is kept in its target, and changes with the rows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The name of the store that is copied.
    pub source: String,
    /// The table that is under way, and the last key that was written to it. What comes before
    /// it is complete.
    pub at: Option<(Table, Vec<Cell>)>,
    /// How many rows were written.
    pub rows: u64,
}

impl Progress {
    /// A copy of this store that has just begun.
    pub fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), at: None, rows: 0 }
    }

    /// As it is kept: a JSON object of `source`, `rows`, and `table` with `after` where there is
    /// a table under way; bytes of a key are `{"bytes": [1, 2]}`.
    pub fn to_text(&self) -> String {
        let mut object = json!({ "source": self.source, "rows": self.rows });
        if let Some((table, after)) = &self.at {
            object["table"] = json!(table.name());
            object["after"] = after.iter().map(Cell::to_json).collect();
        }
        object.to_string()
    }

    /// Reads it back; `None` if it is not one.
    pub fn of_text(text: &str) -> Option<Self> {
        let object: Value = serde_json::from_str(text).ok()?;
        let at = match object.get("table") {
            None => None,
            Some(table) => {
                let table = Table::named(table.as_str()?)?;
                let after = object.get("after")?.as_array()?.iter().map(Cell::of_json);
                let after: Vec<Cell> = after.collect::<Option<_>>()?;
                let forms = table.key().iter().map(|column| column.form);
                if after.len() != table.key().len() || !after.iter().zip(forms).all(fits) {
                    return None;
                }
                Some((table, after))
            }
        };
        let rows = object.get("rows")?.as_u64()?;
        Some(Self { source: object.get("source")?.as_str()?.to_owned(), at, rows })
    }
}

fn fits((cell, form): (&Cell, Form)) -> bool {
    cell.fits(form)
}

/// What a copy asks of its target. A step that is not the next one is refused, so that two copies
/// into one store do not mix.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// To begin: takes over what the source says of itself.
    Begin {
        /// What may lie there.
        ground: Ground,
        /// As [`Dump::meta`] gives it.
        meta: BTreeMap<String, String>,
        /// Where it begins.
        progress: Progress,
    },
    /// To write a page.
    Rows {
        /// Where.
        table: Table,
        /// What.
        rows: Vec<Row>,
        /// How far it was.
        before: Progress,
        /// How far it is with these rows.
        after: Progress,
    },
    /// To be a store like any other.
    End {
        /// How far it was.
        before: Progress,
    },
}

/// What may lie where a copy begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// Nothing, or the step is refused.
    Empty,
    /// A copy that has not ended, and is removed; else the step is refused.
    Unfinished,
}

/// What is the same for the same rows, whatever database keeps them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Digest {
    /// How many rows there are.
    pub rows: u64,
    /// SHA-256 of all cells, in order.
    pub hash: [u8; 32],
}

/// A digest under way.
#[derive(Clone, Default)]
pub struct Digesting {
    rows: u64,
    hash: Sha256,
}

impl Digesting {
    /// Takes the next row.
    pub fn add(&mut self, row: &Row) {
        self.rows += 1;
        for cell in &row.0 {
            cell.feed(&mut self.hash);
        }
    }

    /// The digest of all rows.
    pub fn end(self) -> Digest {
        Digest { rows: self.rows, hash: self.hash.finalize().into() }
    }
}

impl Digest {
    /// Of what a store says of itself.
    pub fn of_meta(meta: &BTreeMap<String, String>) -> Self {
        let mut digesting = Digesting::default();
        for (key, value) in meta {
            digesting.add(&Row(vec![Cell::Text(key.clone()), Cell::Text(value.clone())]));
        }
        digesting.end()
    }

    /// Of several, in order.
    pub fn of_all<'a>(digests: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Digesting::default();
        let mut rows = 0;
        for digest in digests {
            rows += digest.rows;
            all.add(&Row(vec![Cell::Bytes(digest.hash.to_vec())]));
        }
        Self { rows, ..all.end() }
    }
}

#[cfg(test)]
mod tests;
