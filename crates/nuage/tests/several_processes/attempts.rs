//! Two processes decide on the same record at the same time: the later one decides anew, as often as
//! it may, and then says that it is unavailable.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::history::SETTINGS;
use nuage_testkit::server::Server;
use serde_json::json;

use crate::several_processes::sites::serve_with;

const COLLECTION: &str = "/v1/buckets/b/collections/c";
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn who_must_decide_anew_does_so_as_often_as_it_may() {
    for (attempts, statuses) in [("1", [200, 503]), ("2", [200, 200])] {
        let database = Backend::Postgres.database().unwrap();
        let setting = [("NUAGE_LIMITS__WRITE_ATTEMPTS", attempts)];
        let serve = || serve_with(Some(Arc::clone(&database)), SETTINGS, &setting);
        let servers = [(); 2].map(|()| serve());
        // Another one makes it: neither of them remembers the record, and an attempt that relies on
        // what is remembered would not count.
        let maker = serve();
        let record = format!("{COLLECTION}/records/r");
        for path in ["/v1/buckets/b", COLLECTION, &record] {
            assert_eq!(put(&maker, path).status, 201);
        }
        let lock = "SELECT 1 FROM collections WHERE (bucket, collection) = ('b', 'c') FOR UPDATE";
        let holder = database.hold(lock);
        let mut answers = thread::scope(|scope| {
            let deciding = servers.each_ref().map(|server| scope.spawn(|| put(server, &record)));
            let deadline = Instant::now() + PATIENCE;
            while database.waiting(Duration::ZERO) < servers.len() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(10));
            }
            // Both have decided by now, on the same version.
            drop(holder);
            deciding.map(|one| one.join().unwrap())
        });
        answers.sort_by_key(|answer| answer.status);
        let found = answers.each_ref().map(|answer| answer.status);
        assert_eq!(found, statuses, "with {attempts} attempts");
        for refused in answers.iter().filter(|answer| answer.status == 503) {
            assert!(refused.header("Retry-After").is_some(), "{refused}");
            assert_eq!(refused.json()["errno"], 201, "{refused}");
        }
        assert!(servers.iter().all(|server| put(server, &record).status == 200));
    }
}

fn put(server: &Server, path: &str) -> Answer {
    server.client().send(&Call::put(path, &json!({})).login("attempts:1")).unwrap()
}

#[test]
fn what_another_process_wrote_last_is_what_counts() {
    let database = Backend::Postgres.database().unwrap();
    let servers = [(); 2].map(|()| serve_with(Some(Arc::clone(&database)), SETTINGS, &[]));
    for path in ["/v1/buckets/b", COLLECTION] {
        assert_eq!(put(&servers[0], path).status, 201);
    }
    let records = format!("{COLLECTION}/records");
    let path = format!("{records}/r");
    let [mut here, mut there] = servers.each_ref().map(|server| server.client());
    let send = |client: &mut Client, call: Call| client.send(&call.login("attempts:1")).unwrap();
    let write = |n: i64| Call::put(&path, &json!({"data": {"n": n, "kept": n}}));
    for round in 0..3 {
        // What is remembered here is not what there is.
        let old = send(&mut here, write(10 * round));
        let new = send(&mut there, write(10 * round + 1)).etag().unwrap();
        let n = || send(&mut servers[1].client(), Call::get(&path)).json()["data"]["n"].clone();
        match round {
            0 => {
                let refused = send(&mut here, write(7).if_match(old.etag().unwrap()));
                assert_eq!(refused.status, 412, "{refused}");
                assert_eq!(refused.json()["details"]["existing"]["n"], 1, "{refused}");
                assert_eq!(send(&mut here, write(8).if_match(new)).status, 200);
                assert_eq!(n(), 8);
            }
            1 => {
                let patch = Call::patch(&path, &json!({"data": {"n": 9}}));
                let patched = send(&mut here, patch.if_match(new));
                assert_eq!(patched.json()["data"]["kept"], 11, "{patched}");
                // Nothing is written by this one, so it must have been looked at.
                let call = Call::post(&records, &json!({"data": {"id": "r"}}));
                assert_eq!(send(&mut there, call).json()["data"]["n"], 9);
            }
            _ => {
                let gone = send(&mut there, Call::delete(&path).if_match(new));
                assert_eq!(gone.status, 200, "{gone}");
                assert_eq!(send(&mut here, Call::delete(&path)).status, 404);
                let made = send(&mut there, write(3).header("If-None-Match", "*"));
                assert_eq!(made.status, 201, "{made}");
                let refused = send(&mut here, write(4).header("If-None-Match", "*"));
                assert_eq!(refused.status, 412, "{refused}");
                assert_eq!(n(), 3);
            }
        }
    }
}
