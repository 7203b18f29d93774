//! Every shape of a feed, and how each goes on where it stopped.

use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::feed::reader::Reader;
use crate::feed::{BUCKET, COLLECTION, FEED, GUEST, OWNER, PATIENCE, Person, ids, record, server};
use crate::programs::now_ms;

both_databases!(
    pages_lead_from_the_beginning_to_the_rest,
    a_digest_is_what_a_device_can_compute,
    a_long_poll_is_answered_when_there_is_something,
    a_position_is_waited_for,
    a_position_tells_nothing_of_what_is_hidden,
    events_go_on_where_the_last_one_was,
    lines_tell_what_happens_to_whom_it_concerns,
    what_is_compressed_arrives_as_soon,
    the_personal_bucket_has_feeds
);

fn pages_lead_from_the_beginning_to_the_rest(backend: Backend) {
    let server = server(backend, &["limits.feed_page=3"]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    for n in 0..7 {
        owner.put(&format!("r{n}"), json!({"data": {"n": n}}));
    }
    let first = owner.page("limit=100");
    assert_eq!(ids(first["data"].as_array().unwrap()), ["r0", "r1", "r2"]);
    assert_eq!((&first["reset"], &first["more"]), (&json!(true), &json!(true)), "{first}");
    assert_eq!(first.get("digest"), None);
    let token = first["token"].as_str().unwrap();
    let (rest, token) = owner.drain(token, 2);
    assert_eq!(ids(&rest), ["r3", "r4", "r5", "r6"]);
    // A record looks as in a list.
    let listed = owner.send(Call::get(format!("{COLLECTION}/records?_sort=n"))).json();
    assert_eq!(listed["data"].as_array().unwrap()[3..], rest);

    owner.put("r1", json!({"data": {"n": "new"}}));
    owner.delete(&record("r2"));
    let page = owner.page(&format!("token={token}"));
    let data = page["data"].as_array().unwrap();
    assert_eq!((&data[0]["id"], &data[0]["n"]), (&json!("r1"), &json!("new")), "{page}");
    assert_eq!(data[1..], [json!({"id": "r2", "deleted": true})]);
    assert_eq!((&page["reset"], &page["more"]), (&json!(false), &json!(false)));
    let token = page["token"].as_str().unwrap();
    let nothing = owner.page(&format!("token={token}"));
    assert_eq!(nothing["data"], json!([]));

    let answer = owner.send(Call::get(FEED));
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(answer.header("Cache-Control"), Some("no-store"));
    assert_eq!(answer.header("X-Accel-Buffering"), Some("no"));
}

fn a_digest_is_what_a_device_can_compute(backend: Backend) {
    let server = server(backend, &[]);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let reads = json!({"read": [guest.id()]});
    for n in 0..9 {
        let permissions = if n % 2 == 0 { &reads } else { &json!({}) };
        owner.put(&format!("e{n}"), json!({"data": {"n": n}, "permissions": permissions}));
    }
    owner.put("e2", json!({"data": {"n": "changed"}}));
    owner.delete(&record("e4"));
    for person in [&mut owner, &mut guest] {
        let page = person.page("digest=true");
        assert_eq!(page["digest"], digest(page["data"].as_array().unwrap()), "{page}");
        // Told at rest only.
        assert_eq!(person.page("digest=true&limit=1").get("digest"), None);
    }
    let told = guest.page("digest=true");
    assert_eq!(told["digest"]["count"], 4);
}

/// The sum that docs/feed.md tells devices to compute.
fn digest(mirror: &[Value]) -> Value {
    let one = |record: &Value| {
        let id = record["id"].as_str().unwrap();
        let hash = Sha256::digest(format!("{id}\n{}", record["last_modified"]));
        hash[..6].iter().fold(0_u64, |sum, byte| sum * 256 + u64::from(*byte))
    };
    let sum = mirror.iter().map(one).fold(0, |sum, one| (sum + one) % (1 << 48));
    json!({"count": mirror.len(), "sum": sum})
}

fn a_long_poll_is_answered_when_there_is_something(backend: Backend) {
    let server = server(backend, &[]);
    let (mut owner, mut watcher) = (Person::new(&server, OWNER), Person::new(&server, OWNER));
    owner.settle();
    // What there is already is not waited for, nor that there is nothing.
    let begun = Instant::now();
    let (_, token) = watcher.drain("", 100);
    let first = watcher.page("wait=20");
    assert_eq!((&first["reset"], &first["data"]), (&json!(true), &json!([])));
    assert!(begun.elapsed() < Duration::from_secs(15));

    let begun = Instant::now();
    let nothing = watcher.page(&format!("token={token}&wait=1"));
    assert_eq!(nothing["data"], json!([]));
    assert!(begun.elapsed() >= Duration::from_millis(990), "{:?}", begun.elapsed());

    let begun = Instant::now();
    let writer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(400));
        owner.put("a", json!({}));
    });
    let page = watcher.page(&format!("token={token}&wait=25"));
    assert_eq!(ids(page["data"].as_array().unwrap()), ["a"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    writer.join().unwrap();
}

fn a_position_is_waited_for(backend: Backend) {
    let server = server(backend, &["kinto.retry_after_s=7"]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    let at = owner.put("a", json!({}));
    let page = owner.page(&format!("min={at}"));
    assert_eq!(ids(page["data"].as_array().unwrap()), ["a"]);
    assert_eq!(owner.page(&format!("min=%22{at}%22&wait=0"))["data"], page["data"]);
    let begun = Instant::now();
    let late = owner.send(Call::get(format!("{FEED}?min={}&wait=1", at + 1_000_000_000)));
    assert_eq!(late.status, 503, "{late}");
    assert_eq!(late.header("Retry-After"), Some("7"));
    assert!(begun.elapsed() >= Duration::from_millis(990));
    let events = Call::get(format!("{FEED}?min={}&wait=0", at + 1_000_000_000));
    assert_eq!(owner.send(events.header("Accept", "text/event-stream")).status, 503);
}

// Where the collection is, is not told to whoever sees part of it: not by what they wait for either.
fn a_position_tells_nothing_of_what_is_hidden(backend: Backend) {
    let server = server(backend, &[]);
    let (mut owner, mut reader) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let guest = reader.id();
    let ahead = now_ms() + 3_600_000;
    let chosen = |readers: &[&str], at: i64| json!({"data": {"last_modified": at}, "permissions": {"read": readers}});
    let shown = owner.put("seen", chosen(&[&guest], ahead));
    owner.put("hidden", chosen(&[], ahead + 1_000));
    let mut status = |min: i64| reader.send(Call::get(format!("{FEED}?min={min}&wait=0"))).status;
    assert_eq!([shown, shown + 1, ahead + 1_000].map(&mut status), [200, 503, 503]);
    assert_eq!(owner.send(Call::get(format!("{FEED}?min={}&wait=0", ahead + 1_000))).status, 200);
}

fn events_go_on_where_the_last_one_was(backend: Backend) {
    let server = server(backend, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    for n in 0..3 {
        owner.put(&format!("r{n}"), json!({"data": {"text": "one\ntwo"}}));
    }
    let asked = |query: &str| {
        let call = Call::get(format!("{FEED}?{query}")).login(OWNER);
        call.header("Accept", "text/event-stream")
    };
    let mut reader = Reader::open(server.address(), &asked("limit=2&digest=true"));
    assert_eq!(reader.status, 200);
    assert_eq!(reader.header("Content-Type"), Some("text/event-stream"));
    assert_eq!(reader.header("Cache-Control"), Some("no-store"));
    assert_eq!(reader.header("X-Accel-Buffering"), Some("no"));
    let events: Vec<_> = (0..6).map(|_| reader.event().unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| &*event.name).collect();
    assert_eq!(names, ["reset", "change", "change", "page", "change", "rest"]);
    assert_eq!(events[1].data["text"], "one\ntwo");
    assert_eq!(events[3].data["token"].as_str(), events[3].id.as_deref());
    assert_eq!(events[5].data["digest"]["count"], 3);
    assert!(events[0].id.is_none() && events[1].id.is_none());

    // A browser asks with the address of before, and tells the last id.
    let after_page = asked("limit=2").header("Last-Event-ID", events[3].id.clone().unwrap());
    let mut again = Reader::open(server.address(), &after_page);
    let next = again.event().unwrap();
    assert_eq!((&*next.name, &next.data["id"]), ("change", &json!("r2")));
    assert_eq!(again.event().unwrap().name, "rest");

    reader.leave();
    owner.put("late", json!({}));
    owner.delete(&record("r0"));
    let old = format!("token={}", events[3].id.clone().unwrap());
    let after_rest = asked(&old).header("Last-Event-ID", events[5].id.clone().unwrap());
    let mut resumed = Reader::open(server.address(), &after_rest);
    let news: Vec<_> = (0..3).map(|_| resumed.event().unwrap()).collect();
    assert_eq!((&*news[0].name, &news[0].data["id"]), ("change", &json!("late")));
    assert_eq!(news[1].name, "removal");
    assert_eq!(news[1].data, json!({"id": "r0", "deleted": true}));
    assert_eq!(news[2].name, "rest");
    owner.put("live", json!({}));
    assert_eq!(resumed.event().unwrap().data["id"], "live");
    assert_eq!(again.event().unwrap().name, "change");
}

fn lines_tell_what_happens_to_whom_it_concerns(backend: Backend) {
    let server = server(backend, &["limits.feed_wait_ms=400"]);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let shared = json!({"permissions": {"read": [guest.id()]}});
    owner.put("shared", shared.clone());
    owner.put("private", json!({}));
    let mut reader = Reader::lines(server.address(), FEED, GUEST);
    assert_eq!(reader.header("Content-Type"), Some("application/x-ndjson"));
    let first = reader.until_rest();
    let kinds: Vec<&str> = first.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reset", "change", "rest"]);
    assert_eq!(first[1]["data"]["id"], "shared");
    // Silence is filled.
    reader.until_heartbeat();

    owner.put("private", json!({"data": {"n": 2}}));
    owner.put("more", shared.clone());
    let news = reader.news().unwrap();
    assert_eq!((&news["kind"], &news["data"]["id"]), (&json!("change"), &json!("more")));
    owner.put("private", shared);
    assert_eq!(reader.news().unwrap()["data"]["id"], "private");
    let alone = json!({"permissions": {"read": []}});
    let patched = owner.send(Call::patch(record("shared"), &alone));
    assert_eq!(patched.status, 200, "{patched}");
    let removal = json!({"kind": "removal", "data": {"id": "shared", "deleted": true}});
    assert_eq!(reader.news().unwrap(), removal);
    owner.delete(&record("more"));
    let removal = json!({"kind": "removal", "data": {"id": "more", "deleted": true}});
    assert_eq!(reader.news().unwrap(), removal);
}

fn what_is_compressed_arrives_as_soon(backend: Backend) {
    let server = server(backend, &["limits.feed_wait_ms=400"]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    for n in 0..40 {
        owner.put(&format!("r{n}"), json!({"data": {"filler": "again ".repeat(500)}}));
    }
    for accept in ["application/x-ndjson", "text/event-stream"] {
        let call = Call::get(FEED).login(OWNER).header("Accept", accept);
        let call = call.header("Accept-Encoding", "br;q=0.1, gzip");
        let mut reader = Reader::open(server.address(), &call);
        assert_eq!(reader.header("Content-Encoding"), Some("gzip"));
        assert!(reader.header("Vary").unwrap().contains("Accept-Encoding"));
        let mut text = String::new();
        while !text.contains("rest") {
            text.push_str(&reader.text().unwrap());
        }
        assert_eq!(text.matches("\"filler\"").count(), 40);
        owner.put("live", json!({"data": {"for": accept}}));
        while !text.contains(&format!("\"for\":\"{accept}\"")) {
            text.push_str(&reader.text().unwrap());
        }
    }
    let plain = owner.send(Call::get(FEED));
    let pressed = owner.send(Call::get(FEED).header("Accept-Encoding", "gzip"));
    assert_eq!(pressed.header("Content-Encoding"), Some("gzip"));
    assert!(pressed.body.len() * 5 < plain.body.len(), "{}", pressed.body.len());
    let mut text = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(&pressed.body[..]);
    std::io::Read::read_to_end(&mut decoder, &mut text).unwrap();
    assert_eq!(text, plain.body);
    assert_eq!(plain.header("Content-Encoding"), None);
}

fn the_personal_bucket_has_feeds(backend: Backend) {
    let server = server(backend, &[]);
    let mut owner = Person::new(&server, OWNER);
    let alias = "/v1/buckets/default/collections/new/feed";
    let mut reader = Reader::lines(server.address(), alias, OWNER);
    assert_eq!(reader.until_rest().len(), 2);
    let put = Call::put("/v1/buckets/default/collections/new/records/a", &json!({}));
    assert_eq!(owner.send(put).status, 201);
    // What was never written to may begin anew with its first record.
    let mut news = reader.news().unwrap();
    if news["kind"] == "reset" {
        news = reader.news().unwrap();
    }
    assert_eq!(news["data"]["id"], "a");
    // Everybody has another one.
    let mut other = Person::new(&server, GUEST);
    let page = other.send(Call::get(alias)).json();
    assert_eq!((&page["data"], &page["reset"]), (&json!([]), &json!(true)));
    let nobody = server.client().patience(PATIENCE).send(&Call::get(alias)).unwrap();
    assert_eq!(nobody.status, 401, "{nobody}");
}

#[test]
fn the_front_knows_feeds() {
    let server = server(Backend::Sqlite, &["limits.feed_page=42"]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    let hello = owner.send(Call::get("/v1/")).json();
    assert_eq!(hello["capabilities"]["feed"]["page_max"], 42, "{hello}");
    let described = owner.send(Call::get("/v1/__api__")).json();
    let path = "/buckets/{bucket_id}/collections/{collection_id}/feed";
    assert_eq!(described["paths"][path]["get"]["operationId"], "get_feed");

    for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE"] {
        let answer = owner.send(Call::new(method, FEED));
        assert_eq!(answer.status, 405, "{method}: {answer}");
        assert_eq!(answer.header("Allow"), Some("GET, OPTIONS"));
    }
    let preflight = Call::new("OPTIONS", FEED)
        .header("Origin", "https://app.example")
        .header("Access-Control-Request-Method", "GET")
        .header("Access-Control-Request-Headers", "Authorization, Last-Event-ID");
    let allowed = owner.send(preflight);
    assert_eq!(allowed.status, 200, "{allowed}");
    assert_eq!(allowed.header("Access-Control-Allow-Methods"), Some("GET, OPTIONS"));
    let headers = allowed.header("Access-Control-Allow-Headers").unwrap();
    assert!(headers.contains("Last-Event-ID"), "{headers}");
    for accept in ["application/json", "text/event-stream", "application/x-ndjson"] {
        let call = Call::get(FEED).login(OWNER).header("Accept", accept);
        let reader = Reader::open(server.address(), &call.header("Origin", "https://app.example"));
        assert_eq!(reader.header("Access-Control-Allow-Origin"), Some("*"), "{accept}");
    }
    let unknown = owner.send(Call::get(FEED).header("Accept", "text/html"));
    assert_eq!(unknown.status, 406, "{unknown}");

    let batch = json!({"requests": [{"path": FEED}, {"path": BUCKET}]});
    let answers = owner.send(Call::post("/v1/batch", &batch)).json();
    assert_eq!(answers["responses"][0]["status"], 400, "{answers}");
    assert_eq!(answers["responses"][1]["status"], 200, "{answers}");
}

#[test]
fn a_server_that_refuses_changes_has_feeds() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let settings = ["auth.policies=basicauth", "kinto.accounts=false"];
    let open = crate::feed::set(crate::programs::program(), &settings);
    let mut server = open.start_on(data.clone(), tempfile::tempdir().unwrap());
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("a", json!({}));
    let (_, token) = owner.drain("", 100);
    server.terminate();
    let closed = crate::feed::set(crate::programs::program(), &settings);
    let closed = crate::feed::set(closed, &["kinto.readonly=true"]);
    let server = closed.start_on(data, tempfile::tempdir().unwrap());
    let mut owner = Person::new(&server, OWNER);
    assert_eq!(ids(owner.page("")["data"].as_array().unwrap()), ["a"]);
    // The token is good after a restart.
    let page = owner.page(&format!("token={token}"));
    assert_eq!((&page["data"], &page["reset"]), (&json!([]), &json!(false)));
    assert_eq!(Reader::lines(server.address(), FEED, OWNER).until_rest().len(), 3);
}
