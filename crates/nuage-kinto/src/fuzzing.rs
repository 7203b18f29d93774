//! A door for the fuzzers: each function takes any bytes and panics if a law is broken.
//!
//! Only built with the feature `fuzzing`. It has no rules of its own: what it calls is what
//! requests go through.

use http::{HeaderMap, Method};
use nuage_model::{Kind, Limits, Permissions, Timestamp};
use serde_json::Value;

use crate::batch;
use crate::envelope::{BodyRules, Envelope, Purpose};
use crate::fields;
use crate::json::JsonError;
use crate::object::Object;
use crate::patch::{Current, Format, Patch, ResponseBehavior};
use crate::querystring::{self, Listing, ObjectUse, Rules};
use crate::routes::Endpoint;
use crate::settings::Features;
use crate::shape;
use crate::token::{self, Token, Tokens};

const KINDS: [Kind; 5] = [Kind::Bucket, Kind::Collection, Kind::Group, Kind::Record, Kind::Account];

/// A query string of a list or an object. What is read says the same on the next page.
pub fn query_string(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else { return };
    let limits = Limits::default();
    for listing in [Listing::Objects, Listing::History, Listing::Permissions] {
        let rules = Rules { listing, limits: &limits, paginate_by: Some(10) };
        let Ok(params) = querystring::parse(Some(raw), &rules) else { continue };
        assert!(params.page_records <= 10 && params.sort.len() <= limits.sort_terms + 1);
        let next = params.next_query("next");
        let next = querystring::parse(Some(&next), &rules).expect("the next page can be asked for");
        assert_eq!((&next.filters, &next.sort), (&params.filters, &params.sort));
        assert_eq!(next.token.as_deref(), Some("next"));
    }
    let _ = querystring::parse_object(Some(raw), ObjectUse::Read, &limits);
    let _ = querystring::parse_object(Some(raw), ObjectUse::Delete, &limits);
}

/// A token of a page: the order, then the token. Nobody forges one, and ours are read back.
pub fn token(bytes: &[u8]) {
    let (order, text) = halves(bytes);
    let limits = Limits::default();
    let rules = Rules { listing: Listing::Objects, limits: &limits, paginate_by: None };
    let query = format!("_sort={order}");
    let Ok(params) = querystring::parse(Some(&query), &rules) else { return };
    let tokens = Tokens::new(b"fuzzing");
    let order = token::order(&params.sort);
    assert!(tokens.decode(&text, &order).is_err(), "a forged token was taken");
    let position = params.sort.iter().map(|_| serde_json::from_str(&text).ok()).collect();
    let written = Token { position, nonce: Some(text), head: None };
    let text = tokens.encode(&written, &order);
    if let Ok(read) = tokens.decode(&text, &order) {
        assert_eq!(read, written);
    } else {
        assert!(text.len() > Limits::default().token_bytes(), "a token is not read back");
    }
}

/// A JSON object. What is taken means the same to every other reader, and is written back whole.
pub fn json(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let other = serde_json::from_str::<Value>(text);
    match Object::parse(text, 64) {
        Ok(object) => {
            let value = other.expect("what we take others take");
            assert_eq!(object.to_value(), value);
            let again = Object::parse(&object.to_text(), 64).expect("what we wrote we read");
            assert_eq!(again.to_value(), value);
            let names: Vec<_> = object.keys().take(3).map(str::to_owned).collect();
            let kept = fields::project(&object.to_text(), &names);
            serde_json::from_str::<Value>(&kept).expect("some fields are JSON too");
        }
        Err(JsonError::NotObject) => {
            assert!(!other.expect("it is JSON for others too").is_object());
        }
        Err(_) => {}
    }
}

/// The body of a write to an object of each kind.
pub fn body(bytes: &[u8]) {
    let limits = Limits::default();
    for kind in KINDS {
        for purpose in [Purpose::Create, Purpose::Replace, Purpose::Change, Purpose::Merge] {
            let path_id = (purpose != Purpose::Create).then_some("id");
            let rules = BodyRules { kind, purpose, path_id, alias: None, limits: &limits };
            let Ok(envelope) = Envelope::parse(bytes, &rules) else { continue };
            let data = envelope.data.unwrap_or_default();
            assert!(data.get("id").is_none() && data.get("last_modified").is_none());
        }
    }
}

/// A change to an object: the object, then the change in each format. What comes out is JSON.
pub fn patch(bytes: &[u8]) {
    let (data, change) = halves(bytes);
    let limits = Limits::default();
    let Ok(data) = Object::parse(&data, limits.json_depth) else { return };
    // Nothing that is stored has these: `body` sees to it.
    let stored = data.to_value();
    if stored.get("id").is_some() || stored.get("last_modified").is_some() {
        return;
    }
    let permissions = Permissions::from_text(r#"{"write":["a"]}"#).expect("it is written so");
    let timestamp = Timestamp(1);
    let current = Current { id: "id", timestamp, data: &data, permissions: &permissions };
    for kind in KINDS {
        for format in [Format::Members, Format::Merge, Format::Operations] {
            let purpose = Purpose::Change;
            let rules =
                BodyRules { kind, purpose, path_id: Some("id"), alias: None, limits: &limits };
            let Ok(patch) = Patch::parse(format, change.as_bytes(), &rules) else { continue };
            let Ok(patched) = patch.apply(&current, kind, &limits) else { continue };
            let text = patched.data.to_text();
            assert!(text.len() <= limits.record_bytes + 2);
            let value: Value = serde_json::from_str(&text).expect("the result is JSON");
            assert!(value.get("id").is_none() && value.get("last_modified").is_none());
        }
    }
    let _ = ResponseBehavior::parse(Some(change.as_bytes()));
}

/// The body of a batch. Its requests are as many and as large as a batch may have.
pub fn batch(bytes: &[u8]) {
    let limits = Limits::default();
    let mut inherited = HeaderMap::new();
    inherited.insert(http::header::ACCEPT, http::HeaderValue::from_static("application/json"));
    let Ok(requests) = batch::parse(bytes, &inherited, &limits) else { return };
    assert!(requests.len() <= limits.batch_requests);
    for request in requests {
        assert!(request.path.starts_with('/'));
        assert!(request.method != Method::OPTIONS);
        if !request.body.is_empty() {
            let body = std::str::from_utf8(&request.body).expect("bodies are text");
            let body: Value = serde_json::from_str(body).expect("bodies are JSON");
            assert!(body.is_object() || body.is_array());
        }
    }
}

/// An identifier, in a path and in a body.
pub fn id(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let limits = Limits::default();
    let features = Features::all();
    for path in [format!("/buckets/{text}"), format!("/buckets/b/collections/{text}/records/r")] {
        if let Some(endpoint) = Endpoint::of(&path, features) {
            assert!(!endpoint.methods().is_empty());
        }
    }
    let _ = Endpoint::of(text, features);
    for kind in KINDS {
        if shape::is_id(kind, text, &limits) {
            assert!(text.is_ascii() && text.len() <= limits.id_bytes && !text.contains('/'));
        }
    }
    let _ = shape::given_id(text);
}

// Two texts, parted by the first zero byte.
fn halves(bytes: &[u8]) -> (String, String) {
    let at = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&bytes[..at]), text(bytes.get(at + 1..).unwrap_or_default()))
}
