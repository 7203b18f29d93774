//! How the operator wants the engine to behave.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{Limits, Principal};

use crate::FeedSettings;

/// What the engine may be told.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The bounds on what comes from outside.
    pub limits: Limits,
    /// Permissions on all objects of a kind.
    pub grants: Grants,
    /// Whether who creates or changes a record is added to its write permission.
    pub ownership: Ownership,
    /// Whether the JSON Schemas of buckets and collections are enforced.
    pub validation: Validation,
    /// What is remembered of changes; `None` keeps no history.
    pub history: Option<History>,
    /// How feeds behave.
    pub feed: FeedSettings,
}

/// Whether who creates or changes a record is added to its write permission.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ownership {
    /// Added, also when an inherited right allowed the change.
    #[default]
    Explicit,
    /// Permissions are only what is written in them.
    Inherited,
}

/// Whether the JSON Schemas of buckets and collections are enforced.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Validation {
    /// Stored and checked for form, but records are not validated.
    #[default]
    Off,
    /// Records must satisfy them.
    On,
}

/// What is remembered of changes.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Addresses of buckets, collections and records (`/buckets/b/collections/c`) that leave no
    /// entries, with all that is below them.
    pub exclude_resources: BTreeSet<String>,
    /// People whose changes leave no entries.
    pub exclude_users: BTreeSet<Principal>,
    /// When set, older entries are removed beyond this count.
    pub trim: Option<Trim>,
}

/// Removal of old history entries.
#[derive(Clone, Debug)]
pub struct Trim {
    /// How many entries of one kind are kept in a bucket.
    pub max_count: u64,
    /// Trimming happens when there are this many more.
    pub threshold: u64,
    /// When not empty, only entries of these people are trimmed, counted for each of them.
    pub users: BTreeSet<Principal>,
}

/// Permissions that the operator gives on all objects of a kind, by `<kind>_<verb>`: the kind of
/// the request (bucket, collection, group, record, account, history, permissions, user-data) and
/// create, read, write or delete. They do not reach down to what is inside.
#[derive(Clone, Debug, Default)]
pub struct Grants(BTreeMap<String, BTreeSet<Principal>>);

impl Grants {
    /// Gives a permission; replaces an earlier gift of the same one.
    pub fn set(&mut self, kind: &str, verb: &str, principals: BTreeSet<Principal>) {
        self.0.insert(format!("{kind}_{verb}"), principals);
    }

    /// Who holds it.
    pub fn holders(&self, kind: &str, verb: &str) -> Option<&BTreeSet<Principal>> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(&format!("{kind}_{verb}")).filter(|holders| !holders.is_empty())
    }

    /// Kind, underscore, verb, and the holders.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &BTreeSet<Principal>)> {
        self.0.iter().map(|(name, holders)| (name.as_str(), holders))
    }
}
