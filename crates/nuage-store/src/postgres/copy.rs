//! The database as rows: read in one snapshot on a connection of its own, written a page to a
//! transaction as arrays.
//!
//! The statements are made from the list of tables and columns, nothing else. A page is asked for
//! by its first key, so that a pooler sees nothing but short statements in one transaction.

use std::collections::BTreeMap;
use std::pin::pin;

use deadpool_postgres::ClientWrapper;
use futures_util::TryStreamExt;
use nuage_model::copy::{
    COPY, Cell, Dump, Ground, KEPT, PageSize, Progress, Row, STORE, Step, Table,
};
use nuage_model::{Pending, StoreError};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use crate::postgres::cells::{self, marks, misfit, names};
use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;

/// Rows asked for at first: their size is not known yet.
const ROWS_MIN: usize = 32;

// Pages come along the index of the key: a sort would begin with all rows for each of them.
const BEGIN: &str = "
    BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
    SET LOCAL statement_timeout = 0;
    SET LOCAL idle_in_transaction_session_timeout = 0;
    SET LOCAL enable_sort = off;
    SET LOCAL enable_bitmapscan = off";
const PATIENTLY: &str = "SET LOCAL statement_timeout = 0";
const META: &str = "SELECT key, value FROM meta";
const GET: &str = "SELECT value FROM meta WHERE key = $1";
const GET_TO_CHANGE: &str = "SELECT value FROM meta WHERE key = $1 FOR UPDATE";
const SET: &str = "
    INSERT INTO meta (key, value) VALUES ($1, $2)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";
const UNSET: &str = "DELETE FROM meta WHERE key = $1";
// Of two that begin, the second sees what the first has done.
const ALONE: &str = "LOCK TABLE meta IN SHARE ROW EXCLUSIVE MODE";

/// How far a copy came that has not ended.
pub(super) async fn unfinished(pool: &Pool) -> Result<Option<Progress>, Fault> {
    let Some(text) = kept(pool).await? else { return Ok(None) };
    Ok(Some(Progress::of_text(&text).ok_or_else(unreadable)?))
}

/// Everything as of one moment.
pub(super) async fn dump(pool: &Pool) -> Result<Box<dyn Dump>, Fault> {
    // It stays in its transaction until it is dropped: nobody else shall get it.
    let client = pool.get().await?.take();
    client.batch_execute(BEGIN).await?;
    // The moment is that of the first read.
    client.query_typed(GET, &[(&STORE, Type::TEXT)]).await?;
    Ok(Box::new(Moment { client, rows: ROWS_MIN }))
}

async fn kept(pool: &Pool) -> Result<Option<String>, Fault> {
    let rows = pool.get().await?.query_typed(GET, &[(&COPY, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

/// One step of a copy.
pub(super) async fn load(pool: &Pool, step: &Step) -> Result<(), Fault> {
    let mut client = pool.get().await?;
    let transaction = (***client).transaction().await?;
    perform(&transaction, step).await?;
    Ok(transaction.commit().await?)
}

// A connection in a transaction that only reads.
struct Moment {
    client: ClientWrapper,
    // How many rows to ask for: the server sends all of them, wanted or not.
    rows: usize,
}

impl Dump for Moment {
    fn meta(&mut self) -> Pending<'_, Result<BTreeMap<String, String>, StoreError>> {
        Box::pin(async {
            let mut all = meta(&self.client).await?;
            all.retain(|key, _| key == STORE || key.starts_with(KEPT));
            Ok(all)
        })
    }

    fn count(&mut self, table: Table) -> Pending<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let rows = count(&self.client, table).await?;
            Ok(u64::try_from(rows).unwrap_or(0))
        })
    }

    fn page<'a>(
        &'a mut self,
        table: Table,
        after: Option<&'a [Cell]>,
        size: PageSize,
    ) -> Pending<'a, Result<Vec<Row>, StoreError>> {
        Box::pin(async move {
            let asked = self.rows.min(size.rows).max(1);
            let rows = page(&self.client, table, after, asked, size).await?;
            let bytes: usize = rows.iter().map(Row::bytes).sum();
            // Where bytes end the pages, few more than fit are asked for.
            self.rows = (rows.len() * 2).max(if bytes < size.bytes { ROWS_MIN } else { 2 });
            Ok(rows)
        })
    }
}

async fn meta(client: &Client) -> Result<BTreeMap<String, String>, Fault> {
    let rows = client.query_typed(META, &[]).await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

async fn count(client: &Client, table: Table) -> Result<i64, Fault> {
    let sql = format!("SELECT count(*) FROM {}", table.name());
    Ok(client.query_typed_one(&sql, &[]).await?.try_get(0)?)
}

async fn page(
    client: &Client,
    table: Table,
    after: Option<&[Cell]>,
    asked: usize,
    size: PageSize,
) -> Result<Vec<Row>, Fault> {
    let (columns, key) = (names(table.columns()), names(table.key()));
    let beyond = match after {
        Some(_) => format!("WHERE ({key}) > ({})", marks(table.key())),
        None => String::new(),
    };
    let name = table.name();
    let sql = format!("SELECT {columns} FROM {name} {beyond} ORDER BY {key} LIMIT {asked}");
    let after = after.unwrap_or(&[]).iter().map(parameter).collect::<Result<Vec<_>, _>>()?;
    let mut found = pin!(client.query_typed_raw(&sql, after).await?);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while !size.is_full(rows.len(), bytes)
        && let Some(row) = found.try_next().await?
    {
        let row = cells::row(table.columns(), &row, 0)?;
        bytes += row.bytes();
        rows.push(row);
    }
    Ok(rows)
}

type Parameter = Box<dyn ToSql + Sync + Send>;

// A cell of a key.
fn parameter(cell: &Cell) -> Result<(Parameter, Type), Fault> {
    Ok(match cell {
        Cell::Text(text) => (Box::new(text.clone()), Type::TEXT),
        Cell::Bytes(bytes) => (Box::new(bytes.clone()), Type::BYTEA),
        Cell::Whole(number) => (Box::new(*number), Type::INT8),
        Cell::Nothing => return Err(misfit()),
    })
}

async fn perform(transaction: &Transaction<'_>, step: &Step) -> Result<(), Fault> {
    match step {
        Step::Begin { ground, meta, progress } => {
            transaction.batch_execute(PATIENTLY).await?;
            transaction.batch_execute(ALONE).await?;
            clear(transaction, *ground).await?;
            for (key, value) in meta {
                set(transaction, key, value).await?;
            }
            set(transaction, COPY, &progress.to_text()).await
        }
        Step::Rows { table, rows, before, after } => {
            expect(transaction, before).await?;
            insert(transaction, *table, rows).await?;
            set(transaction, COPY, &after.to_text()).await
        }
        Step::End { before } => {
            expect(transaction, before).await?;
            transaction.execute_typed(UNSET, &[(&COPY, Type::TEXT)]).await?;
            // The planner shall know at the first question what there is.
            let all = Table::ALL.map(Table::name).join(", ");
            transaction.batch_execute(&format!("{PATIENTLY}; ANALYZE {all}")).await?;
            Ok(())
        }
    }
}

async fn clear(transaction: &Transaction<'_>, ground: Ground) -> Result<(), Fault> {
    let refused = match (ground, progress(transaction).await?) {
        (Ground::Empty, Some(_)) => Some("there is an unfinished copy in it"),
        (Ground::Unfinished, None) => Some("there is no unfinished copy in it"),
        _ => None,
    };
    if let Some(why) = refused {
        return Err(StoreError::Unsupported(why.to_owned()).into());
    }
    let tables = Table::ALL.map(Table::name);
    match ground {
        Ground::Empty => {
            for table in tables {
                let sql = format!("SELECT 1 FROM {table} LIMIT 1");
                if !transaction.query_typed(&sql, &[]).await?.is_empty() {
                    let why = "there is data in it; a copy needs an empty store".to_owned();
                    return Err(StoreError::Unsupported(why).into());
                }
            }
        }
        Ground::Unfinished => {
            transaction.batch_execute(&format!("TRUNCATE {}", tables.join(", "))).await?;
        }
    }
    let of_the_store = format!("DELETE FROM meta WHERE key = '{STORE}' OR key LIKE '{KEPT}%'");
    transaction.execute_typed(&of_the_store, &[]).await?;
    Ok(())
}

async fn set(transaction: &Transaction<'_>, key: &str, value: &str) -> Result<(), Fault> {
    transaction.execute_typed(SET, &[(&key, Type::TEXT), (&value, Type::TEXT)]).await?;
    Ok(())
}

async fn progress(transaction: &Transaction<'_>) -> Result<Option<String>, Fault> {
    let rows = transaction.query_typed(GET_TO_CHANGE, &[(&COPY, Type::TEXT)]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

async fn expect(transaction: &Transaction<'_>, before: &Progress) -> Result<(), Fault> {
    let present = progress(transaction).await?.and_then(|text| Progress::of_text(&text));
    if present.as_ref() == Some(before) {
        return Ok(());
    }
    let why = "another copy into it is at work, or has ended".to_owned();
    Err(StoreError::Unavailable(why).into())
}

async fn insert(transaction: &Transaction<'_>, table: Table, rows: &[Row]) -> Result<(), Fault> {
    let columns = table.columns();
    let sql = format!(
        "INSERT INTO {} ({}) SELECT * FROM unnest({})",
        table.name(),
        names(columns),
        marks(columns)
    );
    let rows: Vec<&[Cell]> = rows.iter().map(|row| row.0.as_slice()).collect();
    let arrays = cells::arrays(table, columns, &rows)?;
    let arrays = arrays.iter().map(|(array, of)| (&**array as &(dyn ToSql + Sync), of.clone()));
    transaction.execute_typed(&sql, &arrays.collect::<Vec<_>>()).await?;
    Ok(())
}

fn unreadable() -> StoreError {
    StoreError::Corrupt("how far the copy in it came cannot be read".to_owned())
}
