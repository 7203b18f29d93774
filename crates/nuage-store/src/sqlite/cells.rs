//! Cells of rows, as SQLite gives and takes them.

use nuage_model::StoreError;
use nuage_model::copy::{Cell, Column, Form, Row, Table};
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};

use crate::sqlite::errors::Fault;

/// The names of columns, in a list.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// The row that begins with these columns of a table.
pub(super) fn row(table: Table, columns: &[Column], row: &rusqlite::Row<'_>) -> Result<Row, Fault> {
    let cells = columns.iter().enumerate();
    let cells = cells.map(|(at, column)| cell(table, column, row.get_ref(at)?));
    Ok(Row(cells.collect::<Result<_, Fault>>()?))
}

fn cell(table: Table, column: &Column, value: ValueRef<'_>) -> Result<Cell, Fault> {
    let cell = match value {
        ValueRef::Null => Some(Cell::Nothing),
        ValueRef::Integer(number) => Some(Cell::Whole(number)),
        ValueRef::Text(text) => String::from_utf8(text.to_vec()).ok().map(Cell::Text),
        ValueRef::Blob(bytes) => Some(Cell::Bytes(bytes.to_vec())),
        ValueRef::Real(_) => None,
    };
    cell.filter(|cell| cell.fits(column.form)).ok_or_else(|| {
        let what = match column.form {
            Form::Text => "a text",
            Form::Bytes => "bytes",
            Form::Whole | Form::WholeOrNothing => "a whole number",
            Form::Flag => "0 or 1",
        };
        let why = format!("a {} in {} is not {what}", column.name, table.name());
        Fault::Store(StoreError::Corrupt(why))
    })
}

/// A cell as a parameter.
pub(super) struct Sql<'a>(pub(super) &'a Cell);

impl ToSql for Sql<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Cell::Nothing => ToSqlOutput::Owned(Value::Null),
            Cell::Whole(number) => ToSqlOutput::Owned(Value::Integer(*number)),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}
