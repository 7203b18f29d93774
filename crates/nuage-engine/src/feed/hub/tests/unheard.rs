//! What other processes write is seen when heads are compared, also if no hint is heard.

use nuage_model::{CollectionPath, Hint, Placement, Write};
use nuage_testkit::random::new_epoch;

use crate::feed::hub::Subscription;
use crate::feed::hub::tests::{
    ONCE_MS, Yard, bucket, collection, group, is_woken, put, records, until, woken,
};

/// Silences all, once nobody is woken any more for what he may have missed.
async fn quiet(yard: &Yard, watchers: &mut [Subscription]) {
    let looks = yard.hub.statistics().looks;
    until("two looks", || yard.hub.statistics().looks >= looks + 2).await;
    watchers.iter_mut().for_each(Subscription::begin_page);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_records_are_seen_without_hints() {
    let yard = Yard::new(20).await;
    let ann = yard.waiting(&records(), &["ann"]).await;
    let bob = yard.waiting(&records(), &["bob"]).await;
    let mut watchers = [ann, bob];
    quiet(&yard, &mut watchers).await;
    for round in 0..20 {
        let (concerned, other) = (round % 2, 1 - round % 2);
        let reader = ["ann", "bob"][concerned];
        yard.write_unheard(vec![put(&records(), &format!("r{round}"), &[reader])]).await;
        woken(&mut watchers[concerned]).await;
        assert!(!is_woken(&watchers[other]), "woken for what concerns {reader}");
        watchers[concerned].begin_page();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_rights_are_seen_without_hints() {
    let yard = Yard::new(20).await;
    yard.write(vec![bucket("x"), collection("x", "c"), bucket("y"), collection("b", "d")]).await;
    let mut team = group("b", "team", &["ann"]);
    // Of a bucket in which nobody watches.
    team.extend(group("y", "crew", &["dan"]));
    yard.write(team).await;
    let mut watchers = [
        yard.waiting(&records(), &["ann", "/buckets/b/groups/team"]).await,
        yard.waiting(&records(), &["bob"]).await,
        yard.waiting(&CollectionPath::new("b", "d"), &["eve"]).await,
        yard.waiting(&CollectionPath::new("x", "c"), &["dan", "/buckets/y/groups/crew"]).await,
        yard.waiting(&CollectionPath::new("x", "c"), &["bob"]).await,
    ];
    quiet(&yard, &mut watchers).await;
    let of_team = CollectionPath::groups("b".into()).record("team");
    let steps = [
        ("who leaves, who joins", group("b", "team", &["bob"]), vec![0, 1, 4]),
        // Nothing that eve follows depends on groups there.
        ("who leaves a group elsewhere", group("y", "crew", &["eve"]), vec![3]),
        ("a group in a group", group("b", "all", &["/buckets/y/groups/new"]), vec![0, 1, 2, 3, 4]),
        ("one collection", vec![collection("b", "d")], vec![2]),
        ("a bucket", vec![bucket("x")], vec![3, 4]),
        (
            "a group that goes",
            vec![Write::Delete { path: of_team, placement: Placement::Next }],
            vec![0],
        ),
    ];
    for (what, writes, expected) in steps {
        yard.write_unheard(writes).await;
        for number in &expected {
            woken(&mut watchers[*number]).await;
        }
        let looks = yard.hub.statistics().looks;
        until("another look", || yard.hub.statistics().looks > looks).await;
        let woken = watchers.iter().enumerate().filter(|(_, watcher)| is_woken(watcher));
        let woken: Vec<usize> = woken.map(|(number, _)| number).collect();
        assert_eq!(woken, expected, "{what}");
        watchers.iter_mut().for_each(Subscription::begin_page);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_store_wakes_everybody() {
    let yard = Yard::new(20).await;
    let mut watchers =
        [yard.waiting(&records(), &["ann"]).await, yard.waiting(&records(), &["bob"]).await];
    quiet(&yard, &mut watchers).await;
    yard.write_unheard(vec![Write::Flush { epoch: new_epoch() }]).await;
    for watcher in &mut watchers {
        woken(watcher).await;
        watcher.begin_page();
    }
    yard.write_unheard(vec![bucket("b"), collection("b", "c")]).await;
    yard.write_unheard(vec![put(&records(), "r", &["ann"])]).await;
    woken(&mut watchers[0]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_spare_the_wait_for_the_next_look() {
    let yard = Yard::new(ONCE_MS).await;
    let hear = yard.hub.listener();
    let mut watchers =
        [yard.waiting(&records(), &["ann"]).await, yard.waiting(&records(), &["bob"]).await];
    yard.settled().await;
    watchers.iter_mut().for_each(Subscription::begin_page);

    yard.write_unheard(vec![put(&records(), "r", &["ann"])]).await;
    hear(Hint::Changed(records()));
    woken(&mut watchers[0]).await;
    assert!(!is_woken(&watchers[1]));
    watchers[0].begin_page();

    yard.write_unheard(group("b", "g", &["bob"])).await;
    hear(Hint::Rights);
    woken(&mut watchers[1]).await;
    assert!(!is_woken(&watchers[0]));
    watchers[1].begin_page();

    yard.write_unheard(vec![put(&records(), "s", &["ann"]), put(&records(), "t", &["bob"])]).await;
    hear(Hint::Everything);
    woken(&mut watchers[0]).await;
    woken(&mut watchers[1]).await;
    // A hint for what nobody watches, and after the last one went, is nothing.
    hear(Hint::Changed(CollectionPath::new("b", "unwatched")));
    drop(watchers);
    hear(Hint::Everything);
}
