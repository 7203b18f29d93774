//! The tables of one SQLite file, as the rules read and change them.
//!
//! Each statement is made from the description of its table; none is written by hand.

use std::sync::LazyLock;

use nuage_model::copy::{Cell, Column, Form, Row, Table};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::schema::{
    Generation, Index, Only, Prune, Range, Rows, Was, counters, is_group, named, slim,
    under_collection,
};
use crate::sqlite::cells::{self, Sql, names};
use crate::sqlite::errors::Fault;

const NOTED: &str = "SELECT value FROM meta WHERE key = ?1";
const NOTE: &str = "
    INSERT INTO meta (key, value) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// A number that no row of `collections` has, nor anything that is still to be removed.
const NEXT_NUMBER: &str = "(SELECT 1 + max(coalesce((SELECT max(number) FROM collections), 0),
    coalesce((SELECT max(number) FROM dropped), 0)))";
/// What a collection that is given its number before there is anything else to tell of it has after
/// its names: as if it had been dropped before it began.
const UNBEGUN: &str = "zeroblob(8), 0, NULL, 0, 0, 0, 0, 0, 1, 0, 0, 0";
const DROPPED: &str = "SELECT number FROM collections WHERE bucket = ?1";
const NOTE_DROPPED: &str = "
    INSERT INTO dropped (number, bucket, collection, looked_at)
    SELECT number, bucket, collection, '' FROM collections WHERE number = ?1";
/// The collection whose number is in rows that only a bucket names.
pub(super) const GROUPS: &str = "_groups";

/// The statements for single rows of a table.
struct Statements {
    get: String,
    insert: String,
    update: String,
    upsert: String,
    add: String,
    delete: String,
}

/// By the numbers of the tables.
static STATEMENTS: LazyLock<[Statements; Table::ALL.len()]> =
    LazyLock::new(|| Table::ALL.map(Statements::of));

impl Statements {
    fn of(table: Table) -> Self {
        let (name, columns, key) = (table.name(), table.columns(), table.key());
        let rest = &columns[key.len()..];
        let is_key = equal(Index::Key(table), key.len(), 0);
        let insert = insert(table);
        let conflict = |set: String| match set.is_empty() {
            true => format!("{insert} ON CONFLICT DO NOTHING"),
            false => {
                let key = columns_of(Index::Key(table), key.len());
                format!("{insert} ON CONFLICT ({key}) DO UPDATE SET {set}")
            }
        };
        let replaced = rest.iter().map(|column| format!("{0} = excluded.{0}", column.name));
        let added = counters(table).iter().map(|(at, counter)| {
            let column = columns[*at].name;
            let of = counter.sql(column, &format!("excluded.{column}"), "max");
            format!("{column} = {of}")
        });
        let numbered = rest.iter().enumerate();
        let set = numbered.map(|(at, column)| format!("{} = ?{}", column.name, key.len() + at + 1));
        let upsert = conflict(joined(replaced));
        Self {
            get: format!(
                "SELECT {} FROM {name} WHERE {is_key}",
                selected(table, 0..slim(table).len())
            ),
            update: format!("UPDATE {name} SET {} WHERE {is_key}", joined(set)),
            add: conflict(joined(added)),
            delete: format!("DELETE FROM {name} WHERE {is_key}"),
            // It may have been given its number already.
            insert: if table == Table::Collections { upsert.clone() } else { insert },
            upsert,
        }
    }

    fn for_table(table: Table) -> &'static Self {
        &STATEMENTS[table as usize]
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

/// Writes a row of a table, whose cells are the parameters.
pub(super) fn insert(table: Table) -> String {
    let (name, columns) = (table.name(), table.columns());
    let under = under_collection(table);
    let (number, comma) = match (table, under) {
        (Table::Collections, _) => (NEXT_NUMBER.to_owned(), ", "),
        (_, 0) => (String::new(), ""),
        _ => (number(under, 0), ", "),
    };
    let marks = joined((under..columns.len()).map(|at| format!("?{}", at + 1)));
    let (names, column) = (names(&columns[under..]), if comma.is_empty() { "" } else { "number" });
    format!("INSERT INTO {name} ({column}{comma}{names}) VALUES ({number}{comma}{marks})")
}

// The number of a collection that is named by parameters, numbered after so many others; of that of
// the groups, where they name a bucket only.
fn number(under: usize, after: usize) -> String {
    let collection = match under {
        1 => format!("'{GROUPS}'"),
        _ => format!("?{}", after + 2),
    };
    let bucket = after + 1;
    format!(
        "(SELECT number FROM collections WHERE bucket = ?{bucket} AND collection = {collection})"
    )
}

/// A number in the place of what names a collection, and the names of the other columns of an
/// index: as many as there are, or the first ones.
pub(super) fn names_of(index: Index, count: usize) -> Vec<&'static str> {
    let table = index.table();
    let under = under_collection(table);
    let columns = index.columns().iter().take(count).skip(under);
    let columns = columns.map(|at| table.columns()[*at].name);
    (under > 0).then_some("number").into_iter().chain(columns).collect()
}

fn columns_of(index: Index, count: usize) -> String {
    names_of(index, count).join(", ")
}

/// The first columns of an index are parameters, numbered after so many others.
pub(super) fn equal(index: Index, count: usize, after: usize) -> String {
    let under = under_collection(index.table());
    debug_assert!(under <= count, "a collection must be named to look into {index:?}");
    let is_under = (under > 0).then(|| format!("number = {}", number(under, after)));
    let names = names_of(index, count).into_iter().filter(|name| *name != "number");
    let rest = names.enumerate().map(|(at, name)| format!("{name} = ?{}", after + under + at + 1));
    is_under.into_iter().chain(rest).collect::<Vec<_>>().join(" AND ")
}

/// Columns of a table, as they are read: what names a collection are the first parameters.
pub(super) fn selected(table: Table, places: std::ops::Range<usize>) -> String {
    let under = under_collection(table);
    joined(places.map(|at| match at < under {
        true => format!("?{}", at + 1),
        false => table.columns()[at].name.to_owned(),
    }))
}

pub(super) fn from(index: Index) -> String {
    let table = index.table().name();
    let name = match index {
        Index::Key(Table::Collections) => Some("sqlite_autoindex_collections_1"),
        _ => index.name(),
    };
    name.map_or_else(|| table.to_owned(), |name| format!("{table} INDEXED BY {name}"))
}

fn range_sql(range: &Range) -> String {
    let (index, table) = (range.index, range.index.table());
    let mut wanted = equal(index, range.prefix.len(), 0);
    let mut number = range.prefix.len();
    let next = index.columns().get(number).map(|at| table.columns()[*at].name);
    for (bound, comparison) in [(&range.low, ">="), (&range.high, "<=")] {
        if let (Some(_), Some(next)) = (bound, next) {
            number += 1;
            wanted += &format!(" AND {next} {comparison} ?{number}");
        }
    }
    match index.only() {
        None => {}
        Some(Only::Present(at)) => {
            wanted += &format!(" AND {} IS NOT NULL", table.columns()[at].name);
        }
        Some(Only::Set(at)) => wanted += &format!(" AND {} = 1", table.columns()[at].name),
        Some(Only::Group(at)) => {
            wanted += &format!(" AND {}", is_group(table.columns()[at].name));
        }
    }
    let direction = if range.descending { " DESC" } else { "" };
    let order = names_of(index, usize::MAX).into_iter().map(|name| format!("{name}{direction}"));
    let order = joined(order);
    let limit = range.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    format!(
        "SELECT {} FROM {} WHERE {wanted} ORDER BY {order}{limit}",
        selected(table, 0..slim(table).len()),
        from(index)
    )
}

/// Makes a table, unless it is there.
pub(super) fn create(table: Table) -> String {
    let column = |column: &Column| {
        let form = match column.form {
            Form::Text => "TEXT NOT NULL",
            Form::Bytes => "BLOB NOT NULL",
            Form::Whole | Form::Flag => "INTEGER NOT NULL",
            Form::WholeOrNothing => "INTEGER",
        };
        format!("{} {form}", column.name)
    };
    let name = table.name();
    let under = under_collection(table);
    let (number, key) = match (table, under) {
        (Table::Collections, _) => ("number INTEGER PRIMARY KEY, ", "UNIQUE"),
        (_, 0) => ("", "PRIMARY KEY"),
        _ => ("number INTEGER NOT NULL, ", "PRIMARY KEY"),
    };
    // Large rows are found by a number, so that indexes need not hold their keys.
    let has_rowid = slim(table).len() < table.columns().len() || table == Table::Collections;
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {name} ({number}{}, {key} ({})) STRICT{};",
        joined(table.columns()[under..].iter().map(column)),
        columns_of(Index::Key(table), usize::MAX),
        if has_rowid { "" } else { ", WITHOUT ROWID" }
    );
    for index in Index::of(table) {
        let Some(own) = index.name() else { continue };
        let unique = if index.is_unique() { "UNIQUE " } else { "" };
        let only = match index.only() {
            None => String::new(),
            Some(Only::Present(at)) => format!(" WHERE {} IS NOT NULL", table.columns()[at].name),
            Some(Only::Set(at)) => format!(" WHERE {} = 1", table.columns()[at].name),
            Some(Only::Group(at)) => format!(" WHERE {}", is_group(table.columns()[at].name)),
        };
        let columns = columns_of(index, usize::MAX);
        sql += &format!("CREATE {unique}INDEX IF NOT EXISTS {own} ON {name} ({columns}){only};");
    }
    sql
}

/// Makes the view in which a table that lies under a collection has the columns of its description,
/// and the number. It goes through the collections in the order of their names.
pub(super) fn create_view(table: Table) -> Option<String> {
    let (name, under) = (table.name(), under_collection(table));
    let names = joined(table.columns()[under..].iter().map(|column| format!("t.{}", column.name)));
    let (collection, is_one) = match under {
        0 => return None,
        1 => ("", format!(" AND c.collection = '{GROUPS}'")),
        _ => ("c.collection, ", String::new()),
    };
    Some(format!(
        "CREATE VIEW {} AS SELECT c.bucket, {collection}{names}, t.number
         FROM collections c CROSS JOIN {name} t ON t.number = c.number{is_one};",
        named(table)
    ))
}

/// A connection with a transaction that is open already.
pub(super) struct Open<'a>(pub(super) &'a Connection);

impl Open<'_> {
    fn execute<'c>(
        &self,
        sql: &str,
        cells: impl IntoIterator<Item = &'c Cell>,
    ) -> Result<(), Fault> {
        let cells = params_from_iter(cells.into_iter().map(Sql));
        self.0.prepare_cached(sql)?.execute(cells)?;
        Ok(())
    }

    /// Writes a row. The first one under a collection comes before the collection's own, and finds no
    /// number.
    pub(super) fn write(&self, table: Table, sql: &str, row: &Row) -> Result<(), Fault> {
        let under = under_collection(table);
        match self.execute(sql, &row.0) {
            Err(fault) if under > 0 && fault.is_missing() => {
                begin_collection(self.0, &row.0[..under])?;
                self.execute(sql, &row.0)
            }
            written => written,
        }
    }
}

// Gives a collection a number, unless it has one.
fn begin_collection(connection: &Connection, named: &[Cell]) -> Result<(), Fault> {
    let groups = Cell::Text(GROUPS.to_owned());
    let begin = format!(
        "INSERT INTO collections (number, {}) VALUES ({NEXT_NUMBER}, ?1, ?2, {UNBEGUN})
         ON CONFLICT DO NOTHING",
        names(Table::Collections.columns())
    );
    let named = named.iter().chain([&groups]).take(2).map(Sql);
    connection.prepare_cached(&begin)?.execute(params_from_iter(named))?;
    Ok(())
}

impl Rows for Open<'_> {
    type Fault = Fault;

    fn get(&mut self, table: Table, key: &[Cell]) -> Result<Option<Row>, Fault> {
        let mut statement = self.0.prepare_cached(&Statements::for_table(table).get)?;
        let mut rows = statement.query(params_from_iter(key.iter().map(Sql)))?;
        let row = rows.next()?.map(|row| cells::row(table, slim(table), row));
        row.transpose()
    }

    fn range(&mut self, range: &Range) -> Result<Vec<Row>, Fault> {
        let table = range.index.table();
        let mut statement = self.0.prepare_cached(&range_sql(range))?;
        let cells = range.prefix.iter().chain(&range.low).chain(&range.high);
        let mut found = statement.query(params_from_iter(cells.map(Sql)))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push(cells::row(table, slim(table), row)?);
        }
        Ok(rows)
    }

    fn put(&mut self, table: Table, row: Row, was: Was) -> Result<(), Fault> {
        let statements = Statements::for_table(table);
        let sql = match was {
            Was::Absent => &statements.insert,
            Was::Present => &statements.update,
            Was::Unknown => &statements.upsert,
        };
        self.write(table, sql, &row)
    }

    fn add(&mut self, table: Table, row: Row) -> Result<(), Fault> {
        self.write(table, &Statements::for_table(table).add, &row)
    }

    fn delete(&mut self, table: Table, key: &[Cell]) -> Result<(), Fault> {
        self.execute(&Statements::for_table(table).delete, key)
    }

    fn prune(&mut self, prune: Prune) -> Result<(), Fault> {
        let Prune { index, prefix, unless } = prune;
        let mut sql =
            format!("DELETE FROM {} WHERE {}", from(index), equal(index, prefix.len(), 0));
        let mut number = prefix.len();
        for (needed, other) in &unless {
            let is_needed = equal(*needed, other.len(), number);
            let from = from(*needed);
            sql += &format!(" AND NOT EXISTS (SELECT 1 FROM {from} WHERE {is_needed})");
            number += other.len();
        }
        self.execute(&sql, prefix.iter().chain(unless.iter().flat_map(|(_, other)| other)))
    }

    fn drop_under(&mut self, prefix: &[Cell]) -> Result<(), Fault> {
        let collection = prefix.get(1).map_or("", |_| " AND collection = ?2");
        let numbers = {
            let mut statement = self.0.prepare_cached(&format!("{DROPPED}{collection}"))?;
            let numbers = statement
                .query_map(params_from_iter(prefix.iter().map(Sql)), |row| row.get::<_, i64>(0))?;
            numbers.collect::<rusqlite::Result<Vec<_>>>()?
        };
        let renumber = format!("UPDATE collections SET number = {NEXT_NUMBER} WHERE number = ?1");
        for number in numbers {
            self.0.prepare_cached(NOTE_DROPPED)?.execute([number])?;
            self.0.prepare_cached(&renumber)?.execute([number])?;
        }
        Ok(())
    }

    fn clear_all(&mut self) -> Result<(), Fault> {
        self.0.execute("DELETE FROM dropped", [])?;
        for table in Table::ALL {
            self.0.execute(&format!("DELETE FROM {}", table.name()), [])?;
        }
        Ok(())
    }

    fn note(&mut self, name: &str) -> Result<Option<String>, Fault> {
        Ok(self.0.prepare_cached(NOTED)?.query_row([name], |row| row.get(0)).optional()?)
    }

    fn set_note(&mut self, name: &str, text: &str) -> Result<(), Fault> {
        self.0.prepare_cached(NOTE)?.execute([name, text])?;
        Ok(())
    }

    fn surely_has(&mut self, table: Table, key: &[Cell], _: Generation) -> Result<bool, Fault> {
        Ok(self.get(table, key)?.is_some())
    }
}
