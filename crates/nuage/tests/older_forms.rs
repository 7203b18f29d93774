//! Data that an earlier version wrote look otherwise to somebody, or are unsound, once the present
//! program has taken them over.
//!
//! `fixtures/README.md` says what the data are. Answers have the same bytes as then.

pub(crate) mod data;
mod seen;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use serde_json::json;

use data::{Data, Form};
use seen::{Device, Seen};

both_databases!(
    the_first_form_is_shown_as_it_was,
    the_second_form_is_shown_as_it_was,
    the_fourth_form_is_shown_as_it_was,
    the_fifth_form_is_shown_as_it_was,
    exports_of_the_first_form_show_the_same,
    exports_of_the_second_form_show_the_same,
);

const NOTES: &str = "/v1/buckets/blog/collections/notes";

fn the_first_form_is_shown_as_it_was(backend: Backend) {
    data_are_shown_as_they_were(Form::First, backend);
}

fn the_second_form_is_shown_as_it_was(backend: Backend) {
    data_are_shown_as_they_were(Form::Second, backend);
}

#[test]
fn the_third_form_is_shown_as_it_was() {
    data_are_shown_as_they_were(Form::Third, Backend::Sqlite);
}

fn the_fourth_form_is_shown_as_it_was(backend: Backend) {
    data_are_shown_as_they_were(Form::Fourth, backend);
}

fn the_fifth_form_is_shown_as_it_was(backend: Backend) {
    data_are_shown_as_they_were(Form::Fifth, backend);
}

fn exports_of_the_first_form_show_the_same(backend: Backend) {
    exports_show_the_same(Form::First, backend);
}

fn exports_of_the_second_form_show_the_same(backend: Backend) {
    exports_show_the_same(Form::Second, backend);
}

fn data_are_shown_as_they_were(form: Form, backend: Backend) {
    let (data, seen) = (Data::of(form, backend), Seen::of(form, backend));
    data.expect_sound();
    let mut server = data.serve();
    let mut client = server.client();
    seen.expect_answers(&mut client);
    let mut afresh = 0;
    for run in &seen.feeds {
        let pages = seen.pages(&mut client, run);
        if run.is_of_few() && pages[0].begins_afresh() {
            assert_eq!(pages.last().unwrap().digest(), run.pages.last().unwrap().digest());
            afresh += 1;
            continue;
        }
        assert_eq!(pages, run.pages, "{} {} after {:?}", run.who, run.path, run.token);
    }
    // Two were in the middle of a run, of which tokens had another format.
    let is_older = form != Form::Fifth && !seen.feeds.is_empty();
    assert_eq!(afresh, if is_older { 2 } else { 0 });
    seen.expect_feeds_like_lists(&mut client);
    write_on(&seen, &mut client);
    drop(client);
    assert_eq!(server.terminate().code(), Some(0));
    data.expect_sound();
}

fn exports_show_the_same(form: Form, backend: Backend) {
    let (from, to) = (Data::of(form, backend), Data::empty(backend));
    let seen = Seen::of(form, backend);
    let file = from.file("export");
    from.expect_done("export", &[&file]);
    to.expect_done("import", &[&file]);
    to.expect_sound();
    let source = from.serve();
    let mut server = to.serve();
    let mut client = server.client();
    seen.expect_same(&mut source.client(), &mut client);
    for run in &seen.feeds {
        let first = &seen.pages(&mut client, run)[0];
        assert!(first.begins_afresh(), "{} {}: {first:?}", run.who, run.path);
    }
    seen.expect_feeds_like_lists(&mut client);
    write_on(&seen, &mut client);
    drop(client);
    assert_eq!(server.terminate().code(), Some(0));
    to.expect_sound();
}

/// Changes of every kind, with devices that must be told of them, and of nothing else.
fn write_on(seen: &Seen, client: &mut Client) {
    let mut devices = ["alice", "bob", "carol", "dave"].map(|who| (who, Device::new(who, NOTES)));
    for (_, device) in &mut devices {
        device.follow(seen, client);
    }
    let mut alice = |call: Call| {
        let answer = seen.send(client, "alice", call.clone());
        assert!(matches!(answer.status, 200 | 201), "{call}: {answer}");
        answer
    };
    let record = |id: &str| format!("{NOTES}/records/{id}");
    let put = |id: &str, readers: &[&str]| {
        Call::put(record(id), &json!({"permissions": {"read": readers}}))
    };
    let time = |answer: Answer| answer.json()["data"]["last_modified"].as_i64();
    let head = alice(Call::get(format!("{NOTES}/records"))).etag();
    let next = time(alice(put("next", &["account:bob"])));
    assert!(next > head, "{next:?} is not after {head:?}");
    // A deleted one comes back, another goes, readers come and go.
    assert!(time(alice(put("dead", &["account:carol"]))) > next);
    alice(Call::delete(record("private")));
    alice(put("restless", &["account:dave"]));
    let past = json!({"data": {"last_modified": 1_000_000_000_000_i64}});
    assert_eq!(time(alice(Call::put(record("past"), &past))), Some(1_000_000_000_000));
    let members = json!({"data": {"members": ["account:bob"]}});
    alice(Call::put("/v1/buckets/blog/groups/editors", &members));
    alice(Call::delete("/v1/buckets/blog/groups/members"));
    // What has gone twice comes once more.
    let back = "/v1/buckets/blog/collections/back";
    alice(Call::delete(back));
    let readers = json!({"permissions": {"read": ["account:bob", "account:carol"]}});
    alice(Call::put(back, &readers));
    alice(Call::put(format!("{back}/records/r1"), &json!({})));
    for (who, mut device) in devices {
        let before = device.rows.clone();
        let told = device.follow(seen, client);
        assert_eq!(device.rows, seen.visible(client, who, NOTES), "{who}");
        assert!(!told.reset, "{who} had to begin afresh");
        for id in told.ids {
            assert_ne!(before.get(&id), device.rows.get(&id), "{who} is told of {id} in vain");
        }
    }
    seen.expect_feeds_like_lists(client);
}
