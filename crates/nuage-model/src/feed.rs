//! What a feed is made of: moments of a collection, residencies, signatures, hints.
//!
//! A feed tells a device what changed since a token, filtered by what its person may see. The
//! engine decides; a store only shows, of one moment, where residencies began and ended. See
//! `docs/feed.md`.

use crate::{
    BucketId, CollectionPath, GroupsStanding, Head, MembershipQuery, Memberships, Pending,
    Principal, Record, RecordId, RecordPath, Seq, Signature, StoreError, Timestamp,
};

/// What is read first of a moment: all that decides who may see what of a collection.
#[derive(Clone, Debug)]
pub struct SnapshotRequest {
    /// The collection whose feed is read.
    pub collection: CollectionPath,
    /// Records to read along: those of the bucket and of the collection.
    pub paths: Vec<RecordPath>,
    /// Buckets, of which it is read where their groups stand.
    pub buckets: Vec<BucketId>,
}

impl SnapshotRequest {
    /// Where this collection stands, and nothing else.
    pub fn of(collection: CollectionPath) -> Self {
        Self { collection, paths: Vec::new(), buckets: Vec::new() }
    }
}

/// The answer to [`SnapshotRequest`], and the moment that it is of.
pub type Moment<'a> = (SnapshotHeader, Box<dyn Snapshot + 'a>);

/// The answer to [`SnapshotRequest`].
#[derive(Clone, Debug)]
pub struct SnapshotHeader {
    /// Names this store since it was last emptied. Positions of different epochs have nothing to
    /// do with each other.
    pub epoch: String,
    /// Where the collection stands; `None` if there is no such collection.
    pub standing: Option<CollectionStats>,
    /// The records asked for, in that order; tombstones included.
    pub records: Vec<Option<Record>>,
    /// Where the groups of the buckets stand, in that order.
    pub groups: Vec<GroupsStanding>,
}

/// Where a collection stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CollectionStats {
    /// By which collections of one name, one after the other, differ.
    pub incarnation: [u8; 8],
    /// Its head.
    pub head: Head,
    /// What ended up to here is no longer told.
    pub horizon: Seq,
    /// Tombstones that are kept.
    pub tombstones: u64,
    /// Ended residencies that are kept beside them.
    pub gone: u64,
    /// How many groups its signatures name.
    pub names: u64,
    /// Moves whenever the set of these groups changes, and never back.
    pub named: i64,
}

impl CollectionStats {
    /// How many rows it has that a feed may tell of.
    pub fn rows(&self) -> u64 {
        self.head.live + self.tombstones + self.gone
    }
}

/// One moment of a store, for one page of a feed: whatever is read through it is of that moment.
pub trait Snapshot: Send {
    /// Signatures of the collection in order, after this one: all, or those that have one of these
    /// principals; also those that no live record has at present.
    fn signatures<'a>(
        &'a mut self,
        whose: ReaderFilter<'a>,
        after: Option<Signature>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<SignatureCount>, StoreError>>;

    /// The first signatures that have one of these principals, in order; also those that no live
    /// record has at present.
    fn signatures_of<'a>(
        &'a mut self,
        principals: &'a [Principal],
        limit: usize,
    ) -> Pending<'a, Result<Vec<Signature>, StoreError>>;

    /// What [`crate::Store::memberships`] says, in this moment.
    fn memberships<'a>(
        &'a mut self,
        query: &'a MembershipQuery,
    ) -> Pending<'a, Result<Memberships, StoreError>>;

    /// Who is in each of these signatures; nobody where one is not known.
    fn principals_of<'a>(
        &'a mut self,
        signatures: &'a [Signature],
    ) -> Pending<'a, Result<Vec<Vec<Principal>>, StoreError>>;

    /// Live records that have one of some signatures, as traces.
    fn residents<'a>(
        &'a mut self,
        residents: &'a ResidentsQuery,
    ) -> Pending<'a, Result<Vec<FeedRow>, StoreError>>;

    /// What happened after this position, whatever the signature, in order of positions: live
    /// records, tombstones and ended residencies. As many as `limit` says, and then what else is
    /// told at the last position: no position is ever split. At one position ended residencies
    /// come first, in order of ids, then the record that is there now.
    fn tail(&mut self, after: Seq, limit: usize) -> Pending<'_, Result<Vec<FeedRow>, StoreError>>;

    /// The same, of live records that have one of `live`, and of tombstones and ended residencies
    /// that have one of `ended`: by probing each signature, never by a walk. No signature is
    /// given twice in one list.
    fn tail_of<'a>(
        &'a mut self,
        live: &'a [Signature],
        ended: &'a [Signature],
        after: Seq,
        limit: usize,
    ) -> Pending<'a, Result<Vec<FeedRow>, StoreError>>;

    /// These live records, in that order, as many as fit in so many bytes of bodies, and at least
    /// one.
    fn records<'a>(
        &'a mut self,
        ids: &'a [RecordId],
        bytes_max: usize,
    ) -> Pending<'a, Result<Vec<Record>, StoreError>>;

    /// How many live records have one of these principals among their readers (or all), and the
    /// sum of their digests.
    fn sum<'a>(&'a mut self, whose: ReaderFilter<'a>) -> Pending<'a, Result<Checksum, StoreError>>;

    /// The groups that [`crate::Write::KeepView`] kept for a person of this bucket under this name.
    fn view<'a>(
        &'a mut self,
        person: &'a Principal,
        name: [u8; 16],
    ) -> Pending<'a, Result<Option<Vec<Principal>>, StoreError>>;

    /// How far the horizon may move in one step, if at all: so that at most `limit` tombstones and
    /// ended residencies go, all of them of up to `before`, or more than `keep` of them in all. What
    /// position was reached when is told by the position, which is a time, and by
    /// [`crate::Write::Mark`]. In order of positions, the oldest go first.
    fn compaction_target(
        &mut self,
        before: Timestamp,
        keep: u64,
        limit: usize,
    ) -> Pending<'_, Result<Option<Seq>, StoreError>>;
}

/// Whose signatures are meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReaderFilter<'a> {
    /// All.
    All,
    /// Those that have one of these principals.
    Of(&'a [Principal]),
}

/// A signature, and what is counted of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignatureCount {
    /// Which.
    pub signature: Signature,
    /// How many live records have it.
    pub live: u64,
}

/// Which live records of which signatures: in the order of `signatures` and then of positions.
#[derive(Clone, Debug)]
pub struct ResidentsQuery {
    /// These, in this order.
    pub signatures: Vec<Signature>,
    /// Of the first of them, only records at later positions.
    pub after: Seq,
    /// Only records at positions up to this one.
    pub up_to: Option<Seq>,
    /// Only records that got the signature at positions up to this one.
    pub entered_up_to: Option<Seq>,
    /// Most that are given.
    pub limit: usize,
}

/// A residency, present or ended: that a record had a signature since `entered`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedRow {
    /// Of which record.
    pub id: RecordId,
    /// Where it is told: the last change of a live record, the deletion of a tombstone, the end of
    /// an ended one.
    pub seq: Seq,
    /// The signature.
    pub signature: Signature,
    /// The position at which it began.
    pub entered: Seq,
    /// Whether and how it ended.
    pub fate: RowEnd,
}

/// Whether and how a residency ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RowEnd {
    /// It lasts.
    Live,
    /// The record was deleted.
    Deleted,
    /// The record got another signature, or came back after a deletion; it has this one now, if
    /// it is alive.
    Left(Option<Signature>),
}

/// A number of records, and the sum of their digests (see [`digest`]).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Checksum {
    /// How many.
    pub live: u64,
    /// The sum modulo 2^48.
    pub digest: u64,
}

/// Sums of digests are taken modulo 2^48, so that each reader of JSON can add them.
pub const DIGEST_MODULUS: u64 = 1 << 48;

/// The digest of a live record: the first six bytes of SHA-256 of its id, a line feed and the time
/// that it shows, as a number, most significant byte first.
pub fn digest(id: &RecordId, timestamp: crate::Timestamp) -> u64 {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    hash.update(id.as_str());
    hash.update(b"\n");
    hash.update(timestamp.to_string());
    hash.finalize()[..6].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// What another process did to the same data. A hint says "look again", and may be lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hint {
    /// This collection changed.
    Changed(CollectionPath),
    /// Buckets, collections or groups changed: who may see what.
    Rights,
    /// Perhaps everything: some hints were not heard.
    Everything,
}

/// Is called with each hint, and must not block.
pub type Listener = std::sync::Arc<dyn Fn(Hint) + Send + Sync>;
