//! A store that does not do what every store must.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use nuage_model::Store;
use nuage_store::{Options, Synchronous};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let number = AtomicUsize::new(0);
    nuage_testkit::contract::contract(async || {
        let name = number.fetch_add(1, Ordering::Relaxed).to_string();
        let options = Options { synchronous: Synchronous::Normal, ..Options::default() };
        let store: Arc<dyn Store> =
            nuage_store::open(&folder.path().join(name), options).await.unwrap();
        store
    })
    .await;
}
