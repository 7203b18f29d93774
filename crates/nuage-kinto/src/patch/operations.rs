//! JSON Patch, RFC 6902, on `{"data": {...}, "permissions": {name: {principal: principal}}}`.
//!
//! Permissions are maps here, so that one principal can be added or removed. All operations are
//! applied or none; what they may make of an object is bounded at each step.

use std::borrow::Cow;
use std::collections::BTreeSet;

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, PatchOperation, RemoveOperation, ReplaceOperation,
    TestOperation,
};
use nuage_engine::is_wanted;
use nuage_model::{Kind, Limits, Permissions, Principal, same};
use serde_json::{Map, Value};

use super::{Current, Patched};
use crate::error::{Error, Invalid, Location};
use crate::json;
use crate::object::Object;
use crate::shape;

const NAMES: &[&str] = &["test", "add", "remove", "replace", "move", "copy"];

/// Each operation may move the whole object in memory, as it has become by then: the sum is bounded.
const WORK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Operations in order.
#[derive(Clone, Debug)]
pub(crate) struct Operations {
    list: Vec<PatchOperation>,
}

impl Operations {
    pub(super) fn parse(body: &[u8], limits: &Limits) -> Result<Self, Error> {
        let items = read_items(body, limits)?;
        let mut wrong = Vec::new();
        for (n, item) in items.iter().enumerate() {
            check_item(n, item, &mut wrong);
        }
        if !wrong.is_empty() {
            return Err(Error::invalid(wrong));
        }
        let list = items.into_iter().map(read_item).collect::<Result<_, _>>()?;
        Ok(Self { list })
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    pub(super) fn apply(
        &self,
        current: &Current<'_>,
        kind: Kind,
        limits: &Limits,
    ) -> Result<Patched, Error> {
        let Value::Object(mut data) = current.data.to_value() else {
            return Err(failed("'/data' is not an object"));
        };
        let before = data.clone();
        data.insert("id".to_owned(), current.id.into());
        data.insert("last_modified".to_owned(), current.timestamp.0.into());
        let mut document = Map::new();
        document.insert("data".to_owned(), data.into());
        document.insert("permissions".to_owned(), permission_maps(kind, current.permissions));
        let mut document = Value::Object(document);

        let mut growth = Growth { bytes: measure(&document).0, copied_bytes: 0 };
        let mut work_bytes = 0;
        for operation in &self.list {
            growth.check(operation, &document, limits)?;
            work_bytes += growth.bytes;
            if work_bytes > WORK_BYTES_MAX {
                return Err(failed("too many operations for an object of this size"));
            }
            if !is_wanted() {
                return Err(failed("nobody waits for it"));
            }
            // Numbers are equal by their value, however they are written (RFC 6902, section 4.6).
            if let PatchOperation::Test(TestOperation { path, value }) = operation
                && path.resolve(&document).is_ok_and(|found| same(found, value))
            {
                continue;
            }
            json_patch::patch_unsafe(&mut document, std::slice::from_ref(operation))
                .map_err(|error| failed(&error.kind.to_string()))?;
        }
        finish(document, &before, current, kind)
    }
}

fn read_items(body: &[u8], limits: &Limits) -> Result<Vec<Value>, Error> {
    if body.is_empty() {
        return Err(Error::invalid_one(Invalid::body("", "Required")));
    }
    let text = json::text(body).map_err(|e| Error::json(&e))?;
    // The list and the operation are two levels more.
    json::check(text, limits.json_depth + 2).map_err(|e| Error::json(&e))?;
    let items = match serde_json::from_str(text) {
        Ok(Value::Array(items)) => items,
        _ => return Err(Error::invalid_one(Invalid::body("", shape::not_iterable(text.trim())))),
    };
    if items.len() > limits.patch_operations {
        let description = format!("Number of operations is limited to {}", limits.patch_operations);
        return Err(Error::invalid_one(Invalid::body("", description)));
    }
    Ok(items)
}

fn check_item(n: usize, item: &Value, wrong: &mut Vec<Invalid>) {
    let Value::Object(members) = item else {
        wrong.push(Invalid::body(n.to_string(), shape::not_mapping(&item.to_string())));
        return;
    };
    if let Some(name) =
        members.keys().find(|name| !["op", "path", "from", "value"].contains(&name.as_str()))
    {
        let description = format!("Unrecognized keys in mapping: \"{}\"", shape::shown(name));
        wrong.push(Invalid::body(n.to_string(), description));
        return;
    }
    match members.get("op") {
        Some(Value::String(op)) if NAMES.contains(&op.as_str()) => {}
        None => wrong.push(Invalid::body(format!("{n}.op"), "Required")),
        Some(op) => {
            let op = op.as_str().map_or_else(|| op.to_string(), str::to_owned);
            let description =
                format!("\"{}\" is not one of {}", shape::shown(&op), NAMES.join(", "));
            wrong.push(Invalid::body(format!("{n}.op"), description));
        }
    }
    for (name, required) in [("path", true), ("from", false)] {
        let description = match members.get(name) {
            None if !required => continue,
            Some(Value::String(path)) if path.starts_with('/') => continue,
            Some(Value::String(path)) if !path.is_empty() => {
                "String does not match expected pattern".to_owned()
            }
            None | Some(Value::Null | Value::String(_)) => "Required".to_owned(),
            Some(other) => shape::not_string(other),
        };
        wrong.push(Invalid::body(format!("{n}.{name}"), description));
    }
}

fn read_item(item: Value) -> Result<PatchOperation, Error> {
    let Value::Object(mut members) = item else { return Err(failed("it is not an operation")) };
    let op = members.remove("op");
    let path = pointer(members.remove("path").unwrap_or_default())?;
    let value = members.remove("value");
    // A principal is its own value.
    let value = value.or_else(|| principal_of(&path).map(Value::from));
    let value = || value.ok_or_else(|| failed("The operation does not contain a 'value' member"));
    let from = members.remove("from");
    let from = || match from {
        Some(from) => pointer(from),
        None => Err(failed("The operation does not contain a 'from' member")),
    };
    Ok(match op.as_ref().and_then(Value::as_str).unwrap_or_default() {
        "add" => PatchOperation::Add(AddOperation { value: value()?, path }),
        "replace" => PatchOperation::Replace(ReplaceOperation { value: value()?, path }),
        "test" => PatchOperation::Test(TestOperation { value: value()?, path }),
        "move" => PatchOperation::Move(MoveOperation { from: from()?, path }),
        "copy" => PatchOperation::Copy(CopyOperation { from: from()?, path }),
        _ => PatchOperation::Remove(RemoveOperation { path }),
    })
}

fn pointer(path: Value) -> Result<PointerBuf, Error> {
    let path = path.as_str().unwrap_or_default().to_owned();
    PointerBuf::parse(path).map_err(|_| failed("a path has an invalid escape"))
}

/// The principal that a path below the permissions ends with.
fn principal_of(path: &PointerBuf) -> Option<String> {
    let mut tokens = path.tokens();
    let root = tokens.next()?;
    let _name = tokens.next()?;
    let principal = tokens.next()?;
    let found = root.encoded() == "permissions" && tokens.next().is_none();
    found.then(|| principal.decoded().into_owned())
}

fn permission_maps(kind: Kind, permissions: &Permissions) -> Value {
    let map = |name: &str| -> Map<String, Value> {
        permissions.holders(name).map(|p| (p.as_str().to_owned(), p.as_str().into())).collect()
    };
    let known = shape::permission_names(kind).iter();
    Value::Object(known.map(|name| ((*name).to_owned(), map(name).into())).collect())
}

/// How large the object has become, at the most.
struct Growth {
    bytes: usize,
    copied_bytes: usize,
}

impl Growth {
    /// Neither deeper nor larger than what a body may be.
    fn check(
        &mut self,
        operation: &PatchOperation,
        document: &Value,
        limits: &Limits,
    ) -> Result<(), Error> {
        let (value, is_new, is_copied) = match operation {
            PatchOperation::Add(AddOperation { value, .. })
            | PatchOperation::Replace(ReplaceOperation { value, .. }) => (Some(value), true, false),
            PatchOperation::Move(MoveOperation { from, .. }) => {
                (from.resolve(document).ok(), false, false)
            }
            PatchOperation::Copy(CopyOperation { from, .. }) => {
                (from.resolve(document).ok(), true, true)
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => (None, false, false),
        };
        let Some(value) = value else { return Ok(()) };
        let (bytes, depth) = measure(value);
        // The data itself is one level down.
        if operation.path().count() + depth > limits.json_depth + 1 {
            return Err(failed("the result is nested too deeply"));
        }
        if is_new {
            self.bytes += bytes;
        }
        if is_copied {
            self.copied_bytes += bytes;
            if self.copied_bytes > limits.record_bytes {
                return Err(failed("the result is too large"));
            }
        }
        Ok(())
    }
}

/// About how many bytes a value takes, and how deep it is nested.
fn measure(value: &Value) -> (usize, usize) {
    let (mut bytes, mut depth_max) = (0, 0);
    let mut open = vec![(value, 0)];
    while let Some((value, depth)) = open.pop() {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => bytes += 8,
            Value::String(text) => bytes += text.len() + 3,
            Value::Array(items) => {
                bytes += 2;
                depth_max = depth_max.max(depth + 1);
                open.extend(items.iter().map(|item| (item, depth + 1)));
            }
            Value::Object(members) => {
                bytes += 2 + members.keys().map(|name| name.len() + 4).sum::<usize>();
                depth_max = depth_max.max(depth + 1);
                open.extend(members.values().map(|member| (member, depth + 1)));
            }
        }
    }
    (bytes, depth_max)
}

fn finish(
    mut document: Value,
    before: &Map<String, Value>,
    current: &Current<'_>,
    kind: Kind,
) -> Result<Patched, Error> {
    let Some(Value::Object(mut data)) = document.get_mut("data").map(Value::take) else {
        return Err(failed("'/data' must remain an object"));
    };
    if data.remove("id").is_some_and(|id| id.as_str() != Some(current.id)) {
        return Err(shape::other_id());
    }
    let time = data.remove("last_modified").map(|time| time.to_string());
    let unchanged = current.timestamp.to_string();
    let last_modified = match &time {
        Some(time) if *time != unchanged => shape::chosen_time(time).map_err(Error::invalid_one)?,
        _ => None,
    };
    let permissions = document.get_mut("permissions").map(Value::take);
    let permissions = read_permission_maps(kind, permissions)?;
    let sent = data.keys().filter(|name| before.get(*name) != data.get(*name)).cloned().collect();
    let data = keep_texts(current.data, before, data);
    Ok(Patched { data, permissions, last_modified, sent, sent_time: Some(unchanged) })
}

/// Unchanged members keep their places and texts; new ones follow.
fn keep_texts(
    current: &Object,
    before: &Map<String, Value>,
    mut after: Map<String, Value>,
) -> Object {
    let mut members: Vec<(&str, Cow<'_, str>)> = Vec::new();
    for (name, raw) in current.iter() {
        if let Some(value) = after.remove(name) {
            let text = match before.get(name) {
                Some(unchanged) if *unchanged == value => Cow::Borrowed(raw),
                _ => Cow::Owned(value.to_string()),
            };
            members.push((name, text));
        }
    }
    members.extend(after.iter().map(|(name, value)| (name.as_str(), value.to_string().into())));
    Object::from_members(members.into_iter())
}

fn read_permission_maps(kind: Kind, maps: Option<Value>) -> Result<Permissions, Error> {
    let Some(Value::Object(maps)) = maps else {
        return Err(failed("'/permissions' must remain an object"));
    };
    let known = shape::permission_names(kind);
    let mut permissions = Permissions::default();
    for (name, holders) in maps {
        if !known.contains(&name.as_str()) {
            let (name, known) = (shape::shown(&name), known.join(", "));
            return Err(failed(&format!("\"{name}\" is not one of {known}")));
        }
        let holders: Option<BTreeSet<Principal>> = match holders {
            Value::Object(holders) => Some(holders.into_iter().map(|(p, _)| p.into()).collect()),
            Value::Array(holders) => {
                holders.iter().map(|p| p.as_str().map(Principal::from)).collect()
            }
            _ => None,
        };
        match holders {
            Some(holders) if !holders.contains("") => permissions.set(&name, holders),
            _ => return Err(failed(&format!("'/permissions/{name}' must hold principals"))),
        }
    }
    Ok(permissions)
}

fn failed(why: &str) -> Error {
    let description = format!("JSON Patch operation failed: {why}");
    Error::invalid_one(Invalid::unnamed(Location::Body, description))
}
