//! The first round trip of a transaction: it begins, locks, and reads what its batches need.

use std::collections::BTreeSet;

use deadpool_postgres::Object;
use nuage_model::copy::{Cell, Row, Table};
use nuage_model::{CollectionPath, Guard, StoreError};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Row as PgRow, Statement};

use crate::cells::{collection, record, text};
use crate::postgres::cells::{self, Array, names};
use crate::postgres::errors::Fault;
use crate::postgres::in_order::in_order;
use crate::postgres::statements::{self, Statements, first, is_alike};
use crate::postgres::write_set::{Known, WriteSet};
use crate::rules::Plan;
use crate::schema::{Index, Range, slim};

/// Whoever notes something locks this row, which is always there.
const LOCK_NOTES: &str = "SELECT FROM meta WHERE key = 'store' FOR UPDATE";
const NOTES: &str = "SELECT key, value FROM meta WHERE key = ANY($1)";
const LOCK_ALL: &str = "LOCK TABLE collections IN EXCLUSIVE MODE";
/// A row without a collection, so that there is something to lock.
const MAKE: &str = "
    INSERT INTO collections (bucket, collection, incarnation, seq, timestamp, gc_seq, live,
        tombstones, chosen, gone, dropped, names, named, nested)
    SELECT bucket, collection, '\\x0000000000000000', 0, NULL, 0, 0, 0, 0, 0, true, 0, 0, 0
    FROM unnest($1::text[], $2::text[]) AS k (bucket, collection)
    ON CONFLICT (bucket, collection) DO NOTHING";

// In the order of the names, which is the order of locks.
fn lock_buckets() -> String {
    let columns = names(slim(Table::Collections));
    format!(
        "SELECT {columns} FROM collections WHERE bucket = ANY($1)
        ORDER BY bucket, collection FOR UPDATE"
    )
}

/// Begins a transaction and reads what the batches need. One round trip; one more where a
/// collection gets its first row.
pub(super) async fn begin<'k>(
    client: &Object,
    begin: &str,
    plan: &Plan,
    guards: &[&Guard],
    known: &'k Known,
) -> Result<WriteSet<'k>, Fault> {
    let mut rows = WriteSet::new(known);
    // Locked first: what else is read shows what was committed before.
    let singles: Vec<&CollectionPath> =
        plan.collections.keys().filter(|path| !plan.buckets.contains(&path.bucket)).collect();
    let sequences = Keys::of(Table::Collections, singles.iter().map(|path| collection(path)));
    let lock = Read::of_keys(client, &sequences, |of| &of.get_to_change).await?;
    let parents = Keys::of(Table::Records, plan.parents.iter().map(record));
    let lock_parents = Read::of_keys(client, &parents, |of| &of.get_to_change).await?;
    let buckets: Vec<&str> = plan.buckets.iter().map(|bucket| bucket.as_str()).collect();
    let lock_buckets = match buckets.is_empty() {
        true => None,
        false => Some(client.prepare_cached(&lock_buckets()).await?),
    };
    let asked = Asked::of(plan);
    let reads = asked.ready(client).await?;
    // Joined futures send in their order, without waiting for each other's answers.
    let (begun, locked_all, locked, more, held, notes, answers) = tokio::join!(
        biased;
        client.batch_execute(begin),
        async {
            match plan.all {
                true => client.batch_execute(LOCK_ALL).await,
                false => Ok(()),
            }
        },
        run(client, &lock),
        async {
            match &lock_buckets {
                Some(statement) => client.query(statement, &[&buckets]).await,
                None => Ok(Vec::new()),
            }
        },
        run(client, &lock_parents),
        notes(client, plan),
        run_all(client, &reads),
    );
    begun?;
    locked_all?;
    sequences.take(&mut rows, locked?)?;
    take_buckets(&mut rows, plan, more?)?;
    held?;
    rows.add_notes(notes?);
    let is_missing = |(path, makes): &(&CollectionPath, &bool)| {
        **makes && !rows.has_row(Table::Collections, collection(path))
    };
    let missing = plan.collections.iter().filter(is_missing).map(|(path, _)| collection(path));
    let missing = Keys::of(Table::Collections, missing);
    if missing.keys.is_empty() {
        asked.take(&mut rows, answers?)?;
        return Ok(rows);
    }
    answers?;
    // What is deleted at the same time does not know of the new row: the records that the guards
    // name are held instead.
    let make = client.prepare_cached(MAKE).await?;
    let guarded = Keys::of(Table::Records, guards.iter().map(|guard| record(&guard.path)));
    let keep = Read::of_keys(client, &guarded, |of| &of.get_to_keep).await?;
    let lock = Read::of_keys(client, &missing, |of| &of.get_to_change).await?;
    let made = missing.arrays()?;
    let made: Vec<&(dyn ToSql + Sync)> = made.iter().map(|one| &**one as _).collect();
    let (made, held, locked, answers) = tokio::join!(
        biased;
        client.execute(&make, &made),
        run(client, &keep),
        run(client, &lock),
        run_all(client, &reads),
    );
    made?;
    held?;
    missing.take(&mut rows, locked?)?;
    asked.take(&mut rows, answers?)?;
    Ok(rows)
}

async fn notes(
    client: &Object,
    plan: &Plan,
) -> Result<Vec<(String, String)>, tokio_postgres::Error> {
    if plan.notes.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = plan.notes.iter().map(String::as_str).collect();
    client.batch_execute(LOCK_NOTES).await?;
    let found = client.query_typed(NOTES, &[(&names, Type::TEXT_ARRAY)]).await?;
    found.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Keys of one table.
struct Keys {
    table: Table,
    keys: Vec<Vec<Cell>>,
}

impl Keys {
    fn of(table: Table, keys: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        Self { table, keys: keys.into_iter().collect() }
    }

    fn arrays(&self) -> Result<Vec<Array<'_>>, Fault> {
        let keys: Vec<&[Cell]> = self.keys.iter().map(Vec::as_slice).collect();
        let arrays = cells::arrays(self.table, self.table.key(), &keys)?;
        Ok(arrays.into_iter().map(|(array, _)| array).collect())
    }

    // What is not found is not there.
    fn take(&self, rows: &mut WriteSet<'_>, found: Vec<PgRow>) -> Result<(), Fault> {
        for key in &self.keys {
            rows.add_row(self.table, key.clone(), None);
        }
        for row in found {
            let row = cells::row(slim(self.table), &row, 1)?;
            rows.add_row(self.table, row.key(self.table).to_vec(), Some(row));
        }
        Ok(())
    }
}

/// One question, ready to be sent.
struct Read<'a> {
    statement: Statement,
    parameters: Vec<Array<'a>>,
}

impl<'a> Read<'a> {
    async fn of_keys(
        client: &Object,
        keys: &'a Keys,
        sql: impl Fn(&'static Statements) -> &'static String,
    ) -> Result<Option<Self>, Fault> {
        if keys.keys.is_empty() {
            return Ok(None);
        }
        let statement = client.prepare_cached(sql(Statements::for_table(keys.table))).await?;
        Ok(Some(Self { statement, parameters: keys.arrays()? }))
    }

    async fn of_ranges(client: &Object, ranges: &'a [&'a Range]) -> Result<Self, Fault> {
        let like = ranges[0];
        let table = like.index.table();
        let columns = first(like.index, like.prefix.len() + 1);
        let mut parameters = Vec::new();
        for (at, column) in columns[..like.prefix.len()].iter().enumerate() {
            let cells = ranges.iter().map(|range| range.prefix.get(at));
            parameters.push(cells::array(table, column, cells)?.0);
        }
        for bound in [|range: &'a Range| range.low.as_ref(), |range: &'a Range| range.high.as_ref()]
        {
            if let (Some(_), Some(column)) = (bound(like), columns.last()) {
                let cells = ranges.iter().map(|range| bound(range));
                parameters.push(cells::array(table, column, cells)?.0);
            }
        }
        let limit = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
        let limits: Vec<Option<i64>> = ranges.iter().map(|range| range.limit.map(limit)).collect();
        parameters.push(Box::new(limits));
        let statement = client.prepare_cached(&statements::range(like)).await?;
        Ok(Self { statement, parameters })
    }
}

async fn run(
    client: &Object,
    read: &Option<Read<'_>>,
) -> Result<Vec<PgRow>, tokio_postgres::Error> {
    match read {
        Some(read) => ask(client, read).await,
        None => Ok(Vec::new()),
    }
}

async fn ask(client: &Object, read: &Read<'_>) -> Result<Vec<PgRow>, tokio_postgres::Error> {
    let parameters: Vec<&(dyn ToSql + Sync)> =
        read.parameters.iter().map(|one| &**one as _).collect();
    client.query(&read.statement, &parameters).await
}

async fn run_all(
    client: &Object,
    reads: &[Read<'_>],
) -> Result<Vec<Vec<PgRow>>, tokio_postgres::Error> {
    let answers = in_order(reads.iter().map(|read| ask(client, read))).await;
    answers.into_iter().collect()
}

/// Everything that is read beside the rows of collections: each of these by one statement.
struct Asked<'p> {
    keys: Vec<Keys>,
    ranges: Vec<Vec<&'p Range>>,
}

impl<'p> Asked<'p> {
    fn of(plan: &'p Plan) -> Self {
        let mut keys = vec![Keys::of(Table::Records, plan.records.iter().map(record))];
        let signatures = plan.signatures.iter().map(|key| (Table::Signatures, key));
        let rows = plan.rows.iter().map(|(table, key)| (*table, key)).chain(signatures);
        for (table, key) in rows.collect::<BTreeSet<_>>() {
            match keys.iter_mut().find(|keys| keys.table == table) {
                Some(keys) => keys.keys.push(key.clone()),
                None => keys.push(Keys::of(table, [key.clone()])),
            }
        }
        keys.retain(|keys| !keys.keys.is_empty());
        let mut ranges: Vec<Vec<&Range>> = Vec::new();
        for range in &plan.ranges {
            match ranges.iter_mut().find(|alike| is_alike(alike[0], range)) {
                Some(alike) => alike.push(range),
                None => ranges.push(vec![range]),
            }
        }
        Self { keys, ranges }
    }

    async fn ready(&self, client: &Object) -> Result<Vec<Read<'_>>, Fault> {
        let mut reads = Vec::new();
        for keys in &self.keys {
            reads.extend(Read::of_keys(client, keys, |of| &of.get).await?);
        }
        for ranges in &self.ranges {
            reads.push(Read::of_ranges(client, ranges).await?);
        }
        Ok(reads)
    }

    fn take(&self, rows: &mut WriteSet<'_>, answers: Vec<Vec<PgRow>>) -> Result<(), Fault> {
        let mut answers = answers.into_iter();
        for (keys, found) in self.keys.iter().zip(answers.by_ref()) {
            keys.take(rows, found)?;
        }
        for (ranges, found) in self.ranges.iter().zip(answers) {
            let mut read = vec![Vec::new(); ranges.len()];
            for row in found {
                let of: &mut Vec<Row> = nth(&mut read, row.try_get(0)?)?;
                of.push(cells::row(slim(ranges[0].index.table()), &row, 1)?);
            }
            for (range, read) in ranges.iter().zip(read) {
                rows.add_range((*range).clone(), read);
            }
        }
        Ok(())
    }
}

// The rows of all collections of a bucket, as they were locked.
fn take_buckets(rows: &mut WriteSet<'_>, plan: &Plan, found: Vec<PgRow>) -> Result<(), Fault> {
    let table = Table::Collections;
    let of = |path: &&CollectionPath| plan.buckets.contains(&path.bucket);
    for path in plan.collections.keys().filter(of) {
        rows.add_row(table, collection(path), None);
    }
    let found: Vec<Row> =
        found.iter().map(|row| cells::row(slim(table), row, 0)).collect::<Result<_, _>>()?;
    for row in &found {
        rows.add_row(table, row.key(table).to_vec(), Some(row.clone()));
    }
    for bucket in &plan.buckets {
        let of = Range::of(Index::Key(table), vec![text(bucket.as_str())]);
        let found = found.iter().filter(|row| of.has(row)).cloned().collect();
        rows.add_range(of, found);
    }
    Ok(())
}

// Ordinals begin at one.
fn nth<T>(all: &mut [T], n: i64) -> Result<&mut T, Fault> {
    let index = usize::try_from(n - 1).unwrap_or(usize::MAX);
    all.get_mut(index).ok_or_else(|| {
        Fault::Store(StoreError::Corrupt("the database numbered a row that was not asked".into()))
    })
}
