//! `_fields`: only some fields of an object are shown.
//!
//! Source: Kinto fact sheet, section 7.3. What is kept keeps its place and its text. Identifier
//! and time are not in the body and stay in any case; `deleted` is kept by whoever writes
//! tombstones.

use std::borrow::Cow;

use crate::object::Object;

/// The named fields of a body; dotted names keep their nesting, unknown ones are ignored. What is
/// met on the way to a field that is missing stays, as in the original.
pub(crate) fn project(body: &str, fields: &[String]) -> String {
    let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
    keep(body, &fields).to_text()
}

/// The fields of an object, of which the text was checked. Goes as deep as the names have dots
/// and the object has levels.
fn keep<'a>(text: &str, fields: &[&'a str]) -> Object {
    let whole = Object::parse(text, usize::MAX).unwrap_or_default();
    let mut kept: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (name, raw) in whole.iter() {
        if fields.contains(&name) {
            kept.push((name, raw.into()));
            continue;
        }
        let below = |field: &'a str| field.strip_prefix(name)?.strip_prefix('.');
        let below: Vec<&str> = fields.iter().copied().filter_map(below).collect();
        if below.is_empty() {
            continue;
        }
        if raw.starts_with('{') {
            kept.push((name, keep(raw, &below).to_text().into()));
        } else {
            kept.push((name, raw.into()));
        }
    }
    Object::from_members(kept.into_iter())
}

#[cfg(test)]
mod tests;
