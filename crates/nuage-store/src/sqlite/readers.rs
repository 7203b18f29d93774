//! Connections that only read, lent to one caller at a time.
//!
//! There are two pools of them: short reads run on the thread of whoever asks and must never
//! wait behind long ones, which run on threads that may block.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use nuage_model::StoreError;
use rusqlite::Connection;

use crate::sqlite::errors::Fault;
use crate::sqlite::open;

/// A pool of readers, opened as they are first needed.
pub(super) struct Readers {
    path: PathBuf,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    idle: Vec<Connection>,
    unopened: usize,
    closed: bool,
}

/// A reader on loan; goes back when dropped.
pub(super) struct Reader<'a> {
    pool: &'a Readers,
    connection: Option<Connection>,
}

impl Readers {
    /// A pool of so many, at least one.
    pub(super) fn new(path: &Path, size: usize) -> Self {
        let state = State { idle: Vec::new(), unopened: size.max(1), closed: false };
        Self { path: path.to_owned(), state: Mutex::new(state), returned: Condvar::new() }
    }

    /// Borrows one; waits if all are lent.
    pub(super) fn get(&self) -> Result<Reader<'_>, Fault> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(StoreError::Closed.into());
            }
            if let Some(connection) = state.idle.pop() {
                return Ok(Reader { pool: self, connection: Some(connection) });
            }
            if state.unopened > 0 {
                state.unopened -= 1;
                break;
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        match open::reader(&self.path) {
            Ok(connection) => Ok(Reader { pool: self, connection: Some(connection) }),
            Err(fault) => {
                self.give_up();
                Err(fault)
            }
        }
    }

    /// Closes all that are not lent, and the others as they come back.
    pub(super) fn close(&self) {
        let idle = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.idle)
        };
        drop(idle);
        self.returned.notify_all();
    }

    fn give_up(&self) {
        self.lock().unopened += 1;
        self.returned.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader<'_> {
    /// Everything that `read` reads is of one moment.
    pub(super) fn snapshot<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.prepare_cached("BEGIN")?.execute([])?;
        let answer = read(self);
        self.prepare_cached("COMMIT")?.execute([])?;
        answer
    }
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // One that stopped in the middle, be it by a panic, is not lent again.
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            return self.pool.give_up();
        }
        let mut state = self.pool.lock();
        if !state.closed {
            state.idle.push(connection);
            drop(state);
            self.pool.returned.notify_one();
        }
    }
}
