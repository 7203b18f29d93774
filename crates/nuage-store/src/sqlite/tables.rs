//! The tables of one SQLite file, as the rules read and change them.
//!
//! Each statement is made from the description of its table; none is written by hand.

use std::sync::LazyLock;

use nuage_model::copy::{Cell, Column, Form, Row, Table};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

use crate::schema::{Index, Only, Prune, Range, Rows, Stage, Was, counters, slim};
use crate::sqlite::cells::{self, Sql, marks, names};
use crate::sqlite::errors::Fault;

const NOTED: &str = "SELECT value FROM meta WHERE key = ?1";
const NOTE: &str = "
    INSERT INTO meta (key, value) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

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
        let is_key = equal(key, 0);
        let insert = format!("INSERT INTO {name} ({}) VALUES ({})", names(columns), marks(columns));
        let conflict = |set: String| match set.is_empty() {
            true => format!("{insert} ON CONFLICT DO NOTHING"),
            false => format!("{insert} ON CONFLICT ({}) DO UPDATE SET {set}", names(key)),
        };
        let replaced = rest.iter().map(|column| format!("{0} = excluded.{0}", column.name));
        let added = counters(table).iter().map(|(at, modulus)| {
            let column = columns[*at].name;
            let sum = format!("{column} + excluded.{column}");
            match modulus {
                None => format!("{column} = {sum}"),
                Some(modulus) => format!("{column} = ({sum}) % {modulus}"),
            }
        });
        let numbered = rest.iter().enumerate();
        let set = numbered.map(|(at, column)| format!("{} = ?{}", column.name, key.len() + at + 1));
        Self {
            get: format!("SELECT {} FROM {name} WHERE {is_key}", names(slim(table))),
            update: format!("UPDATE {name} SET {} WHERE {is_key}", joined(set)),
            upsert: conflict(joined(replaced)),
            add: conflict(joined(added)),
            delete: format!("DELETE FROM {name} WHERE {is_key}"),
            insert,
        }
    }

    fn for_table(table: Table) -> &'static Self {
        &STATEMENTS[table as usize]
    }
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

// These columns are parameters, numbered after so many others.
pub(super) fn equal(columns: &[Column], after: usize) -> String {
    let columns = columns.iter().enumerate();
    let columns = columns.map(|(at, column)| format!("{} = ?{}", column.name, after + at + 1));
    columns.collect::<Vec<_>>().join(" AND ")
}

/// The first columns of an index.
pub(super) fn first(index: Index, count: usize) -> Vec<Column> {
    let columns = index.columns().iter().take(count);
    columns.map(|at| index.table().columns()[*at]).collect()
}

pub(super) fn from(index: Index) -> String {
    let table = index.table().name();
    index.name().map_or_else(|| table.to_owned(), |name| format!("{table} INDEXED BY {name}"))
}

fn range_sql(range: &Range) -> String {
    let (index, table) = (range.index, range.index.table());
    let mut wanted = equal(&first(index, range.prefix.len()), 0);
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
    }
    let order = names(&first(index, usize::MAX));
    let limit = range.limit.map_or_else(String::new, |limit| format!(" LIMIT {limit}"));
    format!(
        "SELECT {} FROM {} WHERE {wanted} ORDER BY {order}{limit}",
        names(slim(table)),
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
    // Large rows are found by a number, so that indexes need not hold their keys.
    let is_large = slim(table).len() < table.columns().len();
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {name} ({}, PRIMARY KEY ({})) STRICT{};",
        joined(table.columns().iter().map(column)),
        names(table.key()),
        if is_large { "" } else { ", WITHOUT ROWID" }
    );
    for index in Index::of(table) {
        let Some(own) = index.name() else { continue };
        let unique = if index.is_unique() { "UNIQUE " } else { "" };
        let only = match index.only() {
            None => String::new(),
            Some(Only::Present(at)) => format!(" WHERE {} IS NOT NULL", table.columns()[at].name),
            Some(Only::Set(at)) => format!(" WHERE {} = 1", table.columns()[at].name),
        };
        let columns = names(&first(index, usize::MAX));
        sql += &format!("CREATE {unique}INDEX IF NOT EXISTS {own} ON {name} ({columns}){only};");
    }
    sql
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
        self.execute(sql, &row.0)
    }

    fn add(&mut self, table: Table, row: Row) -> Result<(), Fault> {
        self.execute(&Statements::for_table(table).add, &row.0)
    }

    fn delete(&mut self, table: Table, key: &[Cell]) -> Result<(), Fault> {
        self.execute(&Statements::for_table(table).delete, key)
    }

    fn prune(&mut self, prune: Prune) -> Result<(), Fault> {
        let Prune { index, prefix, unless } = prune;
        let mut sql =
            format!("DELETE FROM {} WHERE {}", from(index), equal(&first(index, prefix.len()), 0));
        let mut number = prefix.len();
        for (needed, other) in &unless {
            let is_needed = equal(&first(*needed, other.len()), number);
            let from = from(*needed);
            sql += &format!(" AND NOT EXISTS (SELECT 1 FROM {from} WHERE {is_needed})");
            number += other.len();
        }
        self.execute(&sql, prefix.iter().chain(unless.iter().flat_map(|(_, other)| other)))
    }

    fn clear(
        &mut self,
        index: Index,
        prefix: &[Cell],
        below: Option<(usize, i64)>,
    ) -> Result<(), Fault> {
        let is_under = equal(&first(index, prefix.len()), 0);
        let mut sql = format!("DELETE FROM {} WHERE {is_under}", from(index));
        let bound = below.map(|(at, bound)| {
            let column = index.table().columns()[at].name;
            sql += &format!(" AND {column} < ?{}", prefix.len() + 1);
            Cell::Whole(bound)
        });
        self.execute(&sql, prefix.iter().chain(&bound))
    }

    fn clear_all(&mut self) -> Result<(), Fault> {
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

    fn surely_has(&mut self, table: Table, key: &[Cell], _: Stage) -> Result<bool, Fault> {
        Ok(self.get(table, key)?.is_some())
    }
}
