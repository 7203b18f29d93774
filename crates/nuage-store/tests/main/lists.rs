//! A list that says something else when it is found by another way, or in other pages.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::place::Place;
use crate::seeds;

both_databases!(async every_way_agrees_with_the_model);

/// On SQLite and on PostgreSQL, where each has a database of its own.
const HISTORIES: (u64, u64) = (60, 25);

async fn every_way_agrees_with_the_model(backend: Backend) {
    for seed in seeds(backend.choose(HISTORIES.0, HISTORIES.1)) {
        let place = Place::new(backend);
        let store = place.open().await;
        nuage_testkit::contract::law::lists_agree_with_the_model(store.clone(), seed).await;
        assert_eq!(store.check().await.unwrap(), []);
        store.close().await;
    }
}
