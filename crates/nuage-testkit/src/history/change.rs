//! What becomes of an object when a body is written over it.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::history::step::Content;
use crate::history::world::{Object, Permissions};

/// The object after the write, before it has its timestamp.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) data: Map<String, Value>,
    pub(super) permissions: Permissions,
    /// The timestamp that the client wishes.
    pub(super) chosen: Option<i64>,
}

/// The effect of a PUT, or of a POST where nothing was.
pub(super) fn put(existing: Option<&Object>, body: Option<&Value>) -> Change {
    let mut change = match existing {
        Some(object) => start(object),
        None => Change { data: Map::new(), permissions: Permissions::new(), chosen: None },
    };
    if let Some(Value::Object(data)) = body.and_then(|body| body.get("data")) {
        change.data = data.clone();
        settle(&mut change);
    }
    let permissions = body.and_then(|body| body["permissions"].as_object());
    if let Some(permissions) = permissions.filter(|permissions| !permissions.is_empty()) {
        change.permissions = Permissions::new();
        for (name, holders) in permissions {
            set(&mut change.permissions, name, holders);
        }
    }
    change
}

/// The effect of a PATCH; `None` if it cannot be applied.
pub(super) fn patch(existing: &Object, content: Content, body: &Value) -> Option<Change> {
    let mut change = start(existing);
    match content {
        Content::Json => {
            for (key, value) in body["data"].as_object().into_iter().flatten() {
                change.data.insert(key.clone(), value.clone());
            }
            for (name, holders) in body["permissions"].as_object().into_iter().flatten() {
                set(&mut change.permissions, name, holders);
            }
        }
        Content::MergePatch => {
            let mut data = Value::Object(change.data);
            merge(&mut data, &body["data"]);
            change.data = data.as_object().cloned()?;
            for (name, holders) in body["permissions"].as_object().into_iter().flatten() {
                match holders {
                    Value::Null => drop(change.permissions.remove(name)),
                    holders => set(&mut change.permissions, name, holders),
                }
            }
        }
        Content::JsonPatch => {
            for operation in body.as_array()? {
                operate(&mut change, operation)?;
            }
        }
    }
    settle(&mut change);
    Some(change)
}

fn start(object: &Object) -> Change {
    let (data, permissions) = (object.data.clone(), object.permissions.clone());
    Change { data, permissions, chosen: None }
}

// The identifier and the timestamp are not part of the data.
fn settle(change: &mut Change) {
    change.data.remove("id");
    change.chosen = change.data.remove("last_modified").and_then(|time| time.as_i64());
}

fn set(permissions: &mut Permissions, name: &str, holders: &Value) {
    let Some(holders) = holders.as_array() else { return };
    let holders: BTreeSet<_> =
        holders.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if holders.is_empty() {
        permissions.remove(name);
    } else {
        permissions.insert(name.to_owned(), holders);
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else { return };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else if value.is_object() {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        } else {
            target.insert(key.clone(), value.clone());
        }
    }
}

// Only what histories use: a field of the data, or a principal under a permission.
fn operate(change: &mut Change, operation: &Value) -> Option<()> {
    let path = operation["path"].as_str()?.replace("~1", "\0");
    let steps: Vec<_> = path.split('/').skip(1).map(|step| step.replace('\0', "/")).collect();
    match (steps.iter().map(String::as_str).collect::<Vec<_>>().as_slice(), &operation["op"]) {
        (["data", field], op) => match op.as_str()? {
            "add" => {
                change.data.insert((*field).to_owned(), operation["value"].clone());
            }
            "replace" => *change.data.get_mut(*field)? = operation["value"].clone(),
            "remove" => drop(change.data.remove(*field)?),
            "test" => {
                let value = change.data.get(*field)?;
                nuage_model::same(value, &operation["value"]).then_some(())?;
            }
            other => unreachable!("no history tries {other}"),
        },
        (["permissions", name, principal], op) => match op.as_str()? {
            "add" => {
                let holders = change.permissions.entry((*name).to_owned()).or_default();
                holders.insert((*principal).to_owned());
            }
            "remove" => {
                let holders = change.permissions.get_mut(*name)?;
                holders.remove(*principal).then_some(())?;
                if holders.is_empty() {
                    change.permissions.remove(*name);
                }
            }
            other => unreachable!("no history tries {other}"),
        },
        (steps, _) => unreachable!("no history tries {steps:?}"),
    }
    Some(())
}
