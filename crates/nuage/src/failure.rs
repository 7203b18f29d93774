//! How the program ends: a sentence for people, a number for scripts.

use std::fmt;
use std::process::ExitCode;

use nuage_model::StoreError;

use crate::config::Invalid;

/// The numbers of `nuage --help`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// Failed while running.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// The data cannot be opened.
    Storage = 4,
    /// The address cannot be used.
    Address = 5,
    /// A check found something.
    Negative = 6,
}

/// An end with a number of its own.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    sentence: String,
}

impl Failure {
    /// An end with that number, told in that sentence.
    pub(crate) fn new(exit: Exit, sentence: impl Into<String>) -> Self {
        Self { exit, sentence: sentence.into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// What to do about an error, where more is to be said than what it is.
pub(crate) fn advice(error: &anyhow::Error) -> Option<&'static str> {
    let is_damage = matches!(error.downcast_ref::<StoreError>(), Some(StoreError::Corrupt(_)));
    is_damage.then_some(
        "Restore a backup, or save what can be read of a file: nuage export --salvage FILE",
    )
}

/// The number that an error ends the program with.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let exit = if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.exit
    } else if error.is::<Invalid>() {
        Exit::Configuration
    } else if let Some(StoreError::Unsupported(_) | StoreError::Corrupt(_)) =
        error.downcast_ref::<StoreError>()
    {
        Exit::Storage
    } else {
        Exit::Failed
    };
    exit.into()
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
