//! The role of the database begins its transactions in another way than usual: a right that was
//! taken away while a write waited for a lock is acted upon.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call};
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::abuse::{bounded_with, eventually};

const BUCKET: &str = "/v1/buckets/odd";
const COLLECTION: &str = "/v1/buckets/odd/collections/c";
const RECORD: &str = "/v1/buckets/odd/collections/c/records/r";
const OWNER: &str = "owner:1";
const GUEST: &str = "guest:1";
/// Who waits for longer keeps its place among those that wait.
const LONG: Duration = Duration::from_millis(700);

#[test]
fn a_write_that_waited_for_a_lock_is_judged_by_what_was_committed() {
    for level in ["repeatable read", "serializable"] {
        let database = Arc::new(nuage_testkit::postgres::database());
        let name = database.name();
        let set = "SET default_transaction_isolation =";
        database.execute(&format!("ALTER DATABASE {name} {set} '{level}'"));
        let serve = || bounded_with(Backend::Sqlite, &[]).in_database(database.clone()).start();
        let servers = [serve(), serve()];
        let guest = json!([id_of(&servers[0], GUEST)]);
        put(&servers[0], OWNER, BUCKET, &json!({}));
        let open = json!({"permissions": {"record:create": guest}});
        put(&servers[0], OWNER, COLLECTION, &open);
        assert_eq!(put(&servers[1], GUEST, RECORD, &json!({})).status, 201, "{level}");

        // Somebody holds the sequence of the collection; the owner waits for it, then the guest.
        let lock = "SELECT 1 FROM collections WHERE (bucket, collection) = ('odd', 'c') FOR UPDATE";
        let holder = database.hold(lock);
        let closed = json!({"permissions": {"record:create": []}});
        thread::scope(|scope| {
            let owner = scope.spawn(|| put(&servers[0], OWNER, COLLECTION, &closed));
            assert!(eventually(super::PATIENCE, || database.waiting(LONG) == 1));
            let late = format!("{RECORD}2");
            let server = &servers[1];
            let guest = scope.spawn(move || put(server, GUEST, &late, &json!({})));
            assert!(eventually(super::PATIENCE, || database.waiting(LONG) == 2));
            drop(holder);
            let owner = owner.join().unwrap();
            assert_eq!(owner.status, 200, "{level}: {owner}");
            let guest = guest.join().unwrap();
            assert_eq!(guest.status, 403, "{level}: {guest}");
        });
    }
}

#[test]
fn what_only_the_server_can_set_is_told() {
    let server = bounded_with(Backend::Postgres, &[]).start();
    // As the tests want it.
    for setting in ["fsync = off", "full_page_writes = off"] {
        assert_eq!(server.log().matches(setting).count(), 1, "{}", server.log());
    }
}

fn put(server: &Server, user: &str, path: &str, body: &Value) -> Answer {
    server.client().send(&Call::put(path, body).login(user)).unwrap()
}

fn id_of(server: &Server, user: &str) -> Value {
    let hello = server.client().send(&Call::get("/v1/").login(user)).unwrap();
    hello.json()["user"]["id"].clone()
}
