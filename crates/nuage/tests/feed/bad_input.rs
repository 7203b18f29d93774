//! Tokens that nobody was given, and questions that make no sense.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use nuage_testkit::random::Random;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use serde_json::{Value, json};

use crate::feed::reader::Reader;
use crate::feed::{FEED, GUEST, OWNER, Person, ids, server};
use crate::programs::{now_ms, number};

both_databases!(tokens_of_others_begin_afresh, tokens_that_are_none_begin_afresh);

fn tokens_of_others_begin_afresh(backend: Backend) {
    let (here, elsewhere) = (server(backend, &[]), server(backend, &[]));
    let (mut owner, mut guest) = (Person::new(&here, OWNER), Person::new(&here, GUEST));
    owner.settle();
    let shared = json!({"permissions": {"read": [guest.id()]}});
    owner.put("shared", shared);
    owner.put("private", json!({}));
    let other = "/v1/buckets/b/collections/other";
    assert_eq!(owner.send(Call::put(other, &json!({}))).status, 201);
    let (_, of_owner) = owner.drain("", 10);
    let (_, of_guest) = guest.drain("", 10);
    let of_other = owner.send(Call::get(format!("{other}/feed"))).json();
    let of_other = of_other["token"].as_str().unwrap().to_owned();
    let mut away = Person::new(&elsewhere, OWNER);
    away.settle();
    let (_, of_elsewhere) = away.drain("", 10);

    let all: &[&str] = &["private", "shared"];
    let mut people = [owner, guest];
    for (person, token, seen) in [
        (0, &of_guest, all),
        (0, &of_other, all),
        (0, &of_elsewhere, all),
        (1, &of_owner, &all[1..]),
    ] {
        let page = people[person].page(&format!("token={token}"));
        let mut found = ids(page["data"].as_array().unwrap());
        found.sort_unstable();
        assert_eq!((&page["reset"], &*found), (&json!(true), seen), "{page}");
    }
    // A stranger is told nothing, whatever token it shows.
    let stranger = here.client().send(&Call::get(format!("{FEED}?token={of_owner}"))).unwrap();
    assert_eq!(stranger.status, 401, "{stranger}");
    let nosy = Person::new(&here, "nosy:1").send(Call::get(format!("{FEED}?token={of_owner}")));
    assert_eq!(nosy.status, 403, "{nosy}");
}

fn tokens_that_are_none_begin_afresh(backend: Backend) {
    let server = server(backend, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("a", json!({}));
    let seed = number("NUAGE_SEED").unwrap_or(now_ms() as u64);
    let mut random = Random::new(seed);
    let (_, token) = owner.drain("", 10);
    let mut tokens: Vec<Vec<u8>> = Vec::new();
    for length in 0..token.len() {
        tokens.push(token.as_bytes()[..length].to_vec());
    }
    for _ in 0..300 {
        let length = random.below(200);
        tokens.push((0..length).map(|_| random.below(256) as u8).collect());
        let mut bent = token.clone().into_bytes();
        let at = random.below(bent.len());
        bent[at] = b"AB-_z9"[random.below(6)];
        tokens.push(bent);
    }
    tokens.push(b"x".repeat(20_000));
    for bytes in tokens.iter().filter(|bytes| ***bytes != *token.as_bytes()) {
        let encoded = percent_encode(bytes, NON_ALPHANUMERIC);
        let answer = owner.send(Call::get(format!("{FEED}?token={encoded}")));
        assert_eq!(answer.status, 200, "NUAGE_SEED={seed} {encoded}: {answer}");
        let page = answer.json();
        let told = (&page["reset"], &page["data"][0]["id"]);
        assert_eq!(told, (&json!(true), &json!("a")), "NUAGE_SEED={seed} {encoded}");
    }
    for id in ["nonsense", "\u{e9}\u{e9}", "a b", &"x".repeat(9_000)] {
        let call = Call::get(FEED).login(OWNER).header("Accept", "text/event-stream");
        let mut reader = Reader::open(server.address(), &call.header("Last-Event-ID", id));
        assert_eq!(reader.event().unwrap().name, "reset", "{id}");
    }
    // The one that was given is good after all that.
    assert_eq!(owner.page(&format!("token={token}"))["reset"], json!(false));
}

#[test]
fn questions_that_make_no_sense_are_refused() {
    let server = server(Backend::Sqlite, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    for query in [
        "limit=0",
        "limit=-3",
        "limit=many",
        "wait=-1",
        "wait=1.5",
        "wait=NaN",
        "wait=99999999999999999999",
        "min=yesterday",
        "digest=perhaps",
        "_since=0",
        "_limit=5",
        "token=a&token=b",
        "%00=1",
    ] {
        for accept in ["application/json", "text/event-stream", "application/x-ndjson"] {
            let call = Call::get(format!("{FEED}?{query}")).header("Accept", accept);
            let answer = owner.send(call);
            assert_eq!(answer.status, 400, "{query}: {answer}");
            let body: Value = answer.json();
            assert_eq!((&body["code"], body["errno"].is_u64()), (&json!(400), true), "{answer}");
        }
    }
    // Longer than may be is as long as may be.
    assert_eq!(owner.page("limit=1000000&wait=9999999")["reset"], json!(true));
    for (path, status) in [
        ("/v1/buckets/b/collections/none/feed", 404),
        ("/v1/buckets/none/collections/c/feed", 403),
        ("/v1/buckets/b/collections/_groups/feed", 404),
        ("/v1/buckets/b/collections/%2Fc/feed", 404),
        ("/v1/buckets/b/collections/c/feed/", 307),
        ("/v1/buckets/b/feed", 404),
    ] {
        let answer = owner.send(Call::get(path));
        assert_eq!(answer.status, status, "{path}: {answer}");
    }
}
