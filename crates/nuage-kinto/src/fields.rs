//! `_fields`: only some fields of an object are shown.
//!
//! Source: Kinto fact sheet, section 7.3. Identifier and time are not in the body and stay in any
//! case; `deleted` is kept by whoever writes tombstones.

use serde_json::{Map, Value};

use crate::object::value_of;

/// The named fields of a body; dotted names keep their nesting, unknown ones are ignored. The
/// objects on the way to a field that is missing are kept, as the original does.
pub(crate) fn project(body: &str, fields: &[String]) -> String {
    let whole = value_of(body);
    let mut kept = Map::new();
    for field in fields {
        keep(&whole, field, &mut kept);
    }
    Value::Object(kept).to_string()
}

fn keep(whole: &Value, field: &str, kept: &mut Map<String, Value>) {
    let Some(fields) = whole.as_object() else { return };
    if let Some(value) = fields.get(field) {
        kept.insert(field.to_owned(), value.clone());
        return;
    }
    let mut from = fields;
    let mut to = kept;
    let mut steps = field.split('.').peekable();
    while let Some(step) = steps.next() {
        let Some(value) = from.get(step) else { return };
        if steps.peek().is_none() {
            to.insert(step.to_owned(), value.clone());
            return;
        }
        let Some(inner) = value.as_object() else { return };
        let place = to.entry(step).or_insert_with(|| Value::Object(Map::new()));
        let Some(place) = place.as_object_mut() else { return };
        (from, to) = (inner, place);
    }
}
