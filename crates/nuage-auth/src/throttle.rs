//! Guessing slowed: wrong passwords make the next guess wait, and lock nobody out.
//!
//! Failures are counted for a name at an address, for an address, and for a name wherever it is
//! guessed at. After so many of them guesses are let through at a bounded rate only, the right
//! password among them (`turns` says in which order). Where a person logged in before, only
//! what is guessed there about the same name slows that person.
//!
//! Names count the same whether there is such an account or not, unless names without account are
//! in normal use (see [`crate::Auth::identify`]). Only keyed digests of names are kept. Times are
//! those of a clock that never goes back. The tables are bounded: a full one forgets first what
//! waits the least and failed the least.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::Throttling;

/// Entries of each table.
const ENTRIES_MAX: usize = 8_192;

/// The first wait of a name at an address; each further failure doubles it. And the wait of an
/// address, and of a name everywhere: many people may be behind one address, and somebody may
/// come from a new one, so that it must pass while they wait for an answer.
const WAIT: Duration = Duration::from_secs(1);

/// Failures for one name, from all addresses, in multiples of those from one: guessing by many
/// machines, not by somebody who looks for one of their passwords.
const EVERYWHERE: u32 = 10;

/// A name or a network, as tables keep it.
pub(crate) type Key = [u8; 16];

/// Whose guess it is, and at whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Suspect {
    pub(crate) name: Key,
    pub(crate) network: Network,
}

impl Suspect {
    fn pair(&self) -> (Key, Key) {
        (self.name, self.network.key)
    }
}

/// What an address counts as: itself, or its /64 for IPv6, which one person may have whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Network {
    pub(crate) key: Key,
    /// Of this machine: behind it may be a proxy, and behind that everybody.
    is_local: bool,
}

impl From<IpAddr> for Network {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let key = match address {
            IpAddr::V4(address) => address.to_ipv6_mapped(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)),
        };
        Self { key: key.octets(), is_local: address.is_loopback() }
    }
}

/// The failures of late.
pub(crate) struct Throttle {
    pairs: Table<(Key, Key)>,
    networks: Table<Key>,
    names: Table<Key>,
    /// Names that logged in, with the networks from which they did.
    known: Recent<(Key, Key)>,
}

impl Throttle {
    pub(crate) fn new(settings: &Throttling) -> Self {
        let window = Duration::from_secs(settings.window_s);
        let wait_max = Duration::from_secs(settings.guess_wait_s);
        let everywhere = settings.account_failures.saturating_mul(EVERYWHERE);
        Self {
            pairs: Table::new(settings.account_failures, window, wait_max),
            networks: Table::new(settings.address_failures, window, wait_max.min(WAIT)),
            names: Table::new(everywhere, window, wait_max.min(WAIT)),
            known: Recent::new(ENTRIES_MAX),
        }
    }

    /// When the next guess may be looked at.
    pub(crate) fn due(&self, suspect: &Suspect) -> Duration {
        let pair = self.pairs.due(&suspect.pair());
        if self.knows(suspect) {
            return pair;
        }
        pair.max(self.networks.due(&suspect.network.key)).max(self.names.due(&suspect.name))
    }

    /// Whether this person logged in from there before.
    pub(crate) fn knows(&self, suspect: &Suspect) -> bool {
        self.known.contains(&suspect.pair())
    }

    /// Whether nobody failed at this name from there of late.
    pub(crate) fn is_fresh(&self, suspect: &Suspect) -> bool {
        !self.pairs.entries.contains_key(&suspect.pair())
    }

    /// A guess is being looked at: others wait their time.
    pub(crate) fn begin(&mut self, suspect: &Suspect, now: Duration) {
        self.pairs.begin(&suspect.pair(), now);
        self.networks.begin(&suspect.network.key, now);
        self.names.begin(&suspect.name, now);
    }

    /// Counts a wrong password.
    pub(crate) fn failed(&mut self, suspect: &Suspect, now: Duration) {
        self.pairs.failed(suspect.pair(), now);
        self.names.failed(suspect.name, now);
        if !suspect.network.is_local {
            self.networks.failed(suspect.network.key, now);
        }
    }

    /// Forgets what failed for a name where its password was given. What failed elsewhere stays,
    /// and so does what failed for other names: one's own account is no excuse for guessing.
    pub(crate) fn succeeded(&mut self, suspect: &Suspect, now: Duration) {
        self.pairs.entries.remove(&suspect.pair());
        self.known.put(suspect.pair(), now);
    }
}

struct Table<K> {
    /// Failures that make nobody wait; 0 is all.
    free: u32,
    /// Time in which so many are forgiven.
    window: Duration,
    wait_max: Duration,
    entries: HashMap<K, Failures>,
}

#[derive(Clone, Copy)]
struct Failures {
    /// How many, less what was forgiven, at that time.
    level: f64,
    at: Duration,
    due: Duration,
}

impl<K: Copy + Eq + Hash> Table<K> {
    fn new(free: u32, window: Duration, wait_max: Duration) -> Self {
        Self { free, window, wait_max, entries: HashMap::new() }
    }

    fn due(&self, key: &K) -> Duration {
        self.entries.get(key).map_or(Duration::ZERO, |entry| entry.due)
    }

    fn begin(&mut self, key: &K, now: Duration) {
        if let Some(mut entry) = self.entries.get(key).copied() {
            entry.due = now + self.wait(self.level(&entry, now));
            self.entries.insert(*key, entry);
        }
    }

    fn failed(&mut self, key: K, now: Duration) {
        if self.free == 0 {
            return;
        }
        if self.entries.len() >= ENTRIES_MAX && !self.entries.contains_key(&key) {
            self.make_room(now);
        }
        let level = self.entries.get(&key).map_or(0.0, |entry| self.level(entry, now));
        // More are not forgiven later than these.
        let level = (level + 1.0).min(f64::from(self.free) * 2.0 + 10.0);
        let due = now + self.wait(level);
        self.entries.insert(key, Failures { level, at: now, due });
    }

    /// How long the next guess waits after so many failures.
    fn wait(&self, level: f64) -> Duration {
        match (level.round() as u32).checked_sub(self.free) {
            Some(doublings) => (WAIT * (1 << doublings.min(20))).min(self.wait_max),
            None => Duration::ZERO,
        }
    }

    /// How many failures still count: they are forgiven evenly, as many in the window as are free.
    fn level(&self, entry: &Failures, now: Duration) -> f64 {
        let windows =
            now.saturating_sub(entry.at).as_secs_f64() / self.window.as_secs_f64().max(1.0);
        (entry.level - windows * f64::from(self.free)).max(0.0)
    }

    fn make_room(&mut self, now: Duration) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.retain(|_, entry| self.level(entry, now) > 0.0);
        let rank = |entry: &Failures| (entry.due, entry.level.round() as u32, entry.at);
        keep_greatest(&mut entries, ENTRIES_MAX, rank);
        self.entries = entries;
    }
}

/// What was met of late, in a bounded number.
pub(crate) struct Recent<K> {
    entries_max: usize,
    entries: HashMap<K, Duration>,
}

impl<K: Eq + Hash> Recent<K> {
    pub(crate) fn new(entries_max: usize) -> Self {
        Self { entries_max, entries: HashMap::new() }
    }

    pub(crate) fn put(&mut self, key: K, now: Duration) {
        if self.entries.len() >= self.entries_max && !self.entries.contains_key(&key) {
            keep_greatest(&mut self.entries, self.entries_max, |met| *met);
        }
        self.entries.insert(key, now);
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }
}

/// Drops what ranks lowest, so that an eighth of the room is free.
fn keep_greatest<K: Eq + Hash, V, R: Ord + Copy>(
    entries: &mut HashMap<K, V>,
    entries_max: usize,
    rank: impl Fn(&V) -> R,
) {
    let enough = entries_max - entries_max / 8;
    let Some(mut excess) = entries.len().checked_sub(enough).filter(|excess| *excess > 0) else {
        return;
    };
    let mut ranks: Vec<R> = entries.values().map(&rank).collect();
    let (_, last, _) = ranks.select_nth_unstable(excess - 1);
    let last = *last;
    entries.retain(|_, entry| {
        let drop = excess > 0 && rank(entry) <= last;
        excess -= usize::from(drop);
        !drop
    });
}

#[cfg(test)]
mod tests;
