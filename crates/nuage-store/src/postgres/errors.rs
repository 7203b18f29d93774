//! What PostgreSQL says, told in the words of the port.
//!
//! Inside, every function returns a [`Fault`]; it becomes a [`StoreError`] at the port.

use nuage_model::StoreError;
use tokio_postgres::error::SqlState;

/// Why something could not be done.
#[derive(Debug)]
pub(super) enum Fault {
    /// The database could not, the connection broke, or a row is not what it must be.
    Postgres(tokio_postgres::Error),
    /// The server was given up.
    Silent,
    /// We would not.
    Store(StoreError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
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
            Fault::Silent => {
                StoreError::Unavailable("the database does not answer anybody".to_owned())
            }
            Fault::Postgres(error) => tell(&error),
        }
    }
}

impl Fault {
    /// Whether the same may well work at once when tried again: others were in the way.
    pub(super) fn is_collision(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        matches!(
            error.code(),
            Some(
                &SqlState::T_R_SERIALIZATION_FAILURE
                    | &SqlState::T_R_DEADLOCK_DETECTED
                    | &SqlState::LOCK_NOT_AVAILABLE
            )
        )
    }

    /// Whether somebody else kept a lock for too long.
    pub(super) fn is_locked(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
    }

    /// Whether the connection is of no more use: it broke, or the server ended it.
    pub(super) fn spoils_connection(&self) -> bool {
        let Self::Postgres(error) = self else { return matches!(self, Self::Silent) };
        match error.code() {
            // Class 57 is operator intervention, 08 the connection, XX the server itself. A server
            // that only lets read is no longer the primary, and 0A is what it says to a transaction
            // that means to write: another connection may reach the primary.
            Some(state) => ["57P", "08", "XX", "25006", "0A000", "26", "42P05"]
                .iter()
                .any(|class| state.code().starts_with(class)),
            None => true,
        }
    }
}

/// Whether the server has no connection left, or keeps the last ones for its administrators.
pub(super) fn has_none_left(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// Whether a prepared statement is not there, or is another: a pooler gave us another session.
pub(super) fn mixes_sessions(error: &tokio_postgres::Error) -> bool {
    matches!(
        error.code(),
        Some(&SqlState::INVALID_SQL_STATEMENT_NAME | &SqlState::DUPLICATE_PSTATEMENT)
    )
}

fn tell(error: &tokio_postgres::Error) -> StoreError {
    let Some(state) = error.code() else {
        return StoreError::Unavailable(chain(error));
    };
    let said = chain(error);
    if *state == SqlState::QUERY_CANCELED {
        return StoreError::TooSlow;
    }
    if mixes_sessions(error) {
        return StoreError::Unavailable(format!(
            "a pooler, such as pgbouncer, forgets prepared statements ({said}): set pool_mode = \
             session there"
        ));
    }
    // Rights may be given back, and nothing is wrong with the data.
    if *state == SqlState::INSUFFICIENT_PRIVILEGE {
        return StoreError::Unavailable(said);
    }
    // Integrity constraints are laws of ours that our own write would have broken; data exceptions
    // and missing tables mean that the data is not what it must be.
    let classes = ["22", "23", "42", "XX001", "XX002"];
    if classes.iter().any(|class| state.code().starts_with(class)) {
        return StoreError::Corrupt(said);
    }
    StoreError::Unavailable(said)
}

/// The error with what caused it: the driver tells the reason only there.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        said.push_str(": ");
        said.push_str(&deeper.to_string());
        cause = deeper.source();
    }
    said
}
