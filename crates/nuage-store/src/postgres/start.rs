//! What must be right before a database is used: version, encoding, rights, and that it is ours.
//!
//! The collation of the database does not matter: every column of ours is compared byte by byte
//! (`COLLATE "C"`). Nothing here relies on the session, so that a pooler may be in between.

use nuage_model::StoreError;
use tokio_postgres::{Client, Row};

use crate::postgres::connect::Target;
use crate::postgres::errors::Fault;
use crate::postgres::migrations;

/// The oldest server that is accepted, as it numbers itself: its makers repaired it within this
/// year. Tests run on 15.
const SERVER_VERSION_MIN: i32 = 140_000;

const ASK: &str = "SELECT current_setting('server_version_num')::int, \
     current_setting('server_version'), current_setting('server_encoding'), \
     current_setting('transaction_read_only')::bool, current_schema()::text";

/// Checks the server and brings the tables to this version's form, or says in a sentence why not.
pub(super) async fn prepare(target: &Target) -> Result<(), Fault> {
    let mut client = target.connect().await?;
    let row = client.query_typed(ASK, &[]).await?;
    let Some(row) = row.first() else {
        return Err(StoreError::Unavailable("the server says nothing of itself".to_owned()).into());
    };
    let schema = check_server(target, row)?;
    migrations::migrate(&mut client, target, &schema).await?;
    check_rights(&client, target, &schema).await
}

/// The schema that tables are looked for in, if the server will do.
fn check_server(target: &Target, row: &Row) -> Result<String, Fault> {
    let (number, version): (i32, &str) = (row.try_get(0)?, row.try_get(1)?);
    let (encoding, read_only): (&str, bool) = (row.try_get(2)?, row.try_get(3)?);
    let schema: Option<String> = row.try_get(4)?;
    let (servers, database, user) = (target.servers(), target.database(), target.user());
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

async fn check_rights(client: &Client, target: &Target, schema: &str) -> Result<(), Fault> {
    use tokio_postgres::types::Type;
    let tables = migrations::TABLES.as_slice();
    let typed: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&schema, Type::TEXT), (&tables, Type::TEXT_ARRAY)];
    let Some(row) = client.query_typed(RIGHTS, &typed).await?.into_iter().next() else {
        return Ok(());
    };
    let (table, user): (String, &str) = (row.try_get(0)?, target.user());
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
