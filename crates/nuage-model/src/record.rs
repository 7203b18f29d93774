//! What a store gives back: records, tombstones, heads of collections, pages.

use std::borrow::Cow;

use crate::{RecordId, Seq, Signature, Timestamp};

/// A record as stored, or the tombstone that it left.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Its identifier in the collection.
    pub id: RecordId,
    /// Position of its last change.
    pub seq: Seq,
    /// The time shown to clients, where it is not the position.
    pub chosen: Option<Timestamp>,
    /// Whom its permissions let read; of a tombstone, whom they let read before.
    pub signature: Signature,
    /// The position at which it got that signature.
    pub entered: Seq,
    /// What it holds.
    pub state: State,
}

/// All of a record but its identifier and its texts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordMeta {
    /// Position of its last change.
    pub seq: Seq,
    /// The time shown to clients, where it is not the position.
    pub chosen: Option<Timestamp>,
    /// As [`Record::signature`].
    pub signature: Signature,
    /// As [`Record::entered`].
    pub entered: Seq,
    /// Whether it is a tombstone.
    pub dead: bool,
}

impl RecordMeta {
    /// The position, if it is alive.
    pub fn live_at(self) -> Option<Seq> {
        (!self.dead).then_some(self.seq)
    }
}

/// A record is alive or remembered as deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// It can be read.
    Live {
        /// One JSON object as text, without the identifier and the timestamp.
        body: String,
        /// Permissions on the record itself, in the notation of [`crate::Permissions::to_text`].
        permissions: String,
    },
    /// It was deleted.
    Tombstone,
}

impl Record {
    /// The time shown to clients.
    pub fn timestamp(&self) -> Timestamp {
        self.chosen.unwrap_or(self.seq.into())
    }

    /// All of it but its identifier and its texts.
    pub fn meta(&self) -> RecordMeta {
        let Self { seq, chosen, signature, entered, .. } = *self;
        RecordMeta { seq, chosen, signature, entered, dead: !self.is_live() }
    }

    /// Whether it can be read.
    pub fn is_live(&self) -> bool {
        matches!(self.state, State::Live { .. })
    }

    /// Its JSON text; an empty object for a tombstone.
    pub fn body(&self) -> &str {
        match &self.state {
            State::Live { body, .. } => body,
            State::Tombstone => "{}",
        }
    }

    /// Whether its body was left out when it was read, see [`crate::Bodies::Small`].
    pub fn lacks_body(&self) -> bool {
        self.body().is_empty()
    }

    /// Its own permissions as text; none for a tombstone.
    pub fn permissions(&self) -> Cow<'_, str> {
        match &self.state {
            State::Live { permissions, .. } => Cow::Borrowed(permissions),
            State::Tombstone => Cow::Borrowed("{}"),
        }
    }
}

/// The state of a collection as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Position of its last change, or of its creation.
    pub seq: Seq,
    /// The time shown to clients. Less than the position only after a write with a time of its
    /// own in the past; and in lists for those who see part of the collection. To them it is the
    /// greatest that what they see shows, or has shown until it was forgotten by age; the first
    /// position of the collection, if there is nothing.
    pub timestamp: Timestamp,
    /// How many records are alive.
    pub live: u64,
}

/// One page of a list, read in one snapshot with the head of its collection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// `None` when the collection was never read nor written.
    pub head: Option<Head>,
    /// In the order asked for.
    pub records: Vec<Record>,
    /// Whether others follow.
    pub more: bool,
}
