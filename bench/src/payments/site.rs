//! A server with the receipts, their people and their products.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};

use crate::feeds::scatter;
use crate::options::PaymentsOptions;
use crate::payments::ASKING;
use crate::process::Running;
use crate::servers::database::Database;
use crate::servers::{self, Places};
use crate::wire::{Connection, request};

pub(super) const COLLECTION: &str = "/v1/buckets/payments/collections/receipts";
const BUCKET: &str = "/v1/buckets/payments";
/// Products, each with a group of those who may read its receipts.
pub(super) const PRODUCTS: u64 = 40;
/// Receipts in a batch, and batches at a time.
const ROWS: u64 = 100;
const AT_A_TIME: usize = 4;
const SETTINGS: [&str; 4] = [
    "auth.policies=basicauth",
    "kinto.accounts=false",
    "limits.batch_requests=100",
    // So many requests must fit into a body.
    "limits.record_bytes=262144",
];
/// Who writes everything.
const OWNER: &str = "payapp:secret";
/// Bytes of a receipt, about.
const TEXT_BYTES: usize = 200;

/// Who asks, by what they may read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Viewer {
    /// The whole collection.
    All,
    /// What is of every other product, as a member of the groups.
    Half,
    /// The receipts of one person.
    Person,
}

impl Viewer {
    pub(super) const ALL: [Self; 3] = [Self::All, Self::Half, Self::Person];

    pub(super) fn login(self, number: usize) -> String {
        let kind = match self {
            Self::All => "all",
            Self::Half => "half",
            Self::Person => "person",
        };
        format!("{kind}-{number}:secret")
    }
}

/// A server, and what is needed to measure it.
pub(super) struct Site {
    pub(super) address: SocketAddr,
    /// The processes that work for it.
    pub(super) pids: Vec<u32>,
    /// The principals of those who ask, kind by kind.
    principals: [Vec<String>; 3],
    // In this order: the server ends before its database.
    _server: Running,
    database: Option<Database>,
}

impl Site {
    pub(super) async fn on_sqlite(places: &Places) -> Result<Self> {
        Self::start(places, "payments-sqlite", None).await
    }

    pub(super) async fn on_postgres(places: &Places) -> Result<Self> {
        let folder = places.folder("payments-cluster")?;
        let database = Database::start(places, &folder)?;
        Self::start(places, "payments-postgres", Some(database)).await
    }

    async fn start(places: &Places, name: &str, database: Option<Database>) -> Result<Self> {
        let folder = places.folder(name)?;
        let mut arguments: Vec<String> = ["--log-level", "warn"].map(String::from).to_vec();
        for setting in SETTINGS {
            arguments.extend(["--set".to_owned(), setting.to_owned()]);
        }
        if let Some(database) = &database {
            arguments.extend(["--storage-url".to_owned(), database.url()]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (server, address) = servers::serve(places, &folder, &arguments)?;
        let pids = std::iter::once(server.pid()).chain(database.iter().map(Database::pid));
        let pids = pids.collect();
        let principals = [Vec::new(), Vec::new(), Vec::new()];
        let mut site = Self { address, pids, principals, _server: server, database };
        for viewer in Viewer::ALL {
            for number in 0..ASKING {
                let root = site.call("GET", "/v1/", &viewer.login(number), "").await?;
                let id = root["user"]["id"].as_str().context("a user id")?;
                site.principals[viewer as usize].push(id.to_owned());
            }
        }
        Ok(site)
    }

    /// Fills it, batch after batch, several at a time.
    pub(super) async fn load(&self, options: &PaymentsOptions) -> Result<()> {
        self.call("PUT", BUCKET, OWNER, "{}").await?;
        for product in 0..PRODUCTS {
            let members = self.principals[Viewer::Half as usize].iter().enumerate();
            let members = members.filter(|(number, _)| *number as u64 % 2 == product % 2);
            let members: Vec<&String> = members.map(|(_, id)| id).collect();
            let body = json!({"data": {"members": members}}).to_string();
            let path = format!("{BUCKET}/groups/product-{product}");
            self.call("PUT", &path, OWNER, &body).await?;
        }
        let readers = &self.principals[Viewer::All as usize];
        let body = json!({"permissions": {"read": readers}}).to_string();
        self.call("PUT", COLLECTION, OWNER, &body).await?;
        self.write_receipts(options, 0..options.receipts).await?;
        if let Some(database) = &self.database {
            vacuum(database).await?;
        }
        Ok(())
    }

    /// Writes receipts of these numbers.
    pub(super) async fn write_receipts(
        &self,
        options: &PaymentsOptions,
        numbers: Range<u64>,
    ) -> Result<()> {
        let next = AtomicU64::new(numbers.start);
        let end = numbers.end;
        let writers = (0..AT_A_TIME).map(|_| async {
            let mut connection = Connection::new(self.address);
            loop {
                let first = next.fetch_add(ROWS, Ordering::Relaxed);
                if first >= end {
                    return Ok::<(), anyhow::Error>(());
                }
                let batch = first..(first + ROWS).min(end);
                let requests: Vec<Value> = batch.map(|n| self.receipt(n, options)).collect();
                let body = json!({"requests": requests}).to_string();
                let sent = request("POST", "/v1/batch", OWNER, &body);
                let answer = connection.exchange(&sent).await?;
                let text = String::from_utf8_lossy(answer.body);
                let made = text.matches("\"status\":201").count();
                let start: String = text.chars().take(300).collect();
                ensure!(made == requests.len(), "a batch was answered {}: {start}", answer.status);
            }
        });
        try_join_all(writers).await.map(drop)
    }

    // A receipt after the first ones is none of those who ask.
    fn receipt(&self, n: u64, options: &PaymentsOptions) -> Value {
        let person = match n < options.receipts {
            true => n % options.people,
            false => ASKING as u64 + n % (options.people - ASKING as u64),
        };
        let asking = &self.principals[Viewer::Person as usize];
        let who = usize::try_from(person).ok().and_then(|person| asking.get(person));
        let who = who.cloned().unwrap_or_else(|| format!("account:person-{person}"));
        let product = scatter(n) % PRODUCTS;
        let group = format!("/buckets/payments/groups/product-{product}");
        json!({
            "method": "PUT",
            "path": format!("{COLLECTION}/records/r{:016x}", scatter(n)),
            "body": {
                "data": {"product": product, "amount": n % 100, "text": "x".repeat(TEXT_BYTES)},
                "permissions": {"read": [who, group]},
            },
        })
    }

    async fn call(&self, method: &str, path: &str, login: &str, body: &str) -> Result<Value> {
        let mut connection = Connection::new(self.address);
        let answer = connection.exchange(&request(method, path, login, body)).await?;
        let text = String::from_utf8_lossy(answer.body);
        ensure!(matches!(answer.status, 200 | 201), "{method} {path}: {}: {text}", answer.status);
        Ok(serde_json::from_slice(answer.body)?)
    }
}

// As the database does by itself within minutes.
async fn vacuum(database: &Database) -> Result<()> {
    let (client, connection) =
        tokio_postgres::connect(&database.url(), tokio_postgres::NoTls).await?;
    let driven = tokio::spawn(connection);
    client.batch_execute("VACUUM ANALYZE").await?;
    drop(client);
    driven.await??;
    Ok(())
}
