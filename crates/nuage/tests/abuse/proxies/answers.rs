//! Answers that proxies compress, keep and give to others, and the tags that come back from them.

use std::io::Read;

use flate2::read::GzDecoder;
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use serde_json::{Value, json};

use crate::abuse::bounded_with;

both_databases!(
    weak_and_listed_tags_compare_as_the_standard_says,
    lists_come_compressed_and_keep_their_tags,
    caches_give_nobody_the_answer_of_another,
    preflights_are_answered_wherever_they_ask
);

const RECORDS: &str = "/v1/buckets/b/collections/c/records";

fn send(client: &mut Client, call: Call) -> Answer {
    let told = call.to_string();
    client.send(&call).unwrap_or_else(|error| panic!("{told}: {error}"))
}

/// A collection, with records of which one was deleted. Mat owns it, anybody may read it.
fn fill(client: &mut Client, records: usize) {
    let open = json!({"permissions": {"read": ["system.Everyone"]}});
    for (path, body) in [("/v1/buckets/b", &open), ("/v1/buckets/b/collections/c", &json!({}))] {
        assert_eq!(send(client, Call::put(path, body).login("mat:secret")).status, 201);
    }
    for n in 0..records {
        let body = json!({"data": {"title": "The same again and again".repeat(20), "n": n}});
        let call = Call::put(format!("{RECORDS}/r{n}"), &body).login("mat:secret");
        assert_eq!(send(client, call).status, 201);
    }
    let gone = Call::delete(format!("{RECORDS}/r0")).login("mat:secret");
    assert_eq!(send(client, gone).status, 200);
}

fn weak_and_listed_tags_compare_as_the_standard_says(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let client = &mut server.client();
    fill(client, 2);
    for path in [RECORDS.to_owned(), format!("{RECORDS}/r1")] {
        let tag = send(client, Call::get(&path)).etag().unwrap();
        let old = tag - 1;
        for (value, status) in [
            (format!("\"{tag}\""), 304),
            (format!("W/\"{tag}\""), 304),
            (format!("\"{old}\", W/\"{tag}\""), 304),
            (format!("\"{old}\", \"{tag}\""), 304),
            (format!("W/\"{old}\", \"other\""), 200),
            (format!("\"{tag}-gzip\""), 200),
            ("*".to_owned(), 412),
            (format!("*, \"{tag}\""), 400),
            (format!("W/{tag}"), 400),
        ] {
            let answer = send(client, Call::get(&path).header("If-None-Match", &value));
            assert_eq!(answer.status, status, "If-None-Match: {value}\n{answer}");
            if status == 304 {
                assert_eq!(answer.etag(), Some(tag));
                assert!(answer.header("Vary").is_some(), "as the answer that it stands for");
            }
        }
        for (value, status) in [
            (format!("\"{old}\", \"{tag}\""), 200),
            ("*".to_owned(), 200),
            (format!("W/\"{tag}\""), 412),
            (format!("W/\"{tag}\", \"{old}\""), 412),
            ("\"other\"".to_owned(), 412),
        ] {
            let answer = send(client, Call::get(&path).header("If-Match", &value));
            assert_eq!(answer.status, status, "If-Match: {value}\n{answer}");
        }
    }
    let record = format!("{RECORDS}/r1");
    let tag = send(client, Call::get(&record)).etag().unwrap();
    let put = |value: String| {
        let call = Call::put(&record, &json!({"data": {}})).login("mat:secret");
        call.header("If-Match", value)
    };
    assert_eq!(send(client, put(format!("W/\"{tag}\""))).status, 412);
    assert_eq!(send(client, put(format!("\"1\", \"{tag}\""))).status, 200);
    // A client that keeps a weakened tag, with or without its quotes, goes on from there.
    let head = send(client, Call::get(RECORDS)).etag().unwrap();
    assert_eq!(send(client, Call::delete(&record).login("mat:secret")).status, 200);
    for since in [format!("W/%22{head}%22"), format!("W/{head}"), format!("%22{head}%22")] {
        for name in ["_since", "gt_last_modified"] {
            let answer = send(client, Call::get(format!("{RECORDS}?{name}={since}")));
            assert_eq!(answer.json()["data"][0]["deleted"], true, "{name}={since}: {answer}");
        }
    }
}

fn unzipped(answer: &Answer) -> Value {
    assert_eq!(answer.header("Content-Encoding"), Some("gzip"), "{:?}", answer.headers);
    let mut text = String::new();
    GzDecoder::new(&answer.body[..]).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn lists_come_compressed_and_keep_their_tags(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let client = &mut server.client();
    fill(client, 60);
    let plain = send(client, Call::get(RECORDS));
    assert_eq!(plain.header("Content-Encoding"), None);
    let gzip = |path: &str| Call::get(path).header("Accept-Encoding", "br, gzip");
    let pressed = send(client, gzip(RECORDS));
    assert_eq!(unzipped(&pressed), plain.json());
    assert!(pressed.body.len() * 5 < plain.body.len());
    assert_eq!(pressed.etag(), plain.etag());
    assert!(pressed.header("Vary").unwrap().contains("Accept-Encoding"));
    assert!(plain.header("Vary").unwrap().contains("Accept-Encoding"));
    let tag = pressed.header("ETag").unwrap().to_owned();
    assert_eq!(send(client, gzip(RECORDS).header("If-None-Match", tag)).status, 304);
    // Small ones too, so that no proxy compresses them and weakens their tags.
    let small = format!("{RECORDS}?_since={}", plain.etag().unwrap() - 1);
    let answer = send(client, gzip(&small));
    assert_eq!(unzipped(&answer)["data"][0]["deleted"], true);
    assert!(answer.header("ETag").unwrap().starts_with('"'));
    // What has no tag and is small stays as it is, and so does what nobody can take.
    assert_eq!(send(client, gzip("/v1/__lbheartbeat__")).header("Content-Encoding"), None);
    let refused = Call::get(RECORDS).header("Accept-Encoding", "gzip;q=0, br");
    assert_eq!(send(client, refused).header("Content-Encoding"), None);
    let head = send(client, Call::new("HEAD", RECORDS).header("Accept-Encoding", "gzip"));
    assert_eq!(head.header("Total-Records"), Some("59"));
    // A batch of lists is an answer like others.
    let batch = json!({"requests": [{"path": RECORDS}, {"path": RECORDS}]});
    let answer = send(client, Call::post("/v1/batch", &batch).header("Accept-Encoding", "gzip"));
    assert_eq!(unzipped(&answer)["responses"][1]["body"], plain.json());
}

fn caches_give_nobody_the_answer_of_another(backend: Backend) {
    let settings = [
        "kinto.cors_origins=https://app.example",
        "kinto.cache_expires_s.record=60",
        "history.enabled=true",
        "kinto.counters=true",
    ];
    let server = bounded_with(backend, &settings).start();
    let client = &mut server.client();
    fill(client, 2);
    let tag = send(client, Call::get(RECORDS)).header("ETag").unwrap().to_owned();
    let bucket = "/v1/buckets/b";
    let never = [
        Call::get(RECORDS).login("mat:secret"),
        Call::get(RECORDS).login("mat:secret").header("If-None-Match", tag),
        Call::get(bucket),
        Call::get(bucket).header("If-None-Match", "*"),
        Call::get("/v1/buckets/none"),
        Call::get("/v1/none"),
        Call::get("/v1/buckets?_sort=%00"),
        Call::get("/v1/"),
        Call::get("/v1/").login("mat:secret"),
        Call::get("/v1/permissions").login("mat:secret"),
        Call::get("/v1/buckets/default").login("mat:secret"),
        Call::get(format!("{bucket}/history")).login("mat:secret"),
        Call::get(format!("{bucket}/snapshot/collections/c@99999999999999")).login("mat:secret"),
        Call::get(format!("{bucket}/explain?principal=bob")).login("mat:secret"),
        Call::get(format!("{bucket}/collections/c/feed")).login("mat:secret"),
        Call::get("/v1/__heartbeat__"),
        Call::get("/v1/__counters__"),
        Call::get("/v1/__api__"),
        Call::new("HEAD", RECORDS).login("mat:secret"),
        Call::get("/v1/batch"),
    ];
    for call in &never {
        for origin in [None, Some("https://app.example"), Some("https://other.example")] {
            let mut call = call.clone();
            if let Some(origin) = origin {
                call = call.header("Origin", origin);
            }
            let answer = send(client, call.clone());
            let cached = answer.header("Cache-Control").unwrap_or_else(|| panic!("{call}"));
            assert!(cached.contains("no-store"), "{call}\n{cached}");
            let varies = answer.header("Vary").unwrap_or_else(|| panic!("{call}"));
            assert!(varies.contains("Origin"), "{call}\n{varies}");
            let allowed = origin.filter(|origin| origin.contains("app"));
            assert_eq!(answer.header("Access-Control-Allow-Origin"), allowed, "{call}");
        }
    }
    // Anybody's answer may be kept, but not given to somebody who logs in.
    let answer = send(client, Call::get(RECORDS));
    assert_eq!(answer.header("Cache-Control"), Some("max-age=60"));
    for name in ["Authorization", "Origin", "Accept-Encoding"] {
        assert!(answer.header("Vary").unwrap().contains(name), "{name}");
    }
    // Writes and redirections say of whom they depend as well.
    for call in [Call::put(bucket, &json!({})), Call::get("/buckets"), Call::get("/v1/buckets/")] {
        assert!(send(client, call).header("Vary").unwrap().contains("Origin"));
    }
}

fn preflights_are_answered_wherever_they_ask(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let client = &mut server.client();
    for (path, methods) in [
        ("/v1", "GET"),
        ("/v1/", "GET"),
        ("/v1/buckets", "POST"),
        ("/v1/buckets/", "POST"),
        ("/v1/buckets/b/", "PATCH"),
        ("/v1/buckets/b/collections//", "POST"),
        ("/buckets/", "POST"),
        ("/", "GET"),
        ("/v1/nothing/at/all/", "GET"),
    ] {
        let call = Call::new("OPTIONS", path)
            .header("Origin", "https://app.example")
            .header("Access-Control-Request-Method", methods)
            .header("Access-Control-Request-Headers", "authorization");
        let answer = send(client, call);
        assert_eq!(answer.status, 200, "{path}: {answer}");
        assert_eq!(answer.header("Location"), None);
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"));
        assert!(answer.header("Access-Control-Allow-Methods").unwrap().contains(methods));
        let headers = answer.header("Access-Control-Allow-Headers").unwrap();
        assert!(headers.contains("authorization"));
    }
}
