//! Somebody keeps a lock in the database, such as an open session of `psql`: writes of everybody
//! whose buckets go the same way wait for it, and the heartbeat of every process.

use std::sync::Arc;
use std::thread;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call};
use nuage_testkit::postgres::database;
use nuage_testkit::server::Server;
use serde_json::json;

use super::{PATIENCE, heartbeat};
use crate::abuse::{bounded_with, eventually};

/// Writes of others meanwhile.
const OTHERS: usize = 6;

#[test]
fn a_lock_on_one_collection_keeps_only_its_own_writers_waiting() {
    let locks = [
        "SELECT 1 FROM collections WHERE (bucket, collection) = ('held', 'c') FOR UPDATE",
        "SELECT 1 FROM records WHERE (bucket, collection) = ('held', 'c') FOR UPDATE",
    ];
    for lock in locks {
        let database = Arc::new(database());
        // All buckets go one way.
        let setup = bounded_with(Backend::Sqlite, &["storage.writers=1"]);
        let server = setup.in_database(Arc::clone(&database)).start();
        for bucket in ["held", "free"] {
            for path in [format!("/v1/buckets/{bucket}"), collection(bucket)] {
                assert_eq!(put(&server, &path).status, 201);
            }
            assert_eq!(put(&server, &record(bucket)).status, 201);
        }
        let holder = database.hold(lock);
        thread::scope(|scope| {
            let waiting: Vec<_> =
                (0..4).map(|_| scope.spawn(|| put(&server, &record("held")))).collect();
            assert!(eventually(PATIENCE, || database.waiting(std::time::Duration::ZERO) > 0));
            for _ in 0..OTHERS {
                let answer = put(&server, &record("free"));
                assert_eq!(answer.status, 200, "{lock}: {answer}");
                assert_eq!(heartbeat(&server), 200, "{lock}");
            }
            assert!(waiting.iter().all(|one| !one.is_finished()), "{lock}: others waited as well");
            drop(holder);
            for one in waiting {
                let answer = one.join().unwrap();
                assert_eq!(answer.status, 200, "{lock}: {answer}");
            }
        });
        assert_eq!(put(&server, &record("held")).status, 200);
    }
}

#[test]
fn a_lock_that_is_kept_is_told_in_the_end() {
    let database = Arc::new(database());
    let server = bounded_with(Backend::Sqlite, &[]).in_database(Arc::clone(&database)).start();
    for path in ["/v1/buckets/held".to_owned(), collection("held"), record("held")] {
        assert_eq!(put(&server, &path).status, 201);
    }
    let lock = "SELECT 1 FROM collections WHERE (bucket, collection) = ('held', 'c') FOR UPDATE";
    let holder = database.hold(lock);
    let answer = put(&server, &record("held"));
    assert_eq!(answer.status, 503, "{answer}");
    assert!(answer.header("Retry-After").is_some(), "{answer}");
    let is_told = || server.log().contains("keeps a lock in the database");
    assert!(eventually(PATIENCE, is_told), "{}", server.log());
    drop(holder);
    assert!(eventually(PATIENCE, || put(&server, &record("held")).status == 200));
}

#[test]
fn nobody_needs_what_says_which_database_it_is() {
    let database = Arc::new(database());
    let server = bounded_with(Backend::Sqlite, &[]).in_database(Arc::clone(&database)).start();
    let _holder = database.hold("LOCK TABLE meta IN EXCLUSIVE MODE");
    for path in ["/v1/buckets/free".to_owned(), collection("free"), record("free")] {
        assert_eq!(put(&server, &path).status, 201);
        assert_eq!(heartbeat(&server), 200);
    }
}

fn collection(bucket: &str) -> String {
    format!("/v1/buckets/{bucket}/collections/c")
}

fn record(bucket: &str) -> String {
    format!("/v1/buckets/{bucket}/collections/c/records/r")
}

fn put(server: &Server, path: &str) -> Answer {
    server.client().send(&Call::put(path, &json!({})).login("bad:day")).unwrap()
}
