//! How requests of the load are written, and what their answers mean.

use nuage_testkit::checker::{Over, Place, Shown, What, Write};
use nuage_testkit::client::Answer;
use serde_json::Value;

/// Three collections of one bucket and two of another.
pub(super) const COLLECTIONS: [(&str, &str); 5] =
    [("hot", "a"), ("hot", "b"), ("hot", "c"), ("warm", "a"), ("warm", "b")];

/// What the answer to a write of one record means.
pub(super) fn outcome(write: Write, status: u16, body: &Value) -> What {
    let Write { place, over, .. } = write;
    match status {
        200 | 201 => What::Wrote(vec![Write { time: Some(time(body)), ..write }]),
        412 => What::Refused { place, over },
        404 if write.token.is_none() || matches!(over, Over::Version(_)) => {
            What::Read { place, found: None }
        }
        _ => panic!("{status} to {write:?}: {body}"),
    }
}

/// The header that makes a write conditional.
pub(super) fn condition(over: Over) -> Option<(&'static str, String)> {
    match over {
        Over::Anything => None,
        Over::Nothing => Some(("If-None-Match", "*".to_owned())),
        Over::Version(time) => Some(("If-Match", format!("\"{time}\""))),
    }
}

/// The entries of a list.
pub(super) fn shown(answer: &Answer) -> Vec<Shown> {
    let body = answer.json();
    let entries = body["data"].as_array().unwrap().iter();
    let shown = entries.map(|entry| Shown {
        record: entry["id"].as_str().unwrap()[1..].parse().unwrap(),
        time: entry["last_modified"].as_i64().unwrap(),
        token: entry["token"].as_u64(),
    });
    shown.collect()
}

/// The time of a record in an answer.
pub(super) fn time(body: &Value) -> i64 {
    body["data"]["last_modified"].as_i64().unwrap_or_else(|| panic!("no time: {body}"))
}

/// Where the records of a collection are.
pub(super) fn records(collection: usize) -> String {
    let (bucket, collection) = COLLECTIONS[collection];
    format!("/v1/buckets/{bucket}/collections/{collection}/records")
}

/// Where a record is.
pub(super) fn path(place: Place) -> String {
    format!("{}/r{}", records(place.collection), place.record)
}

/// Where a part of a collection is.
pub(super) fn address(collection: usize, since: i64, before: i64, limit: usize) -> String {
    let mut query = Vec::new();
    if since > 0 {
        query.push(format!("_since={since}"));
    }
    if before < i64::MAX {
        query.push(format!("_before={before}"));
    }
    if limit < usize::MAX {
        query.push(format!("_limit={limit}"));
    }
    format!("{}?{}", records(collection), query.join("&"))
}
