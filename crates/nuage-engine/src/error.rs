//! What the rules answer. No status codes: each door has its own.

use nuage_model::{RecordPath, StoreError};

use crate::Crowded;

/// Why a verb was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The caller may not. Also the answer where telling that something exists would be too much.
    #[error("forbidden")]
    Forbidden,
    /// There is no such record, and the caller may know.
    #[error("unknown: {0}")]
    Unknown(RecordPath),
    /// What holds it does not exist, and the caller may know.
    #[error("unknown parent: {0}")]
    UnknownParent(RecordPath),
    /// The body breaks a rule of its kind or a schema.
    #[error("invalid: {}", .0.description)]
    Invalid(Invalid),
    /// What the caller wants names groups that contain more groups than may be looked at.
    #[error("it names groups that contain more than {0} groups")]
    TooManyInnerGroups(usize),
    /// The records of the collection would name more groups than they may.
    #[error("the collection would name more than {0} groups")]
    TooManyNames(usize),
    /// The record would have more bytes, with its permissions, than one may have.
    #[error("the record is larger than {0} bytes")]
    TooLarge(usize),
    /// Too much work that takes long waits already: try again.
    #[error(transparent)]
    Crowded(#[from] Crowded),
    /// The store could not.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A broken rule, in words for the client.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Invalid {
    /// The field, as a dotted path from the body's root; empty for the body as a whole.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

/// Why nothing was committed.
#[derive(Debug)]
pub enum CommitError {
    /// Something is not as it was read, or presumed to be: decide again, in a new session.
    Conflict(Conflict),
    /// The store could not.
    Store(StoreError),
}

/// What was decided on something that is not so.
#[derive(Debug)]
pub struct Conflict {
    /// The records that were changed or relied on.
    pub paths: Vec<RecordPath>,
    /// Whether some of them were presumed to be as they are remembered, and not read.
    pub was_presumed: bool,
}
