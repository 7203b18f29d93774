//! Moving the write-ahead log into the file itself: after acknowledging, so that nobody waits
//! for it, and before the log grows without bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;

use crate::sqlite::errors::Fault;
use crate::sqlite::open::BUSY_MS;

/// Pages in the log after which it is moved, as far as readers allow: 8 MiB.
const PAGES: u32 = 2_000;
/// Pages after which the writer even waits a moment for readers to leave: 128 MiB.
const PAGES_PRESSING: u32 = 32_000;
/// That moment, in milliseconds.
const PRESSING_MS: u64 = 50;

/// Knows how long the log is.
pub(super) struct Checkpoints {
    pages: Arc<AtomicU32>,
    // The next length at which to try, beyond what readers still held at the last.
    next: u32,
}

impl Checkpoints {
    /// Counts the pages that a connection adds to the log.
    pub(super) fn watch(connection: &mut Connection) -> Result<Self, Fault> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = pages.clone();
        connection.wal_hook(Some(move |_: &mut _, pages| {
            counted.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, next: PAGES })
    }

    /// Moves the log if it is long.
    pub(super) fn after_group(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < PAGES {
            self.next = PAGES;
        }
        if pages < self.next {
            return;
        }
        self.next = pages + PAGES;
        let moved = if pages < PAGES_PRESSING {
            connection.execute_batch("PRAGMA wal_checkpoint(PASSIVE)")
        } else {
            pressing(connection, "PRAGMA wal_checkpoint(RESTART)")
        };
        if let Err(error) = moved {
            // The log keeps everything until a later attempt succeeds.
            tracing::warn!(error = %error, "could not move the write-ahead log into the file");
        }
    }

    /// Moves all of it, so that the next write goes over it from its start: on a full disk it cannot
    /// grow.
    pub(super) fn reuse_log(&mut self, connection: &Connection) {
        self.next = PAGES;
        if let Err(error) = pressing(connection, "PRAGMA wal_checkpoint(RESTART)") {
            tracing::debug!(error = %error, "could not empty the write-ahead log");
        }
    }

    /// Moves all of it and leaves an empty one, before the file is closed or given up.
    pub(super) fn empty_log(&self, connection: &Connection) {
        if let Err(error) = pressing(connection, "PRAGMA wal_checkpoint(TRUNCATE)") {
            tracing::warn!(error = %error, "the write-ahead log stays beside the file");
        }
    }
}

// Waits a moment only for readers to leave.
fn pressing(connection: &Connection, checkpoint: &str) -> rusqlite::Result<()> {
    let _ = connection.busy_timeout(Duration::from_millis(PRESSING_MS));
    let moved = connection.execute_batch(checkpoint);
    let _ = connection.busy_timeout(Duration::from_millis(BUSY_MS));
    moved
}
