//! What SQLite says, told in the words of the port.
//!
//! Inside, every function returns a [`Fault`]; it becomes a [`StoreError`] at the port.

use nuage_model::StoreError;
use rusqlite::ErrorCode;

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

impl Fault {
    /// Whether the connection may be at odds with the disk and must be opened anew.
    pub(super) fn spoils_connection(&self) -> bool {
        let Self::Sqlite(error) = self else { return false };
        matches!(
            error.sqlite_error_code(),
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
