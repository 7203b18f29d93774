//! A moment that tells something else than what happened, in whatever pieces it is asked for.

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::contract::residencies::moments_agree_with_the_model;

use crate::place::Place;
use crate::seeds;

both_databases!(async moments_tell_what_happened);

/// On SQLite and on PostgreSQL.
const HISTORIES: (u64, u64) = (60, 15);

async fn moments_tell_what_happened(backend: Backend) {
    let first = Place::new(backend);
    for seed in seeds(backend.choose(HISTORIES.0, HISTORIES.1)) {
        let place = first.another();
        let store = place.open().await;
        moments_agree_with_the_model(store.clone(), seed).await;
        assert_eq!(store.admin().check().await.unwrap(), [], "replay with NUAGE_SEED={seed}");
        store.close().await;
    }
}
