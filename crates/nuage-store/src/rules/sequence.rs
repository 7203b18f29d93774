//! Rows of `collections`: the sequence, the counters and the horizon of each collection.

use nuage_model::{Head, Seq, Timestamp};

/// One row of `collections`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CollectionRow {
    /// The first position, by which incarnations of one name differ.
    pub(crate) incarnation: [u8; 8],
    /// Position of the last change.
    pub(crate) seq: Seq,
    /// The time shown.
    pub(crate) timestamp: Timestamp,
    /// What happened up to here is no longer told.
    pub(crate) gc_seq: Seq,
    /// Live records.
    pub(crate) live: i64,
    /// Dead ones.
    pub(crate) tombstones: i64,
    /// Rows with a timestamp of their own.
    pub(crate) chosen: i64,
    /// Ended residencies.
    pub(crate) gone: i64,
    /// There is no collection, only its position.
    pub(crate) dropped: bool,
    /// Groups that its signatures name.
    pub(crate) names: i64,
    /// Counts up with each of them that comes or goes, over all incarnations.
    pub(crate) named: i64,
    /// Of the groups of a bucket: counts up when one that is a member of another comes or goes, over
    /// all incarnations. 0: there never was one.
    pub(crate) nested: i64,
}

impl CollectionRow {
    /// A collection that begins at this position.
    pub(crate) fn begin(seq: Seq) -> Self {
        Self {
            incarnation: seq.0.to_be_bytes(),
            seq,
            timestamp: seq.into(),
            gc_seq: Seq(0),
            live: 0,
            tombstones: 0,
            chosen: 0,
            gone: 0,
            dropped: false,
            names: 0,
            named: 0,
            nested: 0,
        }
    }

    /// One that begins at this position, where there may have been others of its name.
    pub(crate) fn begin_after(earlier: Option<&Self>, seq: Seq) -> Self {
        let (named, nested) = earlier.map_or((0, 0), |earlier| (earlier.named, earlier.nested));
        Self { named, nested, ..Self::begin(seq) }
    }

    /// There never was one.
    pub(crate) fn unbegun() -> Self {
        Self { dropped: true, ..Self::begin(Seq(0)) }
    }

    /// The collection ends, with all that it holds.
    pub(crate) fn drop_all(&mut self) {
        self.live = 0;
        self.tombstones = 0;
        self.chosen = 0;
        self.gone = 0;
        self.dropped = true;
        self.named += i64::from(self.names > 0);
        self.names = 0;
        self.nested += i64::from(self.nested > 0);
    }

    /// The first position, as a time: before it there was no such collection, or another one.
    pub(crate) fn first(&self) -> Timestamp {
        Timestamp(i64::from_be_bytes(self.incarnation))
    }

    /// The time shown, where it is not the position.
    pub(crate) fn shown(&self) -> Option<i64> {
        Some(self.timestamp.0).filter(|time| *time != self.seq.0)
    }

    /// What the port shows of it.
    pub(crate) fn head(&self) -> Option<Head> {
        let live = u64::try_from(self.live).unwrap_or(0);
        let head = Head { seq: self.seq, timestamp: self.timestamp, live };
        (!self.dropped).then_some(head)
    }

    /// How many rows of `records` the collection has.
    pub(crate) fn rows(&self) -> i64 {
        self.live + self.tombstones
    }
}
