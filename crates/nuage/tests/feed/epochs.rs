//! The operator says that the data went back, and devices go on with what never happened.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use serde_json::json;

use crate::feed::reader::Reader;
use crate::feed::{FEED, OWNER, Person, server};

both_databases!(a_renewed_store_tells_everybody);

fn a_renewed_store_tells_everybody(backend: Backend) {
    let server = server(backend, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("a", json!({}));
    let (_, token) = owner.drain("", 10);
    let mut lines = Reader::lines(server.address(), FEED, OWNER);
    lines.until_rest();
    let renewed = server.tool("renew").output().unwrap();
    let words = String::from_utf8_lossy(&renewed.stderr);
    assert_eq!(renewed.status.code(), Some(0), "{words}");
    assert!(words.contains("begin afresh"), "{words}");
    let page = owner.page(&format!("token={token}"));
    assert_eq!((&page["reset"], page["data"].as_array().unwrap().len()), (&json!(true), 1));
    let told = std::iter::from_fn(|| lines.next()).find(|line| line["kind"] == "reset");
    assert!(told.is_some(), "the stream ended without a word");
    let token = page["token"].as_str().unwrap();
    assert_eq!(owner.page(&format!("token={token}"))["reset"], false, "once");
}
