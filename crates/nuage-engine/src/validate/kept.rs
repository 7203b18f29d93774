//! Compiled schemas that are kept, within a bound in bytes.
//!
//! They are known by the digest of their text. What does not compile is kept as its sentence, so
//! that it is refused at once. One that is wanted by several at a time is compiled once; when whoever
//! has it compiled leaves, the next one does. The least recently used are forgotten first.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use tokio::sync::OnceCell;

use super::compile::Compiled;
use crate::Invalid;

/// What an entry takes besides what it holds.
const ENTRY_BYTES: usize = 1024;

/// What is known of a schema.
pub(super) type Known = Arc<Result<Compiled, Invalid>>;
/// The digest of the text of a schema.
pub(super) type Digest = [u8; 32];

/// Compiled schemas.
pub(super) struct Kept {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<Digest, Entry>,
    bytes: usize,
    uses: u64,
}

struct Entry {
    known: Arc<OnceCell<Known>>,
    bytes: usize,
    last_use: u64,
}

impl Kept {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default() }
    }

    /// Where the schema is kept, or is to be kept.
    pub(super) fn entry(&self, digest: &Digest) -> Arc<OnceCell<Known>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.uses += 1;
        let now = inner.uses;
        if let Some(entry) = inner.entries.get_mut(digest) {
            entry.last_use = now;
            return Arc::clone(&entry.known);
        }
        let known = Arc::default();
        let entry = Entry { known: Arc::clone(&known), bytes: ENTRY_BYTES, last_use: now };
        inner.entries.insert(*digest, entry);
        inner.bytes += ENTRY_BYTES;
        inner.shrink(self.bytes_max);
        known
    }

    /// Says what an entry came to.
    pub(super) fn weigh(&self, digest: &Digest, bytes: usize) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = inner.entries.get_mut(digest) else { return };
        let before = std::mem::replace(&mut entry.bytes, ENTRY_BYTES + bytes);
        inner.bytes = inner.bytes - before + ENTRY_BYTES + bytes;
        inner.shrink(self.bytes_max);
    }
}

impl Inner {
    fn shrink(&mut self, bytes_max: usize) {
        if self.bytes <= bytes_max {
            return;
        }
        let mut oldest: Vec<_> = self.entries.iter().map(|(d, e)| (e.last_use, *d)).collect();
        oldest.sort_unstable();
        // A quarter at a time, so that a full one is not sorted for each newcomer.
        for (_, digest) in oldest {
            if self.bytes <= bytes_max / 4 * 3 {
                return;
            }
            if let Some(entry) = self.entries.remove(&digest) {
                self.bytes -= entry.bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests;
