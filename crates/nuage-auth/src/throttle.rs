//! Guessing slowed: failures are counted for each account name and each address, and lock it for
//! longer and longer.
//!
//! Names are counted whether there is such an account or not, unless names without account are
//! in normal use (see [`crate::Auth::identify`]). Only keyed digests of names are kept. The tables
//! are bounded: a full one forgets first what has no lock and the fewest failures.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use crate::Throttling;

/// Entries of each table.
const ENTRIES_MAX: usize = 8_192;

/// The first lock. Each further failure doubles it.
const LOCK_MS_MIN: i64 = 1_000;

/// A name or an address, as tables keep it.
type Key = [u8; 16];

/// Whose failures are counted.
#[derive(Clone, Copy)]
pub(crate) struct Suspect {
    pub(crate) account: Key,
    pub(crate) address: IpAddr,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last_ms: i64,
    locked_until_ms: i64,
}

/// The failures of late.
pub(crate) struct Throttle {
    accounts: Table,
    addresses: Table,
}

struct Table {
    failures_max: u32,
    window_ms: i64,
    lock_ms_max: i64,
    failures: Mutex<HashMap<Key, Failures>>,
}

impl Throttle {
    pub(crate) fn new(settings: &Throttling) -> Self {
        let table = |failures_max| Table {
            failures_max,
            window_ms: milliseconds(settings.window_s),
            lock_ms_max: milliseconds(settings.lock_s),
            failures: Mutex::default(),
        };
        Self {
            accounts: table(settings.account_failures),
            addresses: table(settings.address_failures),
        }
    }

    /// How long the suspect must wait, in seconds; `None` if it may try.
    pub(crate) fn wait_s(&self, suspect: &Suspect, now_ms: i64) -> Option<u64> {
        let account_ms = self.accounts.wait_ms(&suspect.account, now_ms);
        let address_ms =
            network(suspect.address).map_or(0, |network| self.addresses.wait_ms(&network, now_ms));
        let wait_ms = u64::try_from(account_ms.max(address_ms)).unwrap_or(0);
        (wait_ms > 0).then(|| wait_ms.div_ceil(1000))
    }

    /// Counts a wrong password.
    pub(crate) fn failed(&self, suspect: &Suspect, now_ms: i64) {
        self.accounts.failed(suspect.account, now_ms);
        if let Some(network) = network(suspect.address) {
            self.addresses.failed(network, now_ms);
        }
    }

    /// Forgets the failures for an account whose password was given. Those of the address stay:
    /// one's own account is no excuse for guessing at others.
    pub(crate) fn succeeded(&self, suspect: &Suspect) {
        self.accounts.forget(&suspect.account);
    }
}

impl Table {
    fn wait_ms(&self, key: &Key, now_ms: i64) -> i64 {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = failures.get(key) else { return 0 };
        // Bounded once more, in case the clock was set back.
        (entry.locked_until_ms - now_ms).clamp(0, self.lock_ms_max)
    }

    fn failed(&self, key: Key, now_ms: i64) {
        if self.failures_max == 0 {
            return;
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= ENTRIES_MAX && !failures.contains_key(&key) {
            self.make_room(&mut failures, now_ms);
        }
        let fresh = Failures { count: 0, last_ms: now_ms, locked_until_ms: 0 };
        let entry = failures.entry(key).or_insert(fresh);
        entry.count = self.count(entry, now_ms).saturating_add(1);
        entry.last_ms = now_ms;
        if let Some(doublings) = entry.count.checked_sub(self.failures_max) {
            let lock_ms = LOCK_MS_MIN << doublings.min(30);
            entry.locked_until_ms = now_ms + lock_ms.min(self.lock_ms_max);
        }
    }

    fn forget(&self, key: &Key) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// How many failures still count: some are forgiven with time, but not during a lock.
    fn count(&self, entry: &Failures, now_ms: i64) -> u32 {
        let calm_ms = (now_ms - entry.last_ms.max(entry.locked_until_ms)).max(0);
        let forgiven = calm_ms.saturating_mul(self.failures_max.into()) / self.window_ms.max(1);
        entry.count.saturating_sub(u32::try_from(forgiven).unwrap_or(u32::MAX))
    }

    fn make_room(&self, failures: &mut HashMap<Key, Failures>, now_ms: i64) {
        failures.retain(|_, entry| self.count(entry, now_ms) > 0);
        let enough = ENTRIES_MAX - ENTRIES_MAX / 8;
        if failures.len() > enough {
            let rank = |entry: &Failures| (entry.locked_until_ms, entry.count, entry.last_ms);
            let mut ranks: Vec<_> = failures.values().map(rank).collect();
            let (_, last, _) = ranks.select_nth_unstable(failures.len() - enough);
            let last = *last;
            let mut excess = failures.len() - enough;
            failures.retain(|_, entry| {
                let drop = excess > 0 && rank(entry) <= last;
                excess -= usize::from(drop);
                !drop
            });
        }
    }
}

fn milliseconds(seconds: u64) -> i64 {
    // A year: longer is not meant, and does not overflow.
    seconds.min(31_536_000) as i64 * 1000
}

/// What an address counts as: itself, or its /64 for IPv6, which one person may have whole. `None`
/// for loopback, behind which everybody may be.
fn network(address: IpAddr) -> Option<Key> {
    if address.to_canonical().is_loopback() {
        return None;
    }
    let address = match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)),
    };
    Some(address.octets())
}

#[cfg(test)]
mod tests;
