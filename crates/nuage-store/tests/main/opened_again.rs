//! Data that is not all there when opened again, or opened by several at once.

use nuage_model::{Bodies, CollectionPath, RecordPath};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::place::Place;

both_databases!(
    async what_was_written_is_there_when_opened_again,
    a_store_that_was_not_closed_has_everything,
    several_may_open_what_is_new_at_once,
);

async fn what_was_written_is_there_when_opened_again(backend: Backend) {
    let place = Place::new(backend);
    for count in 1..4 {
        let store = place.open().await;
        let record = RecordPath::account(count.to_string());
        let outcomes = crate::apply(&store, vec![crate::put(&record)]).await;
        let head = store.head(&CollectionPath::accounts()).await.unwrap().unwrap();
        assert_eq!((head.live, head.seq), (count, outcomes[0].seq));
        assert_eq!(store.admin().check().await.unwrap(), []);
        store.close().await;
    }
}

async fn a_store_that_was_not_closed_has_everything(backend: Backend) {
    let place = Place::new(backend);
    let store = place.open().await;
    crate::apply(&store, vec![crate::put(&RecordPath::account("a"))]).await;
    let again = place.open().await;
    assert!(again.get(&[RecordPath::account("a")], Bodies::All).await.unwrap()[0].is_some());
    drop(store);
    crate::apply(&again, vec![crate::put(&RecordPath::account("b"))]).await;
    assert_eq!(again.admin().check().await.unwrap(), []);
    again.close().await;
}

async fn several_may_open_what_is_new_at_once(backend: Backend) {
    let first = Place::new(backend);
    for _ in 0..5 {
        let place = first.another();
        let opening = (0..6).map(async |n: usize| {
            let store = place.open().await;
            let record = RecordPath::account(n.to_string());
            crate::apply(&store, vec![crate::put(&record)]).await;
            store
        });
        let stores = futures_util::future::join_all(opening).await;
        let accounts: Vec<_> = (0..6).map(|n| RecordPath::account(n.to_string())).collect();
        for store in stores {
            assert!(store.get(&accounts, Bodies::All).await.unwrap().iter().all(Option::is_some));
            assert_eq!(store.admin().check().await.unwrap(), []);
            store.close().await;
        }
    }
}
