//! Two processes decide on the same record at the same time: the later one decides anew, as often as
//! it may, and then says that it is unavailable.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call};
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
        let servers = [(); 2].map(|()| serve_with(Some(Arc::clone(&database)), SETTINGS, &setting));
        for path in ["/v1/buckets/b", COLLECTION] {
            assert_eq!(put(&servers[0], path).status, 201);
        }
        let record = format!("{COLLECTION}/records/r");
        assert_eq!(put(&servers[0], &record).status, 201);
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
