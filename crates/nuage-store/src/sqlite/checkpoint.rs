//! Moving the write-ahead log into the file itself, before the log grows without bound.
//!
//! A thread with a connection of its own does it while others write. What they wrote meanwhile, the
//! writer moves itself: only where nothing is left does the next write go over the log from its start.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;

use crate::Options;
use crate::sqlite::errors::Fault;
use crate::sqlite::open::{self, BUSY_MS};
use crate::sqlite::room;

/// So many times the length at which the log is moved, the writer waits until it is.
const PRESSING: u32 = 4;
/// So small a part of that length the writer moves itself.
const PART: u32 = 16;
/// How long the writer waits for readers to leave, in milliseconds.
const PRESSING_MS: u64 = 50;

const PASSIVE: &str = "PRAGMA wal_checkpoint(PASSIVE)";
const RESTART: &str = "PRAGMA wal_checkpoint(RESTART)";
const TRUNCATE: &str = "PRAGMA wal_checkpoint(TRUNCATE)";

/// A long log is looked at again after so many pages, or sooner.
const LOOK: u32 = 256;

/// Knows how long the log is.
pub(super) struct Checkpoints {
    path: PathBuf,
    pages: Arc<AtomicU32>,
    /// Pages after which the log is moved, as far as readers allow.
    most: u32,
    /// Pages that the file may lack of what is in the log: on a full disk, the reserve is all the room
    /// that there is for them.
    lacking_max: u32,
    /// The next length at which to look, beyond what readers still held at the last.
    next: u32,
    aside: Option<Aside>,
}

impl Checkpoints {
    /// Counts the pages that a connection adds to the log.
    pub(super) fn watch(
        connection: &mut Connection,
        path: &Path,
        options: &Options,
    ) -> Result<Self, Fault> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        connection.wal_hook(Some(move |_: &mut _, pages| {
            counted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let most = options.log_pages.max(PART);
        let lacking_max = match options.reserve_bytes / open::PAGE_BYTES.unsigned_abs() / 2 {
            0 => most,
            reserve => u32::try_from(reserve).unwrap_or(most).min(most),
        };
        let (path, aside) = (path.to_owned(), Aside::begin(path, options));
        Ok(Self { path, pages, most, lacking_max, next: lacking_max, aside })
    }

    /// Has the log moved if it is long.
    pub(super) fn after_group(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.lacking_max {
            self.next = self.lacking_max;
            if let Some(aside) = &self.aside {
                aside.forget();
            }
            return;
        }
        if let Some(Moved { log, moved: done }) = self.has_moved(false) {
            // Readers hold the rest, or others wrote meanwhile.
            if done < log || pages.saturating_sub(log) > self.most / PART {
                self.next = if done < log { pages + self.lacking_max } else { pages };
            } else {
                self.next = pages + self.lacking_max;
                return note(moved(connection, PASSIVE));
            }
        }
        if pages < self.next {
            return;
        }
        let lacking = self.lacking(connection);
        if pages < self.most && lacking < self.lacking_max {
            self.next = pages + LOOK.min(self.most / PART);
            return;
        }
        let is_pressing = pages >= self.most.saturating_mul(PRESSING);
        if let Some(aside) = &self.aside
            && !is_pressing
            && lacking < 2 * self.lacking_max
        {
            return aside.wake();
        }
        self.has_moved(true);
        self.next = pages + self.lacking_max;
        note(match is_pressing {
            true => pressing(connection, RESTART),
            false => moved(connection, PASSIVE),
        });
    }

    // Pages that the file does not have room for yet.
    fn lacking(&self, connection: &Connection) -> u32 {
        let all = room::pages(connection).unwrap_or(0);
        let file = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let file = file / open::PAGE_BYTES.unsigned_abs();
        let lacking = u64::try_from(all).unwrap_or(0).saturating_sub(file);
        u32::try_from(lacking).unwrap_or(u32::MAX)
    }

    // What was moved beside the writer; waits for it, if it must.
    fn has_moved(&self, waits: bool) -> Option<Moved> {
        self.aside.as_ref()?.has_moved(waits)
    }

    /// Moves all of it, so that the next write goes over it from its start: on a full disk it cannot
    /// grow.
    pub(super) fn reuse_log(&mut self, connection: &Connection) {
        self.next = self.lacking_max;
        self.has_moved(true);
        if let Err(error) = pressing(connection, RESTART) {
            tracing::debug!(error = %error, "could not empty the write-ahead log");
        }
    }

    /// Moves all of it and leaves an empty one, before the file is closed or given up. Nothing is moved
    /// beside the writer from then on.
    pub(super) fn empty_log(&mut self, connection: &Connection) {
        self.aside = None;
        if let Err(error) = pressing(connection, TRUNCATE) {
            tracing::warn!(error = %error, "the write-ahead log stays beside the file");
        }
    }

    /// Closes the file: nothing is moved from then on.
    pub(super) fn close(&mut self) {
        self.aside = None;
    }
}

/// What a checkpoint came to, in pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Moved {
    /// Of the log.
    log: u32,
    /// Of them, moved.
    moved: u32,
}

/// The thread that moves the log.
struct Aside {
    wake: Option<SyncSender<()>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Idle,
    Moving,
    Moved(Moved),
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, connection: &Connection, woken: &Receiver<()>) {
        while woken.recv().is_ok() {
            let moved = moved(connection, PASSIVE);
            *self.lock() = moved.as_ref().map_or(State::Idle, |moved| State::Moved(*moved));
            self.moved.notify_all();
            note(moved);
        }
    }
}

impl Aside {
    // None where there can be no such thread: the writer does it.
    fn begin(path: &Path, options: &Options) -> Option<Self> {
        let connection = open::mover(path, options.synchronous);
        let connection = connection.map_err(|fault| {
            tracing::warn!(error = ?fault, "the write-ahead log is moved by the writer");
        });
        let connection = connection.ok()?;
        let (wake, woken) = sync_channel(1);
        let shared = Arc::new(Shared::default());
        let moving = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("store-log".to_owned())
            .spawn(move || moving.run(&connection, &woken))
            .ok()?;
        Some(Self { wake: Some(wake), shared, thread: Some(thread) })
    }

    // Begins to move the log, unless that was begun.
    fn wake(&self) {
        let mut state = self.shared.lock();
        let Some(wake) = self.wake.as_ref().filter(|_| !matches!(*state, State::Moving)) else {
            return;
        };
        if wake.try_send(()).is_ok() {
            *state = State::Moving;
        }
    }

    // What it came to since it was last asked, if it is not under way; waits for it, if it must.
    fn has_moved(&self, waits: bool) -> Option<Moved> {
        let mut state = self.shared.lock();
        while waits && matches!(*state, State::Moving) && !self.has_ended() {
            let wait = Duration::from_millis(PRESSING_MS);
            let waited = self.shared.moved.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        match *state {
            State::Moved(moved) => {
                *state = State::Idle;
                Some(moved)
            }
            State::Idle | State::Moving => None,
        }
    }

    // What it came to was of a log that is written over by now.
    fn forget(&self) {
        self.has_moved(false);
    }

    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("what moves the write-ahead log failed in a way that nobody expected");
        }
    }
}

// Where others hold it, less is moved, or nothing.
fn moved(connection: &Connection, checkpoint: &str) -> rusqlite::Result<Moved> {
    let (log, moved): (i64, i64) =
        connection.query_row(checkpoint, [], |row| Ok((row.get(1)?, row.get(2)?)))?;
    let pages = |count| u32::try_from(count).unwrap_or(0);
    Ok(Moved { log: pages(log), moved: pages(moved) })
}

// Waits a moment only for readers to leave.
fn pressing(connection: &Connection, checkpoint: &str) -> rusqlite::Result<Moved> {
    let _ = connection.busy_timeout(Duration::from_millis(PRESSING_MS));
    let moved = moved(connection, checkpoint);
    let _ = connection.busy_timeout(Duration::from_millis(BUSY_MS));
    moved
}

fn note(moved: rusqlite::Result<Moved>) {
    if let Err(error) = moved {
        // The log keeps everything until a later attempt succeeds.
        tracing::warn!(error = %error, "could not move the write-ahead log into the file");
    }
}
