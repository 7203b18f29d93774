//! A live feed that misses, leaks, lies about its end, or costs its server more than it may.

mod bad_input;
mod ends;
mod epochs;
mod full_pages;
pub(crate) mod reader;
mod shapes;
mod slow_readers;
mod watch_command;

use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::{Server, Setup};
use serde_json::{Value, json};

use crate::programs::program;

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
const OWNER: &str = "owner:1";
const GUEST: &str = "guest:1";
const BUCKET: &str = "/v1/buckets/b";
const COLLECTION: &str = "/v1/buckets/b/collections/c";
const FEED: &str = "/v1/buckets/b/collections/c/feed";

/// A server on which any name and password make a person, with these settings.
fn server(backend: Backend, settings: &[&str]) -> Server {
    let own = ["auth.policies=basicauth", "kinto.accounts=false"];
    set(program().on(backend), own.iter().chain(settings)).start()
}

fn set<'a>(setup: Setup, settings: impl IntoIterator<Item = &'a &'a str>) -> Setup {
    settings.into_iter().fold(setup, |setup, setting| setup.argument("--set").argument(*setting))
}

/// What a person does with a server, one request after the other.
struct Person {
    client: Client,
    login: String,
}

impl Person {
    fn new(server: &Server, login: &str) -> Self {
        Self { client: server.client().patience(PATIENCE), login: login.to_owned() }
    }

    fn send(&mut self, call: Call) -> Answer {
        self.client.send(&call.login(&self.login)).unwrap()
    }

    fn id(&mut self) -> String {
        self.send(Call::get("/v1/")).json()["user"]["id"].as_str().unwrap().to_owned()
    }

    /// Makes the bucket and the collection.
    fn settle(&mut self) {
        for path in [BUCKET, COLLECTION] {
            let made = self.send(Call::put(path, &json!({})));
            assert_eq!(made.status, 201, "{made}");
        }
    }

    /// Writes a record, and says when that was.
    fn put(&mut self, id: &str, body: Value) -> i64 {
        let put = self.send(Call::put(record(id), &body));
        assert!(matches!(put.status, 200 | 201), "{put}");
        put.json()["data"]["last_modified"].as_i64().unwrap()
    }

    fn delete(&mut self, path: &str) {
        let deleted = self.send(Call::delete(path));
        assert_eq!(deleted.status, 200, "{deleted}");
    }

    fn page(&mut self, query: &str) -> Value {
        let answer = self.send(Call::get(format!("{FEED}?{query}")));
        assert_eq!(answer.status, 200, "{answer}");
        answer.json()
    }

    /// All pages, to the rest.
    fn drain(&mut self, token: &str, limit: usize) -> (Vec<Value>, String) {
        let (mut all, mut token) = (Vec::new(), token.to_owned());
        for _ in 0..10_000 {
            let page = self.page(&format!("limit={limit}&token={token}"));
            all.extend(page["data"].as_array().unwrap().iter().cloned());
            token = page["token"].as_str().unwrap().to_owned();
            if page["more"] == false {
                return (all, token);
            }
        }
        panic!("a feed without end");
    }
}

fn record(id: &str) -> String {
    format!("{COLLECTION}/records/{id}")
}

fn ids(data: &[Value]) -> Vec<&str> {
    data.iter().map(|one| one["id"].as_str().unwrap()).collect()
}
