//! The second round trip of a transaction: everything that a group of batches does, as a few
//! statements over arrays, and the commit.

use std::collections::BTreeMap;
use std::pin::Pin;

use deadpool_postgres::Object;
use nuage_model::copy::{Cell, Column, Table};
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use crate::postgres::cells::{self, Array};
use crate::postgres::errors::Fault;
use crate::postgres::in_order::in_order;
use crate::postgres::statements::{self, Statements, first};
use crate::postgres::write_set::Effects;
use crate::schema::Index;

const NOTE: &str = "
    INSERT INTO meta (key, value) SELECT * FROM unnest($1::text[], $2::text[])
    ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Writes the effects and commits, in one round trip.
pub(super) async fn commit(client: &Object, effects: &Effects) -> Result<(), Fault> {
    Steps::of(client, effects).await?.run().await
}

type Sent<'a> = Pin<Box<dyn Future<Output = Result<(), tokio_postgres::Error>> + Send + 'a>>;

enum Step<'a> {
    Plain(String),
    Prepared(Statement, Vec<Array<'a>>),
}

/// Statements that are ready to be sent.
pub(super) struct Steps<'a> {
    client: &'a Object,
    steps: Vec<Step<'a>>,
}

impl<'a> Steps<'a> {
    /// All that writes the effects, and the commit.
    pub(super) async fn of(client: &'a Object, effects: &'a Effects) -> Result<Self, Fault> {
        let mut steps = Self { client, steps: Vec::new() };
        if effects.clear_all {
            let all = Table::ALL.map(|table| format!("DELETE FROM {}", table.name()));
            steps.steps.push(Step::Plain(all.join("; ")));
        }
        if !effects.notes.is_empty() {
            let (names, texts): (Vec<&str>, Vec<&str>) =
                effects.notes.iter().map(|(name, text)| (name.as_str(), text.as_str())).unzip();
            steps.add(NOTE, vec![Box::new(names), Box::new(texts)]).await?;
        }
        steps.clear(effects).await?;
        steps.rows(effects).await?;
        steps.prune(effects).await?;
        steps.steps.push(Step::Plain("COMMIT".to_owned()));
        Ok(steps)
    }

    /// Sends everything, then waits for the answers. The first failure is the cause of the others.
    pub(super) async fn run(self) -> Result<(), Fault> {
        let client = self.client;
        let sent = self.steps.iter().map(|step| -> Sent<'_> {
            match step {
                Step::Plain(sql) => Box::pin(client.batch_execute(sql)),
                Step::Prepared(statement, parameters) => Box::pin(async move {
                    let parameters: Vec<&(dyn ToSql + Sync)> =
                        parameters.iter().map(|one| &**one as &(dyn ToSql + Sync)).collect();
                    client.execute(statement, &parameters).await.map(|_| ())
                }),
            }
        });
        for answer in in_order(sent).await {
            answer?;
        }
        Ok(())
    }

    async fn add(&mut self, sql: &str, parameters: Vec<Array<'a>>) -> Result<(), Fault> {
        let statement = self.client.prepare_cached(sql).await?;
        self.steps.push(Step::Prepared(statement, parameters));
        Ok(())
    }

    // Some rows of one table, with as many of their first columns as are named.
    async fn add_rows(
        &mut self,
        sql: &str,
        table: Table,
        columns: &[Column],
        rows: &[&'a [Cell]],
    ) -> Result<(), Fault> {
        if rows.is_empty() {
            return Ok(());
        }
        let arrays = cells::arrays(table, columns, rows)?;
        self.add(sql, arrays.into_iter().map(|(array, _)| array).collect()).await
    }

    async fn clear(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        let mut alike: BTreeMap<(Index, usize), Vec<&[Cell]>> = BTreeMap::new();
        for (index, prefix) in &effects.cleared {
            alike.entry((*index, prefix.len())).or_default().push(prefix);
        }
        for ((index, count), prefixes) in alike {
            let arrays = cells::arrays(index.table(), &first(index, count), &prefixes)?;
            let parameters = arrays.into_iter().map(|(array, _)| array).collect();
            self.add(&statements::clear(index, count), parameters).await?;
        }
        Ok(())
    }

    // What is locked first comes last: rows of `collections` say to readers what there is.
    async fn rows(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        let (first, rest) = Table::ALL.split_at(1);
        for table in rest.iter().chain(first).copied() {
            let of = Statements::for_table(table);
            let (columns, key) = (table.columns(), table.key());
            let freed = effects.freed.iter().filter(|(other, _)| *other == table);
            let freed: Vec<&[Cell]> = freed.map(|(_, key)| key.as_slice()).collect();
            let removed = effects.of(table).filter(|(_, row)| row.is_none());
            let removed: Vec<&[Cell]> = removed.map(|(key, _)| key).collect();
            let written = effects.of(table).filter_map(|(_, row)| row);
            let written: Vec<&[Cell]> = written.map(|row| row.0.as_slice()).collect();
            let added = effects.added.iter().filter(|((other, _), _)| *other == table);
            let added: Vec<&[Cell]> = added.map(|(_, row)| row.0.as_slice()).collect();
            self.add_rows(&of.free, table, key, &freed).await?;
            self.add_rows(&of.delete, table, key, &removed).await?;
            self.add_rows(&of.put, table, columns, &written).await?;
            self.add_rows(&of.add, table, columns, &added).await?;
        }
        Ok(())
    }

    // After everything that could need it was written.
    async fn prune(&mut self, effects: &'a Effects) -> Result<(), Fault> {
        type Shape = (Index, usize, Vec<(Index, usize)>);
        let mut alike: BTreeMap<Shape, Vec<Vec<&Cell>>> = BTreeMap::new();
        for prune in &effects.pruned {
            let unless = prune.unless.iter();
            let shape = unless.clone().map(|(index, prefix)| (*index, prefix.len())).collect();
            let cells = prune.prefix.iter().chain(unless.flat_map(|(_, prefix)| prefix));
            let shape = (prune.index, prune.prefix.len(), shape);
            alike.entry(shape).or_default().push(cells.collect());
        }
        for ((index, count, unless), rows) in alike {
            let mut columns: Vec<_> =
                first(index, count).into_iter().map(|column| (index.table(), column)).collect();
            for (other, count) in &unless {
                let needed = first(*other, *count).into_iter();
                columns.extend(needed.map(|column| (other.table(), column)));
            }
            let mut parameters = Vec::new();
            for (at, (table, column)) in columns.iter().enumerate() {
                let cells = rows.iter().map(|row| row.get(at).copied());
                parameters.push(cells::array(*table, column, cells)?.0);
            }
            self.add(&statements::prune(index, count, &unless), parameters).await?;
        }
        Ok(())
    }
}
