//! One account writes large batches all the time: whoever writes a single record to another bucket
//! waits for all of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use serde_json::{Value, json};

use super::PATIENCE;
use crate::abuse::{bounded_with, eventually};

/// Connections of the account.
const CONNECTIONS: usize = 12;
const RECORDS: usize = 25;
/// Names under `read` of each record.
const NAMES: usize = 200;
/// Writes of somebody else.
const WRITES: usize = 8;
/// Heavy batches that may be done while one of these waits: what is under way, and what was done and
/// not counted yet.
const BEFORE_MAX: usize = 5;

both_databases!(a_single_write_does_not_wait_for_all_of_them);

fn a_single_write_does_not_wait_for_all_of_them(backend: Backend) {
    let server = bounded_with(backend, &["storage.writers=1"]).start();
    let mut other = server.client();
    make(&mut other, "other:1", "quiet");
    make(&mut server.client(), "heavy:1", "loud");
    let (running, done) = (AtomicBool::new(true), AtomicUsize::new(0));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (running, done, server) = (&running, &done, &server);
                scope.spawn(move || {
                    let mut client = server.client();
                    let rounds = (0..).take_while(|_| running.load(Ordering::Relaxed));
                    for round in rounds {
                        let call = Call::post("/v1/batch", &heavy(number, round)).login("heavy:1");
                        // It may be told to come later.
                        if client.send(&call).unwrap().status == 200 {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                })
            })
            .collect();
        let stop = Stop(&running);
        let some = || done.load(Ordering::Relaxed) > 0 || writers.iter().any(|w| w.is_finished());
        assert!(eventually(PATIENCE, some));
        for n in 0..WRITES {
            let before = done.load(Ordering::Relaxed);
            let answer = put(&mut other, "other:1", &record("quiet", &n.to_string()));
            assert_eq!(answer.status, 201, "{answer}");
            let meanwhile = done.load(Ordering::Relaxed) - before;
            assert!(meanwhile <= BEFORE_MAX, "{meanwhile} heavy batches came first");
        }
        drop(stop);
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

// Other names each time, so that nothing of them is known.
fn heavy(number: usize, round: usize) -> Value {
    let requests: Vec<Value> = (0..RECORDS)
        .map(|n| {
            let path = record("loud", &format!("{number}-{n}"));
            let name = |m| format!("basicauth:{number}-{round}-{n}-{m}");
            let names: Vec<String> = (0..NAMES).map(name).collect();
            let body = json!({"data": {}, "permissions": {"read": names}});
            json!({"path": path, "body": body})
        })
        .collect();
    json!({"defaults": {"method": "PUT"}, "requests": requests})
}

fn record(bucket: &str, id: &str) -> String {
    format!("/v1/buckets/{bucket}/collections/c/records/{id}")
}

fn make(client: &mut Client, user: &str, bucket: &str) {
    let bucket = format!("/v1/buckets/{bucket}");
    for path in [bucket.clone(), format!("{bucket}/collections/c")] {
        assert_eq!(put(client, user, &path).status, 201);
    }
}

fn put(client: &mut Client, user: &str, path: &str) -> Answer {
    client.send(&Call::put(path, &json!({})).login(user)).unwrap()
}
