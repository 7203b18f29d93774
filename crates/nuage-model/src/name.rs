//! Names of buckets, collections and records, and the paths made of them.
//!
//! Buckets, collections, groups, accounts and history entries are records of built-in
//! collections. An application may give its own collections any names, also theirs.
//! Which names an application may choose is a rule of its protocol, not of this module.

use std::borrow::Cow;
use std::fmt;
use std::sync::{Arc, LazyLock};

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(Arc<str>);

        impl $type {
            /// Takes the text as it is.
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl From<&str> for $type {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $type {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }
    };
}

name! {
    /// An application's space and the unit of distribution. The empty name is the root, which
    /// holds the list of buckets and the accounts.
    BucketId
}
name! {
    /// A collection inside a bucket.
    CollectionName
}
name! {
    /// A record inside a collection.
    RecordId
}

/// What a record is to the rules that judge it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// A bucket's own record, kept at the root.
    Bucket,
    /// A collection's own record, kept in its bucket.
    Collection,
    /// A group of principals, kept in its bucket.
    Group,
    /// What an application stores.
    Record,
    /// A person or an application that logs in, kept at the root.
    Account,
    /// One entry of a bucket's history.
    History,
}

impl Kind {
    /// The singular noun, as protocols and settings spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bucket => "bucket",
            Self::Collection => "collection",
            Self::Group => "group",
            Self::Record => "record",
            Self::Account => "account",
            Self::History => "history",
        }
    }

    /// Whether it is bounded how many groups the permissions in a collection of this kind name: not
    /// where everybody has records of their own, nor where they tell what others were.
    pub fn bounds_names(self) -> bool {
        matches!(self, Self::Collection | Self::Group | Self::Record)
    }
}

static ROOT: LazyLock<BucketId> = LazyLock::new(|| BucketId::new(""));
static BUCKETS: LazyLock<CollectionName> = LazyLock::new(|| CollectionName::new("_buckets"));
static ACCOUNTS: LazyLock<CollectionName> = LazyLock::new(|| CollectionName::new("_accounts"));
static COLLECTIONS: LazyLock<CollectionName> = LazyLock::new(|| "_collections".into());
static GROUPS: LazyLock<CollectionName> = LazyLock::new(|| CollectionName::new("_groups"));
static HISTORY: LazyLock<CollectionName> = LazyLock::new(|| CollectionName::new("_history"));

/// An ordered set of records with one sequence.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct CollectionPath {
    /// The bucket that holds it; the root for the list of buckets and for accounts.
    pub bucket: BucketId,
    /// Its name in the bucket.
    pub name: CollectionName,
    kind: Kind,
}

impl CollectionPath {
    /// A collection of an application, by the names of its bucket and itself.
    pub fn new(bucket: impl Into<BucketId>, name: impl Into<CollectionName>) -> Self {
        Self { bucket: bucket.into(), name: name.into(), kind: Kind::Record }
    }

    /// The buckets of this store.
    pub fn buckets() -> Self {
        Self { bucket: ROOT.clone(), name: BUCKETS.clone(), kind: Kind::Bucket }
    }

    /// The accounts of this store.
    pub fn accounts() -> Self {
        Self { bucket: ROOT.clone(), name: ACCOUNTS.clone(), kind: Kind::Account }
    }

    /// The collections of a bucket.
    pub fn collections(bucket: BucketId) -> Self {
        Self { bucket, name: COLLECTIONS.clone(), kind: Kind::Collection }
    }

    /// The groups of a bucket.
    pub fn groups(bucket: BucketId) -> Self {
        Self { bucket, name: GROUPS.clone(), kind: Kind::Group }
    }

    /// The history of a bucket.
    pub fn history(bucket: BucketId) -> Self {
        Self { bucket, name: HISTORY.clone(), kind: Kind::History }
    }

    /// What the records of this collection are.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// One name for kind and name together, by which stores tell the collections of a bucket
    /// apart: those that are built in have an underscore and a word. The names of applications are
    /// their own; one more underscore is before those that begin with one.
    pub fn stored_name(&self) -> Cow<'_, str> {
        let name = self.name.as_str();
        match self.kind == Kind::Record && name.starts_with('_') {
            true => Cow::Owned(format!("_{name}")),
            false => Cow::Borrowed(name),
        }
    }

    /// The collection that is stored under these names.
    pub fn of_stored(bucket: impl Into<BucketId>, name: &str) -> Self {
        let bucket = bucket.into();
        match name {
            "_buckets" => Self { bucket, ..Self::buckets() },
            "_accounts" => Self { bucket, ..Self::accounts() },
            "_collections" => Self::collections(bucket),
            "_groups" => Self::groups(bucket),
            "_history" => Self::history(bucket),
            name => match name.strip_prefix('_') {
                Some(escaped) if escaped.starts_with('_') => Self::new(bucket, escaped),
                _ => Self::new(bucket, name),
            },
        }
    }

    /// The record whose permissions reach into this collection: the collection's own record, or
    /// that of the bucket for a built-in collection. `None` at the root.
    pub fn owner(&self) -> Option<RecordPath> {
        match self.kind() {
            Kind::Bucket | Kind::Account => None,
            Kind::Collection | Kind::Group | Kind::History => {
                Some(RecordPath::bucket(self.bucket.clone()))
            }
            Kind::Record => Some(RecordPath {
                collection: Self::collections(self.bucket.clone()),
                id: RecordId(self.name.0.clone()),
            }),
        }
    }

    /// The path of one of its records.
    pub fn record(&self, id: impl Into<RecordId>) -> RecordPath {
        RecordPath { collection: self.clone(), id: id.into() }
    }
}

impl fmt::Display for CollectionPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bucket = &self.bucket;
        match self.kind() {
            Kind::Bucket => f.write_str("/buckets"),
            Kind::Account => f.write_str("/accounts"),
            Kind::Collection => write!(f, "/buckets/{bucket}/collections"),
            Kind::Group => write!(f, "/buckets/{bucket}/groups"),
            Kind::History => write!(f, "/buckets/{bucket}/history"),
            Kind::Record => write!(f, "/buckets/{bucket}/collections/{}/records", self.name),
        }
    }
}

/// One record of one collection.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct RecordPath {
    /// The collection that holds it.
    pub collection: CollectionPath,
    /// Its identifier, unique there.
    pub id: RecordId,
}

impl RecordPath {
    /// The record of a bucket.
    pub fn bucket(bucket: BucketId) -> Self {
        Self { collection: CollectionPath::buckets(), id: RecordId(bucket.0) }
    }

    /// The record of an account.
    pub fn account(id: impl Into<RecordId>) -> Self {
        CollectionPath::accounts().record(id)
    }

    /// What it is to the rules that judge it.
    pub fn kind(&self) -> Kind {
        self.collection.kind()
    }

    /// The records whose permissions reach down to this one, nearest first.
    pub fn ancestors(&self) -> impl Iterator<Item = RecordPath> {
        std::iter::successors(self.collection.owner(), |path| path.collection.owner())
    }

    /// The collections that live under this record and vanish with it: those of a collection's
    /// record are one, those of a bucket are all of its bucket.
    pub fn collection_below(&self) -> Option<CollectionPath> {
        match self.kind() {
            Kind::Collection => Some(CollectionPath::new(
                self.collection.bucket.clone(),
                CollectionName(self.id.0.clone()),
            )),
            _ => None,
        }
    }
}

impl fmt::Display for RecordPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.collection, self.id)
    }
}
