//! Who is connected, and who makes room when there are too many.
//!
//! An address may have as many connections as are left for all others. One that has them, and
//! everybody once there is no room at all, takes the place of whoever has waited longest, of the
//! address that has most. Connections of trusted proxies carry many clients: they count for nobody,
//! and are the last to be closed. Where nobody waits there are a few spare places, in which only
//! health checks and known people are served.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::client::Network;
use crate::watch::Watch;

/// Spare places: one for so many others, and never fewer than `SPARE_MIN`.
const OTHERS_FOR_SPARE: usize = 64;
const SPARE_MIN: usize = 8;

/// How many spare places there are beside so many others.
pub(crate) fn spare(most: usize) -> usize {
    (most / OTHERS_FOR_SPARE).max(SPARE_MIN)
}

/// The places of all connections.
pub(crate) struct Places {
    most: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next_id: u64,
    by_id: HashMap<u64, Connection>,
    by_network: HashMap<Network, usize>,
    spare: usize,
}

struct Connection {
    /// `None` for trusted proxies.
    network: Option<Network>,
    spare: bool,
    watch: Arc<Watch>,
}

impl Places {
    /// So many, and some spare ones.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        // The counts are renewed with the entries, and nothing in between fails.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection; `None` if there is none, not even a spare one. `tight` asks for a
    /// spare one.
    pub(crate) fn admit(
        self: &Arc<Self>,
        network: Option<Network>,
        watch: &Arc<Watch>,
        tight: bool,
    ) -> Option<Place> {
        let mut taken = self.lock();
        let own = network.map_or(0, |network| taken.of(network));
        let left = self.most.saturating_sub(taken.by_id.len() - taken.spare);
        let now_ms = watch.now_ms();
        let fits = left > 0 && own < left;
        let is_spare = tight || !(fits || taken.close_idle(now_ms, false, own));
        let full = is_spare && taken.spare >= spare(self.most);
        if full && !taken.close_idle(now_ms, true, 0) {
            return None;
        }
        let id = taken.next_id;
        taken.next_id += 1;
        taken.insert(id, Connection { network, spare: is_spare, watch: Arc::clone(watch) });
        Some(Place { places: Arc::clone(self), id, spare: is_spare })
    }

    /// Closes up to so many connections that wait, and tells how many.
    pub(crate) fn close_some(&self, most: usize, now_ms: u64) -> usize {
        let mut taken = self.lock();
        (0..most).take_while(|_| taken.close_idle(now_ms, false, 0)).count()
    }

    /// Wakes all connections, to look what has changed.
    pub(crate) fn wake(&self) {
        self.lock().by_id.values().for_each(|connection| connection.watch.wake());
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.lock().by_id.len()
    }
}

impl Taken {
    fn of(&self, network: Network) -> usize {
        self.by_network.get(&network).copied().unwrap_or(0)
    }

    fn insert(&mut self, id: u64, connection: Connection) {
        if let Some(network) = connection.network {
            *self.by_network.entry(network).or_default() += 1;
        }
        self.spare += usize::from(connection.spare);
        self.by_id.insert(id, connection);
    }

    fn remove(&mut self, id: u64) {
        let Some(connection) = self.by_id.remove(&id) else { return };
        self.spare -= usize::from(connection.spare);
        if let Some(network) = connection.network
            && let Some(count) = self.by_network.get_mut(&network)
        {
            *count -= 1;
            if *count == 0 {
                self.by_network.remove(&network);
            }
        }
    }

    /// Closes the connection that has waited longest, of the address that has most, and at least
    /// so many; tells whether there was one.
    fn close_idle(&mut self, now_ms: u64, spare: bool, own: usize) -> bool {
        let waiting = self.by_id.iter().filter(|(_, connection)| connection.spare == spare);
        let waiting = waiting.filter_map(|(id, connection)| {
            let since_ms = connection.watch.waiting_since_ms(now_ms)?;
            let count = connection.network.map_or(0, |network| self.of(network));
            (count >= own).then_some((count, Reverse(since_ms), Reverse(*id)))
        });
        let Some((_, _, Reverse(id))) = waiting.max() else { return false };
        // One that went on meanwhile keeps its place; the next to come finds another.
        let left = self.by_id.get(&id).is_some_and(|connection| connection.watch.dismiss());
        if left {
            self.remove(id);
        }
        left
    }
}

/// The place of one connection, free again at its end.
pub(crate) struct Place {
    places: Arc<Places>,
    id: u64,
    spare: bool,
}

impl Place {
    /// Whether only health checks and known people are served here.
    pub(crate) fn is_spare(&self) -> bool {
        self.spare
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().remove(self.id);
    }
}
