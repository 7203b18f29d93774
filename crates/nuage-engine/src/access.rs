//! The one table of which permission grants what.
//!
//! Source: Kinto fact sheet, section 10.1. `delete` on records is ours: its holder may delete the
//! record and not change it.

use nuage_model::{Kind, Permissions, Principal};
use std::collections::BTreeSet;

/// What a caller wants with one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// See it.
    Read,
    /// Change it; unknown records are told to whoever may read where they would be.
    Write,
    /// Delete it; likewise.
    Delete,
    /// Create it if it is missing, change it if it exists.
    Put,
    /// Create it only: existing ones will be refused by a precondition.
    Create,
    /// Create it if it is missing, see it if it exists.
    CreateOrRead,
}

/// What a caller wants with a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListIntent {
    /// See what may be seen.
    Read,
    /// Change or delete what may be changed.
    Write,
    /// Add a record under a name that the server gives.
    Create,
}

/// A permission in the sense of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Right {
    Read,
    Write,
    Delete,
    Create,
}

/// The names that may be set on a record of this kind.
pub fn permission_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Bucket => &["collection:create", "group:create", "read", "write"],
        Kind::Collection => &["read", "record:create", "write"],
        Kind::Record => &["delete", "read", "write"],
        Kind::Group | Kind::Account | Kind::History => &["read", "write"],
    }
}

/// The names on the record itself that grant the right to it.
pub(crate) fn own(kind: Kind, right: Right) -> &'static [&'static str] {
    match (kind, right) {
        (Kind::Bucket, Right::Read) => &["write", "read", "collection:create", "group:create"],
        (Kind::Collection, Right::Read) => &["write", "read", "record:create"],
        (_, Right::Read) => &["write", "read"],
        (Kind::Record, Right::Delete) => &["write", "delete"],
        (_, Right::Write | Right::Delete) => &["write"],
        (_, Right::Create) => &[],
    }
}

/// What a permission gives on the record itself, as names that can be asked for.
pub(crate) fn implied(kind: Kind, name: &'static str) -> &'static [&'static str] {
    match (kind, name) {
        (Kind::Bucket, "write") => {
            &["collection:create", "group:create", "read", "read:attributes", "write"]
        }
        (Kind::Collection, "write") => &["read", "read:attributes", "record:create", "write"],
        (Kind::Bucket | Kind::Collection, "read") => &["read", "read:attributes"],
        (Kind::Bucket, "collection:create") => &["collection:create", "read:attributes"],
        (Kind::Bucket, "group:create") => &["group:create", "read:attributes"],
        (Kind::Collection, "record:create") => &["read:attributes", "record:create"],
        (_, "write") => &["read", "write"],
        (_, "delete") => &["delete"],
        _ => &["read"],
    }
}

/// The names on a record further up (a collection or a bucket) that grant the right to records
/// of this kind below it.
pub(crate) fn inherited(kind: Kind, right: Right, ancestor: Kind) -> &'static [&'static str] {
    match (right, ancestor, kind) {
        (Right::Read, _, _) => &["write", "read"],
        (Right::Write | Right::Delete, _, _) => &["write"],
        (Right::Create, Kind::Collection, Kind::Record) => &["write", "record:create"],
        (Right::Create, Kind::Bucket, Kind::Collection) => &["write", "collection:create"],
        (Right::Create, Kind::Bucket, Kind::Group) => &["write", "group:create"],
        (Right::Create, _, _) => &["write"],
    }
}

/// The verbs of the settings that grant the right to all records of a kind.
pub(crate) fn granted_verbs(kind: Kind, right: Right) -> &'static [&'static str] {
    match (kind, right) {
        (_, Right::Read) => &["write", "read"],
        (_, Right::Write | Right::Delete) => &["write"],
        (Kind::Bucket, Right::Create) => &["create"],
        (_, Right::Create) => &["write", "create"],
    }
}

/// Who may read a record by permissions on the record itself.
pub fn readers(kind: Kind, permissions: &Permissions) -> BTreeSet<Principal> {
    own(kind, Right::Read).iter().flat_map(|name| permissions.holders(name)).cloned().collect()
}
