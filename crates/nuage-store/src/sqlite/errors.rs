//! What SQLite says, told in the words of the port.
//!
//! Inside, every function returns a [`Fault`]; it becomes a [`StoreError`] at the port.

use std::fmt;

use nuage_model::StoreError;
use rusqlite::ErrorCode;
use rusqlite::ffi::SQLITE_CONSTRAINT_NOTNULL;

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Fault {
    /// SQLite could not, or a row is not what it must be.
    Sqlite(rusqlite::Error),
    /// We would not.
    Store(StoreError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => error,
            Fault::Sqlite(error) => tell(&error),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl Fault {
    /// Whether the disk has no room.
    pub(super) fn is_full(&self) -> bool {
        self.code() == Some(ErrorCode::DiskFull)
    }

    /// Whether it may be for lack of room that a file could not be made or opened.
    pub(super) fn may_be_full(&self) -> bool {
        let codes = [ErrorCode::DiskFull, ErrorCode::SystemIoFailure, ErrorCode::CannotOpen];
        self.code().is_some_and(|code| codes.contains(&code))
    }

    /// Whether there was nothing in a column that must have something.
    pub(super) fn is_missing(&self) -> bool {
        let Self::Sqlite(rusqlite::Error::SqliteFailure(error, _)) = self else { return false };
        error.extended_code == SQLITE_CONSTRAINT_NOTNULL
    }

    /// Whether a page of the file was not what it must be.
    pub(super) fn is_damage(&self) -> bool {
        matches!(self.code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
    }

    fn code(&self) -> Option<ErrorCode> {
        let Self::Sqlite(error) = self else { return None };
        error.sqlite_error_code()
    }

    /// Whether the connection may be at odds with the disk and must be opened anew.
    pub(super) fn spoils_connection(&self) -> bool {
        matches!(
            self.code(),
            Some(
                ErrorCode::SystemIoFailure
                    | ErrorCode::CannotOpen
                    | ErrorCode::DatabaseCorrupt
                    | ErrorCode::NotADatabase
                    | ErrorCode::ReadOnly
                    | ErrorCode::OutOfMemory
            )
        )
    }
}

fn tell(error: &rusqlite::Error) -> StoreError {
    let said = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => StoreError::TooSlow,
        // A constraint is a law of ours that our own write would have broken.
        Some(
            ErrorCode::DatabaseCorrupt
            | ErrorCode::ConstraintViolation
            | ErrorCode::TypeMismatch
            | ErrorCode::NotADatabase,
        )
        | None => StoreError::Corrupt(said),
        Some(_) => StoreError::Unavailable(said),
    }
}
