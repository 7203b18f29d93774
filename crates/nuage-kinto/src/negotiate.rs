//! Media types: what a client takes, and what it sends.
//!
//! Source: Kinto fact sheet, section 1, "Content negotiation".

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Method};

use crate::error::Error;
use crate::patch::Format;

const JSON: &str = "application/json";
/// What PATCH takes beside JSON.
const MERGE_PATCH: &str = "application/merge-patch+json";
/// See [`MERGE_PATCH`].
const JSON_PATCH: &str = "application/json-patch+json";

/// Refuses clients that do not take JSON.
pub(crate) fn accept(headers: &HeaderMap) -> Result<(), Error> {
    let mut ranges = headers.get_all(ACCEPT).iter().peekable();
    if ranges.peek().is_none() {
        return Ok(());
    }
    let takes_json = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let refused = parts.any(|part| {
            let weight = part.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok());
            weight.is_some_and(|weight| weight <= 0.0)
        });
        let media = media.to_ascii_lowercase();
        !refused && matches!(media.as_str(), "" | JSON | "application/*" | "*/*" | "*")
    };
    let takes =
        ranges.any(|value| value.to_str().is_ok_and(|text| text.split(',').any(takes_json)));
    if takes {
        return Ok(());
    }
    Err(Error::not_acceptable(&format!("Accept header should be one of ['{JSON}']")))
}

/// Refuses bodies that are not JSON.
pub(crate) fn content_type(method: &Method, headers: &HeaderMap, body: &[u8]) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    if body.is_empty() || !matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(());
    }
    let text = value.to_str().unwrap_or_default();
    let media = media_type(text);
    let known = media == JSON
        || (*method == Method::PATCH && (media == MERGE_PATCH || media == JSON_PATCH));
    if known {
        return Ok(());
    }
    let listed = match *method {
        Method::PATCH => format!("'{JSON}', '{MERGE_PATCH}', '{JSON_PATCH}'"),
        _ => format!("'{JSON}'"),
    };
    Err(Error::unsupported_media(&format!("Content-Type header should be one of [{listed}]")))
}

/// How the body of a PATCH is written.
pub(crate) fn format(headers: &HeaderMap) -> Format {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match media_type(text.unwrap_or_default()).as_str() {
        MERGE_PATCH => Format::Merge,
        JSON_PATCH => Format::Operations,
        _ => Format::Members,
    }
}

/// A media type without its parameters, in lower case.
fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
