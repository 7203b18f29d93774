//! What objects of each kind may look like (fact sheet, sections 4, 10.1, 17): identifiers, names
//! of permissions, and the few fields that have a meaning.
//!
//! It judges shapes only. Whether a schema is one, who may write and what already exists are
//! questions for others.

use std::collections::BTreeSet;

pub(crate) use nuage_engine::permission_names;
use nuage_model::{Kind, Limits, Principal, Seq, Timestamp};
use serde_json::Value;

use crate::error::{Error, Invalid};
use crate::object::{Object, string_of, value_of};

/// Longer passwords only cost time to hash.
const PASSWORD_BYTES_MAX: usize = 1024;

/// How much of a wrong value is shown back.
const SHOWN_BYTES_MAX: usize = 80;

/// Whether an object of this kind may have this identifier.
pub(crate) fn is_id(kind: Kind, id: &str, limits: &Limits) -> bool {
    let [first, rest @ ..] = id.as_bytes() else { return false };
    let extra: &[u8] = if kind == Kind::Account { b"-_+.@" } else { b"-_" };
    id.len() <= limits.id_bytes
        && first.is_ascii_alphanumeric()
        && rest.iter().all(|b| b.is_ascii_alphanumeric() || extra.contains(b))
}

/// Reads a list of principals; `name` is that of the list in messages.
pub(crate) fn principals(
    name: &str,
    raw: &str,
    limits: &Limits,
    wrong: &mut Vec<Invalid>,
) -> BTreeSet<Principal> {
    let Value::Array(items) = value_of(raw) else {
        wrong.push(Invalid::body(name, not_iterable(raw)));
        return BTreeSet::new();
    };
    if items.len() > limits.principals {
        let max = limits.principals;
        wrong.push(Invalid::body(name, format!("Number of principals is limited to {max}")));
        return BTreeSet::new();
    }
    let mut set = BTreeSet::new();
    for (n, item) in items.into_iter().enumerate() {
        match item {
            Value::String(text) if text.is_empty() => {
                wrong.push(Invalid::body(format!("{name}.{n}"), "Required"));
            }
            Value::String(text) => {
                set.insert(Principal::from(text));
            }
            other => wrong.push(Invalid::body(format!("{name}.{n}"), not_string(&other))),
        }
    }
    set
}

/// Checks and completes the fields that have a meaning; `prefix` comes before their names in
/// messages.
pub(crate) fn check_fields(
    kind: Kind,
    prefix: &str,
    data: &mut Object,
    limits: &Limits,
    wrong: &mut Vec<Invalid>,
) {
    match kind {
        Kind::Bucket => {
            for name in ["record:schema", "collection:schema", "group:schema"] {
                check_mapping(prefix, name, data, wrong);
            }
        }
        Kind::Collection => {
            check_mapping(prefix, "schema", data, wrong);
            check_cache_expires(prefix, data, wrong);
        }
        Kind::Group => check_members(prefix, data, limits, wrong),
        Kind::Account => check_password(prefix, data, wrong),
        Kind::Record | Kind::History => {}
    }
}

fn check_mapping(prefix: &str, name: &str, data: &Object, wrong: &mut Vec<Invalid>) {
    if let Some(raw) = data.get(name)
        && !raw.starts_with('{')
    {
        wrong.push(Invalid::body(format!("{prefix}{name}"), not_mapping(raw)));
    }
}

/// An integer; what stands for one is made one, and null counts as absent.
fn check_cache_expires(prefix: &str, data: &mut Object, wrong: &mut Vec<Invalid>) {
    let number = match data.get("cache_expires").map(value_of) {
        None => return,
        Some(Value::Null) => {
            data.remove("cache_expires");
            return;
        }
        Some(Value::Bool(value)) => Some(i64::from(value)),
        Some(Value::Number(n)) => n.as_i64().or_else(|| n.as_f64().map(|n| n.trunc() as i64)),
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(_) => None,
    };
    match number {
        Some(number) => data.set("cache_expires", number.to_string()),
        None => {
            let raw = data.get("cache_expires").unwrap_or_default();
            let shown = shown(raw.trim_matches('"'));
            let name = format!("{prefix}cache_expires");
            wrong.push(Invalid::body(name, format!("\"{shown}\" is not a number")));
        }
    }
}

fn check_members(prefix: &str, data: &mut Object, limits: &Limits, wrong: &mut Vec<Invalid>) {
    let name = format!("{prefix}members");
    let Some(raw) = data.get("members") else {
        data.set("members", "[]");
        return;
    };
    let Value::Array(members) = value_of(raw) else {
        wrong.push(Invalid::body(name, not_iterable(raw)));
        return;
    };
    if members.len() > limits.members {
        let description = format!("Number of members is limited to {}", limits.members);
        wrong.push(Invalid::body(name, description));
        return;
    }
    for (n, member) in members.iter().enumerate() {
        let description = match member {
            Value::String(text) if text.is_empty() => "Required".to_owned(),
            // Ours: groups may be in groups.
            Value::String(text) if is_group(text, limits) => continue,
            Value::String(text)
                if text.starts_with("/buckets/") || text == nuage_model::EVERYONE =>
            {
                format!("'{}' is not a valid user ID.", shown(text))
            }
            Value::String(_) => continue,
            other => not_string(other),
        };
        wrong.push(Invalid::body(format!("{name}.{n}"), description));
    }
}

/// Whether a text names a group, there or not: `/buckets/b/groups/g`.
fn is_group(text: &str, limits: &Limits) -> bool {
    let names = text.strip_prefix("/buckets/").and_then(|rest| rest.split_once("/groups/"));
    names.is_some_and(|(bucket, group)| {
        is_id(Kind::Bucket, bucket, limits) && is_id(Kind::Group, group, limits)
    })
}

fn check_password(prefix: &str, data: &Object, wrong: &mut Vec<Invalid>) {
    let description = match data.get("password").map(value_of) {
        None | Some(Value::Null) => "Required".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "Required".to_owned(),
        Some(Value::String(text)) if text.len() > PASSWORD_BYTES_MAX => {
            format!("Longer than maximum length {PASSWORD_BYTES_MAX}")
        }
        Some(Value::String(_)) => return,
        Some(other) => not_string(&other),
    };
    wrong.push(Invalid::body(format!("{prefix}password"), description));
}

/// The time that a client chose for its object: an integer. Other kinds of values say nothing.
pub(crate) fn chosen_time(raw: &str) -> Result<Option<Timestamp>, Invalid> {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(None);
    }
    let bounded = |number: &i64| (-Seq::CHOSEN_MAX..=Seq::CHOSEN_MAX).contains(number);
    match raw.parse::<i64>().ok().filter(bounded) {
        Some(number) => Ok(Some(Timestamp(number))),
        None => {
            let max = Seq::CHOSEN_MAX;
            let description = format!("{} is beyond {max} milliseconds", shown(raw));
            Err(Invalid::body("data.last_modified", description))
        }
    }
}

/// 400: the body names another object than the path.
pub(crate) fn other_id() -> Error {
    Error::invalid_one(Invalid::body("id", "Object id does not match existing object"))
}

/// The identifier in a body, if it is a string.
pub(crate) fn given_id(raw: &str) -> Option<String> {
    string_of(raw).map(std::borrow::Cow::into_owned)
}

pub(crate) fn not_mapping(raw: &str) -> String {
    format!(
        "\"{}\" is not a mapping type: Does not implement dict-like functionality.",
        shown(raw.trim_matches('"'))
    )
}

pub(crate) fn not_iterable(raw: &str) -> String {
    format!("\"{}\" is not iterable", shown(raw.trim_matches('"')))
}

pub(crate) fn not_string(value: &Value) -> String {
    format!("{} is not a string: {{'': ''}}", shown(&value.to_string()))
}

/// The beginning of a text from outside, fit for a message.
pub(crate) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

#[cfg(test)]
mod tests;
