//! Cells of rows, as PostgreSQL gives and takes them: as columns of many rows, in arrays.

use nuage_model::StoreError;
use nuage_model::copy::{Cell, Column, Form, Row, Table};
use tokio_postgres::types::{FromSql, ToSql, Type};

use crate::postgres::errors::{Fault, chain};

/// The names of columns, in a list.
pub(super) fn names(columns: &[Column]) -> String {
    columns.iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// As many parameters, in a list.
pub(super) fn marks(columns: &[Column]) -> String {
    (1..=columns.len()).map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
}

/// The columns, from this place on.
pub(super) fn row(
    columns: &[Column],
    row: &tokio_postgres::Row,
    from: usize,
) -> Result<Row, Fault> {
    let cells = columns.iter().enumerate();
    let cells = cells.map(|(at, column)| cell(column, row, from + at));
    Ok(Row(cells.collect::<Result<_, Fault>>()?))
}

fn cell(column: &Column, row: &tokio_postgres::Row, at: usize) -> Result<Cell, Fault> {
    Ok(match column.form {
        Form::Text => Cell::Text(value(row, at)?),
        Form::Bytes => Cell::Bytes(value(row, at)?),
        Form::Whole => Cell::Whole(value(row, at)?),
        Form::WholeOrNothing => value::<Option<i64>>(row, at)?.map_or(Cell::Nothing, Cell::Whole),
        Form::Flag => Cell::Whole(value::<bool>(row, at)?.into()),
    })
}

/// A value of the row; what it cannot be is damage.
pub(super) fn value<'r, T: FromSql<'r>>(
    row: &'r tokio_postgres::Row,
    at: usize,
) -> Result<T, Fault> {
    row.try_get(at).map_err(|error| StoreError::Corrupt(chain(&error)).into())
}

/// An array, as a parameter.
pub(super) type Array<'a> = Box<dyn ToSql + Sync + Send + 'a>;

/// Each column of some rows, with its type.
pub(super) fn arrays<'a>(
    table: Table,
    columns: &[Column],
    rows: &[&'a [Cell]],
) -> Result<Vec<(Array<'a>, Type)>, Fault> {
    let columns = columns.iter().enumerate();
    columns.map(|(at, column)| array(table, column, rows.iter().map(|row| row.get(at)))).collect()
}

/// Cells of one column; those of rows that are not there are NULL.
pub(super) fn nullable<'a>(
    column: &Column,
    cells: impl Iterator<Item = Option<&'a Cell>>,
) -> Result<Array<'a>, Fault> {
    let cells: Vec<Option<&Cell>> = cells.collect();
    Ok(match column.form {
        Form::Text => Box::new(cells.iter().map(|cell| cell.and_then(text)).collect::<Vec<_>>()),
        Form::Bytes => Box::new(cells.iter().map(|cell| cell.and_then(bytes)).collect::<Vec<_>>()),
        Form::Whole | Form::WholeOrNothing => {
            Box::new(cells.iter().map(|cell| cell.and_then(whole)).collect::<Vec<_>>())
        }
        Form::Flag => {
            let flag = |cell: &Cell| whole(cell).map(|number| number == 1);
            Box::new(cells.iter().map(|cell| cell.and_then(flag)).collect::<Vec<_>>())
        }
    })
}

/// Cells of one column, with its type.
pub(super) fn array<'a>(
    table: Table,
    column: &Column,
    cells: impl Iterator<Item = Option<&'a Cell>>,
) -> Result<(Array<'a>, Type), Fault> {
    let cells = cells.map(|cell| cell.filter(|cell| cell.fits(column.form)));
    let cells = cells.collect::<Option<Vec<&Cell>>>().ok_or_else(misfit)?;
    Ok(match column.form {
        Form::Text => {
            let texts: Vec<&str> = cells.into_iter().filter_map(text).collect();
            if texts.iter().any(|text| text.contains('\0')) {
                let why = format!(
                    "a {} in {} holds a NUL character, which PostgreSQL cannot keep",
                    column.name,
                    table.name()
                );
                return Err(StoreError::Unsupported(why).into());
            }
            (Box::new(texts), Type::TEXT_ARRAY)
        }
        Form::Bytes => {
            let all: Vec<&[u8]> = cells.into_iter().filter_map(bytes).collect();
            (Box::new(all), Type::BYTEA_ARRAY)
        }
        Form::Whole | Form::WholeOrNothing => {
            (Box::new(cells.iter().copied().map(whole).collect::<Vec<_>>()), Type::INT8_ARRAY)
        }
        Form::Flag => {
            let flags: Vec<bool> = cells.iter().map(|cell| whole(cell) == Some(1)).collect();
            (Box::new(flags), Type::BOOL_ARRAY)
        }
    })
}

fn whole(cell: &Cell) -> Option<i64> {
    if let Cell::Whole(number) = cell { Some(*number) } else { None }
}

fn text(cell: &Cell) -> Option<&str> {
    if let Cell::Text(text) = cell { Some(text) } else { None }
}

fn bytes(cell: &Cell) -> Option<&[u8]> {
    if let Cell::Bytes(bytes) = cell { Some(bytes) } else { None }
}

/// A row does not have the form of its table.
pub(super) fn misfit() -> Fault {
    StoreError::Corrupt("a row does not have the form of its table".to_owned()).into()
}
