//! Changes of an object by `PATCH` (fact sheet, section 9).
//!
//! Three notations come out as one thing: the object and its permissions as they should be.
//! Members that the change does not touch keep the text in which they were written. It does not
//! read or write anything, so it can be applied again when the object has changed meanwhile.

mod operations;

use std::borrow::Cow;
use std::collections::HashSet;

use nuage_model::{Kind, Limits, Permissions, Timestamp, push_json_string, same};

use crate::envelope::{BodyRules, Envelope, Purpose};
use crate::error::{Error, Invalid, Location};
use crate::object::{Object, value_of};
use crate::shape;

/// How a change is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Format {
    /// `application/json`: members replace members.
    Members,
    /// `application/merge-patch+json`: RFC 7396.
    Merge,
    /// `application/json-patch+json`: RFC 6902.
    Operations,
}

/// A change, as sent.
#[derive(Clone, Debug)]
pub(crate) enum Patch {
    /// By members.
    Members(Envelope),
    /// By members, with null that removes.
    Merge(Envelope),
    /// By operations.
    Operations(operations::Operations),
}

/// The object to change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Current<'a> {
    /// Its identifier.
    pub(crate) id: &'a str,
    /// Its time.
    pub(crate) timestamp: Timestamp,
    /// Its data, without those two.
    pub(crate) data: &'a Object,
    /// Its own permissions.
    pub(crate) permissions: &'a Permissions,
}

/// The object as it should be.
#[derive(Clone, Debug)]
pub(crate) struct Patched {
    /// Its data, without identifier and time.
    pub(crate) data: Object,
    /// Its own permissions.
    pub(crate) permissions: Permissions,
    /// The time that the client chose.
    pub(crate) last_modified: Option<Timestamp>,
    sent: Vec<String>,
    sent_time: Option<String>,
}

impl Patch {
    /// Reads a change.
    pub(crate) fn parse(format: Format, body: &[u8], rules: &BodyRules<'_>) -> Result<Self, Error> {
        let envelope = |purpose| Envelope::parse(body, &BodyRules { purpose, ..*rules });
        match format {
            Format::Members => Ok(Self::Members(envelope(Purpose::Change)?)),
            Format::Merge => Ok(Self::Merge(envelope(Purpose::Merge)?)),
            Format::Operations => {
                Ok(Self::Operations(operations::Operations::parse(body, rules.limits)?))
            }
        }
    }

    /// About how many bytes are moved to apply it to so many.
    pub(crate) fn work_bytes(&self, bytes: usize) -> usize {
        match self {
            Self::Members(_) | Self::Merge(_) => bytes,
            Self::Operations(operations) => bytes.saturating_mul(operations.count()),
        }
    }

    fn is_silent(&self) -> bool {
        match self {
            Self::Members(envelope) | Self::Merge(envelope) => {
                envelope.data.is_none() && envelope.permissions.is_none()
            }
            Self::Operations(_) => false,
        }
    }

    /// What the object becomes. That a change says nothing is told here, for whether there is an
    /// object that it could be about comes first.
    pub(crate) fn apply(
        &self,
        current: &Current<'_>,
        kind: Kind,
        limits: &Limits,
    ) -> Result<Patched, Error> {
        if self.is_silent() {
            let description = "Provide at least one of data or permissions";
            return Err(Error::invalid_one(Invalid::body("data", description)));
        }
        let mut patched = match self {
            Self::Members(envelope) => apply_members(envelope, current, Null::IsKept),
            Self::Merge(envelope) => apply_members(envelope, current, Null::Removes),
            Self::Operations(operations) => operations.apply(current, kind, limits)?,
        };
        let mut wrong = Vec::new();
        shape::check_fields(kind, "", &mut patched.data, limits, &mut wrong);
        let bytes: usize = patched.data.iter().map(|(name, raw)| name.len() + raw.len() + 4).sum();
        if bytes > limits.record_bytes {
            let description = format!("The result is larger than {} bytes", limits.record_bytes);
            wrong.push(Invalid::body("data", description));
        }
        for (name, holders) in patched.permissions.iter() {
            if holders.len() > limits.principals {
                let max = limits.principals;
                let description = format!("Number of principals is limited to {max}");
                wrong.push(Invalid::body(format!("permissions.{name}"), description));
            }
        }
        if wrong.is_empty() { Ok(patched) } else { Err(Error::invalid(wrong)) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Null {
    IsKept,
    Removes,
}

fn apply_members(envelope: &Envelope, current: &Current<'_>, null: Null) -> Patched {
    let mut data = current.data.clone();
    let mut sent = Vec::new();
    if let Some(changes) = &envelope.data {
        sent = changes.keys().map(str::to_owned).collect();
        match null {
            Null::IsKept => data.merge(changes),
            Null::Removes => merge(&mut data, changes),
        }
    }
    let mut permissions = current.permissions.clone();
    for (name, holders) in envelope.permissions.iter().flatten() {
        match holders {
            Some(holders) => permissions.set(name, holders.clone()),
            None if null == Null::Removes => permissions.set(name, Default::default()),
            None => {}
        }
    }
    Patched {
        data,
        permissions,
        last_modified: envelope.last_modified,
        sent,
        sent_time: envelope.last_modified_raw.clone(),
    }
}

/// RFC 7396. Nesting, and with it the recursion, was bounded when both texts were read.
fn merge(target: &mut Object, changes: &Object) {
    let mut removed = HashSet::new();
    let mut over: Vec<(&str, Cow<'_, str>)> = Vec::new();
    {
        let before = target.index();
        for (name, raw) in changes.iter() {
            if raw == "null" {
                removed.insert(name);
            } else if raw.starts_with('{') {
                let nested = |text| Object::parse(text, usize::MAX).unwrap_or_default();
                let mut merged = before.get(name).map(nested).unwrap_or_default();
                merge(&mut merged, &nested(raw));
                over.push((name, Cow::Owned(merged.to_text())));
            } else {
                over.push((name, Cow::Borrowed(raw)));
            }
        }
    }
    if !removed.is_empty() {
        target.retain(|name| !removed.contains(name));
    }
    target.merge(&Object::from_members(over.into_iter()));
}

/// How much of the object a client wants to see after its change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ResponseBehavior {
    /// All of it, with permissions.
    #[default]
    Full,
    /// What was sent and has changed.
    Light,
    /// What was sent, has changed, and is stored with another value.
    Diff,
}

impl ResponseBehavior {
    /// Reads the header.
    pub(crate) fn parse(header: Option<&[u8]>) -> Result<Self, Error> {
        match header {
            None | Some(b"full") => Ok(Self::Full),
            Some(b"light") => Ok(Self::Light),
            Some(b"diff") => Ok(Self::Diff),
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                let shown = shape::shown(&other);
                let description = format!("\"{shown}\" is not one of full, light, diff");
                let name = "Response-Behavior";
                Err(Error::invalid_one(Invalid::named(Location::Header, name, description)))
            }
        }
    }
}

impl Patched {
    /// Whether the change gives this member a value.
    pub(crate) fn sends(&self, name: &str) -> bool {
        self.sent.iter().any(|sent| sent == name)
    }

    /// The `data` of the answer, where not all is wanted: `before` is what was stored, `after`
    /// is what is stored now, under this time.
    pub(crate) fn shown(
        &self,
        behavior: ResponseBehavior,
        before: &Object,
        after: &Object,
        timestamp: Timestamp,
    ) -> String {
        let (before, after, wanted) = (before.index(), after.index(), self.data.index());
        let mut text = String::from("{");
        let mut push = |name: &str, raw: &str| {
            if text.len() > 1 {
                text.push(',');
            }
            push_json_string(&mut text, name);
            text.push(':');
            text.push_str(raw);
        };
        for name in &self.sent {
            let Some(stored) = after.get(name) else { continue };
            let changed = !is_same(before.get(name), stored);
            let differs = behavior != ResponseBehavior::Diff || !is_same(wanted.get(name), stored);
            if changed && differs {
                push(name, stored);
            }
        }
        let time = timestamp.to_string();
        if let Some(sent) = &self.sent_time
            && (behavior != ResponseBehavior::Diff || *sent != time)
        {
            push("last_modified", &time);
        }
        text.push('}');
        text
    }
}

fn is_same(a: Option<&str>, b: &str) -> bool {
    a.is_some_and(|a| a == b || same(&value_of(a), &value_of(b)))
}

#[cfg(test)]
mod tests;
