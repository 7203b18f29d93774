//! Answers that would hold more than a server has, and work that walks everything.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use super::{assert_peak, bounded_with, eventually};

both_databases!(
    lists_in_a_batch_have_a_bound_together_and_say_how_to_go_on,
    a_batch_of_the_largest_records_is_taken,
    snapshots_come_in_pages,
    snapshots_tell_what_the_history_tells,
    a_page_token_is_good_for_its_order_alone,
    a_page_that_ends_after_long_values_has_a_next_one
);

const RECORDS: &str = "/v1/buckets/b/collections/c/records";

/// Small, and in step with each other.
const SMALL_LIMITS: [&str; 6] = [
    "limits.record_bytes=100000",
    "limits.schema_bytes=100000",
    "limits.page_bytes=200000",
    "limits.body_bytes=2704800",
    "limits.batch_answer_bytes=3000000",
    "limits.answers_bytes=12000000",
];

fn send(client: &mut Client, call: Call, who: &str) -> Answer {
    client.send(&call.login(who)).expect("the server answers")
}

fn done(client: &mut Client, call: Call) -> Value {
    let answer = send(client, call, "alice:x");
    assert!(answer.status < 300, "{}: {:.300}", answer.status, answer.json().to_string());
    answer.json()
}

/// A collection that everybody may read, with so many records of so many bytes.
fn fill(client: &mut Client, records: usize, bytes: usize) {
    let everybody = json!({"permissions": {"read": ["system.Authenticated"]}});
    done(client, Call::put("/v1/buckets/b", &everybody));
    done(client, Call::put("/v1/buckets/b/collections/c", &json!({})));
    let text = noise(bytes);
    for n in 0..records {
        let body = json!({"data": {"n": n, "text": text}});
        done(client, Call::put(format!("{RECORDS}/r{n}"), &body));
    }
}

/// Text that does not become much smaller by compression.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let digits = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'0' + u8::try_from(state >> 58).expect("six bits"))
    });
    // From the digits on to the small letters, but for what JSON escapes.
    digits.map(|digit| if digit == '\\' { '~' } else { digit }).take(bytes).collect()
}

/// The path of the next page, if there is one.
fn next_of(url: Option<&str>) -> Option<String> {
    let url = url?;
    let path = url.find("/v1/").expect("an address has a version");
    Some(url[path..].to_owned())
}

/// All pages from this one on, as identifiers with what they are.
fn pages(client: &mut Client, first: &str, who: &str) -> (BTreeMap<String, Value>, usize) {
    let (mut found, mut count) = (BTreeMap::new(), 0);
    let mut next = Some(first.to_owned());
    while let Some(path) = next {
        let answer = send(client, Call::get(path), who);
        assert_eq!(answer.status, 200, "{}", answer.json());
        for record in answer.json()["data"].as_array().expect("a list") {
            let name = record["uri"].as_str().or(record["id"].as_str()).expect("it has a name");
            found.insert(name.to_owned(), record.clone());
        }
        count += 1;
        assert!(count < 1_000, "pages without an end");
        next = next_of(answer.header("Next-Page"));
    }
    (found, count)
}

fn lists_in_a_batch_have_a_bound_together_and_say_how_to_go_on(backend: Backend) {
    let server = bounded_with(backend, &SMALL_LIMITS).start();
    let mut client = server.client();
    fill(&mut client, 20, 90_000);
    let list = json!({"path": "/buckets/b/collections/c/records"});
    let batch = json!({"requests": vec![list; 25]});
    let answer = send(&mut client, Call::post("/v1/batch", &batch), "alice:x");
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() < 3_100_000, "{} bytes", answer.body.len());
    for part in answer.json()["responses"].as_array().expect("answers") {
        let mut found = part["body"]["data"].as_array().expect("a list").len();
        assert!(found > 0, "a page without a record");
        let next = next_of(part["headers"]["Next-Page"].as_str()).expect("others follow");
        found += pages(&mut client, &next, "alice:x").0.len();
        assert_eq!(found, 20);
    }
    assert_peak(&server, 300);
}

fn a_batch_of_the_largest_records_is_taken(backend: Backend) {
    let server = bounded_with(backend, &SMALL_LIMITS).start();
    let mut client = server.client();
    fill(&mut client, 0, 0);
    let record = |bytes: usize| json!({"data": {"text": "x".repeat(bytes)}});
    let put = |n: usize| {
        let path = format!("/buckets/b/collections/c/records/r{n}");
        json!({"method": "PUT", "path": path, "body": record(99_000)})
    };
    let batch = json!({"requests": (0..25).map(put).collect::<Vec<_>>()});
    let told = done(&mut client, Call::post("/v1/batch", &batch));
    for part in told["responses"].as_array().expect("answers") {
        assert_eq!(part["status"], 201);
        assert_eq!(part["body"]["data"]["text"].as_str().map(str::len), Some(99_000));
    }
    // What is larger is refused alone as well, and nothing grows beyond.
    let path = format!("{RECORDS}/large");
    assert_eq!(send(&mut client, Call::put(&path, &record(100_000)), "alice:x").status, 413);
    done(&mut client, Call::put(&path, &record(60_000)));
    let more = json!({"data": {"more": "x".repeat(60_000)}});
    let grown = send(&mut client, Call::patch(&path, &more), "alice:x");
    assert_eq!(grown.status / 100, 4, "{}", grown.status);
}

/// Asks and does not read the answer.
fn ask(server: &Server, call: &Call) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).expect("it listens");
    stream.write_all(&call.to_bytes(server.address())).expect("it takes a request");
    stream
}

/// Does not take these answers to Alice, the first of which has 12 MB, and asserts that other
/// answers to her find no room until its connection is gone.
fn unread_answers_of_one_person_leave_room_for_others(call: &Call) -> (Server, Client) {
    let settings = [
        "limits.record_bytes=300000",
        "limits.page_bytes=12000000",
        "feed.page_bytes=12000000",
        "limits.batch_answer_bytes=14000000",
        "limits.answers_bytes=60000000",
        "limits.header_ms=60000",
    ];
    let server = bounded_with(Backend::Sqlite, &settings).start();
    let mut client = server.client().patience(Duration::from_secs(30));
    fill(&mut client, 44, 270_000);
    let mut unread: Vec<_> = (0..8).map(|_| ask(&server, call)).collect();
    // Whoever has the head of its answer is waiting to take it: nothing is being made any more.
    for stream in &mut unread {
        stream.read_exact(&mut [0; 12]).expect("an answer begins");
    }
    // One page of 12 MB leaves no room for another 4 MB in the 15 MB of one person.
    assert!(eventually(Duration::from_secs(10), || is_refused(&mut client)));
    assert_eq!(send(&mut client, Call::get(SEVERAL), "bob:x").status, 200);
    let small = Call::get(format!("{RECORDS}?_fields=n&_limit=1"));
    assert_eq!(send(&mut client, small, "alice:x").status, 200, "small answers are not counted");
    // Another of the same kind is told to come back, as an answer or as the end of a stream.
    let another = client.send(call).expect("the server answers");
    let is_closed = String::from_utf8_lossy(&another.body).contains("{\"kind\":\"close\"");
    assert!(another.status == 503 || is_closed, "{another:.300}");
    drop(unread);
    assert!(eventually(Duration::from_secs(30), || !is_refused(&mut client)));
    assert_peak(&server, 300);
    (server, client)
}

/// A page of 4 MB.
const SEVERAL: &str = "/v1/buckets/b/collections/c/records?_limit=15";
const FEED: &str = "/v1/buckets/b/collections/c/feed";

fn is_refused(client: &mut Client) -> bool {
    send(client, Call::get(SEVERAL), "alice:x").status == 503
}

#[test]
fn unread_lists_leave_room_for_others() {
    unread_answers_of_one_person_leave_room_for_others(&Call::get(RECORDS).login("alice:x"));
}

#[test]
fn unread_compressed_lists_leave_room_for_others() {
    let list = Call::get(RECORDS).header("Accept-Encoding", "gzip");
    unread_answers_of_one_person_leave_room_for_others(&list.login("alice:x"));
}

#[test]
fn unread_pages_of_feeds_leave_room_for_others() {
    unread_answers_of_one_person_leave_room_for_others(&Call::get(FEED).login("alice:x"));
}

#[test]
fn unread_streams_leave_room_for_others_and_idle_ones_take_none() {
    let stream = Call::get(FEED).header("Accept", "application/x-ndjson").login("alice:x");
    let (server, mut client) = unread_answers_of_one_person_leave_room_for_others(&stream);
    let mut idle = BufReader::new(ask(&server, &stream));
    let mut line = String::new();
    while !line.starts_with("{\"kind\":\"rest\"") {
        line.clear();
        let read = idle.read_line(&mut line).expect("a stream goes on");
        assert!(read > 0 && !line.starts_with("{\"kind\":\"close\""), "{line}");
    }
    // It asks for the next piece when it could be sent.
    assert!(eventually(Duration::from_secs(10), || !is_refused(&mut client)));
}

fn snapshots_come_in_pages(backend: Backend) {
    let server =
        bounded_with(backend, &["history.enabled=true", "limits.page_bytes=200000"]).start();
    let mut client = server.client();
    fill(&mut client, 24, 40_000);
    let at = send(&mut client, Call::get(RECORDS), "alice:x").etag().expect("a time");
    let then = pages(&mut client, RECORDS, "alice:x").0;
    assert_eq!(then.len(), 24);
    for n in 0..8 {
        done(&mut client, Call::put(format!("{RECORDS}/r{n}"), &json!({"data": {"changed": n}})));
        done(&mut client, Call::delete(format!("{RECORDS}/r{}", n + 8)));
        done(&mut client, Call::put(format!("{RECORDS}/new{n}"), &json!({"data": {}})));
    }
    let snapshot = format!("/v1/buckets/b/snapshot/collections/c@{at}");
    for query in ["", "?_limit=5", "?_limit=1"] {
        let (found, count) = pages(&mut client, &format!("{snapshot}{query}"), "alice:x");
        assert_eq!(found, then, "{query}");
        assert!(count > 4, "{count} pages of 1 MB");
        let first = send(&mut client, Call::get(format!("{snapshot}{query}")), "alice:x");
        assert!(first.body.len() < 250_000);
    }
}

fn snapshots_tell_what_the_history_tells(backend: Backend) {
    let server = bounded_with(backend, &["history.enabled=true"]).start();
    let mut client = server.client();
    let anybody = ["system.Authenticated"];
    let open = json!({"permissions": {"collection:create": anybody}});
    done(&mut client, Call::put("/v1/buckets/b", &open));
    for collection in ["gone", "private"] {
        let path = format!("/v1/buckets/b/collections/{collection}");
        done(&mut client, Call::put(&path, &json!({})));
        done(&mut client, Call::put(format!("{path}/records/r"), &json!({"data": {"s": 1}})));
    }
    let records = Call::get("/v1/buckets/b/collections/private/records");
    let at = send(&mut client, records, "alice:x").etag().expect("a time");
    done(&mut client, Call::delete("/v1/buckets/b/collections/gone"));
    done(&mut client, Call::delete("/v1/buckets/b/collections/private/records/r"));
    let shared = json!({"permissions": {"read": anybody}});
    done(&mut client, Call::put("/v1/buckets/b/collections/private", &shared));
    // Bob makes the deleted collection anew, with a record of the same name.
    let gone = "/v1/buckets/b/collections/gone";
    assert_eq!(send(&mut client, Call::put(gone, &json!({})), "bob:x").status, 201);
    let mine = json!({"data": {"mine": 1}});
    let path = format!("{gone}/records/r");
    assert_eq!(send(&mut client, Call::put(path, &mine), "bob:x").status, 201);
    for collection in ["gone", "private"] {
        let path = format!("/v1/buckets/b/snapshot/collections/{collection}@{at}");
        let seen = send(&mut client, Call::get(&path), "bob:x");
        assert_eq!(seen.json(), json!({"data": []}), "{collection}");
        let seen = done(&mut client, Call::get(&path));
        assert_eq!(seen["data"][0]["s"], 1, "{collection}: its owner sees it");
    }
}

fn a_page_token_is_good_for_its_order_alone(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let mut client = server.client();
    fill(&mut client, 3, 1);
    let first = send(&mut client, Call::get(format!("{RECORDS}?_sort=n&_limit=1")), "alice:x");
    let next = next_of(first.header("Next-Page")).expect("others follow");
    assert_eq!(send(&mut client, Call::get(&next), "alice:x").json()["data"][0]["n"], 1);
    let other = next.replace("_sort=n", "_sort=-n");
    assert_ne!(other, next);
    assert_eq!(send(&mut client, Call::get(other), "alice:x").status, 400);
}

fn a_page_that_ends_after_long_values_has_a_next_one(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let mut client = server.client();
    fill(&mut client, 0, 0);
    for n in 0..3 {
        let long = "\u{1}".repeat(4_000);
        let fields = (0..15).map(|field| (format!("f{field}"), json!(long)));
        let data: serde_json::Map<_, _> = fields.collect();
        done(&mut client, Call::put(format!("{RECORDS}/r{n}"), &json!({"data": data})));
    }
    let keys: Vec<_> = (0..15).map(|field| format!("f{field}")).collect();
    let list = format!("{RECORDS}?_limit=1&_sort={}", keys.join(","));
    assert_eq!(pages(&mut client, &list, "alice:x").0.len(), 3);
}

#[test]
fn permissions_on_much_come_in_pages_that_miss_nothing() {
    let server = bounded_with(Backend::Sqlite, &["kinto.permissions=true"]).start();
    let mut client = server.client();
    done(&mut client, Call::put("/v1/buckets/b", &json!({})));
    done(&mut client, Call::put("/v1/buckets/b/collections/c", &json!({})));
    for group in 0..84 {
        let put = |n| {
            let path = format!("/buckets/b/collections/c/records/r{}", group * 25 + n);
            json!({"method": "PUT", "path": path})
        };
        let batch = json!({"requests": (0..25).map(put).collect::<Vec<_>>()});
        done(&mut client, Call::post("/v1/batch", &batch));
    }
    let all = pages(&mut client, "/v1/permissions?_limit=700", "alice:x").0;
    assert_eq!(all.keys().filter(|uri| uri.contains("/records/")).count(), 84 * 25);
    assert!(all.contains_key("/buckets/b") && all.contains_key("/buckets/b/collections/c"));
    let some = "/v1/permissions?resource_name=collection&_limit=1";
    assert_eq!(pages(&mut client, some, "alice:x").0.len(), 1);
}
