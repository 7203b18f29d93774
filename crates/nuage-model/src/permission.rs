//! Who may do what: principals, the permissions named on a record, and whom they let read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::GroupPath;

/// Everybody, logged in or not.
pub const EVERYONE: &str = "system.Everyone";
/// Everybody who is logged in.
pub const AUTHENTICATED: &str = "system.Authenticated";

/// Who may be named in a permission: a person, an application, a group, everyone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Principal(Arc<str>);

impl Principal {
    /// Takes the text as it is; one that names nobody matches nobody.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The principal as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Principal {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Principal {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Principal {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

// Without a text of its own on the way.
impl<'de> Deserialize<'de> for Principal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Principal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a principal")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Principal, E> {
                Ok(Principal::from(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// The permissions set on one record: name of the permission to principals. Names without
/// principals are not kept.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Permissions(BTreeMap<String, BTreeSet<Principal>>);

/// Stored permissions could not be read back.
#[derive(Debug)]
pub struct PermissionsError;

impl fmt::Display for PermissionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stored permissions are not an object of lists of strings")
    }
}

impl std::error::Error for PermissionsError {}

impl Permissions {
    /// Reads the stored notation: `{"read":["…"],"write":["…"]}`.
    pub fn from_text(text: &str) -> Result<Self, PermissionsError> {
        if text == "{}" {
            return Ok(Self::default());
        }
        let mut permissions = Self(serde_json::from_str(text).map_err(|_| PermissionsError)?);
        permissions.0.retain(|_, principals| !principals.is_empty());
        Ok(permissions)
    }

    /// The stored notation: a JSON object, names and principals in order, no spaces.
    pub fn to_text(&self) -> String {
        let mut text = String::from("{");
        for (name, principals) in &self.0 {
            if text.len() > 1 {
                text.push(',');
            }
            push_json_string(&mut text, name);
            text.push_str(":[");
            for (n, principal) in principals.iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                push_json_string(&mut text, principal.as_str());
            }
            text.push(']');
        }
        text.push('}');
        text
    }

    /// Who holds the permission; empty when nobody does.
    pub fn holders(&self, name: &str) -> impl Iterator<Item = &Principal> {
        self.0.get(name).into_iter().flatten()
    }

    /// Whether one of the principals holds the permission.
    pub fn grants(&self, name: &str, to: &dyn Fn(&str) -> bool) -> bool {
        self.holders(name).any(|holder| to(holder.as_str()))
    }

    /// Replaces the holders of a permission; nobody removes it.
    pub fn set(&mut self, name: &str, principals: BTreeSet<Principal>) {
        if principals.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), principals);
        }
    }

    /// Adds one holder.
    pub fn add(&mut self, name: &str, principal: Principal) {
        self.0.entry(name.to_owned()).or_default().insert(principal);
    }

    /// Takes a principal out of every permission; true if it held one.
    pub fn remove(&mut self, principal: &str) -> bool {
        let mut removed = false;
        self.0.retain(|_, holders| {
            removed |= holders.remove(principal);
            !holders.is_empty()
        });
        removed
    }

    /// Name and holders of each permission, in order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<Principal>)> {
        self.0.iter().map(|(name, holders)| (name.as_str(), holders))
    }

    /// Whether nothing is granted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Writes a JSON string with its quotes; only what needs escapes goes through a serializer.
pub fn push_json_string(out: &mut String, text: &str) {
    // Without an early end the compiler takes many bytes at a time.
    let is_plain = |plain, byte: u8| plain & (byte >= 0x20) & (byte != b'"') & (byte != b'\\');
    if text.bytes().fold(true, is_plain) {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&Value::from(text).to_string());
    }
}

/// Names a set of principals by its content: the first 16 bytes of the SHA-256 of the sorted
/// principals, each followed by a zero byte.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Signature(pub [u8; 16]);

/// The principals that may read a record by permissions on the record itself.
///
/// The engine decides who they are; a store keeps them and does not know what reading means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Readers {
    signature: Signature,
    principals: BTreeSet<Principal>,
}

impl Readers {
    /// Names the set.
    pub fn new(principals: BTreeSet<Principal>) -> Self {
        let mut hash = Sha256::new();
        for principal in &principals {
            hash.update(principal.as_str());
            hash.update([0]);
        }
        let mut signature = [0; 16];
        signature.copy_from_slice(&hash.finalize()[..16]);
        Self { signature: Signature(signature), principals }
    }

    /// The name of the set.
    pub fn signature(&self) -> Signature {
        self.signature
    }

    /// Who is in it.
    pub fn principals(&self) -> &BTreeSet<Principal> {
        &self.principals
    }

    /// The groups in it.
    pub fn groups(&self) -> impl Iterator<Item = GroupPath> {
        self.principals.iter().filter_map(|one| GroupPath::of_principal(one.as_str()))
    }
}
