//! Times in the future, and what is told by times and tags.

use std::process::Stdio;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use super::bounded_with;
use crate::programs::now_ms;

both_databases!(
    nobody_carries_a_list_off_into_the_future,
    a_list_from_the_future_goes_on,
    who_may_not_see_all_finds_no_time_that_is_taken,
    hidden_records_have_no_tag
);

const DAY_MS: i64 = 24 * 3600 * 1000;
const OWNER: &str = "owner:1";
const WRITER: &str = "writer:1";
const LIST: &str = "/v1/buckets/b/collections/c/records";

struct Person<'a> {
    client: Client,
    login: &'a str,
}

impl<'a> Person<'a> {
    fn new(server: &Server, login: &'a str) -> Self {
        Self { client: server.client(), login }
    }

    fn send(&mut self, call: Call) -> Answer {
        self.client.send(&call.login(self.login)).unwrap()
    }

    fn done(&mut self, call: Call) -> Answer {
        let answer = self.send(call);
        assert!(matches!(answer.status, 200 | 201), "{answer}");
        answer
    }

    fn id(&mut self) -> String {
        self.done(Call::get("/v1/")).json()["user"]["id"].as_str().unwrap().to_owned()
    }
}

fn time_of(answer: &Answer) -> i64 {
    answer.json()["data"]["last_modified"].as_i64().unwrap()
}

fn tag_of(answer: &Answer) -> i64 {
    answer.header("ETag").unwrap().trim_matches('"').parse().unwrap()
}

/// A collection in which the writer may create records.
fn settle(server: &Server) -> (Person<'static>, Person<'static>) {
    let (mut owner, mut writer) = (Person::new(server, OWNER), Person::new(server, WRITER));
    let writer_id = writer.id();
    owner.done(Call::put("/v1/buckets/b", &json!({})));
    let permissions = json!({"permissions": {"record:create": [writer_id]}});
    owner.done(Call::put("/v1/buckets/b/collections/c", &permissions));
    (owner, writer)
}

fn nobody_carries_a_list_off_into_the_future(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let (mut owner, mut writer) = settle(&server);
    let far = json!({"data": {"last_modified": now_ms() + 30 * DAY_MS}});
    // A few times, so that none of them prepares the ground for the next.
    for n in 0..3 {
        for person in [&mut owner, &mut writer] {
            let path = format!("{LIST}/far{n}-{}", &person.login[..5]);
            let told = time_of(&person.done(Call::put(path, &far)));
            assert!(told <= now_ms() + DAY_MS, "{told} is far ahead");
        }
    }
    let near = now_ms() + DAY_MS / 2;
    let put = Call::put(format!("{LIST}/near"), &json!({"data": {"last_modified": near}}));
    assert_eq!(time_of(&owner.done(put)), near);
    let gone = Call::delete(format!("{LIST}/near?last_modified={}", now_ms() + 30 * DAY_MS));
    assert!(time_of(&owner.done(gone)) <= near + 1);
    // Neither a list of buckets nor one of accounts.
    let bucket = time_of(&writer.done(Call::put("/v1/buckets/far", &far)));
    assert!(bucket <= now_ms() + DAY_MS);
    // A batch is no way around it.
    let requests: Vec<Value> = (0..5)
        .map(|n| json!({"method": "PUT", "path": format!("{LIST}/batch{n}"), "body": far}))
        .collect();
    let answer = writer.done(Call::post("/v1/batch", &json!({ "requests": requests })));
    for response in answer.json()["responses"].as_array().unwrap() {
        assert_eq!(response["status"], 201, "{response}");
    }
    let head = tag_of(&owner.done(Call::get(LIST)));
    assert!(head <= now_ms() + DAY_MS, "{head} is far ahead");
    assert_words_are_taken(&mut owner, &format!("{LIST}?_since={head}"));
}

// As after a write by a machine whose clock was 400 days ahead.
fn a_list_from_the_future_goes_on(backend: Backend) {
    let far = now_ms() + 400 * DAY_MS;
    // People keep their names.
    let secret = &["auth.userid_hmac_secret=a secret that both servers know"];
    let source = bounded_with(Backend::Sqlite, secret).start();
    let (mut owner, _) = settle(&source);
    for id in ["x", "y", "z"] {
        owner.done(Call::put(format!("{LIST}/{id}"), &json!({})));
    }
    let export = source.tool("export").output().unwrap();
    assert!(export.status.success(), "{export:?}");
    let text = String::from_utf8(export.stdout).unwrap();
    let later = |text: &str| {
        let mut line: Value = serde_json::from_str(text).unwrap();
        if line["bucket"] != "b" || line["collection"] != "c" {
            return format!("{text}\n");
        }
        let seq = line["seq"].as_i64().unwrap() + 400 * DAY_MS;
        (line["seq"], line["timestamp"]) = (seq.into(), seq.into());
        format!("{line}\n")
    };
    let text: String = text.lines().map(later).collect();
    drop(source);

    let mut server = bounded_with(backend, secret).start();
    server.terminate();
    let mut import =
        server.tool("import").arg("--keep-secrets").stdin(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(import.stdin.as_mut().unwrap(), text.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    server.start();

    let mut owner = Person::new(&server, OWNER);
    let list = owner.done(Call::get(format!("{LIST}?_limit=1&_sort=last_modified")));
    let head = tag_of(&list);
    assert!(head >= far, "{head}");
    assert_words_are_taken(&mut owner, list.header("Next-Page").unwrap());
    for name in ["_since", "_before", "last_modified", "gt_last_modified", "in_last_modified"] {
        assert_words_are_taken(&mut owner, &format!("{LIST}?{name}={head}"));
        assert_words_are_taken(&mut owner, &format!("{LIST}?{name}=%22{head}%22"));
    }
    let at = owner.done(Call::get(format!("{LIST}/z")));
    let put = Call::put(format!("{LIST}/z"), &json!({"data": at.json()["data"]}));
    let told = time_of(&owner.done(put.if_match(tag_of(&at))));
    assert!(told > head && told < head + 1_000, "{told} follows {head}");
    let page = owner.done(Call::get(format!("{LIST}?_since={head}")));
    assert_eq!(page.json()["data"].as_array().unwrap().len(), 1);
    // Made anew, it is another collection, and its times go on.
    owner.done(Call::delete("/v1/buckets/b/collections/c"));
    owner.done(Call::put("/v1/buckets/b/collections/c", &json!({})));
    assert_words_are_taken(&mut owner, &format!("{LIST}?_since={told}"));
    let anew = time_of(&owner.done(Call::put(format!("{LIST}/z"), &json!({}))));
    assert!(anew > told, "{anew} follows {told}");
    // What others hold of it does not make them stop after everything was emptied either.
    owner.done(Call::delete("/v1/buckets/b"));
    owner.done(Call::put("/v1/buckets/b", &json!({})));
    owner.done(Call::put("/v1/buckets/b/collections/c", &json!({})));
    assert_words_are_taken(&mut owner, &format!("{LIST}?_since={anew}"));
}

fn assert_words_are_taken(person: &mut Person<'_>, address: &str) {
    let path = address.find("/v1/").map_or(address, |at| &address[at..]);
    let answer = person.send(Call::get(path));
    assert_eq!(answer.status, 200, "{path}: {answer}");
}

fn who_may_not_see_all_finds_no_time_that_is_taken(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let (mut owner, mut writer) = settle(&server);
    let past = 1_500_000_000_000_i64;
    let at = |time: i64| json!({"data": {"last_modified": time}});
    owner.done(Call::post(LIST, &json!({})));
    let hidden = time_of(&owner.done(Call::post(LIST, &at(past))));
    assert_eq!(hidden, past);
    let told = time_of(&owner.done(Call::post(LIST, &at(past))));
    assert_eq!(told, past + 1, "two records never show the same time");
    // Taken or not, by records that are there or deleted.
    for time in [past, past + 1, past + 2, past - 1] {
        let begun = tag_of(&owner.done(Call::get(LIST)));
        let made = writer.done(Call::post(LIST, &at(time)));
        assert!(time_of(&made) > begun, "{made}");
        let id = made.json()["data"]["id"].as_str().unwrap().to_owned();
        let gone = Call::delete(format!("{LIST}/{id}?last_modified={time}"));
        assert!(time_of(&writer.done(gone)) > time_of(&made));
    }
    // Nor is it seen by a later request of the same batch.
    let head = tag_of(&owner.done(Call::get(LIST)));
    let requests = json!([
        {"method": "POST", "path": LIST, "body": at(past)},
        {"method": "GET", "path": format!("{LIST}?_since={head}")},
    ]);
    let answer = writer.done(Call::post("/v1/batch", &json!({ "requests": requests })));
    let responses = answer.json()["responses"].as_array().unwrap().clone();
    let (made, listed) = (&responses[0]["body"]["data"], &responses[1]["body"]["data"]);
    assert_eq!(listed.as_array().unwrap(), std::slice::from_ref(made), "{answer}");
    // What others may not see is where it was.
    let ours = owner.done(Call::get(format!("{LIST}?_sort=last_modified&_limit=2")));
    let times = ours.json()["data"].as_array().unwrap().clone();
    assert_eq!([&times[0]["last_modified"], &times[1]["last_modified"]], [past, past + 1]);
}

fn hidden_records_have_no_tag(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    let (mut owner, mut writer) = settle(&server);
    let deleter = json!({"data": {"secret": 1}, "permissions": {"delete": [writer.id()]}});
    let hidden = format!("{LIST}/hidden");
    let at = tag_of(&owner.done(Call::put(&hidden, &deleter)));
    let new = || Call::put(&hidden, &json!({"data": {}})).header("If-None-Match", "*");
    for refused in [
        writer.send(new()),
        writer.send(Call::put(&hidden, &json!({"data": {}})).if_match(1)),
        writer.send(Call::delete(&hidden).if_match(1)),
        writer.send(Call::post(LIST, &json!({"data": {"id": "hidden"}})).if_match(1)),
    ] {
        assert!(matches!(refused.status, 401 | 403 | 412), "{refused}");
        assert!(!refused.to_string().contains(&at.to_string()), "{refused}");
        for header in ["ETag", "Last-Modified"] {
            assert_eq!(refused.header(header), None, "{refused}");
        }
    }
    // Whoever may read it is shown what there is.
    let refused = owner.send(new());
    assert_eq!((refused.status, tag_of(&refused)), (412, at), "{refused}");
}
