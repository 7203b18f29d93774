//! What may be asked of a list, as data, with one evaluator for all who must agree on its
//! meaning: stores that walk their rows, units of work that hold changes not applied yet, and
//! the model that the tests compare with.

use std::cmp::Ordering;

use serde_json::Value;

use crate::{CollectionPath, Principal, Record, State, Timestamp, compare, same};

/// What a record costs besides its texts.
const RECORD_BYTES: usize = 128;
/// What a value costs besides its text: numbers are at most so long.
const NUMBER_BYTES: usize = 24;

/// A question to one collection.
#[derive(Clone, Debug)]
pub struct Query {
    /// The collection to list.
    pub collection: CollectionPath,
    /// Which of its records may be shown.
    pub scope: Scope,
    /// Live records, tombstones, or both.
    pub states: States,
    /// All must hold.
    pub filters: Vec<Filter>,
    /// First key first. Complete: no two records are equal under it (see [`Query::sort_default`]).
    pub sort: Vec<Sort>,
    /// Only what comes strictly after this position in the order of `sort`.
    pub after: Option<Position>,
    /// The most records to give.
    pub limit: usize,
    /// The most bytes of texts to give, unless a single record has more.
    pub limit_bytes: usize,
    /// Whether the bodies are wanted; live ones may read as empty objects otherwise.
    pub bodies: bool,
}

/// Bytes of texts in a page, unless a question says otherwise.
pub const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// Bytes of one value inside a body by which lists are sorted: what is longer is compared so far,
/// and by the keys that follow. A place in a list is no longer than that for each key.
pub const SORT_KEY_BYTES: usize = 128;

/// Which records of a collection a caller may be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// All of them.
    All,
    /// Those whose signature has one of these principals.
    Readers(Vec<Principal>),
    /// Those that name one of these principals under this permission of their own. The
    /// permission must be one that makes its holder a reader.
    Holders(&'static str, Vec<Principal>),
}

/// Which states of a record a list shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum States {
    /// Live records.
    Live,
    /// Live records and tombstones.
    Both,
}

/// What a filter or a sort looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    /// The identifier, a string.
    Id,
    /// The time shown to clients, an integer.
    Timestamp,
    /// Whether it is a tombstone: `true` there, missing elsewhere unless the body has the field.
    Deleted,
    /// A value inside the body, step by step into nested objects.
    Body(Vec<String>),
}

/// One condition.
#[derive(Clone, PartialEq, Debug)]
pub struct Filter {
    /// What it looks at.
    pub field: Field,
    /// What must hold.
    pub test: Test,
}

/// What may be demanded of a field. See the Kinto fact sheet, section 7.2.
#[derive(Clone, PartialEq, Debug)]
pub enum Test {
    /// The same value; missing never matches.
    Eq(Value),
    /// Another value, or missing.
    Not(Value),
    /// Greater, or missing.
    Gt(Value),
    /// Greater or the same, or missing.
    Min(Value),
    /// Less; missing never matches.
    Lt(Value),
    /// Less or the same; missing never matches.
    Max(Value),
    /// One of these.
    In(Vec<Value>),
    /// None of these, or missing.
    Exclude(Vec<Value>),
    /// A string that matches the pattern: case-insensitive, `*` stands for any text. Give it in
    /// lower case.
    Like(String),
    /// Present (null counts) or absent.
    Has(bool),
    /// An array that has all of these.
    Contains(Vec<Value>),
    /// An array that has one of these.
    ContainsAny(Vec<Value>),
}

/// Ascending or descending.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Greatest first.
    Descending,
}

/// One key of an order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sort {
    /// What is compared.
    pub field: Field,
    /// In which direction.
    pub direction: Direction,
}

/// The values of the sort keys of the last record of a page.
pub type Position = Vec<Option<Value>>;

impl Query {
    /// All live records a caller may see, newest first.
    pub fn all(collection: CollectionPath, limit: usize) -> Self {
        Self {
            collection,
            scope: Scope::All,
            states: States::Live,
            filters: Vec::new(),
            sort: Self::sort_default(),
            after: None,
            limit,
            limit_bytes: PAGE_BYTES,
            bodies: true,
        }
    }

    /// The time that everything shown must be newer than, if one is demanded.
    pub fn since(&self) -> Option<Timestamp> {
        let since = self.filters.iter().filter_map(|filter| match (&filter.field, &filter.test) {
            (Field::Timestamp, Test::Gt(Value::Number(since))) => since.as_i64().map(Timestamp),
            _ => None,
        });
        since.max()
    }

    /// What a record costs, as pages are measured.
    pub fn cost(record: &Record) -> usize {
        RECORD_BYTES + record.id.as_str().len() + record.body().len() + record.permissions().len()
    }

    /// How many of these records, in order, make a page, and what they cost together.
    pub fn page<'r>(&self, records: impl IntoIterator<Item = &'r Record>) -> (usize, usize) {
        let (mut count, mut bytes) = (0, 0);
        for record in records.into_iter().take(self.limit) {
            let cost = Self::cost(record);
            if count > 0 && bytes + cost > self.limit_bytes {
                break;
            }
            count += 1;
            bytes += cost;
        }
        (count, bytes)
    }

    /// Newest first. Timestamps are unique in a collection, so this order is complete, and so is
    /// any order that ends with it.
    pub fn sort_default() -> Vec<Sort> {
        vec![Sort { field: Field::Timestamp, direction: Direction::Descending }]
    }

    /// Whether the record satisfies the states, the filters and the position; the scope is not
    /// looked at.
    pub fn matches(&self, view: &View<'_>) -> bool {
        let wanted = match self.states {
            States::Live => view.record.is_live(),
            States::Both => true,
        };
        wanted
            && self.filters.iter().all(|f| f.test.holds(view.get(&f.field).as_ref()))
            && self.after.as_ref().is_none_or(|p| self.is_after(view, p))
    }

    /// The values by which the record is sorted.
    pub fn position(&self, view: &View<'_>) -> Position {
        let key = |sort: &Sort| match view.get(&sort.field) {
            Some(value) if matches!(sort.field, Field::Body(_)) => Some(start_of(value)),
            value => value,
        };
        self.sort.iter().map(key).collect()
    }

    /// Compares two positions in the order of this query.
    pub fn compare_positions(&self, a: &Position, b: &Position) -> Ordering {
        let keys = self.sort.iter().zip(a.iter().zip(b));
        for (sort, (a, b)) in keys {
            let order = compare(a.as_ref(), b.as_ref());
            let order = match sort.direction {
                Direction::Ascending => order,
                Direction::Descending => order.reverse(),
            };
            if order.is_ne() {
                return order;
            }
        }
        Ordering::Equal
    }

    fn is_after(&self, view: &View<'_>, position: &Position) -> bool {
        self.compare_positions(&self.position(view), position).is_gt()
    }
}

/// Items of an array that are looked through one by one.
const SEARCHED_MAX: usize = 16;

/// A record whose body is parsed when a filter or a sort first asks for it.
pub struct View<'a> {
    record: &'a Record,
    body: std::cell::OnceCell<Value>,
}

impl<'a> View<'a> {
    /// Looks at a record.
    pub fn new(record: &'a Record) -> Self {
        Self { record, body: std::cell::OnceCell::new() }
    }

    /// The value of a field; `None` when missing.
    pub fn get(&self, field: &Field) -> Option<Value> {
        match field {
            Field::Id => Some(Value::from(self.record.id.as_str())),
            Field::Timestamp => Some(Value::from(self.record.timestamp().0)),
            Field::Deleted => match self.record.state {
                State::Tombstone => Some(Value::Bool(true)),
                State::Live { .. } => self.body().get("deleted").cloned(),
            },
            Field::Body(path) => {
                let mut value = self.body();
                for step in path {
                    value = value.as_object()?.get(step)?;
                }
                Some(value.clone())
            }
        }
    }

    // A body that does not parse has no fields; `nuage check` reports it.
    fn body(&self) -> &Value {
        self.body.get_or_init(|| serde_json::from_str(self.record.body()).unwrap_or(Value::Null))
    }
}

impl Test {
    /// Whether the value, or its absence, passes.
    pub fn holds(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Eq(wanted) => value.is_some_and(|v| same(v, wanted)),
            Self::Not(wanted) => value.is_none_or(|v| !same(v, wanted)),
            Self::Gt(bound) => compare(value, Some(bound)).is_gt(),
            Self::Min(bound) => compare(value, Some(bound)).is_ge(),
            Self::Lt(bound) => compare(value, Some(bound)).is_lt(),
            Self::Max(bound) => compare(value, Some(bound)).is_le(),
            Self::In(list) => value.is_some_and(|v| list.iter().any(|w| same(v, w))),
            Self::Exclude(list) => value.is_none_or(|v| !list.iter().any(|w| same(v, w))),
            Self::Like(pattern) => match value {
                Some(Value::String(text)) => like(&text.to_lowercase(), pattern),
                _ => false,
            },
            Self::Has(wanted) => value.is_some() == *wanted,
            Self::Contains(items) => {
                array(value).is_some_and(|a| found(a, items).all(|is_there| is_there))
            }
            Self::ContainsAny(items) => {
                array(value).is_some_and(|a| found(a, items).any(|is_there| is_there))
            }
        }
    }
}

/// As much of a value as is compared.
fn start_of(value: Value) -> Value {
    fn start(value: Value, left: &mut usize) -> Value {
        *left = left.saturating_sub(NUMBER_BYTES);
        match value {
            Value::String(mut text) => {
                text.truncate(text.floor_char_boundary(*left));
                *left -= text.len();
                Value::String(text)
            }
            Value::Array(items) => {
                let mut items = items.into_iter();
                let next = || (*left > 0).then(|| items.next()).flatten().map(|v| start(v, left));
                std::iter::from_fn(next).collect()
            }
            Value::Object(members) => {
                let mut members = members.into_iter();
                let next = || {
                    let (name, value) = members.next().filter(|(name, _)| name.len() < *left)?;
                    *left -= name.len();
                    Some((name, start(value, left)))
                };
                std::iter::from_fn(next).collect()
            }
            value => value,
        }
    }
    match value {
        Value::String(text) if text.len() <= SORT_KEY_BYTES => Value::String(text),
        value => start(value, &mut (SORT_KEY_BYTES + NUMBER_BYTES)),
    }
}

/// Whether each of the wanted items is in the array. A long array is sorted first: both may have
/// very many.
fn found<'a>(array: &'a [Value], wanted: &'a [Value]) -> impl Iterator<Item = bool> + 'a {
    let mut sorted: Vec<&Value> = Vec::new();
    if array.len() > SEARCHED_MAX && wanted.len() > SEARCHED_MAX {
        sorted.extend(array);
        sorted.sort_unstable_by(|a, b| compare(Some(a), Some(b)));
    }
    wanted.iter().map(move |item| match sorted.is_empty() {
        true => array.iter().any(|value| same(value, item)),
        false => sorted.binary_search_by(|value| compare(Some(value), Some(item))).is_ok(),
    })
}

fn array(value: Option<&Value>) -> Option<&Vec<Value>> {
    value.and_then(Value::as_array)
}

/// Anchored match of a text against a pattern in which `*` stands for any text. Takes the
/// earliest place for each piece, so it is linear in practice and never exponential.
fn like(text: &str, pattern: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or("");
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests;
