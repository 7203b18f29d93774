//! While the store fails nobody can tell whom a change concerns: all look again.

use std::sync::Arc;

use nuage_testkit::fault::FaultStore;

use crate::feed::hub::tests::{ONCE_MS, Yard, is_woken, put, records, woken};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_wakes_everybody_until_it_recovers() {
    let mut fault = None;
    let yard = Yard::around(ONCE_MS, |store| {
        let failing = Arc::new(FaultStore::new(store));
        fault = Some(Arc::clone(&failing));
        failing
    })
    .await;
    let fault = fault.unwrap();
    let mut ann = yard.waiting(&records(), &["ann"]).await;
    let mut bob = yard.waiting(&records(), &["bob"]).await;
    yard.settled().await;
    for watcher in [&mut ann, &mut bob] {
        watcher.begin_page();
    }
    fault.fail_after(0);
    yard.write(vec![put(&records(), "r", &["ann"])]).await;
    woken(&mut ann).await;
    woken(&mut bob).await;
    fault.recover();
    for watcher in [&mut ann, &mut bob] {
        watcher.begin_page();
    }
    // What was not looked at then is looked at now, once.
    yard.write(vec![put(&records(), "s", &["bob"])]).await;
    woken(&mut bob).await;
    woken(&mut ann).await;
    for watcher in [&mut ann, &mut bob] {
        watcher.begin_page();
    }
    yard.write(vec![put(&records(), "t", &["ann"])]).await;
    woken(&mut ann).await;
    assert!(!is_woken(&bob));
}
