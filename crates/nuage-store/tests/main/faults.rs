//! A store that was told to fail and does not, or does not recover.

use std::time::Duration;

use nuage_model::{
    ApplyError, Batch, Bodies, CollectionPath, RecordPath, Store, StoreError, Timestamp,
};
use nuage_store::{Address, Options};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::fault::FaultStore;
use nuage_testkit::postgres::{Cluster, Durability};

use crate::place::Place;

both_databases!(async it_fails_after_so_many_calls_until_it_recovers);

async fn it_fails_after_so_many_calls_until_it_recovers(backend: Backend) {
    let place = Place::new(backend);
    let store = FaultStore::new(place.open().await);
    let path = RecordPath::account("a");
    let batch = Batch::new(Timestamp(1), vec![crate::put(&path)]);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_write_whose_answer_is_lost_is_told_as_unknown() {
    let cluster = Cluster::new(Durability::Full);
    let database = cluster.database();
    let address = Address { url: database.url().to_owned(), password: None };
    let store = nuage_store::connect(&address, Options::default()).await.unwrap();
    let path = |id: &str| RecordPath::account(id);
    // The second time everything goes out together, the commit with it.
    for _ in 0..2 {
        store.apply(Batch::new(Timestamp(1), vec![crate::put(&path("a"))])).await.unwrap();
    }
    let frozen = cluster.freeze();
    let answer = store.apply(Batch::new(Timestamp(1), vec![crate::put(&path("b"))])).await;
    assert!(matches!(answer, Err(ApplyError::Store(StoreError::Unknown(_)))), "{answer:?}");
    drop(frozen);
    let again = async {
        while store.apply(Batch::new(Timestamp(1), vec![crate::put(&path("c"))])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), again).await.unwrap();
    let ids = ["a", "b", "c"].map(path);
    let found = store.get(&ids, Bodies::All).await.unwrap();
    assert!(found[0].is_some() && found[2].is_some());
    assert_eq!(store.admin().check().await.unwrap(), []);
    store.close().await;
}
