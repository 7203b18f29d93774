//! Something of which there is only so much, shared out by who holds it.
//!
//! Nobody may hold more than is left for all others: one who takes all they can get holds half, two
//! hold a third each, and there is always something left (dynamic thresholds, Choudhury and Hahne
//! 1998). So no share has to be set, and nothing lies idle because of it. Those whom nobody knows
//! share a part of the whole in the same way, however many addresses they come from.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Network;

/// Whose share it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Holder {
    /// A person whose credentials are known to be good.
    Person(u64),
    /// Whoever comes from there.
    Address(Network),
}

/// What is shared out.
pub(crate) struct Shares {
    most: usize,
    unknown_most: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    all: usize,
    unknown: usize,
    by: HashMap<Holder, usize>,
}

impl Shares {
    /// So much for all, and so much of it for all whom nobody knows.
    pub(crate) fn new(most: usize, unknown_most: usize) -> Arc<Self> {
        Arc::new(Self { most, unknown_most, held: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // No count is ever half written.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, holder: Holder, amount: usize) -> bool {
        let mut held = self.lock();
        let unknown = matches!(holder, Holder::Address(_));
        let mut left = self.most.saturating_sub(held.all);
        if unknown {
            left = left.min(self.unknown_most.saturating_sub(held.unknown));
        }
        let own = held.by.get(&holder).copied().unwrap_or(0);
        if own.saturating_add(amount) > left {
            return false;
        }
        held.by.insert(holder, own + amount);
        held.all += amount;
        held.unknown += if unknown { amount } else { 0 };
        true
    }

    fn give_back(&self, holder: Holder, amount: usize) {
        let mut held = self.lock();
        if let Entry::Occupied(mut own) = held.by.entry(holder) {
            *own.get_mut() -= amount;
            if *own.get() == 0 {
                own.remove();
            }
        }
        held.all -= amount;
        held.unknown -= if matches!(holder, Holder::Address(_)) { amount } else { 0 };
    }
}

/// What one holder took; given back at the end.
pub(crate) struct Share {
    shares: Arc<Shares>,
    holder: Holder,
    amount: usize,
}

impl Share {
    /// Nothing yet.
    pub(crate) fn of(shares: &Arc<Shares>, holder: Holder) -> Self {
        Self { shares: Arc::clone(shares), holder, amount: 0 }
    }

    /// Takes so much more, if it may.
    #[must_use]
    pub(crate) fn grow(&mut self, amount: usize) -> bool {
        let taken = self.shares.take(self.holder, amount);
        self.amount += if taken { amount } else { 0 };
        taken
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if self.amount > 0 {
            self.shares.give_back(self.holder, self.amount);
        }
    }
}

#[cfg(test)]
mod tests;
