//! How streams end: the server stops, the caller is nobody any more, there is nothing to see.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::feed::reader::{Reader, connect};
use crate::feed::{
    BUCKET, COLLECTION, FEED, GUEST, OWNER, PATIENCE, Person, ids, record, server, set,
};
use crate::programs::program;

both_databases!(
    a_run_outlives_its_server,
    a_deleted_bucket_leaves_nothing_to_its_readers,
    a_server_that_stops_tells_its_streams,
    a_right_that_is_taken_away_ends_what_it_gave,
    a_group_that_is_emptied_ends_what_it_gave,
    a_deleted_account_ends_its_streams,
    a_changed_password_ends_its_streams,
    a_deleted_collection_is_forgotten,
    strangers_are_told_what_to_do_with_what_they_hold,
    a_collection_made_anew_is_another_one
);

fn a_server_that_stops_tells_its_streams(backend: Backend) {
    let mut server = server(backend, &["kinto.retry_after_s=2"]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("a", json!({}));
    let (_, token) = owner.drain("", 10);
    let mut lines = Reader::lines(server.address(), FEED, OWNER);
    lines.until_rest();
    let events = Call::get(FEED).login(OWNER).header("Accept", "text/event-stream");
    let mut events = Reader::open(server.address(), &events.header("Accept-Encoding", "gzip"));
    while events.event().unwrap().name != "rest" {}
    let poll = Call::get(format!("{FEED}?token={token}&wait=25")).login(OWNER);
    let poll = connect(server.address(), &poll);
    // What was sent has time to arrive.
    std::thread::sleep(Duration::from_millis(300));

    let begun = Instant::now();
    server.signal("TERM");
    let close = lines.next().unwrap();
    assert_eq!(close["kind"], "close");
    let retry_ms = close["retry_ms"].as_u64().unwrap();
    assert!((2_000..4_000).contains(&retry_ms), "{close}");
    assert_eq!(lines.next(), None, "a stream ends properly");
    let close = events.event().unwrap();
    assert_eq!(close.name, "close");
    assert_eq!(close.data["retry_ms"].as_u64(), close.retry);
    assert_eq!(events.event(), None);
    let mut poll = std::io::BufReader::new(poll);
    let (answer, _) = nuage_testkit::client::read_answer(&mut poll, false).unwrap();
    assert_eq!((answer.status, &answer.json()["data"]), (200, &json!([])), "{answer}");
    assert_eq!(server.ended().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    // The log tells of a stream at its end.
    let log = server.log();
    let told = log.lines().filter(|line| line.contains("/feed") && line.contains("200"));
    assert!(told.count() >= 4, "{log}");
}

fn a_run_outlives_its_server(backend: Backend) {
    let mut server = server(backend, &[]);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let guest_id = guest.id();
    let everything = |who: &[&str]| json!({"permissions": {"read": who}});
    assert_eq!(owner.send(Call::patch(COLLECTION, &everything(&[&guest_id]))).status, 200);
    for (id, who) in [("a", &[&*guest_id][..]), ("b", &[]), ("c", &[&*guest_id]), ("d", &[])] {
        owner.put(id, json!({"permissions": {"read": who}}));
    }
    let (held, token) = guest.drain("", 100);
    let mut mirror: BTreeSet<String> = ids(&held).into_iter().map(str::to_owned).collect();
    // Something to retract, something that is new, something that changed, something deleted.
    assert_eq!(owner.send(Call::patch(COLLECTION, &everything(&[]))).status, 200);
    owner.put("e", json!({"permissions": {"read": [&*guest_id]}}));
    owner.put("a", json!({"data": {"n": 1}}));
    owner.delete(&record("c"));
    let (mut token, mut pages) = (token, 0);
    loop {
        server.kill();
        server.start();
        let page = guest.page(&format!("limit=1&token={token}"));
        assert_eq!(page["reset"], false, "{page}");
        for told in page["data"].as_array().unwrap() {
            let id = told["id"].as_str().unwrap();
            match told["deleted"] == true {
                true => mirror.remove(id),
                false => mirror.insert(id.to_owned()),
            };
        }
        token = page["token"].as_str().unwrap().to_owned();
        pages += 1;
        if page["more"] == false {
            break;
        }
    }
    assert!(pages > 3, "only {pages} pages");
    assert_eq!(mirror.into_iter().collect::<Vec<_>>(), ["a", "e"]);
}

fn a_right_that_is_taken_away_ends_what_it_gave(backend: Backend) {
    let server = server(backend, &[]);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let readers = json!({"permissions": {"read": [guest.id()]}});
    assert_eq!(owner.send(Call::patch(COLLECTION, &readers)).status, 200);
    owner.put("a", json!({}));
    owner.put("b", json!({}));
    let mut reader = Reader::lines(server.address(), FEED, GUEST);
    assert_eq!(reader.until_rest().len(), 4);
    let nobody = json!({"permissions": {"read": []}});
    assert_eq!(owner.send(Call::patch(COLLECTION, &nobody)).status, 200);
    expect_the_end(reader, &["a", "b"], 403);
}

fn a_group_that_is_emptied_ends_what_it_gave(backend: Backend) {
    let server = server(backend, &[]);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let outer = format!("{BUCKET}/groups/outer");
    let inner = format!("{BUCKET}/groups/inner");
    let members = |members: Value| json!({"data": {"members": members}});
    let put = Call::put(&inner, &members(json!([guest.id()])));
    assert_eq!(owner.send(put).status, 201);
    let put = Call::put(&outer, &members(json!(["/buckets/b/groups/inner"])));
    assert_eq!(owner.send(put).status, 201);
    owner.put("a", json!({"permissions": {"read": ["/buckets/b/groups/outer"]}}));
    owner.put("b", json!({}));
    let mut reader = Reader::lines(server.address(), FEED, GUEST);
    assert_eq!(reader.until_rest().len(), 3);
    let emptied = owner.send(Call::patch(&inner, &members(json!([]))));
    assert_eq!(emptied.status, 200, "{emptied}");
    expect_the_end(reader, &["a"], 403);
}

/// Removals of these records in any order, then a refusal, then the proper end.
fn expect_the_end(mut reader: Reader, removed: &[&str], code: u16) {
    let mut left: Vec<&str> = removed.to_vec();
    loop {
        let news = reader.news().unwrap();
        match news["kind"].as_str().unwrap() {
            "removal" => left.retain(|id| news["data"]["id"] != *id),
            // What was lost is told one by one, what is gone as a whole is not.
            "reset" if code == 404 => left.clear(),
            "reset" => assert_eq!(left, Vec::<&str>::new(), "what was not told"),
            "page" => {}
            "refusal" => {
                assert_eq!(news["error"]["code"], code, "{news}");
                break;
            }
            _ => panic!("{news}"),
        }
    }
    assert_eq!(left, Vec::<&str>::new(), "what is still on the device");
    assert_eq!(reader.next(), None);
}

/// A server of accounts, with one collection that anybody with an account may read.
fn accounts(backend: Backend) -> (Server, Person) {
    let settings = ["auth.policies=account", "grants.account_create=system.Everyone"];
    let server = set(program().on(backend), &settings).start();
    let mut owner = account(&server, "owner");
    for path in [BUCKET, COLLECTION] {
        let readers = json!({"permissions": {"read": ["system.Authenticated"]}});
        let made = owner.send(Call::put(path, &readers));
        assert_eq!(made.status, 201, "{made}");
    }
    owner.put("a", json!({}));
    (server, owner)
}

fn account(server: &Server, name: &str) -> Person {
    let body = json!({"data": {"password": "secret"}});
    let made = Person::new(server, "").client.send(&Call::put(account_path(name), &body)).unwrap();
    assert_eq!(made.status, 201, "{made}");
    Person::new(server, &format!("{name}:secret"))
}

fn account_path(name: &str) -> String {
    format!("/v1/accounts/{name}")
}

fn a_deleted_account_ends_its_streams(backend: Backend) {
    let (server, mut owner) = accounts(backend);
    let mut guest = account(&server, "guest");
    let mut reader = Reader::lines(server.address(), FEED, "guest:secret");
    let mut other = Reader::lines(server.address(), FEED, "owner:secret");
    reader.until_rest();
    other.until_rest();
    let begun = Instant::now();
    guest.delete(&account_path("guest"));
    expect_the_end(reader, &[], 401);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    owner.put("b", json!({}));
    assert_eq!(other.news().unwrap()["data"]["id"], "b");
}

fn a_changed_password_ends_its_streams(backend: Backend) {
    let (server, _owner) = accounts(backend);
    let mut guest = account(&server, "guest");
    let mut reader = Reader::lines(server.address(), FEED, "guest:secret");
    reader.until_rest();
    let begun = Instant::now();
    let changed = json!({"data": {"password": "another"}});
    let changed = guest.send(Call::patch(account_path("guest"), &changed));
    assert_eq!(changed.status, 200, "{changed}");
    expect_the_end(reader, &[], 401);
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let mut reader = Reader::lines(server.address(), FEED, "guest:another");
    assert_eq!(reader.until_rest().len(), 3);
}

fn a_deleted_collection_is_forgotten(backend: Backend) {
    let server = server(backend, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("a", json!({}));
    let (_, token) = owner.drain("", 10);
    let mut lines = Reader::lines(server.address(), FEED, OWNER);
    lines.until_rest();
    let poll = Call::get(format!("{FEED}?token={token}&wait=25")).login(OWNER);
    let mut poll = std::io::BufReader::new(connect(server.address(), &poll));
    std::thread::sleep(Duration::from_millis(300));
    owner.delete(COLLECTION);
    expect_the_end(lines, &["a"], 404);
    let (answer, _) = nuage_testkit::client::read_answer(&mut poll, false).unwrap();
    let reset = answer.status == 200 && answer.json()["reset"] == true;
    assert!(reset || answer.status == 404, "{answer}");
    assert_eq!(owner.send(Call::get(format!("{FEED}?token={token}"))).status, 404);
}

// 401 means two things to somebody who did not log in and somebody whose password is not good any
// more: what comes before it tells them apart.
fn strangers_are_told_what_to_do_with_what_they_hold(backend: Backend) {
    let (server, mut owner) = accounts(backend);
    let everyone = json!({"permissions": {"read": ["system.Everyone"]}});
    assert_eq!(owner.send(Call::patch(COLLECTION, &everyone)).status, 200);
    let call = Call::get(FEED).header("Accept", "application/x-ndjson");
    let mut stranger = Reader::open(server.address(), &call);
    let mut guest = account(&server, "guest");
    let mut known = Reader::lines(server.address(), FEED, "guest:secret");
    stranger.until_rest();
    known.until_rest();
    guest.delete(&account_path("guest"));
    let refusal = known.news().unwrap();
    assert_eq!((&refusal["kind"], &refusal["error"]["code"]), (&json!("refusal"), &json!(401)));
    owner.delete(COLLECTION);
    assert_eq!(stranger.news().unwrap()["kind"], "reset");
    let refusal = stranger.news().unwrap();
    assert_eq!((&refusal["kind"], &refusal["error"]["code"]), (&json!("refusal"), &json!(401)));
}

fn a_deleted_bucket_leaves_nothing_to_its_readers(backend: Backend) {
    let server = server(backend, &[]);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    owner.put("a", json!({"permissions": {"read": [guest.id()]}}));
    let mut lines = Reader::lines(server.address(), FEED, GUEST);
    assert_eq!(lines.until_rest().len(), 3);
    owner.delete(BUCKET);
    // Nobody who reads single records is told whether the bucket is there.
    assert_eq!(lines.news().unwrap()["kind"], "reset");
    let refusal = lines.news().unwrap();
    assert_eq!((&refusal["kind"], &refusal["error"]["code"]), (&json!("refusal"), &json!(403)));
    assert_eq!(lines.next(), None);
}

fn a_collection_made_anew_is_another_one(backend: Backend) {
    let server = server(backend, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("old", json!({}));
    let (_, token) = owner.drain("", 10);
    let mut lines = Reader::lines(server.address(), FEED, OWNER);
    lines.until_rest();
    // One batch: nobody sees the moment without it.
    let batch = json!({"requests": [
        {"method": "DELETE", "path": COLLECTION},
        {"method": "PUT", "path": COLLECTION, "body": {}},
        {"method": "PUT", "path": record("new"), "body": {}},
    ]});
    let answers = owner.send(Call::post("/v1/batch", &batch)).json();
    assert_eq!(answers["responses"][2]["status"], 201, "{answers}");
    let mut mirror = vec!["old".to_owned()];
    let deadline = Instant::now() + PATIENCE;
    while mirror != ["new"] {
        assert!(Instant::now() < deadline, "{mirror:?}");
        let Some(news) = lines.next() else { panic!("ended with {mirror:?}") };
        let id = news["data"]["id"].as_str().unwrap_or_default().to_owned();
        match news["kind"].as_str().unwrap() {
            "reset" => mirror.clear(),
            "change" => mirror.push(id),
            "removal" => mirror.retain(|known| *known != id),
            "page" | "rest" => {}
            _ => panic!("{news}"),
        }
    }
    let (data, _) = owner.drain(&token, 10);
    assert!(data.iter().any(|record| record["id"] == "new"), "{data:?}");
    assert!(data.iter().all(|record| record["id"] != "old" || record["deleted"] == true));
}
