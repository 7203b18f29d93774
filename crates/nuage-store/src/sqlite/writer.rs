//! The one thread that writes.
//!
//! It takes what waits in the queue, in turn by person, applies it in one transaction with one flush
//! of the disk, and acknowledges afterwards. What is heavy is applied by itself. Batches do not see
//! each other's failures: a failed guard turns
//! down its batch alone, and when anything else fails the group is rolled back and each batch
//! is tried by itself. The thread outlives every failure; it opens the file anew if it must.

use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use nuage_model::{ApplyError, Batch, Outcome, StoreError, Write};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tokio::sync::oneshot;

use crate::rules::{CollectionCache, Transaction};
use crate::sqlite::checkpoint::Checkpoints;
use crate::sqlite::damage::Damage;
use crate::sqlite::dropped::{self, SLICE_ROWS};
use crate::sqlite::errors::Fault;
use crate::sqlite::foreign::Foreign;
use crate::sqlite::heads::Heads;
use crate::sqlite::identity::Identity;
use crate::sqlite::mark::Mark;
use crate::sqlite::open;
use crate::sqlite::room::{self, Growth, Room};
use crate::sqlite::tables::Open;
use crate::waiting::{Waiting, person, weight};
use crate::{Options, Synchronous};

/// Batches in one transaction: enough that the flush costs little, few enough to stay short.
const GROUP_BATCHES_MAX: usize = 512;
/// Batches that are taken from the queue before any is applied.
const WAITING_MAX: usize = 4_096;
/// How often an idle writer looks for writes of other processes, in milliseconds.
const IDLE_MS: u64 = 100;
/// When batches are tried one by one, the rest is given up after so many failures in a row.
const FAILURES_MAX: usize = 3;

/// How long after a failure it is tried again to remove what was dropped.
const REMOVE_AGAIN: Duration = Duration::from_secs(5);
/// Rows of a slice at the least, where larger ones failed: a full disk may have room for these.
const SLICE_ROWS_MIN: usize = 8;

const DATA_VERSION: &str = "PRAGMA data_version";
/// Writes for real: what does not change is not written. The row is there once and for all.
const TRY_TO_WRITE: &str = "
    INSERT INTO meta (key, value) VALUES ('heartbeat', '0')
    ON CONFLICT (key) DO UPDATE SET value = CASE value WHEN '0' THEN '1' ELSE '0' END";
/// What a batch comes to.
pub(super) type Answer = Result<Vec<Outcome>, ApplyError>;

/// What may be asked of the writer.
pub(super) enum Job {
    /// To apply a batch, or without one to show that it can write.
    Apply(Option<Batch>, oneshot::Sender<Answer>),
    /// To finish what came before and end.
    Close(oneshot::Sender<()>),
    /// To let a test meddle.
    #[cfg(test)]
    Meddle(Box<dyn FnOnce(&mut Connection) + Send>),
}

type Task = (Option<Batch>, oneshot::Sender<Answer>);

/// Who is told of what the writer notices.
pub(super) struct Told {
    pub(super) heads: Arc<Heads>,
    pub(super) foreign: Arc<Foreign>,
    pub(super) damage: Arc<Damage>,
}

/// The writer's own state.
pub(super) struct Writer {
    path: PathBuf,
    options: Options,
    connection: Option<Connection>,
    identity: Arc<Identity>,
    checkpoints: Checkpoints,
    room: Room,
    mark: Mark,
    data_version: Option<i64>,
    ledger: CollectionCache,
    /// Whether the last transaction came to its commit.
    is_committing: bool,
    told: Told,
    /// From when on what was dropped is to be removed; none where there is nothing.
    removing: Option<Instant>,
    /// In slices of so many rows.
    slice_rows: usize,
    /// What went wrong last, until something is written again: told once.
    trouble: Option<String>,
}

impl Writer {
    /// Opens the file; fails if it must not or cannot be opened.
    pub(super) fn open(path: PathBuf, options: Options, told: Told) -> Result<Self, Fault> {
        let mut room = Room::beside(&path, options.reserve_bytes);
        let mut opened = open::writer(&path, &options);
        // A disk may be too full even for the files that SQLite makes beside.
        if let Err(fault) = &opened
            && options.reserve_bytes > 0
            && fault.may_be_full()
            && room.give_up()
        {
            opened = open::writer(&path, &options);
            if opened.is_ok() {
                room.fill();
            }
        }
        let mut connection = opened?;
        let identity = Arc::new(Identity::of(&path)?);
        let checkpoints = Checkpoints::watch(&mut connection, &path, &options)?;
        let mark = Mark::beside(&path, &connection);
        let data_version = Some(data_version(&connection)?);
        Ok(Self {
            path,
            options,
            connection: Some(connection),
            identity,
            checkpoints,
            room,
            mark,
            data_version,
            ledger: CollectionCache::default(),
            is_committing: false,
            told,
            removing: Some(Instant::now()),
            slice_rows: SLICE_ROWS,
            trouble: None,
        })
    }

    /// What the file must go on being.
    pub(super) fn identity(&self) -> Arc<Identity> {
        Arc::clone(&self.identity)
    }

    /// Works until it is asked to close, or nobody is left to ask.
    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        self.room.keep();
        while std::panic::catch_unwind(AssertUnwindSafe(|| self.work(jobs))).is_err() {
            tracing::error!("the writer failed in a way that nobody expected, and goes on");
            self.reopen();
        }
    }

    fn work(&mut self, jobs: &Receiver<Job>) {
        let mut waiting = Waiting::default();
        loop {
            let mut next = match waiting.is_empty() {
                false => jobs.try_recv().ok(),
                true if self.is_behind() => match jobs.try_recv() {
                    Ok(job) => Some(job),
                    Err(TryRecvError::Empty) => {
                        self.rest();
                        self.remove_dropped();
                        continue;
                    }
                    Err(TryRecvError::Disconnected) => return self.end(),
                },
                true => match jobs.recv_timeout(Duration::from_millis(IDLE_MS)) {
                    Ok(job) => Some(job),
                    Err(RecvTimeoutError::Timeout) => {
                        self.rest();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => return self.end(),
                },
            };
            while let Some(Job::Apply(batch, reply)) = next {
                let (person, weight) =
                    batch.as_ref().map_or((0, 1), |batch| (person(batch), weight(batch)));
                waiting.push(person, weight, (batch, reply));
                let is_full = waiting.len() >= WAITING_MAX;
                next = if is_full { None } else { jobs.try_recv().ok() };
            }
            let is_closing = matches!(next, Some(Job::Close(_)));
            loop {
                let tasks = waiting.group(GROUP_BATCHES_MAX, |_, _| true);
                if !tasks.is_empty() {
                    self.settle(tasks);
                }
                if !is_closing || waiting.is_empty() {
                    break;
                }
            }
            if !is_closing && self.is_behind() {
                self.remove_dropped();
            }
            match next {
                Some(Job::Close(reply)) => {
                    self.end();
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(());
                    return;
                }
                #[cfg(test)]
                Some(Job::Meddle(meddle)) => {
                    meddle(self.connection.as_mut().expect("tests meddle with an open file"));
                }
                _ => {}
            }
        }
    }

    // Applies the tasks and answers them.
    fn settle(&mut self, tasks: Vec<Task>) {
        let was_full = self.room.is_full();
        let mut tried = self.attempt(|writer| writer.commit(&tasks));
        if tried.is_err() && self.room.is_full() && !was_full {
            // What makes the data smaller passes with the room that was made.
            tried = self.attempt(|writer| writer.commit(&tasks));
        }
        match tried {
            Ok(answers) => answer(tasks, answers),
            // What may have been written must not be written twice.
            Err(error @ StoreError::Unknown(_)) => refuse(tasks, &error),
            Err(error) if tasks.len() == 1 => refuse(tasks, &error),
            Err(_) => self.settle_singly(tasks),
        }
        self.tidy_log();
        if let Some(connection) = &self.connection {
            self.mark.write_in_time(connection);
        }
    }

    fn tidy_log(&mut self) {
        if let Some(connection) = &self.connection {
            match self.room.is_full() {
                true => self.checkpoints.reuse_log(connection),
                false => self.checkpoints.after_group(connection),
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.removing.is_some_and(|from| from <= Instant::now())
    }

    // A slice of what was dropped. Nobody waits for it, and nothing is lost if it was not done.
    fn remove_dropped(&mut self) {
        let (next, rows) = match self.attempt(Self::remove_slice) {
            Ok(true) => (Some(Instant::now()), self.slice_rows * 2),
            Ok(false) => (None, SLICE_ROWS),
            Err(_) => (Some(Instant::now() + REMOVE_AGAIN), self.slice_rows / 2),
        };
        self.removing = next;
        self.slice_rows = rows.clamp(SLICE_ROWS_MIN, SLICE_ROWS);
        self.tidy_log();
    }

    // Whether there may be more. It is not waited for the disk: the next group does.
    fn remove_slice(&mut self) -> Result<bool, Fault> {
        let (rows, durability) = (self.slice_rows, self.options.synchronous);
        self.connected()?;
        self.identity.expect()?;
        let connection = self.connected()?;
        set_synchronous(connection, Synchronous::Normal)?;
        let removed = connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]))
            .map_err(Fault::from)
            .and_then(|_| dropped::remove_slice(connection, rows))
            .and_then(|removed| {
                connection.prepare_cached("COMMIT")?.execute([])?;
                Ok(removed)
            });
        if removed.is_err() {
            self.roll_back();
        }
        let is_durable = self
            .connection
            .as_ref()
            .is_some_and(|connection| set_synchronous(connection, durability).is_ok());
        if !is_durable {
            // Whoever is told that something was written next must be able to rely on it.
            self.reopen();
        }
        removed
    }

    fn settle_singly(&mut self, tasks: Vec<Task>) {
        let mut failures = 0;
        let mut tasks = tasks.into_iter();
        while let Some(task) = tasks.next() {
            let task = [task];
            let result = match self.attempt(|writer| writer.commit(&task)) {
                Ok(mut answers) => answers.pop().unwrap_or(Ok(Vec::new())),
                Err(error) => Err(error.into()),
            };
            let has_failed = matches!(result, Err(ApplyError::Store(_)));
            failures = if has_failed { failures + 1 } else { 0 };
            let [(_, reply)] = task;
            let _ = reply.send(result);
            if failures == FAILURES_MAX {
                let why = "the writer gave up before this batch".to_owned();
                return refuse(tasks, &StoreError::Unavailable(why));
            }
        }
    }

    // One transaction, whatever happens in it.
    fn attempt<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, StoreError> {
        self.is_committing = false;
        let tried = std::panic::catch_unwind(AssertUnwindSafe(|| work(self)));
        let fault = match tried {
            Ok(Ok(done)) => {
                self.note_success();
                return Ok(done);
            }
            Ok(Err(fault)) => fault,
            Err(_) => {
                self.told.heads.forget();
                self.reopen();
                let why = "the writer failed in a way that nobody expected".to_owned();
                return Err(match self.is_committing {
                    true => StoreError::Unknown(why),
                    false => StoreError::Unavailable(why),
                });
            }
        };
        self.told.heads.forget();
        self.ledger.forget();
        self.told.damage.note(&fault);
        if fault.spoils_connection() || !self.roll_back() {
            self.reopen();
        }
        if fault.is_full() {
            self.room.fill();
            if let Some(connection) = &self.connection {
                self.checkpoints.reuse_log(connection);
            }
        }
        // Where there was no room, there is none of the commit either.
        let may_be_there = self.is_committing && !fault.is_full();
        let error = match StoreError::from(fault) {
            StoreError::Unavailable(why) if may_be_there => StoreError::Unknown(why),
            error => error,
        };
        self.note_trouble(&error);
        Err(error)
    }

    // The same is told once, until it is over.
    fn note_trouble(&mut self, error: &StoreError) {
        let said = error.to_string();
        if self.trouble.as_ref() == Some(&said) {
            return;
        }
        tracing::error!(error = %error, "could not write");
        self.trouble = Some(said);
        // A log that lost its name or its file is moved while it is open: what was acknowledged may
        // be in no other place, and a file that took the name must not get it.
        if self.identity.expect().is_err()
            && let Some(connection) = &self.connection
        {
            self.checkpoints.empty_log(connection);
        }
    }

    fn note_success(&mut self) {
        if !self.room.is_full() && self.trouble.take().is_some() {
            tracing::info!("writes succeed again");
        }
    }

    fn commit(&mut self, tasks: &[Task]) -> Result<Vec<Answer>, Fault> {
        if self.connection.is_none() {
            self.connect()?;
        }
        let Some(connection) = &self.connection else {
            return Err(StoreError::Unavailable("the file is not open".to_owned()).into());
        };
        self.identity.expect()?;
        let growth = self.room.growth(connection)?;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        if note_foreign_writes(connection, &mut self.data_version, &self.told)? {
            self.ledger.forget();
            self.removing = Some(Instant::now());
        }
        let pages = match growth {
            Growth::Inside => Some(room::pages(connection)?),
            Growth::Free | Growth::Refused => None,
        };
        let mut answers = Vec::with_capacity(tasks.len());
        let mut transaction = Transaction::new(Open(connection), &mut self.ledger);
        for (batch, _) in tasks {
            answers.push(match batch {
                _ if growth == Growth::Refused && batch.as_ref().is_none_or(room::grows) => {
                    Err(room::full().into())
                }
                None => {
                    connection.prepare_cached(TRY_TO_WRITE)?.execute([])?;
                    Ok(Vec::new())
                }
                Some(batch) if !transaction.guards_hold(batch)? => Err(ApplyError::Conflict),
                Some(batch) => Ok(transaction.write(batch)?),
            });
        }
        let (_, changes) = transaction.finish()?;
        if pages.is_some_and(|before| before < room::pages(connection).unwrap_or(before)) {
            return Err(room::full().into());
        }
        self.told.heads.hide(&changes);
        self.is_committing = true;
        connection.prepare_cached("COMMIT")?.execute([])?;
        // What is acknowledged must be found after a start.
        self.identity.expect()?;
        self.mark.note(&changes);
        self.told.heads.publish(changes);
        if tasks.iter().any(|(batch, _)| batch.as_ref().is_some_and(drops)) {
            self.removing = Some(Instant::now());
        }
        Ok(answers)
    }

    fn connected(&mut self) -> Result<&Connection, Fault> {
        if self.connection.is_none() {
            self.connect()?;
        }
        let is_closed = || StoreError::Unavailable("the file is not open".to_owned()).into();
        self.connection.as_ref().ok_or_else(is_closed)
    }

    // Whether the connection can go on.
    fn roll_back(&self) -> bool {
        let Some(connection) = &self.connection else { return false };
        // Some failures have rolled back already, and then there is nothing to do.
        connection.is_autocommit()
            || (connection.execute_batch("ROLLBACK").is_ok() && connection.is_autocommit())
    }

    fn reopen(&mut self) {
        self.ledger.forget();
        if self.connection.is_some() {
            // A log without a name is gone once it is closed.
            if self.identity.expect().is_err() {
                return;
            }
            self.identity.forget_log();
            self.checkpoints.close();
            self.connection = None;
        }
        if let Err(fault) = self.connect() {
            self.note_trouble(&fault.into());
        }
    }

    fn connect(&mut self) -> Result<(), Fault> {
        // Nothing is made in place of a file that is gone.
        self.identity.expect_file()?;
        let mut connection = open::writer(&self.path, &self.options)?;
        self.identity.expect_file()?;
        self.identity.learn_log();
        self.checkpoints = Checkpoints::watch(&mut connection, &self.path, &self.options)?;
        // Others may have written while it was closed.
        self.data_version = None;
        self.removing = Some(Instant::now());
        self.connection = Some(connection);
        Ok(())
    }

    fn rest(&mut self) {
        let Some(connection) = &self.connection else { return self.reopen() };
        if let Err(error) = self.identity.expect() {
            return self.note_trouble(&error);
        }
        self.mark.write_in_time(connection);
        match note_foreign_writes(connection, &mut self.data_version, &self.told) {
            Ok(false) => {}
            Ok(true) => {
                self.ledger.forget();
                self.removing = Some(Instant::now());
            }
            Err(fault) => {
                self.note_trouble(&fault.into());
                return self.reopen();
            }
        }
        self.room.keep();
    }

    fn end(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.checkpoints.empty_log(&connection);
            self.mark.write(&connection);
            if self.identity.expect().is_err() {
                // The last one to close removes the log by its name, which is another's by now.
                let _ = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            }
            if let Err((_, error)) = connection.close() {
                tracing::warn!(error = %error, "the file was not closed well");
            }
        }
    }
}

fn refuse(tasks: impl IntoIterator<Item = Task>, error: &StoreError) {
    for (_, reply) in tasks {
        let _ = reply.send(Err(error.clone().into()));
    }
}

fn answer(tasks: Vec<Task>, answers: Vec<Answer>) {
    for ((_, reply), answer) in tasks.into_iter().zip(answers) {
        // Whoever asked may have stopped waiting; it is written nevertheless.
        let _ = reply.send(answer);
    }
}

fn drops(batch: &Batch) -> bool {
    let drops =
        |write: &Write| matches!(write, Write::DropCollection { .. } | Write::DropBucket { .. });
    batch.writes.iter().any(drops)
}

fn set_synchronous(connection: &Connection, to: Synchronous) -> Result<(), Fault> {
    Ok(connection.pragma_update(None, "synchronous", open::synchronous(to))?)
}

fn data_version(connection: &Connection) -> Result<i64, Fault> {
    Ok(connection.prepare_cached(DATA_VERSION)?.query_row([], |row| row.get(0))?)
}

// Whoever sees the count move no longer finds a head from before.
fn note_foreign_writes(
    connection: &Connection,
    known: &mut Option<i64>,
    told: &Told,
) -> Result<bool, Fault> {
    let present = data_version(connection)?;
    let moved = *known != Some(present);
    *known = Some(present);
    if moved {
        told.heads.forget();
        told.foreign.note();
    }
    Ok(moved)
}
