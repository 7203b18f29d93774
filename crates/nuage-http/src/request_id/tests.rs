#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderValue};

use crate::request_id::{RequestIds, X_REQUEST_ID};

fn name_for(sent: Option<&str>) -> String {
    let mut headers = HeaderMap::new();
    if let Some(sent) = sent {
        headers.insert(X_REQUEST_ID, HeaderValue::from_bytes(sent.as_bytes()).unwrap());
    }
    let (id, echoed) = RequestIds::new().of(&headers);
    assert_eq!(echoed.to_str().unwrap(), id.0);
    id.0
}

#[test]
fn sane_names_are_kept() {
    let longest = "x".repeat(64);
    for sane in ["a", "7b1e-4.X_9", &longest] {
        assert_eq!(name_for(Some(sane)), sane);
    }
}

#[test]
fn others_are_replaced() {
    let too_long = "x".repeat(65);
    for other in ["", "a b", "a\u{e9}", "a\"b", &too_long] {
        let name = name_for(Some(other));
        assert_eq!(name.len(), 16);
        assert!(name.bytes().all(|c| c.is_ascii_hexdigit()));
    }
}

#[test]
fn new_names_differ() {
    let ids = RequestIds::new();
    let (first, _) = ids.of(&HeaderMap::new());
    let (second, _) = ids.of(&HeaderMap::new());
    assert_ne!(first, second);
    assert_eq!(first.0[..8], second.0[..8]);
}
