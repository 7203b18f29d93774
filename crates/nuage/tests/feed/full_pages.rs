//! Pages that are just full: the last of them is followed by nothing, and says so.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use serde_json::json;

use crate::feed::reader::Reader;
use crate::feed::{COLLECTION, FEED, GUEST, OWNER, Person, server};

both_databases!(
    the_last_full_page_says_that_it_is_the_last,
    streams_come_to_rest_at_once,
    what_was_promised_comes_at_once
);

/// Signs of life come so seldom that a test that waits for one fails.
const LONG: &[&str] = &["limits.feed_wait_ms=600000", "limits.request_ms=900000"];

fn the_last_full_page_says_that_it_is_the_last(backend: Backend) {
    let server = server(backend, LONG);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let guest_id = guest.id();
    for n in 0..12 {
        // Every second one is the guest's as well.
        let readers = if n % 2 == 0 { json!([guest_id]) } else { json!([]) };
        owner.put(&format!("r{n}"), json!({"permissions": {"read": readers}}));
    }
    for (person, visible) in [(&mut owner, 12_usize), (&mut guest, 6)] {
        for limit in 1..=visible {
            let mut token = String::new();
            for page in 1.. {
                let told = person.page(&format!("limit={limit}&token={token}"));
                let entries = told["data"].as_array().unwrap().len();
                assert!(entries > 0, "a page of {limit} that tells nothing: {told}");
                token = told["token"].as_str().unwrap().to_owned();
                let is_last = page * limit >= visible;
                assert_eq!(told["more"], json!(!is_last), "page {page} of {limit}");
                if is_last {
                    break;
                }
            }
        }
    }
    // The same for what changed since, and for what is taken away.
    let (_, token) = guest.drain("", 100);
    for n in 0..4 {
        owner.put(&format!("r{n}"), json!({"permissions": {"read": []}, "data": {"n": n}}));
    }
    let told = guest.page(&format!("limit=2&token={token}"));
    assert_eq!((told["data"].as_array().unwrap().len(), &told["more"]), (2, &json!(false)));
}

fn streams_come_to_rest_at_once(backend: Backend) {
    let server = server(backend, LONG);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    for n in 0..6 {
        owner.put(&format!("r{n}"), json!({}));
    }
    for limit in [1, 2, 3, 6] {
        let mut lines = Reader::lines(server.address(), &format!("{FEED}?limit={limit}"), OWNER);
        let told = lines.until_rest();
        let ends = told.iter().filter(|line| line["kind"] == "page").count();
        assert_eq!(ends, 6 / limit - 1, "{told:?}");
    }
}

// A page that was cut in the middle of a run, whose rest was deleted meanwhile.
fn what_was_promised_comes_at_once(backend: Backend) {
    let server = server(backend, LONG);
    let (mut owner, mut guest) = (Person::new(&server, OWNER), Person::new(&server, GUEST));
    owner.settle();
    let readers = json!({"permissions": {"read": [guest.id()]}});
    assert_eq!(owner.send(Call::patch(COLLECTION, &readers)).status, 200);
    for n in 0..4 {
        owner.put(&format!("r{n}"), json!({}));
    }
    let (_, token) = guest.drain("", 100);
    for n in 0..4 {
        owner.put(&format!("r{n}"), json!({"data": {"n": n}}));
    }
    let page = guest.page(&format!("limit=2&token={token}"));
    assert_eq!(page["more"], json!(true));
    // What is left is told in this page: then there is nothing more.
    let token = page["token"].as_str().unwrap().to_owned();
    let page = guest.page(&format!("limit=2&wait=600&token={token}"));
    assert_eq!((page["data"].as_array().unwrap().len(), &page["more"]), (2, &json!(false)));
    // A device that asks again with the token of before gets the same, and at once.
    let again = guest.page(&format!("limit=2&wait=600&token={token}"));
    assert_eq!(again["data"], page["data"]);
}
