//! What hints say: what changed since the last ones, and how that is written in a notification.
//!
//! A notification is a JSON object in at most 7,900 bytes: `process`, the process that tells;
//! `rights`, whether buckets, collections, groups or accounts changed; and `collections`, a list of
//! pairs of bucket and name, or `null` where there were more than fit. Anything else comes from
//! another version and says the least that a hint can say: that rights changed.

use std::collections::HashSet;

use nuage_model::{CollectionPath, Hint};
use serde_json::{Value, json};

/// PostgreSQL takes less than 8,000 bytes.
const PAYLOAD_BYTES_MAX: usize = 7_900;
/// Collections that are remembered. So many do not fit, however short their names are.
const COLLECTIONS_MAX: usize = 1_024;

/// What changed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct News {
    pub(super) rights: bool,
    /// More collections than can be named.
    pub(super) everything: bool,
    pub(super) collections: HashSet<CollectionPath>,
}

impl News {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        !self.rights && !self.everything && self.collections.is_empty()
    }

    /// Notes that this collection changed.
    pub(super) fn add(&mut self, collection: &CollectionPath) {
        if self.everything || self.collections.contains(collection) {
            return;
        }
        self.collections.insert(collection.clone());
        if self.collections.len() > COLLECTIONS_MAX {
            self.everything = true;
            self.collections.clear();
        }
    }

    /// Notes what another one says.
    pub(super) fn join(&mut self, other: &Self) {
        self.rights |= other.rights;
        other.collections.iter().for_each(|collection| self.add(collection));
        if other.everything {
            self.everything = true;
            self.collections.clear();
        }
    }

    /// As a notification of this process.
    pub(super) fn to_text(&self, process: &str) -> String {
        if !self.everything {
            let names =
                self.collections.iter().map(|path| (path.bucket.as_str(), path.stored_name()));
            let text = text(process, self.rights, json!(names.collect::<Vec<_>>()));
            if text.len() <= PAYLOAD_BYTES_MAX {
                return text;
            }
        }
        text(process, self.rights, Value::Null)
    }

    /// What a notification says; nothing if it is of this process itself.
    pub(super) fn of_text(text: &str, process: &str) -> Option<Self> {
        let Ok(said) = serde_json::from_str::<Value>(text) else { return Some(Self::unknown()) };
        let rights = said.get("rights").and_then(Value::as_bool);
        let (Some(from), Some(rights)) = (said.get("process").and_then(Value::as_str), rights)
        else {
            return Some(Self::unknown());
        };
        if from == process {
            return None;
        }
        let named = said.get("collections").and_then(Value::as_array);
        let named = named.and_then(|named| named.iter().map(path).collect());
        Some(Self { rights, everything: named.is_none(), collections: named.unwrap_or_default() })
    }

    /// As the port tells them.
    pub(super) fn into_hints(self) -> impl Iterator<Item = Hint> {
        let rights = self.rights.then_some(Hint::Rights);
        let everything = self.everything.then_some(Hint::Everything);
        let changed = self.collections.into_iter().map(Hint::Changed);
        rights.into_iter().chain(everything).chain(changed)
    }

    fn unknown() -> Self {
        Self { rights: true, ..Self::default() }
    }
}

fn text(process: &str, rights: bool, collections: Value) -> String {
    json!({ "process": process, "rights": rights, "collections": collections }).to_string()
}

fn path(pair: &Value) -> Option<CollectionPath> {
    let [bucket, name] = pair.as_array()?.as_slice() else { return None };
    Some(CollectionPath::of_stored(bucket.as_str()?, name.as_str()?))
}

#[cfg(test)]
mod tests;
