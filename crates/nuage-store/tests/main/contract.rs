//! A store that does not do what every store must.

use std::sync::Mutex;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::place::Place;

both_databases!(async it_keeps_the_contract);

async fn it_keeps_the_contract(backend: Backend) {
    // Each case has a place of its own, which goes when the next one comes.
    let place = Mutex::new(None);
    nuage_testkit::contract::contract(async || {
        let fresh = Place::new(backend);
        let store = fresh.open().await;
        *place.lock().unwrap() = Some(fresh);
        store
    })
    .await;
}
