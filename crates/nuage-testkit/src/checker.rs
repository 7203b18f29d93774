//! Judges what many clients of many processes recorded, by the laws of a store.
//!
//! Each client notes when it asked, when it was answered, and what it was told. Times are
//! positions here: nobody may choose a timestamp of his own. From the whole record follows what
//! each answer had to be:
//!
//! - times of a collection are unique, and a write gets a greater one than whatever anybody was
//!   told of that collection before the write was asked for;
//! - who is told head H of a collection sees exactly what was written up to H, no more, no less;
//! - an answer holds all that anybody was told, through any process, before it was asked for;
//! - a conditional write that succeeds replaces the version that it named, and one that is
//!   refused has a reason;
//! - the writes of one batch appear together, within a collection and across.
//!
//! An answer that never came leaves open whether its writes happened; they did if anybody ever
//! saw one of them. The cost is that of sorting, plus the length of all lists.
//!
//! It knows nothing of HTTP, of permissions and of what records say beyond a token.

mod floors;
mod ledger;
mod rules;

use std::fmt;

use floors::Floors;
use ledger::Ledger;

/// Faults of one law beyond which no more are told.
const FAULTS_MAX: usize = 10;

/// Nanoseconds since the record began, by one clock.
pub type Moment = u64;

/// Something that a client asked.
#[derive(Clone, Debug)]
pub struct Event {
    /// Who asked, of whom: shown with a fault.
    pub by: String,
    /// Just before it was asked.
    pub called: Moment,
    /// Just after the answer came; `None` if it never did, which only writes may be recorded with.
    pub returned: Option<Moment>,
    /// What was asked and told.
    pub what: What,
}

/// What was asked and told.
#[derive(Clone, Debug)]
pub enum What {
    /// Writes that happen together or not at all; without answer they have no times.
    Wrote(Vec<Write>),
    /// A conditional write that was refused.
    Refused {
        /// Which record.
        place: Place,
        /// The condition.
        over: Over,
    },
    /// One record; `None` where there is no such record.
    Read {
        /// Which record.
        place: Place,
        /// What was there.
        found: Option<Version>,
    },
    /// Records of a collection.
    Listed(List),
    /// The head of a collection, and how many live records it has.
    Headed {
        /// Which collection.
        collection: usize,
        /// The time of its last change.
        head: i64,
        /// Live records at that head, where it was told.
        live: Option<usize>,
    },
}

/// A record of a collection. Collections are counted from zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Number of the collection.
    pub collection: usize,
    /// Number of the record in it.
    pub record: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of collection {}", self.record, self.collection)
    }
}

/// A write.
#[derive(Clone, Copy, Debug)]
pub struct Write {
    /// Which record.
    pub place: Place,
    /// What it holds from now on, which no other write does; `None` deletes it.
    pub token: Option<u64>,
    /// The time that the answer gave it.
    pub time: Option<i64>,
    /// The condition that it was made under.
    pub over: Over,
}

/// What a write may replace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Over {
    /// Whatever is there.
    Anything,
    /// Only where there is no record.
    Nothing,
    /// Only the live version of this time.
    Version(i64),
}

/// A live record as it was shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// Its time.
    pub time: i64,
    /// What it holds.
    pub token: u64,
}

/// A list, latest first.
#[derive(Clone, Debug)]
pub struct List {
    /// Which collection.
    pub collection: usize,
    /// The head that the answer told.
    pub head: i64,
    /// Only later ones were asked for.
    pub since: i64,
    /// Only earlier ones were asked for.
    pub before: i64,
    /// At most so many were asked for.
    pub limit: usize,
    /// Whether tombstones were asked for too.
    pub tombstones: bool,
    /// What was shown.
    pub shown: Vec<Shown>,
}

/// An entry of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Number of the record.
    pub record: usize,
    /// Its time.
    pub time: i64,
    /// What it holds; `None` for a tombstone.
    pub token: Option<u64>,
}

/// A law that was broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Two writes got the same time.
    RepeatedTime,
    /// A write got a time that is not later than what was known before it was asked for.
    TimeOrder,
    /// A list is not what its head says: something up to the head is missing, or too much there.
    Incomplete,
    /// An answer lacks what was known before it was asked for.
    Stale,
    /// An answer holds what was asked for only later.
    FromFuture,
    /// A conditional write replaced something else than it named.
    LostUpdate,
    /// A conditional write was refused although its condition held all the time.
    RefusedForNothing,
    /// Some writes of a batch were there without the others.
    HalfBatch,
    /// An answer holds what nobody wrote.
    Invented,
}

/// A law that was broken, and how.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which law.
    pub rule: Rule,
    /// How.
    pub how: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.how)
    }
}

/// What is wrong with a record, in any order of its events; the first against each law, if there
/// are many.
pub fn check(events: &[Event]) -> Vec<Fault> {
    let mut faults = Faults::default();
    let ledger = Ledger::of(events, &mut faults);
    let floors = Floors::of(events, &ledger);
    rules::judge_writes(&ledger, &floors, &mut faults);
    rules::judge_batches(events, &ledger, &mut faults);
    rules::judge_answers(events, &ledger, &floors, &mut faults);
    rules::judge_lists(events, &ledger, &mut faults);
    faults.0
}

#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn push(&mut self, rule: Rule, how: impl FnOnce() -> String) {
        // One that has many consequences must not hide the others.
        if self.0.iter().filter(|fault| fault.rule == rule).count() < FAULTS_MAX {
            self.0.push(Fault { rule, how: how() });
        }
    }
}

#[cfg(test)]
mod tests;
