//! Media types: what a client takes, and what it sends.
//!
//! Source: Kinto fact sheet, section 1, "Content negotiation".

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};

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
        let taken = ["", JSON, "application/*", "*/*", "*"];
        !refused && taken.iter().any(|taken| media.eq_ignore_ascii_case(taken))
    };
    let takes =
        ranges.any(|value| value.to_str().is_ok_and(|text| text.split(',').any(takes_json)));
    if takes {
        return Ok(());
    }
    Err(Error::not_acceptable(&format!("Accept header should be one of ['{JSON}']")))
}

/// Refuses bodies that are not JSON, empty ones too if they claim to be something else.
pub(crate) fn content_type(method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE).filter(|value| !value.is_empty()) else {
        return Ok(());
    };
    if !matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
        return Ok(());
    }
    let is_patch = *method == Method::PATCH;
    let media = media_type(value);
    if is(media, JSON) || (is_patch && (is(media, MERGE_PATCH) || is(media, JSON_PATCH))) {
        return Ok(());
    }
    let listed = if is_patch {
        format!("'{JSON}', '{JSON_PATCH}', '{MERGE_PATCH}'")
    } else {
        format!("'{JSON}'")
    };
    Err(Error::unsupported_media(&format!("Content-Type header should be one of [{listed}]")))
}

/// How the body of a PATCH is written.
pub(crate) fn format(headers: &HeaderMap) -> Format {
    match headers.get(CONTENT_TYPE).map(media_type) {
        Some(media) if is(media, MERGE_PATCH) => Format::Merge,
        Some(media) if is(media, JSON_PATCH) => Format::Operations,
        _ => Format::Members,
    }
}

/// A media type without its parameters.
fn media_type(value: &HeaderValue) -> &[u8] {
    value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

fn is(media: &[u8], wanted: &str) -> bool {
    media.eq_ignore_ascii_case(wanted.as_bytes())
}

#[cfg(test)]
mod tests;
