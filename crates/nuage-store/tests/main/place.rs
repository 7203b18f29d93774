//! Where a store of a test keeps everything, on either database, and a look at its tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nuage_model::{CollectionPath, Store};
use nuage_store::{Address, Options};
use nuage_testkit::backend::Backend;
use nuage_testkit::postgres::Database;
use nuage_testkit::tables::{readable, writable_views};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// A fresh file or database. It goes with this.
pub(crate) struct Place {
    folder: TempDir,
    database: Option<Arc<Database>>,
    /// Where in the database, if not in its first schema.
    schema: Option<String>,
}

impl Place {
    pub(crate) fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder, database: backend.database(), schema: None }
    }

    /// Another, as fresh. In the same database: making one takes long.
    pub(crate) fn another(&self) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let schema = format!("place_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        if let Some(database) = &self.database {
            database.execute(&format!("CREATE SCHEMA {schema}"));
        }
        let folder = tempfile::tempdir().unwrap();
        Self { folder, database: self.database.clone(), schema: Some(schema) }
    }

    /// Opens the store, as often as wanted.
    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        let Some(database) = &self.database else {
            return crate::open(&self.folder.path().join("data")).await;
        };
        let address = Address { url: self.url(database), password: None };
        nuage_store::connect(&address, Options::default()).await.unwrap()
    }

    /// The same, with other options than usual.
    pub(crate) async fn open_with(&self, options: Options) -> Arc<dyn Store> {
        let Some(database) = &self.database else {
            return nuage_store::open(&self.folder.path().join("data"), options).await.unwrap();
        };
        let address = Address { url: self.url(database), password: None };
        nuage_store::connect(&address, options).await.unwrap()
    }

    /// Takes over these columns of all rows of a table from another place of the same kind.
    pub(crate) fn take(&self, from: &Self, table: &str, columns: &str) {
        let Some(database) = &self.database else {
            let tables = Connection::open(self.folder.path().join("data")).unwrap();
            let source = from.folder.path().join("data");
            tables.execute("ATTACH ?1 AS source", [source.to_str()]).unwrap();
            let named = readable(table);
            let take =
                format!("INSERT INTO {table} ({columns}) SELECT {columns} FROM source.{named}");
            tables.execute(&take, []).unwrap();
            return;
        };
        let [to, from] = [self, from].map(|one| one.schema.as_deref().unwrap_or("public"));
        database.execute(&format!(
            "INSERT INTO {to}.{table} ({columns}) SELECT {columns} FROM {from}.{table}"
        ));
    }

    /// Waits until what was dropped is removed. A store must be open.
    pub(crate) async fn expect_removed(&self) {
        let Tables::Sqlite(tables) = self.tables().await else { return };
        let left = "SELECT EXISTS (SELECT 1 FROM dropped)";
        while tables.query_row(left, [], |row| row.get(0)).unwrap() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Changes the tables behind the store's back. `PLACE` is what names the collection in a table.
    pub(crate) fn execute(&self, sql: &str) {
        match &self.database {
            Some(database) => {
                let schema = self.schema.as_deref().unwrap_or("public");
                let sql = sql.replace("PLACE", "bucket, collection");
                database.execute(&format!("SET search_path = {schema}; {sql}"));
            }
            None => {
                let tables = Connection::open(self.folder.path().join("data")).unwrap();
                let has_views = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'view')";
                if tables.query_row(has_views, [], |row| row.get(0)).unwrap() {
                    tables.execute_batch(&writable_views()).unwrap();
                }
                tables.execute_batch(&sql.replace("PLACE", "number")).unwrap();
            }
        }
    }

    fn url(&self, database: &Database) -> String {
        match &self.schema {
            Some(schema) => {
                let mark = if database.url().contains('?') { '&' } else { '?' };
                format!("{}{mark}options=-csearch_path%3D{schema}", database.url())
            }
            None => database.url().to_owned(),
        }
    }

    /// A connection to look at the tables.
    pub(crate) async fn tables(&self) -> Tables {
        let Some(database) = &self.database else {
            return Tables::Sqlite(Connection::open(self.folder.path().join("data")).unwrap());
        };
        let (client, connection) =
            tokio_postgres::connect(&self.url(database), NoTls).await.unwrap();
        tokio::spawn(connection);
        Tables::Postgres(client)
    }
}

/// Sees what is stored, as text: numbers in decimal, bytes as `\x` and hexadecimal digits.
pub(crate) enum Tables {
    Sqlite(Connection),
    Postgres(Client),
}

impl Tables {
    /// The rows of a query that names a collection as `$bucket` and `$collection`.
    pub(crate) async fn read(&self, sql: &str, of: &CollectionPath) -> Vec<Vec<Option<String>>> {
        let quoted = |name: &str| format!("'{}'", name.replace('\'', "''"));
        let sql = sql.replace("$bucket", &quoted(of.bucket.as_str()));
        let sql = sql.replace("$collection", &quoted(of.name.as_str()));
        match self {
            Self::Sqlite(tables) => {
                let mut select = tables.prepare(&sql).unwrap();
                let columns = select.column_count();
                let rows = select.query_map([], |row| {
                    (0..columns).map(|column| Ok(text(row.get_ref(column)?))).collect()
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
            Self::Postgres(tables) => {
                let messages = tables.simple_query(&sql).await.unwrap();
                let rows = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                rows.map(|row| (0..row.len()).map(|n| row.get(n).map(str::to_owned)).collect())
                    .collect()
            }
        }
    }
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
        ValueRef::Blob(bytes) => Some(hexadecimal(bytes)),
    }
}

/// Bytes as both databases show them here.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    format!("\\x{}", digits.collect::<String>())
}
