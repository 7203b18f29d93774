//! What a value breaks of a schema, in a sentence for the client.
//!
//! The common sentences are those that clients of Kinto have read for years; the others are the
//! library's. A sentence shows the value, so it is bounded.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ReferencingError, ValidationError};
use serde_json::Value;

/// Longer sentences are cut.
const SENTENCE_BYTES_MAX: usize = 500;

pub(super) fn sentence(error: &ValidationError<'_>) -> String {
    let value = || quoted(error.instance());
    let mut text = match error.kind() {
        ValidationErrorKind::Required { property } => {
            format!("{} is a required property", quoted(property))
        }
        ValidationErrorKind::Type { kind: TypeKind::Single(kind) } => {
            format!("{} is not of type '{kind}'", value())
        }
        ValidationErrorKind::Type { kind: TypeKind::Multiple(kinds) } => {
            let kinds: Vec<_> = kinds.iter().map(|kind| format!("'{kind}'")).collect();
            format!("{} is not of type {}", value(), kinds.join(", "))
        }
        ValidationErrorKind::AnyOf { .. } | ValidationErrorKind::OneOfNotValid { .. } => {
            format!("{} is not valid under any of the given schemas", value())
        }
        ValidationErrorKind::Pattern { pattern } => {
            format!("{} does not match '{pattern}'", value())
        }
        ValidationErrorKind::Format { format } => format!("{} is not a '{format}'", value()),
        ValidationErrorKind::Referencing(ReferencingError::Unretrievable { uri, .. }) => {
            format!("Unresolvable: {uri}")
        }
        _ => error.to_string(),
    };
    if text.len() > SENTENCE_BYTES_MAX {
        text.truncate(text.floor_char_boundary(SENTENCE_BYTES_MAX));
        text.push('…');
    }
    text
}

/// Strings between single quotes, for the sentence stands in JSON; other values as JSON.
fn quoted(value: &Value) -> String {
    match value {
        Value::String(text) => format!("'{text}'"),
        value => value.to_string(),
    }
}
