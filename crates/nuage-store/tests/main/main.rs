//! The store on both databases, tried against what can go wrong.

#![allow(clippy::unwrap_used)]

mod catalogue;
mod contract;
mod copies;
mod damage;
mod dropped;
mod faults;
mod files;
mod going_back;
mod hints;
mod horizons;
mod lists;
mod model;
mod moments;
mod moves;
mod older_forms;
mod opened_again;
mod place;
mod positions;
mod residencies;
mod round_trips;

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use nuage_model::{
    Batch, Body, CollectionPath, Placement, Put, Readers, RecordPath, Store, Timestamp, Write,
};
use nuage_store::{Options, Synchronous};

/// A file that survives kills, not loss of power: enough for a test, and fast.
async fn open(path: &Path) -> Arc<dyn Store> {
    let options = Options { synchronous: Synchronous::Normal, ..Options::default() };
    nuage_store::open(path, options).await.unwrap()
}

/// Writes the records of a bucket and its collections.
async fn found(store: &Arc<dyn Store>, bucket: &str, collections: &[&str]) {
    let mut paths = vec![RecordPath::bucket(bucket.into())];
    let parent = CollectionPath::collections(bucket.into());
    paths.extend(collections.iter().map(|name| parent.record(*name)));
    apply(store, paths.iter().map(put).collect()).await;
}

fn put(path: &RecordPath) -> Write {
    Write::Put(Put {
        path: path.clone(),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(Default::default()),
        placement: Placement::Next,
    })
}

async fn apply(store: &Arc<dyn Store>, writes: Vec<Write>) -> Vec<nuage_model::Outcome> {
    store.apply(Batch::new(Timestamp(1_000), writes)).await.unwrap()
}

/// The seeds to try: the one in `NUAGE_SEED`, or new ones, as many as `NUAGE_HISTORIES` says.
fn seeds(count: u64) -> impl Iterator<Item = u64> {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse::<u64>().unwrap());
    let (first, count) = match number("NUAGE_SEED") {
        Some(seed) => (seed, 1),
        None => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            (now.as_micros() as u64, number("NUAGE_HISTORIES").unwrap_or(count))
        }
    };
    first..first + count
}
