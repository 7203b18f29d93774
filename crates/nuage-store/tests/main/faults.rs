//! A store that was told to fail and does not, or does not recover.

use nuage_model::{Batch, CollectionPath, RecordPath, Store, StoreError, Timestamp};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::fault::FaultStore;

use crate::place::Place;

both_databases!(async it_fails_after_so_many_calls_until_it_recovers);

async fn it_fails_after_so_many_calls_until_it_recovers(backend: Backend) {
    let place = Place::new(backend);
    let store = FaultStore::new(place.open().await);
    let path = RecordPath::account("a");
    let batch = Batch {
        author: None,
        now: Timestamp(1),
        guards: Vec::new(),
        writes: vec![crate::put(&path)],
    };
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
