//! Work that takes long, while others wait for short work.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Call, Client};
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use super::{assert_peak, bounded_with};

/// What others may wait at the 99th percentile, unless they wait a tenth of it when they are alone.
const WAIT_MAX: Duration = Duration::from_millis(250);
/// Requests of the one who is measured, 50 a second, half of them puts.
const REQUESTS: usize = 100;

/// Sends as somebody, and gives the status.
pub(super) fn send(client: &mut Client, who: &str, call: Call) -> u16 {
    client.send(&call.login(who)).unwrap().status
}

/// A collection of somebody.
pub(super) fn make_collection(server: &Server, who: &str, bucket: &str) {
    let mut client = server.client();
    for path in [format!("/v1/buckets/{bucket}"), format!("/v1/buckets/{bucket}/collections/c")] {
        assert_eq!(send(&mut client, who, Call::put(path, &json!({ "data": {} }))), 201);
    }
}

fn percentile_99(server: &Server) -> Duration {
    let mut client = server.client();
    let mut waits = Vec::with_capacity(REQUESTS);
    for n in 0..REQUESTS {
        let path = "/v1/buckets/quiet/collections/c/records/r";
        let call = match n % 2 {
            0 => Call::put(path, &json!({ "data": { "n": n } })),
            _ => Call::get(path),
        };
        let begun = Instant::now();
        let status = send(&mut client, "quiet:q", call);
        assert!(matches!(status, 200 | 201), "{status}");
        waits.push(begun.elapsed());
        std::thread::sleep(Duration::from_millis(20).saturating_sub(begun.elapsed()));
    }
    waits.sort_unstable();
    waits[REQUESTS * 99 / 100 - 1]
}

/// Asserts that somebody with one quiet connection hardly waits longer than when alone, while
/// several others do something over and over.
pub(super) fn assert_others_go_on(
    server: &Server,
    attackers: usize,
    attack: impl Fn(&mut Client, usize) + Sync,
) {
    make_collection(server, "quiet:q", "quiet");
    let alone = percentile_99(server);
    let is_over = AtomicBool::new(false);
    let (attack, is_over) = (&attack, &is_over);
    let busy = std::thread::scope(|scope| {
        for attacker in 0..attackers {
            scope.spawn(move || {
                let mut client = server.client();
                let mut n = attacker;
                while !is_over.load(Ordering::Relaxed) {
                    attack(&mut client, n);
                    n += attackers;
                }
            });
        }
        let busy = percentile_99(server);
        is_over.store(true, Ordering::Relaxed);
        busy
    });
    let wait_max = WAIT_MAX.max(10 * alone);
    assert!(busy <= wait_max, "{busy:?} instead of {alone:?} alone");
}

fn json_patch(path: &str, operations: Vec<Value>) -> Call {
    let mut call = Call::new("PATCH", path).header("Content-Type", "application/json-patch+json");
    call.body = Some(Value::from(operations).to_string().into_bytes());
    call
}

/// A record, and a patch of it that is much work.
fn patched_record(name: &str) -> (Call, Call) {
    let numbers: Vec<u32> = (0..20_000).collect();
    let path = format!("/v1/buckets/m/collections/c/records/{name}");
    let put = Call::put(path.as_str(), &json!({ "data": { "a": numbers, "b": {} } }));
    let operations: Vec<Value> = (0..200)
        .map(|n| match n % 2 {
            0 => json!({ "op": "move", "from": "/data/a", "path": "/data/b/a" }),
            _ => json!({ "op": "move", "from": "/data/b/a", "path": "/data/a" }),
        })
        .collect();
    (put, json_patch(&path, operations))
}

#[test]
fn a_patch_that_grows_what_it_copies_is_bounded() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    make_collection(&server, "mallory:m", "m");
    let mut client = server.client();
    let path = "/v1/buckets/m/collections/c/records/r";
    let data = json!({ "data": { "a": vec![0; 10_000] } });
    assert_eq!(send(&mut client, "mallory:m", Call::put(path, &data)), 201);
    // Doubled three times, and moved to and fro as often as the number of operations allows.
    let mut operations: Vec<Value> = (0..3)
        .map(|n| json!({ "op": "copy", "from": "/data", "path": format!("/data/c{n}") }))
        .collect();
    for n in 0..990 {
        let (from, to) = if n % 2 == 0 { ("c2", "d") } else { ("d", "c2") };
        operations.push(json!({
            "op": "move", "from": format!("/data/{from}"), "path": format!("/data/{to}"),
        }));
    }
    let answer = client.send(&json_patch(path, operations).login("mallory:m")).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.json()["message"].as_str().unwrap().contains("too many operations"));
    assert_peak(&server, 300);
}

#[test]
fn who_asks_for_too_much_at_a_time_is_told_to_come_back() {
    let limits = ["limits.waiting_work_own=1", "limits.waiting_work=2"];
    let server = bounded_with(Backend::Sqlite, &limits).start();
    make_collection(&server, "mallory:m", "m");
    // Changes of one record wait for each other before they ask for a turn.
    let mut patches = Vec::new();
    for n in 0..12 {
        let (put, patch) = patched_record(&n.to_string());
        assert_eq!(send(&mut server.client(), "mallory:m", put), 201);
        patches.push(patch);
    }
    let statuses = std::sync::Mutex::new(Vec::new());
    let (server, all) = (&server, &statuses);
    std::thread::scope(|scope| {
        for patch in patches {
            scope.spawn(move || {
                let answer = server.client().send(&patch.login("mallory:m")).unwrap();
                let retry_after = answer.header("Retry-After").map(str::to_owned);
                all.lock().unwrap().push((answer.status, retry_after));
            });
        }
    });
    let statuses = statuses.into_inner().unwrap();
    assert!(statuses.iter().any(|(status, _)| *status == 200), "{statuses:?}");
    for (status, retry_after) in statuses {
        assert!(status == 200 || status == 503 && retry_after.is_some(), "{status}");
    }
}

mod in_time {
    use super::*;

    #[test]
    fn others_go_on_while_somebody_patches() {
        let server = bounded_with(Backend::Sqlite, &[]).start();
        make_collection(&server, "mallory:m", "m");
        let (put, patch) = patched_record("r");
        assert_eq!(send(&mut server.client(), "mallory:m", put), 201);
        assert_others_go_on(&server, 8, |client, _| {
            let status = send(client, "mallory:m", patch.clone());
            assert!(matches!(status, 200 | 503), "{status}");
        });
    }

    #[test]
    fn others_go_on_while_somebody_sends_large_bodies() {
        let server = bounded_with(Backend::Sqlite, &[]).start();
        make_collection(&server, "mallory:m", "m");
        let nested = json!({ "data": { "a": vec![json!({ "b": { "c": [1, 2, 3] } }); 30_000] } });
        let body = Call::put("/v1/buckets/m/collections/c/records/r", &nested);
        assert_others_go_on(&server, 4, |client, _| {
            let status = send(client, "mallory:m", body.clone());
            assert!(matches!(status, 200 | 201 | 503), "{status}");
        });
    }

    #[test]
    fn others_go_on_while_somebody_reads_much() {
        let server = bounded_with(Backend::Sqlite, &["history.enabled=true"]).start();
        make_collection(&server, "mallory:m", "m");
        let mut client = server.client();
        for part in 0..80 {
            let put = |n: usize| {
                let path = format!("/buckets/m/collections/c/records/r{}", part * 25 + n);
                json!({ "method": "PUT", "path": path, "body": { "data": { "n": n } } })
            };
            let requests: Vec<Value> = (0..25).map(put).collect();
            let batch = Call::post("/v1/batch", &json!({ "requests": requests }));
            assert_eq!(send(&mut client, "mallory:m", batch), 200);
        }
        let list = json!({ "method": "GET", "path": "/buckets/m/collections/c/records" });
        let reads = [
            Call::get("/v1/buckets/m/collections/c/records?_sort=-n&like_n=*1*&_limit=1"),
            Call::post("/v1/batch", &json!({ "requests": vec![list; 5] })),
            Call::get(format!("/v1/buckets/m/snapshot/collections/c@{}", 1_u64 << 45)),
            Call::get("/v1/permissions"),
            Call::get("/v1/buckets/m/collections/c/feed?limit=1000"),
        ];
        assert_others_go_on(&server, reads.len(), |client, number| {
            let status = send(client, "mallory:m", reads[number % reads.len()].clone());
            assert!(matches!(status, 200 | 503), "{status}");
        });
        assert_peak(&server, 600);
    }

    #[test]
    fn a_list_that_nobody_waits_for_any_more_holds_up_nobody() {
        let server = bounded_with(Backend::Sqlite, &["storage.readers=1"]).start();
        make_collection(&server, "mallory:m", "m");
        make_collection(&server, "quiet:q", "quiet");
        let mut client = server.client();
        let put = |bucket: &str, n: usize, array: &[usize]| {
            let path = format!("/v1/buckets/{bucket}/collections/c/records/{n}");
            Call::put(path, &json!({ "data": { "x": array } }))
        };
        assert_eq!(send(&mut client, "quiet:q", put("quiet", 0, &[])), 201);
        // All that is looked for is at the end.
        let wanted: Vec<usize> = (1..=16).collect();
        let array = [vec![0; 100_000], wanted.clone()].concat();
        for n in 0..25 {
            assert_eq!(send(&mut client, "mallory:m", put("m", n, &array)), 201);
        }
        let wanted = Value::from(wanted).to_string();
        let slow = Call::get(format!(
            "/v1/buckets/m/collections/c/records?_limit=1&_sort=x&contains_x={wanted}\
             &contains_any_x={wanted}"
        ));
        let begun = Instant::now();
        assert_eq!(send(&mut client, "mallory:m", slow.clone()), 200);
        let whole = begun.elapsed();

        let slow = slow.login("mallory:m").to_bytes(server.address());
        let mut leaving = TcpStream::connect(server.address()).unwrap();
        leaving.write_all(&slow).unwrap();
        std::thread::sleep(whole / 8);
        drop(leaving);
        let begun = Instant::now();
        let short = Call::get("/v1/buckets/quiet/collections/c/records?has_x=true");
        assert_eq!(send(&mut client, "quiet:q", short), 200);
        let waited = begun.elapsed();
        assert!(waited < whole / 2, "{waited:?}, and the whole list took {whole:?}");
    }

    /// Of two ways to be refused, neither takes clearly longer.
    fn assert_same_time(client: &mut Client, who: &str, calls: [Call; 2]) {
        let mut waits = [Vec::new(), Vec::new()];
        for _ in 0..200 {
            for (call, waits) in calls.iter().zip(&mut waits) {
                let begun = Instant::now();
                assert_eq!(send(client, who, call.clone()), 403);
                waits.push(begun.elapsed());
            }
        }
        let [there, missing] = waits.map(|mut waits| {
            waits.sort_unstable();
            waits[waits.len() / 2]
        });
        let context = format!("{there:?} for a hidden one, {missing:?} for a missing one");
        assert!(there < missing * 2 && missing < there * 2, "{context}");
    }

    fn refusals_do_not_tell_what_exists(backend: Backend) {
        let server = bounded_with(backend, &[]).start();
        make_collection(&server, "alice:a", "a");
        let mut client = server.client();
        let places = [
            "",
            "/collections",
            "/collections/c",
            "/collections/c/records",
            "/collections/c/records/r",
            "/collections/c/feed",
        ];
        for below in places {
            let calls = ["a", "b"].map(|bucket| Call::get(format!("/v1/buckets/{bucket}{below}")));
            assert_same_time(&mut client, "mallory:m", calls);
        }
        let calls = ["c", "d"]
            .map(|name| Call::new("DELETE", format!("/v1/buckets/a/collections/{name}/records")));
        assert_same_time(&mut client, "mallory:m", calls);
    }

    fn refusals_tell_nothing_of_size(backend: Backend) {
        let limits = ["limits.record_bytes=8388608", "limits.batch_requests=2"];
        let server = bounded_with(backend, &limits).start();
        make_collection(&server, "alice:a", "a");
        let mut client = server.client();
        let path = |id: &str| format!("/v1/buckets/a/collections/c/records/{id}");
        let text: String =
            (0..600_000).map(|n: u32| n.wrapping_mul(2_654_435_761).to_string()).collect();
        let put_text = json!({ "data": { "text": text } });
        assert_eq!(send(&mut client, "alice:a", Call::put(path("large"), &put_text)), 201);
        let calls = ["large", "missing"].map(|id| Call::get(path(id)));
        assert_same_time(&mut client, "mallory:m", calls);
        let calls = ["large", "missing"].map(|id| Call::put(path(id), &json!({ "data": {} })));
        assert_same_time(&mut client, "mallory:m", calls);
        let collection = Call::put("/v1/buckets/a/collections/large", &put_text);
        assert_eq!(send(&mut client, "alice:a", collection), 201);
        for below in ["", "/records", "/records/r", "/feed"] {
            let calls = ["large", "missing"]
                .map(|name| Call::get(format!("/v1/buckets/a/collections/{name}{below}")));
            assert_same_time(&mut client, "mallory:m", calls);
        }
        let shared = json!({ "permissions": { "read": ["system.Everyone"] } });
        assert_eq!(send(&mut client, "alice:a", Call::patch(path("large"), &shared)), 200);
        let answer = client.send(&Call::get(path("large")).login("mallory:m")).unwrap();
        assert_eq!(answer.json()["data"]["text"].as_str().unwrap(), text);
    }

    both_databases! { refusals_do_not_tell_what_exists, refusals_tell_nothing_of_size }
}
