//! Who waits for changes of a collection, and who wakes them. A wake-up says "look again", no
//! more: what is shown comes from the page that is read then.
//!
//! A write wakes those whom it concerns, however many others watch (`index`). Whom it concerns is
//! read from the store (`scans`), so that it is the same whichever process wrote. What is told
//! to the hub: batches applied here (`news`), hints of other processes, and as a safety net a
//! comparison of heads (`look`). The one task that does all this lives while somebody watches.
//!
//! No wake-up is lost: what is committed after a page was begun wakes whoever waits after it.

mod index;
mod look;
mod news;
mod scans;
mod signatures;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use nuage_model::{Batch, BucketId, CollectionPath, Hint, Kind, Listener, Seq, Store};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::Interest;
use crate::feed::hub::index::{Key, Waker};
use crate::feed::hub::news::Event;
pub(crate) use crate::feed::hub::news::News;
use crate::feed::hub::scans::ERRANDS_MAX;
use crate::feed::hub::signatures::Signatures;
use crate::feed::hub::watch::Watch;

/// After so long a subscription wakes by itself, if everything else failed; a random part of it
/// earlier, up to half, so that not all wake at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// All that wait.
pub(crate) struct Hub(Arc<Shared>);

/// What those who watch have in common.
struct Shared {
    store: Arc<dyn Store>,
    look: Duration,
    /// How many wait: all that costs anything if nobody does.
    subscriptions: AtomicUsize,
    registry: Mutex<Registry>,
    scans: Mutex<VecDeque<Arc<Watch>>>,
    scans_asked: Notify,
    slots: Semaphore,
    look_asked: Notify,
    deserted: Notify,
    signatures: Signatures,
    randomness: RandomState,
    is_woken: AtomicU64,
    scans_run: AtomicU64,
    looks: AtomicU64,
}

#[derive(Default)]
struct Registry {
    watches: BTreeMap<CollectionPath, Arc<Watch>>,
    /// Whether the task runs.
    is_tended: bool,
}

/// What feeds are doing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FeedStatistics {
    /// Collections that somebody follows.
    pub collections: usize,
    /// How many follow.
    pub subscriptions: usize,
    /// How often one of them was woken, since the start.
    pub wakeups: u64,
    /// How often it was read whom the changes of a collection concern, since the start.
    pub scans: u64,
    /// How often heads were compared, since the start.
    pub looks: u64,
}

/// One that waits.
pub(crate) struct Subscription {
    shared: Arc<Shared>,
    watch: Arc<Watch>,
    key: Key,
    waker: Arc<Waker>,
    /// How often others had been woken when the last page was begun.
    wakes: u64,
    patience: Instant,
}

impl Hub {
    /// Nobody waits yet.
    pub(crate) fn new(store: Arc<dyn Store>, look_ms: u64) -> Self {
        Self(Arc::new(Shared {
            store,
            look: Duration::from_millis(look_ms.max(1)),
            subscriptions: AtomicUsize::new(0),
            registry: Mutex::default(),
            scans: Mutex::default(),
            scans_asked: Notify::new(),
            slots: Semaphore::new(ERRANDS_MAX),
            look_asked: Notify::new(),
            deserted: Notify::new(),
            signatures: Signatures::default(),
            randomness: RandomState::new(),
            is_woken: AtomicU64::new(0),
            scans_run: AtomicU64::new(0),
            looks: AtomicU64::new(0),
        }))
    }

    /// What a store is to call with the hints of other processes.
    pub(crate) fn listener(&self) -> Listener {
        let shared = Arc::downgrade(&self.0);
        Arc::new(move |hint| {
            if let Some(shared) = Weak::upgrade(&shared) {
                shared.hear(&hint);
            }
        })
    }

    /// Waits for changes of a collection; all of them, until told what is of interest.
    pub(crate) fn subscribe(&self, collection: &CollectionPath) -> Subscription {
        let waker = Arc::new(Waker::default());
        let mut registry = self.0.registry();
        self.0.subscriptions.fetch_add(1, Ordering::SeqCst);
        let watch = registry.watches.entry(collection.clone());
        let watch = watch.or_insert_with(|| Arc::new(Watch::new(collection.clone())));
        let (watch, key) = (Arc::clone(watch), watch.add(Arc::clone(&waker)));
        drop(registry);
        let shared = Arc::clone(&self.0);
        let patience = Instant::now() + PATIENCE;
        let wakes = watch.wakes();
        let subscription = Subscription { shared, watch, key, waker, wakes, patience };
        subscription.shared.tend();
        subscription
    }

    /// What a batch that is to be applied has of news; next to nothing if nobody watches.
    pub(crate) fn news(&self, batch: &Batch) -> News {
        if self.0.is_watched() { News::of(batch) } else { News::unknown() }
    }

    /// Takes note of what was just applied here, or may have been.
    pub(crate) fn applied(&self, news: News) {
        if !self.0.is_watched() {
            return;
        }
        match news.events() {
            Some(events) => events.into_iter().for_each(|event| self.0.note(&event)),
            // Somebody came while it was applied.
            None => self.0.note(&Event::Everything),
        }
    }

    /// What feeds are doing.
    pub(crate) fn statistics(&self) -> FeedStatistics {
        FeedStatistics {
            collections: self.0.registry().watches.len(),
            subscriptions: self.0.subscriptions.load(Ordering::SeqCst),
            wakeups: self.0.is_woken.load(Ordering::Relaxed),
            scans: self.0.scans_run.load(Ordering::Relaxed),
            looks: self.0.looks.load(Ordering::Relaxed),
        }
    }
}

impl Subscription {
    /// A page is about to be read: it shows all that anybody was woken for before.
    pub(crate) fn begin_page(&mut self) {
        self.waker.rest();
        self.wakes = self.watch.wakes();
        let spread = self.shared.randomness.hash_one((self.key, self.wakes)) % 1_000;
        self.patience = Instant::now() + PATIENCE - PATIENCE / 2_000 * spread as u32;
    }

    /// Completes when there may be something to look at since the last page was begun. Dropping
    /// the future loses nothing.
    pub(crate) async fn woken(&mut self) {
        self.shared.tend();
        tokio::select! {
            () = self.waker.woken() => {}
            () = tokio::time::sleep_until(self.patience) => {}
        }
    }

    /// Narrows what it is woken for, as told by the page that was begun last, which shows the
    /// collection up to this position.
    pub(crate) fn set_interest(&mut self, interest: &Interest, head: Seq) {
        let is_woken = self.watch.set_interest(self.key, interest, self.wakes, head);
        self.shared.count_rung(is_woken);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut registry = self.shared.registry();
        if self.watch.remove(self.key) {
            registry.watches.remove(&self.watch.collection);
        }
        self.shared.subscriptions.fetch_sub(1, Ordering::SeqCst);
        if registry.watches.is_empty() {
            self.shared.deserted.notify_one();
        }
    }
}

impl Shared {
    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_watched(&self) -> bool {
        self.subscriptions.load(Ordering::SeqCst) > 0
    }

    fn count_rung(&self, is_woken: u64) {
        self.is_woken.fetch_add(is_woken, Ordering::Relaxed);
    }

    fn count_scan(&self) {
        self.scans_run.fetch_add(1, Ordering::Relaxed);
    }

    fn count_look(&self) {
        self.looks.fetch_add(1, Ordering::Relaxed);
    }

    /// Begins the task unless it runs.
    fn tend(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        let mut registry = self.registry();
        if !registry.is_tended && !registry.watches.is_empty() {
            registry.is_tended = true;
            runtime.spawn(tend(Tending(Some(Arc::clone(self)))));
        }
    }

    /// All that are watched.
    fn watches(&self) -> Vec<Arc<Watch>> {
        self.registry().watches.values().cloned().collect()
    }

    fn watch(&self, collection: &CollectionPath) -> Option<Arc<Watch>> {
        self.registry().watches.get(collection).cloned()
    }

    fn watches_in(&self, bucket: &BucketId) -> Vec<Arc<Watch>> {
        let first = CollectionPath::new(bucket.clone(), "");
        let registry = self.registry();
        let from_there = registry.watches.range(first..);
        let inside = from_there.take_while(|(collection, _)| collection.bucket == *bucket);
        inside.map(|(_, watch)| Arc::clone(watch)).collect()
    }

    fn hear(&self, hint: &Hint) {
        match hint {
            Hint::Changed(collection) if collection.kind() == Kind::Record => {
                self.note(&Event::Moved(collection.clone()));
            }
            Hint::Changed(_) | Hint::Rights | Hint::Everything => self.look_asked.notify_one(),
        }
    }

    fn note(&self, event: &Event) {
        match event {
            Event::Moved(collection) => {
                if let Some(watch) = self.watch(collection) {
                    self.moved(&watch);
                }
            }
            Event::Collection(collection) => self.wake_collection(collection),
            Event::Bucket(bucket) => self.wake_bucket(bucket),
            Event::Members(change) => {
                for watch in self.watches() {
                    self.count_rung(watch.wake_members(change));
                }
            }
            Event::Groups(bucket) => self.wake_groups_of(bucket),
            Event::Everything => self.wake_everybody(),
        }
    }

    /// Has a collection looked at that moved.
    fn moved(&self, watch: &Arc<Watch>) {
        if watch.moved() {
            self.queue_scan(Arc::clone(watch));
        }
    }

    fn queue_scan(&self, watch: Arc<Watch>) {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).push_back(watch);
        self.scans_asked.notify_one();
    }

    fn next_scan(&self) -> Option<Arc<Watch>> {
        self.scans.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn wake_collection(&self, collection: &CollectionPath) {
        if let Some(watch) = self.watch(collection) {
            self.count_rung(watch.wake_all());
        }
    }

    fn wake_bucket(&self, bucket: &BucketId) {
        for watch in self.watches_in(bucket) {
            self.count_rung(watch.wake_all());
        }
    }

    /// Wakes those who may be in groups of a bucket.
    fn wake_members_in(&self, bucket: &BucketId) {
        self.wake_bucket(bucket);
        self.wake_groups_of(bucket);
    }

    fn wake_groups_of(&self, bucket: &BucketId) {
        for watch in self.watches() {
            self.count_rung(watch.wake_groups_of(bucket));
        }
    }

    fn wake_everybody(&self) {
        for watch in self.watches() {
            self.count_rung(watch.wake_all());
        }
    }
}

/// That the task runs. It may end without having said so, with its runtime.
struct Tending(Option<Arc<Shared>>);

impl Drop for Tending {
    fn drop(&mut self) {
        if let Some(shared) = self.0.take() {
            shared.registry().is_tended = false;
        }
    }
}

/// Wakes whom it concerns, until nobody watches any more.
async fn tend(mut tending: Tending) {
    let Some(shared) = tending.0.clone() else { return };
    let work = async { tokio::join!(scans::run(&shared), look::run(&shared)) };
    tokio::pin!(work);
    loop {
        tokio::select! {
            _ = &mut work => return,
            () = shared.deserted.notified() => {
                let mut registry = shared.registry();
                if registry.watches.is_empty() {
                    registry.is_tended = false;
                    // From here on another one may run.
                    tending.0 = None;
                    return;
                }
            }
        }
    }
}
