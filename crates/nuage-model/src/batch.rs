//! A change as data: what must still hold, and what to write. All of it happens or nothing does.
//!
//! Everything random, timed or judged is decided before: applying is a pure function of the
//! state of the store and the batch.

use std::borrow::Cow;
use std::fmt;

use crate::{
    CollectionPath, GroupPath, Principal, Readers, Record, RecordMeta, RecordPath, Seq, StoreError,
    Timestamp,
};

/// Guards and writes that are applied together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The rules by which it is to be applied. Whoever applies it knows these, or refuses it: the
    /// same batch comes to the same, wherever and whenever it is applied.
    pub rules: u32,
    /// Who waits for it, if that is known. Those who wait are served in turn.
    pub author: Option<Principal>,
    /// The present time, from which new positions are taken.
    pub now: Timestamp,
    /// All must hold at the moment of applying, before any of the writes.
    pub guards: Vec<Guard>,
    /// Most groups that the signatures of one collection may name once it is applied, unless they are
    /// more already and become no more. Looked at like a guard. Zero: as many as it brings.
    pub names_max: usize,
    /// In order; later writes see earlier ones.
    pub writes: Vec<Write>,
}

/// The rules of this version, counted up whenever a batch comes to something else than before.
pub const RULES: u32 = 2;

impl Batch {
    /// One that relies on nothing, and that nobody in particular waits for.
    pub fn new(now: Timestamp, writes: Vec<Write>) -> Self {
        Self { rules: RULES, author: None, now, guards: Vec::new(), names_max: 0, writes }
    }
}

/// Something that was read, remembered or presumed when the batch was decided, and must be so when
/// it is applied: alive at the same position, or not alive.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Guard {
    /// Which record.
    pub path: RecordPath,
    /// What is taken for its row, if there is one. A store may use it, but relies on no more of it
    /// than it compares.
    pub found: Option<RecordMeta>,
}

impl Guard {
    /// That there is this record, or none.
    pub fn new(path: RecordPath, record: Option<&Record>) -> Self {
        Self { path, found: record.map(Record::meta) }
    }

    /// Where the record is to be alive; `None` if it is not to be.
    pub fn live_at(&self) -> Option<Seq> {
        self.found.and_then(RecordMeta::live_at)
    }
}

/// One write.
#[derive(Clone, Debug)]
pub enum Write {
    /// Creates or replaces a record. Its collection's sequence row is made if missing.
    Put(Put),
    /// Leaves a tombstone. Nothing happens, and the outcome is the collection's head, if there is
    /// no live record; but [`Placement::Exact`] makes the tombstone where nothing is known of the
    /// record, as an import needs.
    Delete {
        /// Which record.
        path: RecordPath,
        /// The position and time of the tombstone.
        placement: Placement,
    },
    /// Removes a record or tombstone without a trace, and moves the horizon of the collection's
    /// feed to its head: a device that was away must start afresh.
    Erase {
        /// Which record.
        path: RecordPath,
    },
    /// Makes the collection's sequence row if it is missing.
    Touch {
        /// Which collection.
        collection: CollectionPath,
    },
    /// Removes a collection's records and tombstones without a trace. What comes later in a
    /// collection of that name is another incarnation, at greater positions.
    DropCollection {
        /// Which collection.
        collection: CollectionPath,
    },
    /// Drops every collection of a bucket, and the memberships in its groups.
    DropBucket {
        /// Which bucket; not the root.
        bucket: crate::BucketId,
    },
    /// Replaces the members of a group; nobody removes it.
    SetMembers {
        /// Which group.
        group: GroupPath,
        /// Who is in it; repetitions are ignored.
        members: Vec<Principal>,
    },
    /// Moves the horizon of a collection up to this position, and forgets the tombstones and the
    /// ended residencies up to there, with the signatures that nothing has any more. Nothing
    /// happens if the horizon is there already.
    Compact {
        /// Which collection.
        collection: CollectionPath,
        /// At most its head.
        up_to: Seq,
    },
    /// Notes when the head of a collection is where, so that it can be told later what is old: for
    /// positions that are ahead of the clock, since the clock was wrong for a while or they came
    /// with an import.
    Mark {
        /// Which collection.
        collection: CollectionPath,
        /// What is older will be forgotten: of the notes up to there only the last is needed.
        before: Timestamp,
    },
    /// Keeps the groups that a person was in, under a name that follows from them, or notes that
    /// they are still needed.
    KeepView {
        /// The bucket whose feeds are read.
        bucket: crate::BucketId,
        /// Who.
        person: Principal,
        /// The name.
        name: [u8; 16],
        /// The groups, in order.
        groups: Vec<Principal>,
    },
    /// Forgets what was kept so and not needed since: the oldest, some thousands at a time.
    ForgetViews {
        /// Of which bucket.
        bucket: crate::BucketId,
        /// Since when.
        before: Timestamp,
    },
    /// Notes a short text under a name, of the store and of none of its collections: a secret that
    /// all processes share, or who does a chore. If another text than `was` is noted when the batch
    /// is applied, nothing of the batch is.
    Note {
        /// The name. What is noted under names that begin with [`crate::copy::KEPT`] goes along
        /// with copies.
        name: String,
        /// What was read under this name.
        was: Option<String>,
        /// What is to be read from now on.
        text: String,
    },
    /// Begins a new epoch: what devices were told before counts no more, and they begin afresh.
    /// For data that went back in time, as after restoring a copy.
    Renew {
        /// Its name, which no other one has: 32 hexadecimal digits.
        epoch: String,
    },
    /// Removes everything, directories and sequences included, and begins a new epoch.
    Flush {
        /// Its name, which no other one has: 32 hexadecimal digits.
        epoch: String,
    },
}

/// A record, as it is from now on.
#[derive(Clone, Debug)]
pub struct Put {
    /// Which record.
    pub path: RecordPath,
    /// What it holds.
    pub body: Body,
    /// Its own permissions, as [`crate::Permissions::to_text`] writes them.
    pub permissions: String,
    /// Whom those permissions let read.
    pub readers: Readers,
    /// Its position and time.
    pub placement: Placement,
}

/// Where a write goes in its collection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// At the next position, shown under that time.
    Next,
    /// Shown under this time. Beyond the head, it becomes the position too; equal to the head's
    /// time, it counts as [`Placement::Next`]; in the past, the record takes the next position
    /// and the time that the head shows does not move. A past time that another record of the
    /// collection already shows is raised to the next free one.
    At(Timestamp),
    /// Shown under this time if it is beyond the head; else it counts as [`Placement::Next`]. For
    /// those who must not learn which times other records show.
    Ahead(Timestamp),
    /// Exactly this, as exported from another store: greater than the head's position.
    Exact {
        /// The position.
        seq: Seq,
        /// The time shown, where it is not the position.
        chosen: Option<Timestamp>,
    },
}

/// JSON text in which some numbers are known only when the batch is applied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    text: String,
    slots: Vec<Slot>,
}

/// A place in a [`Body`] where the time given to a write is inserted, in decimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Offset in the text, in bytes.
    pub at: usize,
    /// Number of the write in the batch; it comes before the write that holds the body, or is it.
    pub write: usize,
}

impl Body {
    /// A text with slots, which must be in order of their offsets, on character boundaries.
    pub fn with_slots(text: String, slots: Vec<Slot>) -> Self {
        debug_assert!(slots.is_sorted_by_key(|slot| slot.at));
        Self { text, slots }
    }

    /// The text without what goes into the slots.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Where numbers are missing.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The whole text, `time_of` giving the time of each write.
    pub fn fill(&self, time_of: impl Fn(usize) -> Timestamp) -> Cow<'_, str> {
        if self.slots.is_empty() {
            return Cow::Borrowed(&self.text);
        }
        let mut filled = String::with_capacity(self.text.len() + 16 * self.slots.len());
        let mut from = 0;
        for slot in &self.slots {
            filled.push_str(&self.text[from..slot.at]);
            filled.push_str(&time_of(slot.write).to_string());
            from = slot.at;
        }
        filled.push_str(&self.text[from..]);
        Cow::Owned(filled)
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Self { text, slots: Vec::new() }
    }
}

/// What a write came to, one for each write of the batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Outcome {
    /// The position that it was given; of the collection's head where it takes none (`Touch`,
    /// `Erase`); zero where there is no collection left.
    pub seq: Seq,
    /// The time shown for it, likewise.
    pub timestamp: Timestamp,
}

/// Why nothing of a batch was applied.
#[derive(Debug)]
pub enum ApplyError {
    /// Something changed since it was read. Read again and decide again.
    Conflict,
    /// The store could not.
    Store(StoreError),
}

impl From<StoreError> for ApplyError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Conflict => f.write_str("something changed since it was read"),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ApplyError {}
