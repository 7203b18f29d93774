//! What must be right before a database is used: version, encoding, rights, settings, and that it
//! is ours.
//!
//! The collation of the database does not matter: every column of ours is compared byte by byte
//! (`COLLATE "C"`). Nor do settings of the role or the database that a session can set for itself:
//! it does. Of those that only the server has, some are told.

use std::time::Duration;

use nuage_model::StoreError;
use tokio_postgres::{Client, Row};

use crate::postgres::connect::Target;
use crate::postgres::errors::{Fault, mixes_sessions};
use crate::postgres::migrations;

/// The oldest server that is accepted, as it numbers itself: its makers repaired it within this
/// year. Tests run on 15.
const SERVER_VERSION_MIN: i32 = 140_000;

const ASK: &str = "SELECT current_setting('server_version_num')::int, \
     current_setting('server_version'), current_setting('server_encoding'), \
     current_setting('transaction_read_only')::bool OR pg_is_in_recovery(), \
     current_schema()::text, current_setting('synchronous_commit'), \
     current_setting('fsync')::bool, current_setting('full_page_writes')::bool, \
     current_setting('nuage.options', true) IS NOT NULL";

/// A database that may be used.
pub(super) struct Prepared {
    /// How to reach it, with sessions that look for tables where they were found and promise what
    /// they promised at the start.
    pub(super) target: Target,
    /// Sessions promise nothing of a commit unless they are told to.
    pub(super) is_lax: bool,
}

/// Checks the server and brings the tables to this version's form, or says in a sentence why not.
pub(super) async fn prepare(target: &Target) -> Result<Prepared, Fault> {
    let mut client = target.connect().await?;
    let row = client.query_typed(ASK, &[]).await?;
    let Some(row) = row.first() else {
        return Err(StoreError::Unavailable("the server says nothing of itself".to_owned()).into());
    };
    let schema = check_server(target, row)?;
    if !row.try_get::<_, bool>(8)? {
        check_pooler(&client, target).await?;
    }
    let commit: &str = row.try_get(5)?;
    let (flushes, whole_pages): (bool, bool) = (row.try_get(6)?, row.try_get(7)?);
    tell_risks(target, flushes, whole_pages);
    let is_lax = commit == "off";
    let path = format!("\"{}\"", schema.replace('"', "\"\""));
    let commit = if is_lax { "on" } else { commit };
    let lasting = target.with("search_path", &path).with("synchronous_commit", commit);
    migrations::migrate(&mut client, target, &schema).await?;
    check_rights(&client, target, &schema).await?;
    target.lineage().begin(&client).await?;
    Ok(Prepared { target: lasting, is_lax })
}

/// Options that do not arrive show that there is a pooler. One that gives each transaction another
/// session must know which statements were prepared.
async fn check_pooler(client: &Client, target: &Target) -> Result<(), Fault> {
    let servers = target.names();
    tracing::warn!(
        "{servers} is a pooler that keeps Nuage's settings from the database: give them to the \
         role, as docs/scale.md says"
    );
    let mixes = || {
        refuse(format!(
            "{servers} is a pooler, such as pgbouncer, that gives each transaction another session \
             and forgets prepared statements: set pool_mode = session there, or, with pgbouncer \
             1.21 or later, max_prepared_statements = 200"
        ))
    };
    let Some(prepared) = answer(client.prepare("SELECT 1")).await else { return Ok(()) };
    let statement = match prepared {
        Err(error) if mixes_sessions(&error) => return mixes(),
        prepared => prepared?,
    };
    // This one takes the session that was just left.
    let other = target.connect().await?;
    let Some(begun) = answer(other.batch_execute("BEGIN; SELECT 1")).await else { return Ok(()) };
    begun?;
    let executed = answer(client.query(&statement, &[])).await;
    drop(other);
    match executed {
        Some(Err(error)) if mixes_sessions(&error) => mixes(),
        Some(executed) => executed.map(drop).map_err(Fault::from),
        None => Ok(()),
    }
}

/// What is answered in time: a pooler may have a single session for all.
async fn answer<T>(asked: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_secs(5), asked).await.ok()
}

/// Nothing is wrong while the machine runs, and a test or a disk of its own kind may want it so.
fn tell_risks(target: &Target, flushes: bool, whole_pages: bool) {
    let servers = target.names();
    if !flushes {
        tracing::warn!(
            "{servers} runs with fsync = off: a loss of power may destroy the database and what \
             was acknowledged. Switch it on, unless the data can be lost"
        );
    }
    if !whole_pages {
        tracing::warn!(
            "{servers} runs with full_page_writes = off: a loss of power may damage the database. \
             Switch it on, unless its file system writes pages whole"
        );
    }
}

/// The schema that tables are looked for in, if the server will do.
fn check_server(target: &Target, row: &Row) -> Result<String, Fault> {
    let (number, version): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
    let (encoding, read_only): (&str, bool) = (row.try_get(2)?, row.try_get(3)?);
    let schema: Option<String> = row.try_get(4)?;
    let (servers, database, user) = (target.names(), target.database(), target.user());
    if number < SERVER_VERSION_MIN {
        return refuse(format!(
            "{servers} runs PostgreSQL {version}, and Nuage needs {} or later: upgrade it",
            SERVER_VERSION_MIN / 10_000
        ));
    }
    if encoding != "UTF8" {
        return refuse(format!(
            "the database {database} on {servers} has the encoding {encoding}, and Nuage needs \
             UTF8: create another with `createdb --encoding UTF8 --template template0 {database}`"
        ));
    }
    if read_only {
        return refuse(format!(
            "{servers} only lets read: name the primary server, not a standby, or several hosts \
             with target_session_attrs=read-write"
        ));
    }
    schema.ok_or_else(|| {
        let sentence = format!(
            "the user {user} has no schema to use in {database}: `CREATE SCHEMA nuage \
             AUTHORIZATION {user}` and `ALTER ROLE {user} SET search_path = nuage` give it one"
        );
        Fault::Store(StoreError::Unsupported(sentence))
    })
}

const RIGHTS: &str = "SELECT c.relname::text FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT (\
       has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') \
       AND has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')) \
     AND c.relname = ANY ($2) ORDER BY 1 LIMIT 1";

/// Policies would hide rows from us, which is worse than to have none.
const HIDDEN: &str = "SELECT c.relname::text FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND c.relname = ANY ($2) \
     AND row_security_active(c.oid) ORDER BY 1 LIMIT 1";

async fn check_rights(client: &Client, target: &Target, schema: &str) -> Result<(), Fault> {
    use tokio_postgres::types::Type;
    let tables = migrations::tables();
    let typed: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&tables, Type::TEXT_ARRAY)];
    let user = target.user();
    if let Some(row) = client.query_typed(HIDDEN, &typed).await?.first() {
        let table: String = row.try_get(0)?;
        return refuse(format!(
            "policies may hide rows of the table {schema}.{table} from the user {user}: let its \
             owner run `ALTER TABLE {schema}.{table} DISABLE ROW LEVEL SECURITY`, or `ALTER ROLE \
             {user} BYPASSRLS`"
        ));
    }
    let Some(row) = client.query_typed(RIGHTS, &typed).await?.into_iter().next() else {
        return Ok(());
    };
    let table: String = row.try_get(0)?;
    refuse(format!(
        "the user {user} may not read and write the table {schema}.{table}: let its owner run \
         `GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {user}`"
    ))
}

/// The end of a start.
pub(super) fn refuse<T>(sentence: String) -> Result<T, Fault> {
    Err(Fault::Store(StoreError::Unsupported(sentence)))
}

#[cfg(test)]
mod tests;
