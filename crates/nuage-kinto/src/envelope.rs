//! The body of a request that writes: `{"data": {...}, "permissions": {...}}` (fact sheet,
//! sections 1, 2, 4 and 9).
//!
//! What comes out is in shape for its kind, with the identifier and the time taken out of the
//! data. It does not look at what is stored.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{Kind, Limits, Principal, Timestamp};

use crate::error::{Error, Invalid};
use crate::json::{self, JsonError};
use crate::object::Object;
use crate::shape;

/// Names of permissions to their holders; `None` where the client wrote null.
pub(crate) type GivenPermissions = BTreeMap<String, Option<BTreeSet<Principal>>>;

/// The body of a request that writes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Envelope {
    /// The object, without its identifier and time.
    pub(crate) data: Option<Object>,
    /// The permissions that are named.
    pub(crate) permissions: Option<GivenPermissions>,
    /// The identifier that the data has.
    pub(crate) id: Option<String>,
    /// The time that the client chose.
    pub(crate) last_modified: Option<Timestamp>,
    /// The same as it was written, also where it chooses nothing.
    pub(crate) last_modified_raw: Option<String>,
}

/// What the request does with the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Purpose {
    /// `POST`: makes an object, under an identifier of its own or a new one.
    Create,
    /// `PUT`: replaces.
    Replace,
    /// `PATCH`: changes; fields are judged afterwards, in the result.
    Change,
    /// `PATCH` where null removes.
    Merge,
}

impl Purpose {
    fn judges_result(self) -> bool {
        matches!(self, Self::Change | Self::Merge)
    }
}

/// By what a body is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyRules<'a> {
    /// What is written.
    pub(crate) kind: Kind,
    /// What the request does.
    pub(crate) purpose: Purpose,
    /// The identifier in the path, if it names an object.
    pub(crate) path_id: Option<&'a str>,
    /// Another name under which the body may know it.
    pub(crate) alias: Option<&'a str>,
    /// Bounds.
    pub(crate) limits: &'a Limits,
}

impl Envelope {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8], rules: &BodyRules<'_>) -> Result<Self, Error> {
        // The envelope itself is one level more.
        let mut members = read_members(body, rules.limits.json_depth + 1)?;
        let data = members.remove("data").filter(|raw| raw != "null");
        let permissions = members.remove("permissions").filter(|raw| raw != "null");
        if !members.is_empty() {
            return Err(Error::invalid_one(unrecognized("", &members)));
        }
        let mut wrong = Vec::new();
        let mut envelope = Self::default();
        if let Some(raw) = data {
            envelope.read_data(&raw, rules, &mut wrong)?;
        } else if rules.purpose == Purpose::Create {
            envelope.read_data("{}", rules, &mut wrong)?;
        }
        if let Some(raw) = permissions {
            envelope.permissions = read_permissions(&raw, rules, &mut wrong);
        }
        if rules.kind == Kind::Account {
            if rules.purpose == Purpose::Create && envelope.id.is_none() {
                wrong = vec![Invalid::body("data.id", "data.id in body: Required")];
            } else if rules.purpose == Purpose::Replace && envelope.data.is_none() {
                wrong.push(Invalid::body("data", "Required"));
            }
        }
        if wrong.is_empty() { Ok(envelope) } else { Err(Error::invalid(wrong)) }
    }

    fn read_data(
        &mut self,
        raw: &str,
        rules: &BodyRules<'_>,
        wrong: &mut Vec<Invalid>,
    ) -> Result<(), Error> {
        let Some(mut data) = Object::of_checked(raw) else {
            wrong.push(Invalid::body("data", shape::not_mapping(raw)));
            return Ok(());
        };
        self.id = take_id(&mut data, rules)?;
        if let Some(raw) = data.remove("last_modified") {
            match shape::chosen_time(&raw) {
                Ok(time) => self.last_modified = time,
                Err(invalid) => wrong.push(invalid),
            }
            self.last_modified_raw = Some(raw);
        }
        if !rules.purpose.judges_result() {
            shape::check_fields(rules.kind, "data.", &mut data, rules.limits, wrong);
        }
        self.data = Some(data);
        Ok(())
    }
}

fn take_id(data: &mut Object, rules: &BodyRules<'_>) -> Result<Option<String>, Error> {
    let Some(raw) = data.remove("id") else { return Ok(None) };
    if rules.purpose == Purpose::Merge && raw == "null" {
        return Ok(None);
    }
    let id = shape::given_id(&raw);
    match rules.path_id {
        None => match id {
            Some(id) if shape::is_id(rules.kind, &id, rules.limits) => Ok(Some(id)),
            _ => Err(Error::invalid_id()),
        },
        Some(path_id) => match id {
            Some(id) if id == path_id || Some(id.as_str()) == rules.alias => {
                Ok(Some(path_id.to_owned()))
            }
            _ => Err(shape::other_id()),
        },
    }
}

fn read_permissions(
    raw: &str,
    rules: &BodyRules<'_>,
    wrong: &mut Vec<Invalid>,
) -> Option<GivenPermissions> {
    let Some(members) = Object::of_checked(raw) else {
        wrong.push(Invalid::body("permissions", shape::not_mapping(raw)));
        return None;
    };
    let known = shape::permission_names(rules.kind);
    let mut permissions = GivenPermissions::new();
    for (name, raw) in members.iter() {
        let principals = if raw == "null" {
            if !known.contains(&name) {
                continue;
            }
            None
        } else if known.contains(&name) {
            let path = format!("permissions.{name}");
            Some(shape::principals(&path, raw, rules.limits, wrong))
        } else {
            let (name, known) = (shape::shown(name), known.join(", "));
            let description = format!("\"{name}\" is not one of {known}");
            wrong.push(Invalid::body("permissions", description));
            break;
        };
        permissions.insert(name.to_owned(), principals);
    }
    Some(permissions)
}

/// Reads a body that must be an object; no body at all is an empty one.
pub(crate) fn read_members(body: &[u8], depth_max: usize) -> Result<Object, Error> {
    if body.is_empty() {
        return Ok(Object::default());
    }
    let text = json::text(body).map_err(|e| Error::json(&e))?;
    match Object::parse(text, depth_max) {
        Ok(members) => Ok(members),
        Err(JsonError::NotObject) => Err(wrong_root(text)),
        Err(error) => Err(Error::json(&error)),
    }
}

fn wrong_root(text: &str) -> Error {
    let text = text.trim();
    if text.starts_with('[') {
        return Error::invalid_one(Invalid::body("", shape::not_mapping(text)));
    }
    let description = "Should be a JSON object or an array";
    Error::invalid(vec![Invalid::body("", description), Invalid::body("", "Required")])
}

/// Members that have no meaning; `name` is that of the object that has them.
pub(crate) fn unrecognized(name: &str, members: &Object) -> Invalid {
    let text = members.to_text();
    Invalid::body(name, format!("Unrecognized keys in mapping: \"{}\"", shape::shown(&text)))
}

#[cfg(test)]
mod tests;
