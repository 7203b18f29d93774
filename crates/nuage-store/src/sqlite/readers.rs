//! Connections that only read, lent to one caller at a time.
//!
//! There are three pools of them: short reads run on the thread of whoever asks and must never
//! wait behind long ones, which run on threads that may block, nor behind feeds, which keep a
//! reader for several reads of one moment.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nuage_model::StoreError;
use rusqlite::Connection;

use crate::sqlite::damage::Damage;
use crate::sqlite::errors::Fault;
use crate::sqlite::identity::Identity;
use crate::sqlite::open::{self, Way};

/// What is read.
#[derive(Clone)]
pub(super) struct Source {
    /// The file.
    pub(super) path: PathBuf,
    /// How it is read.
    pub(super) way: Way,
    /// What a reader that is opened must find, where somebody writes.
    pub(super) identity: Option<Arc<Identity>>,
    /// Told of what is met.
    pub(super) damage: Arc<Damage>,
}

impl Source {
    fn open(&self) -> Result<Connection, Fault> {
        let connection = open::reader(&self.path, self.way)?;
        // Afterwards, since it may be replaced in between.
        self.identity.as_ref().map_or(Ok(()), |identity| identity.expect())?;
        Ok(connection)
    }
}

/// A pool of readers, opened as they are first needed.
pub(super) struct Readers {
    source: Source,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    idle: Vec<Connection>,
    unopened: usize,
    closed: bool,
}

/// A reader on loan; goes back when dropped, and what it was in the middle of is undone.
pub(super) struct Reader<'a> {
    pool: &'a Readers,
    connection: Option<Connection>,
    spoilt: bool,
}

impl Readers {
    /// A pool of so many, at least one.
    pub(super) fn new(source: &Source, size: usize) -> Self {
        let state = State { idle: Vec::new(), unopened: size.max(1), closed: false };
        let source = source.clone();
        Self { source, state: Mutex::new(state), returned: Condvar::new() }
    }

    /// Reads with one of them; waits if all are lent. One that the disk has failed is not lent
    /// again.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.get()?.read(read)
    }

    /// Lends one of them; waits if all are lent.
    pub(super) fn get(&self) -> Result<Reader<'_>, Fault> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(StoreError::Closed.into());
            }
            if let Some(connection) = state.idle.pop() {
                return Ok(Reader::new(self, connection));
            }
            if state.unopened > 0 {
                state.unopened -= 1;
                break;
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        match self.source.open() {
            Ok(connection) => Ok(Reader::new(self, connection)),
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

impl<'a> Reader<'a> {
    fn new(pool: &'a Readers, connection: Connection) -> Self {
        Self { pool, connection: Some(connection), spoilt: false }
    }

    /// What it reads, from the next read on, is of one moment.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.read(|connection| execute(connection, "BEGIN"))
    }

    /// Reads with it. One that the disk has failed is not lent again.
    pub(super) fn read<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let connection = self.connection.as_ref().ok_or(StoreError::Closed)?;
        let answer = read(connection);
        if let Err(fault) = &answer {
            self.spoilt |= fault.spoils_connection();
            self.pool.source.damage.note(fault);
        }
        answer
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Fault> {
    connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let in_the_middle = !connection.is_autocommit();
        if self.spoilt || (in_the_middle && execute(&connection, "ROLLBACK").is_err()) {
            drop(connection);
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
