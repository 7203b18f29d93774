//! The nouns of Nuage and the [`Store`] port.
//!
//! Everything above speaks in these words; everything below keeps them. This crate does no I/O
//! and knows no clock, no HTTP and no SQL: what is random, timed or judged is decided by its
//! callers and handed in.

mod batch;
pub mod copy;
mod feed;
mod limits;
mod membership;
mod name;
mod order;
mod permission;
mod query;
mod record;
mod seq;
mod store;

pub use batch::{ApplyError, Batch, Body, Guard, Outcome, Placement, Put, RULES, Slot, Write};
pub use feed::{
    Checksum, CollectionStats, DIGEST_MODULUS, FeedRow, Hint, Listener, Moment, ReaderFilter,
    ResidentsQuery, RowEnd, SignatureCount, Snapshot, SnapshotHeader, SnapshotRequest, digest,
};
pub use limits::Limits;
pub use membership::{GroupsStanding, MembershipQuery, Memberships, NamedGroup};
pub use name::{BucketId, CollectionName, CollectionPath, Kind, RecordId, RecordPath};
pub use order::{compare, same};
pub use permission::{
    AUTHENTICATED, EVERYONE, Permissions, PermissionsError, Principal, Readers, Signature,
    push_json_string,
};
pub use query::{
    Direction, Field, Filter, PAGE_BYTES, Position, Query, SORT_KEY_BYTES, Scope, Sort, States,
    Test, View,
};
pub use record::{Head, Page, Record, RecordMeta, State};
pub use seq::{Seq, Timestamp};
pub use store::{
    Admin, Bodies, Finding, GroupPath, Pace, Pending, Store, StoreError, Tally, Total,
};
