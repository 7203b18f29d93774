//! A store that does not do what every store must.

use std::sync::Mutex;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::place::Place;

both_databases!(async it_keeps_the_contract);

async fn it_keeps_the_contract(backend: Backend) {
    // Each case has a place of its own. It stays until the next one is made.
    let place = Mutex::new(Place::new(backend));
    nuage_testkit::contract::contract(async || {
        let fresh = place.lock().unwrap().another();
        let store = fresh.open().await;
        *place.lock().unwrap() = fresh;
        store
    })
    .await;
}
