//! A store that was told to fail and does not, or does not recover.

use nuage_model::{Batch, CollectionPath, RecordPath, Store, StoreError, Timestamp};
use nuage_testkit::fault::FaultStore;

#[tokio::test]
async fn it_fails_after_so_many_calls_until_it_recovers() {
    let folder = tempfile::tempdir().unwrap();
    let store = FaultStore::new(crate::open(&folder.path().join("data")).await);
    let path = RecordPath::account("a");
    let batch = Batch { now: Timestamp(1), guards: Vec::new(), writes: vec![crate::put(&path)] };
    store.fail_after(2);
    store.apply(batch.clone()).await.unwrap();
    let head = store.head(&CollectionPath::accounts()).await.unwrap();
    for _ in 0..3 {
        assert!(store.apply(batch.clone()).await.is_err());
        let read = store.head(&CollectionPath::accounts()).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))));
    }
    store.recover();
    assert_eq!(store.head(&CollectionPath::accounts()).await.unwrap(), head);
    store.apply(batch).await.unwrap();
    store.close().await;
}
