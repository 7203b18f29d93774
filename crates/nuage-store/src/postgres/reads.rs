//! Rows, read as [`crate::reads`] asks for them: each question is one statement, and those that are
//! joined go out together.

use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use nuage_model::StoreError;
use nuage_model::copy::{Cell, Column, Form, Table};
use tokio_postgres::types::ToSql;

use crate::cells::{CellRef, Source};
use crate::postgres::cells::{self, Array, value};
use crate::postgres::errors::Fault;
use crate::postgres::reader::Reader;
use crate::postgres::statements;
use crate::reads::{Columns, Condition, Found, Of, Reads, Scan, ScanKey, Texts, Together};
use crate::schema::Range;

const NOTED: &str = "SELECT value FROM meta WHERE key = $1 ORDER BY key LIMIT 1";

static POINTS: LazyLock<Texts<Columns>> = LazyLock::new(Texts::new);
static LOOKUPS: LazyLock<Texts<(Columns, bool)>> = LazyLock::new(Texts::new);
static SCANS: LazyLock<Texts<ScanKey>> = LazyLock::new(Texts::new);

impl Reads for Reader<'_> {
    type Fault = Fault;

    const IS_FAR: bool = true;

    async fn begin<T: Send>(
        &self,
        first: impl Future<Output = Result<T, Fault>> + Send,
    ) -> Result<T, Fault> {
        self.begin_with(first).await
    }

    async fn pause(&self) -> Result<(), Fault> {
        // Whoever waits no longer drops the future, and so does the end of the time.
        tokio::task::yield_now().await;
        Ok(())
    }

    async fn note(&self, name: &str) -> Result<Option<String>, Fault> {
        let statement = self.prepare_cached(NOTED).await?;
        let found = self.query_opt(&statement, &[&name]).await?;
        found.as_ref().map(|row| value(row, 0)).transpose()
    }

    async fn get<T: Send>(
        &self,
        keys: &[Vec<Cell>],
        columns: Columns,
        bytes: usize,
        of: impl Of<T>,
    ) -> Result<Vec<Option<T>>, Fault> {
        // What cannot be stored is not there.
        let possible = keys.iter().enumerate().filter(|(_, key)| is_storable(key));
        let (places, possible): (Vec<usize>, Vec<&[Cell]>) =
            possible.map(|(place, key)| (place, key.as_slice())).unzip();
        let mut found: Vec<Option<T>> = std::iter::repeat_with(|| None).take(keys.len()).collect();
        let table = columns.table;
        if let ([key], [place]) = (possible.as_slice(), places.as_slice()) {
            let parameters = one_each(table.key(), key);
            let sql = POINTS.get(columns, || statements::point(columns));
            let statement = self.prepare_cached(&sql).await?;
            if let Some(row) = self.query_opt(&statement, &borrowed(&parameters)).await? {
                found[*place] = Some(of(&Read { row: &row, from: 0, columns })?);
            }
            return Ok(found);
        }
        if possible.is_empty() {
            return Ok(found);
        }
        let mut parameters: Vec<Array<'_>> = cells::arrays(table, table.key(), &possible)?
            .into_iter()
            .map(|(array, _)| array)
            .collect();
        let is_text = columns.columns().last().is_some_and(|last| last.form == Form::Text);
        let is_bounded = bytes != usize::MAX && is_text;
        if is_bounded {
            parameters.push(Box::new(most(bytes)));
        }
        let mut end = None;
        let mut place = |row: &tokio_postgres::Row| {
            let n: i64 = value(row, 0)?;
            let place = usize::try_from(n - 1).ok().and_then(|n| places.get(n).copied());
            let Some(place) = place else { return Err(misnumbered()) };
            if is_bounded && !value::<bool>(row, 1)? {
                end = Some(end.map_or(place, |end: usize| end.min(place)));
            } else {
                let from = 1 + usize::from(is_bounded);
                found[place] = Some(of(&Read { row, from, columns })?);
            }
            Ok(ControlFlow::Continue(()))
        };
        let sql = LOOKUPS.get((columns, is_bounded), || statements::lookups(columns, is_bounded));
        self.each(&sql, &borrowed(&parameters), &mut place).await?;
        found.truncate(end.unwrap_or(keys.len()));
        Ok(found)
    }

    async fn scan<T: Send>(&self, mut scan: Scan<'_>, of: impl Of<T>) -> Result<Found<T>, Fault> {
        scan.ranges.retain(|range| is_storable(&range.prefix) && is_storable(&range.after));
        let Some(like) = scan.like() else { return Ok(Found::nothing()) };
        let mut parameters = bounds(&scan, like)?;
        for condition in &scan.conditions {
            match condition {
                Condition::Unset(_) | Condition::Absent(_) => {}
                Condition::AtMost(_, most) => parameters.push(Box::new(*most)),
                Condition::Among(_, signatures) => {
                    let signatures = signatures.keys().map(|signature| signature.0.to_vec());
                    parameters.push(Box::new(signatures.collect::<Vec<_>>()));
                }
            }
        }
        // One more tells whether others follow.
        parameters.push(Box::new(most(scan.limit.saturating_add(1))));
        let columns = scan.columns;
        let (mut rows, mut bytes, mut is_all) = (Vec::new(), 0_usize, true);
        let mut take = |row: &tokio_postgres::Row| {
            if rows.len() >= scan.limit || bytes >= scan.bytes {
                is_all = false;
                return Ok(ControlFlow::Break(()));
            }
            let row = Read { row, from: 0, columns };
            bytes = bytes.saturating_add(columns.large_bytes(&row));
            rows.push((columns.place(&row, like), of(&row)?));
            Ok(ControlFlow::Continue(()))
        };
        let sql = SCANS.get(scan.key(like), || statements::scan(&scan, like));
        self.each(&sql, &borrowed(&parameters), &mut take).await?;
        in_order(&scan, like, &mut rows)?;
        Ok(Found { rows: rows.into_iter().map(|(_, row)| row).collect(), is_all })
    }
}

/// A row of the database, of which some columns are asked for, from this one on.
struct Read<'r> {
    row: &'r tokio_postgres::Row,
    from: usize,
    columns: Columns,
}

impl Source for Read<'_> {
    fn cell(&self, at: usize) -> Option<CellRef<'_>> {
        let (row, from) = (self.row, self.from + at);
        Some(match self.columns.columns().get(at)?.form {
            Form::Text => CellRef::Text(row.try_get(from).ok()?),
            Form::Bytes => CellRef::Bytes(row.try_get(from).ok()?),
            Form::Whole => CellRef::Whole(row.try_get(from).ok()?),
            Form::WholeOrNothing => {
                let number: Option<i64> = row.try_get(from).ok()?;
                number.map_or(CellRef::Nothing, CellRef::Whole)
            }
            Form::Flag => CellRef::Whole(row.try_get::<_, bool>(from).ok()?.into()),
        })
    }
}

// What the ranges are, as parameters: single ones of one range, and otherwise arrays.
fn bounds<'a>(scan: &'a Scan<'_>, like: &'a Range) -> Result<Vec<Array<'a>>, Fault> {
    let table = like.index.table();
    let columns = statements::given(like);
    let cells = |range: &'a Range| -> Vec<&'a Cell> {
        let bounds = range.low.iter().chain(&range.high);
        range.prefix.iter().chain(&range.after).chain(bounds).collect()
    };
    let all: Vec<Vec<&Cell>> = scan.ranges.iter().map(cells).collect();
    if let [one] = all.as_slice() {
        return Ok(columns.iter().zip(one).map(|(column, cell)| single(column, cell)).collect());
    }
    let columns = columns.iter().enumerate();
    let array = |(at, column): (usize, &Column)| {
        let cells = all.iter().map(|cells| cells.get(at).copied());
        Ok(cells::array(table, column, cells)?.0)
    };
    columns.map(array).collect()
}

// Holds the database to the order that it was asked for. Merged rows of records come in any order.
fn in_order<T>(scan: &Scan<'_>, like: &Range, rows: &mut [(Vec<Cell>, T)]) -> Result<(), Fault> {
    if scan.together == Together::Chained && scan.ranges.len() > 1 {
        return Ok(());
    }
    let compare = |(a, _): &(Vec<Cell>, T), (b, _): &(Vec<Cell>, T)| match scan.descending {
        true => b.cmp(a),
        false => a.cmp(b),
    };
    if statements::is_fetched(scan) {
        rows.sort_by(compare);
    }
    let table = scan.columns.table;
    let is_unique = like.index.is_key() || table == Table::Records;
    let is_wrong = |order: Ordering| order.is_gt() || (is_unique && order.is_eq());
    if rows.windows(2).any(|pair| is_wrong(compare(&pair[0], &pair[1]))) {
        let why = format!("rows of {} come out of order, or twice", table.name());
        return Err(StoreError::Corrupt(why).into());
    }
    Ok(())
}

/// Cells as parameters, each by itself.
fn one_each<'a>(columns: &[Column], cells: &'a [Cell]) -> Vec<Array<'a>> {
    columns.iter().zip(cells).map(|(column, cell)| single(column, cell)).collect()
}

fn single<'a>(column: &Column, cell: &'a Cell) -> Array<'a> {
    match cell {
        Cell::Text(text) => Box::new(text.as_str()),
        Cell::Bytes(bytes) => Box::new(bytes.as_slice()),
        Cell::Whole(number) if column.form == Form::Flag => Box::new(*number == 1),
        Cell::Whole(number) => Box::new(*number),
        Cell::Nothing => Box::new(None::<i64>),
    }
}

fn borrowed<'a>(parameters: &'a [Array<'_>]) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect()
}

// PostgreSQL keeps no NUL.
fn is_storable(cells: &[Cell]) -> bool {
    !cells.iter().any(|cell| matches!(cell, Cell::Text(text) if text.contains('\0')))
}

fn misnumbered() -> Fault {
    StoreError::Corrupt("the database numbered a row that was not asked".to_owned()).into()
}

fn most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
