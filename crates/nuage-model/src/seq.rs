//! Positions in a collection, and the timestamps that clients see.

use std::fmt;

/// Position of a record's last change in its collection: `max(last + 1, now in ms)`.
///
/// Strictly increasing, unique in the collection, never read back from a clock. Inside a unit of
/// work that is not applied yet, changes carry provisional positions, greater than any real one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Seq(pub i64);

/// The first provisional position.
const PROVISIONAL: i64 = 1 << 62;

impl Seq {
    /// The greatest position a client may ask for: the greatest integer that every JSON reader
    /// keeps exactly, less room for a lifetime of further changes.
    pub const CHOSEN_MAX: i64 = (1 << 53) - (1 << 40);

    /// How far ahead of the server's clock a client may choose a time, in milliseconds: clocks
    /// differ, and nobody's clock differs by more than a day and is right.
    pub const AHEAD_MS: i64 = 24 * 3600 * 1000;

    /// How many times are tried, a taken one first, before a write that wished it simply goes next.
    pub const TIMES_TRIED: i64 = 1_000;

    /// The latest time that a client may choose in a collection that was never further than this
    /// position: a little ahead of the clock, or as far as the collection already is. So nobody
    /// can carry a collection off into the future, and what a collection told is always accepted.
    pub fn latest_choice(self, now: Timestamp) -> Timestamp {
        Timestamp(self.0.max(now.0.saturating_add(Self::AHEAD_MS).min(Self::CHOSEN_MAX)))
    }

    /// The position that follows: the present time unless that would not increase.
    pub fn next(self, now: Timestamp) -> Self {
        Self(now.0.max(self.0 + 1))
    }

    /// Stands for the position that write number `index` of the batch will be given.
    pub fn provisional(index: usize) -> Self {
        Self(PROVISIONAL + index as i64)
    }

    /// The number of the write that this position stands for, if it is provisional.
    pub fn write_index(self) -> Option<usize> {
        usize::try_from(self.0.checked_sub(PROVISIONAL)?).ok().filter(|_| self.0 >= PROVISIONAL)
    }
}

/// Milliseconds since 1970 in UTC, as shown to clients (`last_modified`, ETag).
///
/// Equal to the record's [`Seq`] except where a client chose its own, also in the past.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Timestamp(pub i64);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<Seq> for Timestamp {
    fn from(seq: Seq) -> Self {
        Self(seq.0)
    }
}
