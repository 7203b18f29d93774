//! A wake-up for whom it concerns, and for nobody else.

use nuage_model::{CollectionPath, Placement, Write};
use nuage_testkit::random::new_epoch;

use crate::Interest;
use crate::feed::hub::Subscription;
use crate::feed::hub::tests::{
    ONCE_MS, Yard, collection, group, interest, is_woken, put, records, until, woken,
};

const WATCHERS: usize = 10_000;
const CONCERNED: usize = 1_000;

type Readers<'a> = &'a [&'a str];

async fn many(yard: &Yard) -> Vec<Subscription> {
    let mut watchers = Vec::with_capacity(WATCHERS);
    let (head, named) = yard.standing(&records()).await;
    for number in 0..WATCHERS {
        let mut subscription = yard.hub.subscribe(&records());
        subscription.set_interest(&Interest { named, ..shown_to(number) }, head);
        watchers.push(subscription);
    }
    watchers
}

fn shown_to(number: usize) -> Interest {
    let person = format!("account:{number}");
    let team = format!("/buckets/b/groups/team{}", number % (WATCHERS / CONCERNED));
    interest(&["system.Everyone", "system.Authenticated", &person, &team])
}

fn count(watchers: &mut [Subscription]) -> usize {
    let mut count = 0;
    for subscription in watchers {
        count += usize::from(is_woken(subscription));
        subscription.begin_page();
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_wakes_those_whom_it_concerns() {
    let yard = Yard::new(ONCE_MS).await;
    yard.write(vec![put(&records(), "named", &["/buckets/b/groups/team3"])]).await;
    let mut watchers = many(&yard).await;
    yard.settled().await;
    count(&mut watchers);
    let steps: [(&[Readers<'_>], usize); 8] = [
        // By its readers now ...
        (&[&["/buckets/b/groups/team3"]], CONCERNED),
        (&[&["account:17"]], 1),
        (&[&["account:nobody"]], 0),
        (&[&["account:24", "account:25", "/buckets/b/groups/team3"]], CONCERNED + 2),
        (&[&["system.Authenticated"]], WATCHERS),
        // ... and by those whom it is taken from.
        (&[&["account:5"], &["account:6"]], 2),
        // Nobody is known to count as a group that was not named before, once.
        (&[&["/buckets/b/groups/new"]], WATCHERS),
        (&[&["/buckets/b/groups/new"]], 0),
    ];
    for (number, (writes, expected)) in steps.into_iter().enumerate() {
        let before = yard.hub.statistics().wakeups;
        for readers in writes {
            yard.write(vec![put(&records(), &format!("r{number}"), readers)]).await;
        }
        until("the last scan", || yard.is_idle()).await;
        assert_eq!(count(&mut watchers), expected, "{writes:?}");
        assert_eq!(yard.hub.statistics().wakeups - before, expected as u64, "{writes:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_concern_those_who_could_see_it() {
    let yard = Yard::new(ONCE_MS).await;
    yard.write(vec![put(&records(), "r", &["ann"])]).await;
    let ann = yard.waiting(&records(), &["ann"]).await;
    let bob = yard.waiting(&records(), &["bob"]).await;
    let mut whole = yard.hub.subscribe(&records());
    let everything = Interest { whole: true, ..interest(&["carol"]) };
    whole.set_interest(&everything, yard.head(&records()).await);
    yard.settled().await;
    let mut watchers = [ann, bob, whole];
    count(&mut watchers);
    let path = records().record("r");
    yard.write(vec![Write::Delete { path, placement: Placement::Next }]).await;
    woken(&mut watchers[0]).await;
    woken(&mut watchers[2]).await;
    assert!(!is_woken(&watchers[1]), "told of what he never saw");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_rights_wake_whom_they_concern() {
    let yard = Yard::new(ONCE_MS).await;
    yard.write(vec![collection("b", "d")]).await;
    let other = CollectionPath::new("b", "d");
    let team = "/buckets/b/groups/team";
    let mut watchers = vec![
        yard.waiting(&records(), &["ann", team]).await,
        yard.waiting(&records(), &["bob"]).await,
        yard.waiting(&records(), &["eve"]).await,
        yard.waiting(&other, &["ann", team]).await,
        yard.waiting(&CollectionPath::new("x", "c"), &["bob"]).await,
        yard.waiting(&CollectionPath::new("x", "c"), &["eve"]).await,
    ];
    yard.settled().await;
    count(&mut watchers);
    let steps = [
        ("who leaves, who joins", group("b", "team", &["bob"]), vec![0, 1, 3, 4]),
        ("one collection", vec![collection("b", "d")], vec![3]),
        ("a bucket", vec![crate::feed::hub::tests::bucket("b")], vec![0, 1, 2, 3]),
        ("a bucket that goes", vec![Write::DropBucket { bucket: "x".into() }], vec![4, 5]),
        (
            "a collection that goes",
            vec![Write::DropCollection { collection: records() }],
            vec![0, 1, 2],
        ),
        ("everything", vec![Write::Flush { epoch: new_epoch() }], vec![0, 1, 2, 3, 4, 5]),
    ];
    for (what, writes, expected) in steps {
        yard.write(writes).await;
        let woken = watchers.iter().enumerate().filter(|(_, watcher)| is_woken(watcher));
        let woken: Vec<usize> = woken.map(|(number, _)| number).collect();
        assert_eq!(woken, expected, "{what}");
        count(&mut watchers);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_writes_is_one_wake_up() {
    const WRITES: usize = 400;
    let yard = Yard::new(ONCE_MS).await;
    let mut ann = yard.waiting(&records(), &["ann"]).await;
    yard.settled().await;
    ann.begin_page();
    let before = yard.hub.statistics();
    let writes = (0..WRITES).map(|number| {
        let yard = std::sync::Arc::clone(&yard);
        let write = put(&records(), &format!("r{number}"), &["ann"]);
        tokio::spawn(async move { yard.write(vec![write]).await })
    });
    for write in writes.collect::<Vec<_>>() {
        write.await.unwrap();
    }
    woken(&mut ann).await;
    until("the last scan", || yard.is_idle()).await;
    let after = yard.hub.statistics();
    assert_eq!(after.wakeups - before.wakeups, 1, "it did not look again yet");
    let scans = after.scans - before.scans;
    assert!(scans < WRITES as u64 / 2, "{scans} scans for {WRITES} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_those_who_went() {
    let yard = Yard::new(1).await;
    let shared = std::sync::Arc::downgrade(&yard.hub.0);
    for round in 0..50 {
        let mut watchers = Vec::new();
        for number in 0..20 {
            let collection = CollectionPath::new("b", format!("c{}", number % 7));
            let mut watcher = yard.waiting(&collection, &[&format!("account:{number}")]).await;
            // A future that is dropped while it waits.
            let wait = watcher.woken();
            let _ = tokio::time::timeout(std::time::Duration::from_micros(50), wait).await;
            watchers.push(watcher);
        }
        assert_eq!(yard.hub.statistics().subscriptions, 20);
        assert_eq!(yard.hub.statistics().collections, 7);
        yard.write(vec![put(&CollectionPath::new("b", "c3"), "r", &["account:3"])]).await;
        drop(watchers);
        let statistics = yard.hub.statistics();
        assert_eq!((statistics.collections, statistics.subscriptions), (0, 0), "round {round}");
    }
    // The task holds on to it only as long as somebody watches.
    drop(yard);
    until("the end of the task", || shared.strong_count() == 0).await;
}
