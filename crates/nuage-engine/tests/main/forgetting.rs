//! Forgetting in the background: a script that grants and revokes without end, devices that were
//! away for too long, several engines on one store.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_engine::{Entry, FeedPage, FeedQuery, FeedSettings, Intent, Settings};
use nuage_model::{
    Batch, Body, CollectionStats, Permissions, Placement, Principal, Put, Readers, Seq,
    SnapshotRequest, Write,
};

use crate::houses::{House, change, delete, put, records};

/// Tombstones and ended residencies that may be kept beside one for each live record.
const KEPT: u64 = 20;
const ROUNDS: usize = 12;

fn forgetful() -> Settings {
    let feed = FeedSettings {
        secret: "the same in all engines".to_owned(),
        kept_min: KEPT,
        kept_factor: 1,
        ..FeedSettings::default()
    };
    Settings { feed, ..Settings::default() }
}

async fn standing(house: &House) -> CollectionStats {
    let collection = records();
    let ask = SnapshotRequest::of(collection);
    house.engine.store().snapshot(&ask).await.unwrap().0.standing.unwrap()
}

async fn page(house: &House, user: &str, token: Option<&str>) -> FeedPage {
    let user = Some(Principal::from(user));
    let query = FeedQuery { user, collection: records(), limit: 100, sum: false };
    house.engine.feed(&query, token).await.unwrap()
}

async fn share(house: &House, id: &str, with: &[&str]) {
    let mut session = house.session("alice").await;
    let opened = session.open(records().record(id), Intent::Put).await.unwrap();
    let readers = with.iter().map(|who| Principal::from(*who));
    let mut permissions = Permissions::default();
    permissions.set("read", readers.collect());
    let change = nuage_engine::Change { permissions, ..change("{}") };
    session.put(&opened, change).await.unwrap();
    session.commit().await.unwrap();
}

fn ids(page: &FeedPage) -> (Vec<String>, Vec<String>) {
    let (mut changed, mut removed) = (Vec::new(), Vec::new());
    for entry in &page.entries {
        match entry {
            Entry::Change(record) => changed.push(record.id.to_string()),
            Entry::Removal(id) => removed.push(id.to_string()),
        }
    }
    (changed, removed)
}

#[tokio::test]
async fn rights_that_oscillate_do_not_fill_the_disk() {
    let house = House::with_collection(forgetful()).await;
    share(&house, "kept", &["bob"]).await;
    share(&house, "r", &["bob"]).await;
    let old = page(&house, "bob", None).await;
    for _ in 0..ROUNDS {
        for n in 0..50 {
            share(&house, "r", if n % 2 == 0 { &["bob"] } else { &["carol"] }).await;
        }
        house.engine.compact().await.unwrap();
        let standing = standing(&house).await;
        assert!(standing.gone + standing.tombstones <= KEPT, "{standing:?}");
    }
    assert_eq!(house.engine.store().admin().check().await.unwrap(), []);
    // Who was away for so long begins afresh.
    let page = page(&house, "bob", Some(&old.token)).await;
    assert!(page.reset && !page.more);
    assert_eq!(ids(&page), (vec!["kept".to_owned()], Vec::new()));
}

#[tokio::test]
async fn ever_new_readers_move_the_horizon_and_do_not_fill_the_disk() {
    let house = House::with_collection(forgetful()).await;
    share(&house, "kept", &["bob"]).await;
    let old = page(&house, "bob", None).await;
    assert_eq!(ids(&old), (vec!["kept".to_owned()], Vec::new()));
    for round in 0..ROUNDS {
        for n in 0..50 {
            share(&house, "r", &[&*format!("p{}", 50 * round + n)]).await;
        }
        house.engine.compact().await.unwrap();
        let standing = standing(&house).await;
        assert!(standing.gone + standing.tombstones <= KEPT, "round {round}: {standing:?}");
    }
    assert!(house.engine.housekeeping().steps() > 0);
    assert_eq!(house.engine.store().admin().check().await.unwrap(), []);
    // Who was away since before begins afresh, and has what is right.
    let page = page(&house, "bob", Some(&old.token)).await;
    assert!(page.reset && !page.more);
    assert_eq!(ids(&page), (vec!["kept".to_owned()], Vec::new()));
}

#[tokio::test]
async fn what_is_old_goes_and_what_is_young_stays() {
    let house = House::with_collection(Settings {
        feed: FeedSettings { horizon_ms: 5_000, ..forgetful().feed },
        ..forgetful()
    })
    .await;
    for n in 0..5 {
        share(&house, &format!("r{n}"), &["bob"]).await;
    }
    let old = page(&house, "bob", None).await;
    let mut session = house.session("alice").await;
    delete(&mut session, &records().record("r0")).await;
    session.commit().await.unwrap();
    assert!(!house.engine.compact().await.unwrap(), "nothing is old enough");
    let told = page(&house, "bob", Some(&old.token)).await;
    assert_eq!(ids(&told), (Vec::new(), vec!["r0".to_owned()]));
    // The clock of these tests moves by a millisecond with each look.
    while house.engine.now().0 < crate::houses::START_MS + 20_000 {}
    let mut session = house.session("alice").await;
    put(&mut session, &records().record("r9"), "{}").await;
    session.commit().await.unwrap();
    assert!(house.engine.compact().await.unwrap());
    assert_eq!(standing(&house).await.tombstones, 0);
    let afresh = page(&house, "bob", Some(&old.token)).await;
    assert!(afresh.reset);
    assert_eq!(ids(&afresh).0.len(), 4);
    let on = page(&house, "bob", Some(&told.token)).await;
    assert!(!on.reset, "all that was forgotten had been told");
    assert_eq!(ids(&on), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn what_is_old_goes_where_positions_are_far_ahead_of_the_clock() {
    const FAR: Seq = Seq((1 << 53) - 1_000);
    let house = House::with_collection(Settings {
        feed: FeedSettings { horizon_ms: 5_000, ..forgetful().feed },
        ..forgetful()
    })
    .await;
    let far = records().record("far");
    // As an import may bring it, or a clock that was wrong.
    let write = Write::Put(Put {
        path: far.clone(),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(BTreeSet::new()),
        placement: Placement::Exact { seq: FAR, chosen: None },
    });
    let now = house.engine.now();
    let batch = Batch::new(now, vec![write]);
    house.engine.store().apply(batch).await.unwrap();
    let mut session = house.session("alice").await;
    delete(&mut session, &far).await;
    session.commit().await.unwrap();
    assert!(standing(&house).await.head.seq > FAR);
    assert!(!house.engine.compact().await.unwrap(), "nothing is old enough");
    assert_eq!(standing(&house).await.tombstones, 1);
    let begun = house.engine.now().0;
    while house.engine.now().0 < begun + 20_000 {}
    assert!(house.engine.compact().await.unwrap());
    assert_eq!(standing(&house).await.tombstones, 0);
    assert_eq!(house.engine.store().admin().check().await.unwrap(), []);
}

#[tokio::test]
async fn one_engine_at_a_time_forgets() {
    let house = House::with_collection(forgetful()).await;
    let other = house.neighbour();
    house.engine.compact().await.unwrap();
    assert_eq!(house.engine.housekeeping().rounds(), 1);
    other.compact().await.unwrap();
    assert_eq!(other.housekeeping().rounds(), 0, "the other one holds the lease");
    let (first, second) = (Arc::clone(&house.engine), other);
    // Once the lease is over, whoever asks first gets it.
    let compact_ms = i64::try_from(first.settings().feed.compact_ms).unwrap();
    let end = first.now().0 + 2 * compact_ms;
    while second.now().0 < end {}
    second.compact().await.unwrap();
    assert_eq!(second.housekeeping().rounds(), 1);
}
