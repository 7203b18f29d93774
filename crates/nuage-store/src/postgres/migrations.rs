//! The tables, and how older databases come to have them.
//!
//! The table `meta` says what a database is: `application` is `nuage`, `form` the number of
//! migrations that were applied, `store` a random name. Migrations only go forward; a database of
//! a newer form is refused, and so is one of another program, both untouched.

use std::collections::BTreeMap;

use nuage_model::copy::Table;
use nuage_model::{DIGEST_MODULUS, RecordId, Timestamp, digest};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, GenericClient, IsolationLevel, Transaction};

use crate::postgres::cells::names;
use crate::postgres::connect::Target;
use crate::postgres::errors::Fault;
use crate::postgres::start::refuse;
use crate::postgres::statements::create;
use crate::schema::{named, under_collection};

/// In order; number N brings a database from form N to form N + 1. Published ones never change. A
/// table that is new is made from its description, and needs no statement here but a number.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_feeds.sql"),
    // The table of marks.
    "",
    // The index of views by when they were used.
    "",
    include_str!("migrations/0005_names.sql"),
    include_str!("migrations/0006_tops.sql"),
];
/// The number of the migration after which digests are computed, which SQL cannot do.
const FEEDS: usize = 1;

/// The names of the tables of the present form.
pub(super) fn tables() -> Vec<&'static str> {
    std::iter::once("meta").chain(Table::ALL.map(Table::name)).collect()
}

/// "Nuag". Whoever migrates holds this lock until the end of the transaction, since there may be
/// no table to lock yet.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1316315495)";

/// Tables, views and sequences, but for those that extensions brought.
const FOUND: &str = "SELECT c.relname::text FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') \
     AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
       AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1";
const META: &str = "SELECT key::text, value::text FROM meta \
     WHERE key::text IN ('application', 'form')";
const NAME: &str = "INSERT INTO meta (key, value) VALUES ('application', 'nuage'), \
     ('store', replace(gen_random_uuid()::text, '-', ''))";
const FORM: &str = "INSERT INTO meta (key, value) VALUES ('form', $1) \
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Rows of which digests are computed at a time.
const PAGE_ROWS: i32 = 5_000;
const LIVE_RECORDS: &str = "SELECT bucket, collection, signature, id, coalesce(timestamp, seq) \
     FROM records WHERE NOT dead";
const ADD_DIGESTS: &str = "UPDATE signatures s \
     SET digest = (s.digest + k.digest) % (1::bigint << 48) \
     FROM unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[]) \
     AS k (bucket, collection, signature, digest) \
     WHERE s.bucket = k.bucket AND s.collection = k.collection AND s.signature = k.signature";

/// What a database is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    /// There is nothing in it yet.
    Empty,
    /// Ours, with so many migrations applied, and with the views for people or not.
    Ours(usize, bool),
}

/// Brings the database to the present form. Several processes may try at once.
pub(super) async fn migrate(
    client: &mut Client,
    target: &Target,
    schema: &str,
) -> Result<(), Fault> {
    let present = form(client, target, schema).await?;
    if present == Form::Ours(MIGRATIONS.len(), true) {
        return Ok(());
    }
    migrate_locked(client, target, schema).await.or_else(|fault| match fault {
        // Nothing but people needs the views.
        Fault::Postgres(error) if present == Form::Ours(MIGRATIONS.len(), false) => {
            tracing::info!(%error, "the views for people could not be made");
            Ok(())
        }
        Fault::Postgres(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let (database, user) = (target.database(), target.user());
            refuse(format!(
                "the user {user} may not make tables in the schema {schema} of {database}: let \
                 an owner run `GRANT CREATE ON SCHEMA {schema} TO {user}` there, or `ALTER \
                 DATABASE {database} OWNER TO {user}`"
            ))
        }
        other => Err(other),
    })
}

async fn migrate_locked(client: &mut Client, target: &Target, schema: &str) -> Result<(), Fault> {
    // Whoever waits for the lock sees what was done meanwhile.
    let level = IsolationLevel::ReadCommitted;
    let transaction = client.build_transaction().isolation_level(level).read_only(false);
    let transaction = transaction.start().await?;
    transaction.batch_execute(LOCK).await?;
    let applied = match form(&transaction, target, schema).await? {
        // Another process did it while this one waited.
        Form::Ours(applied, true) if applied == MIGRATIONS.len() => return Ok(()),
        Form::Empty => 0,
        Form::Ours(applied, _) => applied,
    };
    let views = || Table::ALL.into_iter().filter(|table| under_collection(*table) > 0);
    for table in views() {
        transaction.batch_execute(&format!("DROP VIEW IF EXISTS {}", named(table))).await?;
    }
    for (number, step) in MIGRATIONS.iter().enumerate().skip(applied) {
        transaction.batch_execute(step).await?;
        if number == FEEDS && applied > 0 {
            fill_digests(&transaction).await?;
        }
    }
    for table in Table::ALL {
        transaction.batch_execute(&create(table)).await?;
    }
    for table in views() {
        let (name, columns) = (named(table), names(table.columns()));
        let view = format!("CREATE VIEW {name} AS SELECT {columns} FROM {}", table.name());
        transaction.batch_execute(&view).await?;
    }
    if applied == 0 {
        transaction.batch_execute(NAME).await?;
    }
    let form = MIGRATIONS.len().to_string();
    transaction.execute_typed(FORM, &[(&form, Type::TEXT)]).await?;
    transaction.commit().await?;
    tracing::info!(form = MIGRATIONS.len(), from = applied, "the tables are made");
    Ok(())
}

// A page of records after the other, so that memory for one is enough.
async fn fill_digests(transaction: &Transaction<'_>) -> Result<(), Fault> {
    let live = transaction.prepare(LIVE_RECORDS).await?;
    let add = transaction.prepare(ADD_DIGESTS).await?;
    let portal = transaction.bind(&live, &[]).await?;
    loop {
        let page = transaction.query_portal(&portal, PAGE_ROWS).await?;
        if page.is_empty() {
            return Ok(());
        }
        let mut sums: BTreeMap<(&str, &str, &[u8]), u64> = BTreeMap::new();
        for row in &page {
            let key = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let id = RecordId::from(row.try_get::<_, &str>(3)?);
            let sum = sums.entry(key).or_default();
            *sum = (*sum + digest(&id, Timestamp(row.try_get(4)?))) % DIGEST_MODULUS;
        }
        let buckets: Vec<&str> = sums.keys().map(|key| key.0).collect();
        let collections: Vec<&str> = sums.keys().map(|key| key.1).collect();
        let signatures: Vec<&[u8]> = sums.keys().map(|key| key.2).collect();
        let sums = sums.values().map(|sum| i64::try_from(*sum).expect("less than 2^48"));
        let sums: Vec<i64> = sums.collect();
        transaction.execute(&add, &[&buckets, &collections, &signatures, &sums]).await?;
    }
}

/// Says what the database is, or why it is refused. Changes nothing.
async fn form(client: &impl GenericClient, target: &Target, schema: &str) -> Result<Form, Fault> {
    let parameters: [(&(dyn ToSql + Sync), Type); 1] = [(&schema, Type::TEXT)];
    let found = client.query_typed(FOUND, &parameters).await?;
    let found: Result<Vec<String>, _> = found.iter().map(|row| row.try_get(0)).collect();
    let found = found?;
    if found.is_empty() {
        return Ok(Form::Empty);
    }
    let database = target.database();
    let foreign = || {
        refuse(format!(
            "the schema {schema} of {database} holds tables of another program, such as {}: give \
             Nuage a database of its own",
            found[0]
        ))
    };
    if !found.iter().any(|name| name == "meta") {
        return foreign();
    }
    let rows = match client.query_typed(META, &[]).await {
        Ok(rows) => rows,
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => return foreign(),
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            let user = target.user();
            return refuse(format!(
                "the user {user} may not read the table {schema}.meta: let its owner run `GRANT \
                 ALL ON ALL TABLES IN SCHEMA {schema} TO {user}`"
            ));
        }
        Err(error) => return Err(error.into()),
    };
    let mut application = None;
    let mut applied = None;
    for row in &rows {
        let (key, value): (&str, String) = (row.try_get(0)?, row.try_get(1)?);
        match key {
            "application" => application = Some(value),
            _ => applied = Some(value),
        }
    }
    if application.as_deref() != Some("nuage") {
        return foreign();
    }
    let applied = applied.unwrap_or_default();
    match applied.parse() {
        Ok(applied) if applied <= MIGRATIONS.len() => {
            let mut views = Table::ALL.into_iter().filter(|table| under_collection(*table) > 0);
            Ok(Form::Ours(applied, views.all(|table| found.contains(&named(table)))))
        }
        _ => refuse(format!(
            "{database} has format {applied}, and this version of Nuage reads formats up to {}: \
             use a newer version",
            MIGRATIONS.len()
        )),
    }
}
