//! A full disk: what may still be written, and what it is written to.
//!
//! Deletions make room inside the file, but each writes to the log first. So a server keeps a
//! reserve: a file of some size that is given up when the disk is full. From then on what makes the
//! data larger is refused and what makes it smaller is taken, until the reserve could be made
//! again, or until so much was deleted that the file has room inside.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nuage_model::{Batch, Kind, Put, StoreError, Write};
use rusqlite::Connection;

use crate::sqlite::errors::Fault;
use crate::sqlite::open::{beside, private};

/// How often to see whether the disk has room again.
const LOOK: Duration = Duration::from_secs(1);
/// How often to try to have a reserve while writes succeed without.
const KEEP: Duration = Duration::from_secs(30);
/// Bytes of the reserve written at a time.
const PIECE_BYTES: usize = 64 * 1024;

const PAGE_BYTES: &str = "PRAGMA page_size";
const EMPTY_PAGES: &str = "PRAGMA freelist_count";

/// What a batch that makes the data larger may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Growth {
    /// Make the file larger.
    Free,
    /// Fill what is empty in the file: it cannot grow.
    Inside,
    /// Nothing.
    Refused,
}

/// How full the disk is, as far as the writer knows. It is full as well when it has no room for a
/// reserve.
pub(super) struct Room {
    reserve: PathBuf,
    bytes: u64,
    is_full: bool,
    /// When a reserve was last tried.
    tried: Option<Instant>,
}

/// What came of making a reserve.
enum Reserve {
    Made,
    NoRoom,
    /// For another reason than room: one has to do without.
    Impossible,
}

impl Room {
    /// Room beside this file, with a reserve of so many bytes; none without any.
    pub(super) fn beside(path: &Path, bytes: u64) -> Self {
        Self { reserve: beside(path, ".reserve"), bytes, is_full: false, tried: None }
    }

    /// The disk is full: gives the reserve up. Says so when this is news.
    pub(super) fn fill(&mut self) {
        if !self.is_full && self.bytes > 0 {
            tracing::error!(
                "the disk is full: what makes the data larger is refused, deletions are taken. \
                 Free space on the disk, or delete records, collections or buckets"
            );
        }
        self.is_full = true;
        self.tried = Some(Instant::now());
        self.give_up();
    }

    /// Removes the reserve; whether there was one.
    pub(super) fn give_up(&self) -> bool {
        std::fs::remove_file(&self.reserve).is_ok()
    }

    /// Whether the disk was full when it was last looked at.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    /// What may be written. Looks at the disk again at most once a second.
    pub(super) fn growth(&mut self, connection: &Connection) -> Result<Growth, Fault> {
        if !self.is_full {
            return Ok(Growth::Free);
        }
        // Half as much again: what has just been given up is no sign of room.
        if self.bytes == 0
            || (self.is_due(LOOK) && !matches!(self.make(self.bytes / 2), Reserve::NoRoom))
        {
            self.is_full = false;
            if self.bytes > 0 {
                tracing::info!("the disk has room again: everything is taken");
            }
            return Ok(Growth::Free);
        }
        // Half of what a reserve holds stays empty inside, for the next deletions.
        let empty = pragma(connection, EMPTY_PAGES)? * pragma(connection, PAGE_BYTES)?;
        let is_enough = u64::try_from(empty).unwrap_or(0) >= self.bytes / 2;
        Ok(if is_enough { Growth::Inside } else { Growth::Refused })
    }

    /// Makes the reserve if it is missing, while nothing else is to be done.
    pub(super) fn keep(&mut self) {
        if self.bytes > 0
            && !self.is_full
            && self.is_due(KEEP)
            && matches!(self.make(0), Reserve::NoRoom)
        {
            self.fill();
        }
    }

    fn is_due(&self, after: Duration) -> bool {
        self.tried.is_none_or(|tried| tried.elapsed() >= after)
    }

    // Only if there is room for some bytes more.
    fn make(&mut self, more: u64) -> Reserve {
        self.tried = Some(Instant::now());
        if std::fs::metadata(&self.reserve).is_ok_and(|metadata| metadata.len() == self.bytes) {
            return Reserve::Made;
        }
        let made = private(&self.reserve).and_then(|mut file| {
            fill(&mut file, self.bytes + more)?;
            file.set_len(self.bytes)
        });
        let Err(error) = made else { return Reserve::Made };
        self.give_up();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Reserve::NoRoom,
            _ => {
                tracing::debug!(%error, "no reserve could be made");
                Reserve::Impossible
            }
        }
    }
}

/// Pages of the file, empty ones included.
pub(super) fn pages(connection: &Connection) -> Result<i64, Fault> {
    pragma(connection, "PRAGMA page_count")
}

/// Why something that makes the data larger is refused.
pub(super) fn full() -> StoreError {
    let why = "the disk is full, and only what makes the data smaller is taken";
    StoreError::Unavailable(why.to_owned())
}

/// Whether a batch makes the data larger. What a deletion entails does not count: its tombstone is
/// smaller than the record, its entry in the history is small.
pub(super) fn grows(batch: &Batch) -> bool {
    batch.writes.iter().any(|write| match write {
        Write::Put(Put { path, .. }) => path.kind() != Kind::History,
        Write::SetMembers { members, .. } => !members.is_empty(),
        _ => false,
    })
}

// Not of zeros, which some file systems do not store.
fn fill(file: &mut File, bytes: u64) -> std::io::Result<()> {
    let mut piece = vec![0_u8; PIECE_BYTES];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut left = bytes;
    while left > 0 {
        for word in piece.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let length = usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        file.write_all(&piece[..length])?;
        left -= length as u64;
    }
    Ok(())
}

fn pragma(connection: &Connection, sql: &str) -> Result<i64, Fault> {
    Ok(connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}
