//! Credentials that were judged not long ago, by a keyed digest of their header.
//!
//! The header itself is not kept, and without the key, which never leaves the process, a digest
//! cannot be compared with a guess. What was judged holds while the account is at the position
//! where it was read.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nuage_model::{Principal, RecordPath, Seq};

/// Parts with a lock each.
const SHARDS: usize = 16;
/// Entries of a part. All parts together take some megabytes when full, 20 with the longest names.
const ENTRIES_MAX: usize = 1_024;

/// A keyed digest of credentials.
pub(crate) type Digest = [u8; 32];

/// The account that was read when credentials were judged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Seen {
    pub(crate) path: RecordPath,
    /// Where it was alive, if it was.
    pub(crate) live_at: Option<Seq>,
}

/// What was found out about credentials.
#[derive(Clone, Debug)]
pub(crate) struct Judgement {
    /// Whose they are; `None` is nobody's.
    pub(crate) person: Option<Principal>,
    /// The account that was read, unless none had to be.
    pub(crate) seen: Option<Seen>,
    /// What [`nuage_engine::Engine::accounts_generation`] was before that.
    pub(crate) generation: u64,
}

/// What the cache says of credentials.
pub(crate) enum Found {
    /// Judged not long ago, and no account changed since.
    Fresh(Option<Principal>),
    /// Judged not long ago; an account changed since, maybe this one.
    Doubtful(Judgement),
    /// Judged longer ago.
    Expired(Judgement),
    /// Not known.
    Nothing,
}

struct Entry {
    judgement: Judgement,
    expires: Duration,
}

type Shard = HashMap<Digest, Entry, BuildHasherDefault<FirstBytes>>;

/// Judgements that are trusted for a time after their last use.
pub(crate) struct Cache {
    shards: Vec<Mutex<Shard>>,
    trusted: Duration,
}

impl Cache {
    /// Trusts judgements for so long.
    pub(crate) fn new(trusted_s: u64) -> Self {
        let trusted = Duration::from_secs(trusted_s);
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, trusted }
    }

    /// Looks credentials up. A fresh judgement is renewed by it.
    pub(crate) fn get(&self, digest: &Digest, generation: u64, now: Duration) -> Found {
        let mut shard = self.shard(digest);
        let Some(entry) = shard.get_mut(digest) else { return Found::Nothing };
        if entry.expires <= now {
            return Found::Expired(entry.judgement.clone());
        }
        let judgement = &entry.judgement;
        if judgement.seen.is_some() && judgement.generation != generation {
            return Found::Doubtful(judgement.clone());
        }
        entry.expires = now.saturating_add(self.trusted);
        Found::Fresh(entry.judgement.person.clone())
    }

    /// The account that was read when credentials were judged, however long ago that was.
    pub(crate) fn account(&self, digest: &Digest) -> Option<RecordPath> {
        let shard = self.shard(digest);
        Some(shard.get(digest)?.judgement.seen.as_ref()?.path.clone())
    }

    /// Remembers a judgement, in place of an earlier one.
    pub(crate) fn put(&self, digest: Digest, judgement: Judgement, now: Duration) {
        let expires = now.saturating_add(self.trusted);
        let mut shard = self.shard(&digest);
        if shard.len() >= ENTRIES_MAX && !shard.contains_key(&digest) {
            make_room(&mut shard, now);
        }
        shard.insert(digest, Entry { judgement, expires });
    }

    /// Forgets credentials.
    pub(crate) fn forget(&self, digest: &Digest) {
        self.shard(digest).remove(digest);
    }

    fn shard(&self, digest: &Digest) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[usize::from(digest[31]) % SHARDS];
        // No entry is ever half written.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drops what is expired; if that is little, also what will be soonest.
fn make_room(shard: &mut Shard, now: Duration) {
    shard.retain(|_, entry| entry.expires > now);
    let enough = ENTRIES_MAX - ENTRIES_MAX / 8;
    if shard.len() > enough {
        let mut ends: Vec<Duration> = shard.values().map(|entry| entry.expires).collect();
        let (_, end, _) = ends.select_nth_unstable(ENTRIES_MAX / 8);
        let end = *end;
        let mut excess = shard.len() - enough;
        shard.retain(|_, entry| {
            let drop = excess > 0 && entry.expires <= end;
            excess -= usize::from(drop);
            !drop
        });
    }
}

/// Takes the first bytes of a key for its hash: a keyed digest is as random as a hash can be.
#[derive(Default)]
pub(crate) struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        let mut first = [0; 8];
        let length = bytes.len().min(8);
        first[..length].copy_from_slice(&bytes[..length]);
        self.0 = u64::from_ne_bytes(first);
    }

    // The length, which is the same for all.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
