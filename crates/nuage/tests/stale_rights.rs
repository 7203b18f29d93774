//! Somebody still reads after the right was taken away, or not yet after it was given, because
//! what was true a moment ago is remembered somewhere.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use serde_json::{Value, json};

use crate::programs::open_server;

both_databases!(
    a_right_begins_and_ends_with_the_answer_that_says_so,
    what_was_deleted_gives_no_rights
);

const ROUNDS: usize = 150;
const OWNER: &str = "owner:1";
const GUEST: &str = "guest:1";
const BUCKET: &str = "/v1/buckets/rights";
const COLLECTION: &str = "/v1/buckets/rights/collections/c";
const RECORD: &str = "/v1/buckets/rights/collections/c/records/r";
const GROUP: &str = "/v1/buckets/rights/groups/g";

fn a_right_begins_and_ends_with_the_answer_that_says_so(backend: Backend) {
    let server = open_server(backend);
    let mut client = server.client();
    let guest = id_of(&mut client, GUEST);
    for path in [BUCKET, COLLECTION, RECORD, GROUP] {
        assert_eq!(send(&mut client, Call::put(path, &json!({})), OWNER).status, 201);
    }
    let reads = json!({"permissions": {"read": ["/buckets/rights/groups/g"]}});
    send(&mut client, Call::patch(RECORD, &reads), OWNER);
    let none = json!([]);
    let only = json!([guest]);
    let permission = |holders: &Value| json!({"permissions": {"read": holders}});
    let members = |members: &Value| json!({"data": {"members": members}});
    let gates: [(&str, [Value; 2]); 4] = [
        (BUCKET, [permission(&only), permission(&none)]),
        (COLLECTION, [permission(&only), permission(&none)]),
        (GROUP, [members(&only), members(&none)]),
        (RECORD, [json!({"permissions": {"read": [guest]}}), permission(&none)]),
    ];
    with_noise(server.address(), || {
        for round in 0..ROUNDS {
            let (gate, [open, close]) = &gates[round % gates.len()];
            // The last gate changes what the third relies on.
            if *gate == GROUP {
                send(&mut client, Call::patch(RECORD, &reads), OWNER);
            }
            for (change, status) in [(open, 200), (close, 403)] {
                let changed = send(&mut client, Call::patch(*gate, change), OWNER);
                assert_eq!(changed.status, 200, "{changed}");
                let seen = send(&mut client, Call::get(RECORD), GUEST);
                assert_eq!(seen.status, status, "{gate} after {change}: {seen}");
            }
        }
    });
}

fn what_was_deleted_gives_no_rights(backend: Backend) {
    let server = open_server(backend);
    let mut client = server.client();
    let guest = id_of(&mut client, GUEST);
    with_noise(server.address(), || {
        for _ in 0..ROUNDS / 3 {
            let open = json!({"permissions": {"read": [guest], "write": [guest]}});
            for (path, body) in [(BUCKET, &open), (COLLECTION, &json!({})), (RECORD, &json!({}))] {
                let made = send(&mut client, Call::put(path, body), OWNER);
                assert_eq!(made.status, 201, "{made}");
            }
            assert_eq!(send(&mut client, Call::get(RECORD), GUEST).status, 200);
            assert_eq!(send(&mut client, Call::delete(BUCKET), OWNER).status, 200);
            let gone = send(&mut client, Call::put(RECORD, &json!({})), GUEST);
            assert!(matches!(gone.status, 403 | 404), "{gone}");
            for path in [BUCKET, COLLECTION, RECORD] {
                let made = send(&mut client, Call::put(path, &json!({})), OWNER);
                assert_eq!(made.status, 201, "{made}");
            }
            let seen = send(&mut client, Call::get(RECORD), GUEST);
            assert_eq!(seen.status, 403, "rights of an earlier bucket: {seen}");
            assert_eq!(send(&mut client, Call::delete(BUCKET), OWNER).status, 200);
        }
    });
}

// Others ask for the same all the time, and fill what remembers.
fn with_noise(address: SocketAddr, work: impl FnOnce()) {
    let running = AtomicBool::new(true);
    thread::scope(|scope| {
        for number in 0..6 {
            let running = &running;
            scope.spawn(move || {
                let mut client = Client::new(address);
                let paths = [RECORD, COLLECTION, BUCKET];
                while running.load(Ordering::SeqCst) {
                    let user = if number % 2 == 0 { GUEST } else { OWNER };
                    send(&mut client, Call::get(paths[number % 3]), user);
                }
            });
        }
        // The noise ends also when the work fails.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        running.store(false, Ordering::SeqCst);
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn id_of(client: &mut Client, user: &str) -> String {
    let hello = send(client, Call::get("/v1/"), user).json();
    hello["user"]["id"].as_str().unwrap().to_owned()
}

fn send(client: &mut Client, call: Call, user: &str) -> Answer {
    let answer = client.send(&call.login(user)).unwrap();
    assert!(answer.status < 500 && answer.status != 409, "{answer}");
    answer
}
