//! A list that says something else when it is found by another way, or in other pages.

use crate::seeds;

const HISTORIES: u64 = 60;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_agrees_with_the_model() {
    let folder = tempfile::tempdir().unwrap();
    for seed in seeds(HISTORIES) {
        let path = folder.path().join(seed.to_string());
        let store = crate::open(&path).await;
        nuage_testkit::contract::law::lists_agree_with_the_model(store.clone(), seed).await;
        assert_eq!(store.check().await.unwrap(), []);
        store.close().await;
    }
}
