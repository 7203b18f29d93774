//! Whether the file is an older copy of itself.
//!
//! Beside the file lies a mark: how far its collections were that were written last. A file that is
//! behind its mark was put back from a copy, or lost its last commits with the power. Devices that
//! were told of what is gone would go on and stay wrong, so it begins a new epoch. Whatever a mark
//! says was true once, so it may be old, or missing; then a copy that was put back can only be told
//! by what a device brings.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nuage_model::StoreError;
use nuage_model::copy::STORE;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};

use crate::rules::Changes;
use crate::sqlite::errors::Fault;
use crate::sqlite::open::{beside, private};

/// How many collections are named.
const COLLECTIONS: usize = 16;
/// How often the mark is written while there are changes.
const PERIOD: Duration = Duration::from_secs(10);

const EPOCH: &str = "SELECT value FROM meta WHERE key = ?1";
/// The row of a collection outlives it, and only goes forward.
const SEQ: &str = "SELECT seq FROM collections WHERE bucket = ?1 AND collection = ?2";
const BEGIN_EPOCH: &str =
    "UPDATE meta SET value = lower(hex(randomblob(16))) WHERE key = ?1 AND value = ?2";

/// How far a collection was.
#[derive(PartialEq, Eq, Debug)]
struct Reached {
    bucket: String,
    collection: String,
    seq: i64,
}

/// The mark beside a file.
pub(super) struct Mark {
    path: PathBuf,
    /// The latest at the end.
    reached: VecDeque<Reached>,
    /// Since when there is something to write.
    changed: Option<Instant>,
}

impl Mark {
    /// Compares the file with its mark, and begins a new epoch if it is behind.
    pub(super) fn beside(file: &Path, connection: &Connection) -> Self {
        let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
        let path = beside(&file, ".mark");
        let mut mark = Self { path, reached: VecDeque::new(), changed: None };
        let found = std::fs::read_to_string(&mark.path).ok().and_then(|text| understand(&text));
        if let Some((epoch, reached)) = found
            && let Err(fault) = mark.compare(&epoch, reached, connection)
        {
            // Damage or a full disk keeps nobody from opening it.
            tracing::error!(
                error = %StoreError::from(fault),
                "whether the data went back cannot be found out: if it did, run `nuage renew`"
            );
        }
        mark
    }

    fn compare(
        &mut self,
        epoch: &str,
        reached: VecDeque<Reached>,
        connection: &Connection,
    ) -> Result<(), Fault> {
        if epoch != self::epoch(connection)? {
            return Ok(());
        }
        let mut select = connection.prepare(SEQ)?;
        for one in &reached {
            let seq: Option<i64> =
                select.query_row((&one.bucket, &one.collection), |row| row.get(0)).optional()?;
            if seq.is_none_or(|seq| seq < one.seq) {
                // Of several that open it at a time, one does.
                connection.execute(BEGIN_EPOCH, (STORE, epoch))?;
                tracing::warn!(
                    "the data went back, as after a copy was put in its place: all devices begin \
                     afresh"
                );
                return Ok(());
            }
        }
        self.reached = reached;
        Ok(())
    }

    /// Takes note of what was committed.
    pub(super) fn note(&mut self, changes: &Changes) {
        for (path, head) in &changes.heads {
            let Some(head) = head else { continue };
            let (bucket, collection) = (path.bucket.as_str(), path.stored_name());
            self.reached.retain(|one| one.bucket != bucket || one.collection != collection);
            if self.reached.len() == COLLECTIONS {
                self.reached.pop_front();
            }
            self.reached.push_back(Reached {
                bucket: bucket.to_owned(),
                collection: collection.into_owned(),
                seq: head.seq.0,
            });
            self.changed.get_or_insert_with(Instant::now);
        }
    }

    /// Writes it, if it changed some time ago.
    pub(super) fn write_in_time(&mut self, connection: &Connection) {
        if self.changed.is_some_and(|changed| changed.elapsed() >= PERIOD) {
            self.write(connection);
        }
    }

    /// Writes it, if it changed.
    pub(super) fn write(&mut self, connection: &Connection) {
        if self.changed.take().is_none() {
            return;
        }
        let Ok(epoch) = self::epoch(connection) else { return };
        let reached = self.reached.iter().map(|one| json!([one.bucket, one.collection, one.seq]));
        let text = json!({ "store": epoch, "reached": reached.collect::<Value>() }).to_string();
        let draft = beside(&self.path, ".new");
        let written = private(&draft)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
            .and_then(|()| std::fs::rename(&draft, &self.path));
        if let Err(error) = written {
            // An older one does.
            tracing::debug!(error = %error, "the mark could not be written");
        }
    }
}

fn epoch(connection: &Connection) -> Result<String, Fault> {
    Ok(connection.query_row(EPOCH, [STORE], |row| row.get(0))?)
}

fn understand(text: &str) -> Option<(String, VecDeque<Reached>)> {
    let object: Value = serde_json::from_str(text).ok()?;
    let reached = object.get("reached")?.as_array()?.iter().map(|one| {
        Some(Reached {
            bucket: one.get(0)?.as_str()?.to_owned(),
            collection: one.get(1)?.as_str()?.to_owned(),
            seq: one.get(2)?.as_i64()?,
        })
    });
    Some((object.get("store")?.as_str()?.to_owned(), reached.collect::<Option<_>>()?))
}
