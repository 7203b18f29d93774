//! Who is woken for what, and that nobody is forgotten.
#![allow(clippy::print_stderr, clippy::unwrap_used)]

mod failing;
mod index;
mod races;
mod targets;
mod unheard;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use nuage_model::{
    Batch, BucketId, CollectionPath, GroupPath, Placement, Principal, Put, Readers, RecordPath,
    Seq, SnapshotRequest, Store, Timestamp, Write,
};

use crate::Interest;
use crate::feed::hub::{Hub, Subscription};

/// Longer than a loaded machine takes, and shorter than the patience of a subscription.
const DEADLINE: Duration = Duration::from_secs(25);
/// Time between two looks where there is to be only the first.
const ONCE_MS: u64 = 24 * 60 * 60 * 1_000;

/// A store with a hub on it.
struct Yard {
    hub: Hub,
    store: Arc<dyn Store>,
    clock: AtomicI64,
    _folder: tempfile::TempDir,
}

impl Yard {
    async fn new(look_ms: u64) -> Arc<Self> {
        Self::around(look_ms, |store| store).await
    }

    /// With something between the hub and the store.
    async fn around(
        look_ms: u64,
        between: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Arc<Self> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nuage.db");
        let store = nuage_store::open(&file, nuage_store::Options::default()).await.unwrap();
        let hub = Hub::new(between(Arc::clone(&store)), look_ms);
        let clock = AtomicI64::new(1_700_000_000_000);
        let yard = Self { hub, store, clock, _folder: folder };
        yard.write(vec![bucket("b"), collection("b", "c")]).await;
        yard.write(vec![put(&records(), "first", &[])]).await;
        Arc::new(yard)
    }

    /// Writes so that the hub knows.
    async fn write(&self, writes: Vec<Write>) {
        let batch = self.batch(writes);
        let news = self.hub.news(&batch);
        self.store.apply(batch).await.unwrap();
        self.hub.applied(news);
    }

    /// Writes as another process does whose hints are lost.
    async fn write_unheard(&self, writes: Vec<Write>) {
        self.store.apply(self.batch(writes)).await.unwrap();
    }

    fn batch(&self, writes: Vec<Write>) -> Batch {
        let now = Timestamp(self.clock.fetch_add(1, Ordering::SeqCst));
        Batch::new(now, writes)
    }

    async fn head(&self, collection: &CollectionPath) -> Seq {
        self.store.head(collection).await.unwrap().map(|head| head.seq).unwrap_or_default()
    }

    /// The head, and how often what the collection names had changed.
    async fn standing(&self, collection: &CollectionPath) -> (Seq, i64) {
        let ask = SnapshotRequest::of(collection.clone());
        let standing = self.store.snapshot(&ask).await.unwrap().0.standing;
        standing.map(|standing| (standing.head.seq, standing.named)).unwrap_or_default()
    }

    /// One that read a page, and waits.
    async fn waiting(&self, collection: &CollectionPath, principals: &[&str]) -> Subscription {
        let mut subscription = self.hub.subscribe(collection);
        self.read(&mut subscription, principals).await;
        subscription
    }

    /// Reads as a page does.
    async fn read(&self, subscription: &mut Subscription, principals: &[&str]) {
        subscription.begin_page();
        let (head, named) = self.standing(&subscription.watch.collection).await;
        subscription.set_interest(&Interest { named, ..interest(principals) }, head);
    }

    /// Until the first look was made, after which nobody is woken for what he may have missed.
    async fn settled(&self) {
        let is_over = || self.hub.statistics().looks > 0 && self.is_idle();
        until("the end of the first look", is_over).await;
    }

    /// Whether no collection is looked at, or is to be.
    fn is_idle(&self) -> bool {
        self.hub.0.watches().iter().all(|watch| !watch.has_scan())
    }
}

/// Whether it was woken since its last page.
fn is_woken(subscription: &Subscription) -> bool {
    subscription.waker.is_woken()
}

async fn woken(subscription: &mut Subscription) {
    within("a wake-up", subscription.woken()).await;
}

async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => done,
        Err(_) => panic!("{what} does not come"),
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(what, wait).await;
}

fn interest(principals: &[&str]) -> Interest {
    let groups = principals.iter().filter_map(|one| GroupPath::of_principal(one));
    let buckets: BTreeSet<BucketId> = groups.map(|group| group.bucket).collect();
    let buckets = buckets.into_iter().chain(["b".into()]).collect();
    let principals = principals.iter().map(|principal| Principal::from(*principal)).collect();
    Interest { whole: false, principals: Arc::new(principals), buckets, named: 0 }
}

fn records() -> CollectionPath {
    CollectionPath::new("b", "c")
}

fn put_at(path: RecordPath, body: &str, readers: &[&str]) -> Write {
    let readers: BTreeSet<Principal> = readers.iter().map(|reader| (*reader).into()).collect();
    Write::Put(Put {
        path,
        body: body.to_owned().into(),
        permissions: "{}".to_owned(),
        readers: Readers::new(readers),
        placement: Placement::Next,
    })
}

fn put(collection: &CollectionPath, id: &str, readers: &[&str]) -> Write {
    put_at(collection.record(id), "{}", readers)
}

fn bucket(name: &str) -> Write {
    put_at(RecordPath::bucket(name.into()), "{}", &[])
}

fn collection(bucket: &str, name: &str) -> Write {
    put_at(CollectionPath::collections(bucket.into()).record(name), "{}", &[])
}

fn group(bucket: &str, name: &str, members: &[&str]) -> Vec<Write> {
    let names: Vec<String> = members.iter().map(|member| format!("\"{member}\"")).collect();
    let body = format!("{{\"members\":[{}]}}", names.join(","));
    let path = CollectionPath::groups(bucket.into()).record(name);
    let group = GroupPath { bucket: bucket.into(), group: name.into() };
    let members = members.iter().map(|member| (*member).into()).collect();
    vec![put_at(path, &body, &[]), Write::SetMembers { group, members }]
}

fn seed() -> u64 {
    let seed = match std::env::var("NUAGE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    };
    eprintln!("NUAGE_SEED={seed}");
    seed
}
