//! Who is in which group, looked at from above: from groups that a place names down to those whom
//! they contain.
//!
//! A member of a group may be the principal of another group: whoever is in that one is in both.
//! Anybody who has a bucket may put anybody into groups, so nobody's groups are ever looked for
//! upwards, from a person.

use crate::{BucketId, CollectionPath, GroupPath, Principal, Seq};

/// A group that signatures of a collection name: what is read, was, or can only be told as gone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedGroup {
    /// Which.
    pub group: GroupPath,
    /// The position since which there is such a signature; zero: always.
    pub since: Seq,
    /// By which others speak of it. Never given again to another one in the collection.
    pub ordinal: i64,
}

/// What is asked about some groups.
#[derive(Clone, Default, Debug)]
pub struct MembershipQuery {
    /// The groups that signatures of this collection name are among them.
    pub collection: Option<CollectionPath>,
    /// These are.
    pub groups: Vec<GroupPath>,
    /// But only those that the collection names; its other names are not looked at.
    pub only_named: bool,
    /// Whom they may contain.
    pub members: Vec<Principal>,
    /// How far the groups inside them are looked at: with 1 those that are members of one of them,
    /// with 2 those that are members of these as well.
    pub depth: usize,
    /// Most groups inside them that are looked at, those that are among them not counted.
    pub inner_max: usize,
}

/// The answer to [`MembershipQuery`], of one moment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Memberships {
    /// The groups that the collection names, in order.
    pub names: Vec<NamedGroup>,
    /// Pairs of a group and one that it is a member of, both among the groups asked about or inside
    /// them. In no order, each once.
    pub inside: Vec<(GroupPath, GroupPath)>,
    /// Which of the groups, those inside them included, have one of the members: directly. In order.
    pub direct: Vec<GroupPath>,
    /// Where the groups of all buckets stand whose groups were looked at. In order.
    pub standings: Vec<(BucketId, GroupsStanding)>,
    /// Whether there are more groups inside than may be looked at: then not all are here.
    pub is_cut: bool,
}

/// Where the groups of a bucket stand. While it is the same, so is who is in them; all zero where a
/// bucket never had groups.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct GroupsStanding {
    /// By which groups of one bucket, one after the other, differ.
    pub incarnation: [u8; 8],
    /// Whether they were dropped with the bucket.
    pub dropped: bool,
    /// The position of their last change.
    pub seq: Seq,
    /// Moves whenever a group comes into one of them or goes, and never back.
    pub nested: i64,
}
