//! What a collection forgets when its horizon moves, what is joined, and the sums that stay true.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::random::new_epoch;
use nuage_model::copy::Table;
use nuage_model::{
    BucketId, Checksum, CollectionPath, CollectionStats, DIGEST_MODULUS, FeedRow, Outcome,
    Principal, Query, ReaderFilter, RecordPath, RowEnd, Seq, Signature, SnapshotRequest, Store,
    Timestamp, Write, digest,
};

use super::build::{
    NOW, apply, at, delete, founded, get, list, outcome, principals, put, put_at, put_for, readers,
    view_of,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// A collection at one moment.
struct Seen {
    standing: CollectionStats,
    /// Live records by signature, with who is in it.
    signatures: BTreeMap<Signature, (u64, Vec<Principal>)>,
    tail: Vec<FeedRow>,
}

async fn seen(store: &Arc<dyn Store>, collection: &CollectionPath) -> Seen {
    let ask = SnapshotRequest::of(collection.clone());
    let (opening, mut moment) = store.snapshot(&ask).await.expect("moments can be read");
    let counted = moment.signatures(ReaderFilter::All, None, 100).await.expect("it reads");
    let names: Vec<Signature> = counted.iter().map(|one| one.signature).collect();
    let named = moment.principals_of(&names).await.expect("it reads");
    let with = |(one, named): (&nuage_model::SignatureCount, _)| (one.signature, (one.live, named));
    Seen {
        standing: opening.standing.expect("it was written to"),
        signatures: counted.iter().zip(named).map(with).collect(),
        tail: moment.tail(Seq(0), 100).await.expect("it reads"),
    }
}

async fn compact(store: &Arc<dyn Store>, collection: &CollectionPath, up_to: i64) -> Outcome {
    let write = Write::Compact { collection: collection.clone(), up_to: Seq(up_to) };
    apply(store, NOW, vec![write]).await[0]
}

fn signature(who: &[&str]) -> Signature {
    readers(who).signature()
}

// The sum of what everybody sees, and of what this one sees, told and added up from the list.
async fn assert_summed(store: &Arc<dyn Store>, collection: &CollectionPath) {
    let query = Query::all(collection.clone(), 100);
    let page = list(store, &query).await;
    let digests = page.records.iter().map(|record| digest(&record.id, record.timestamp()));
    let sum = digests.fold(0, |sum, one| (sum + one) % DIGEST_MODULUS);
    let expected = Checksum { live: page.records.len() as u64, digest: sum };
    let ask = SnapshotRequest::of(collection.clone());
    let (_, mut moment) = store.snapshot(&ask).await.expect("moments can be read");
    assert_eq!(moment.sum(ReaderFilter::All).await.expect("it reads"), expected);
}

pub(super) async fn the_horizon_takes_what_lies_behind_it(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let (a, b, c) = (posts.record("a"), posts.record("b"), posts.record("c"));
    let writes = vec![
        put_for(&a, "read", &["alice"]),
        put_for(&b, "read", &["bob"]),
        delete(&a),
        put_for(&b, "read", &["carol"]),
        put_for(&c, "read", &["dora"]),
        delete(&c),
    ];
    apply(&store, NOW, writes).await;
    let before = seen(&store, &posts).await;
    assert_eq!((before.standing.tombstones, before.standing.gone), (2, 1));
    assert_eq!(before.signatures.len(), 4);

    // The tombstone of `a`, but not what ended a position later.
    assert_eq!(compact(&store, &posts, NOW + 2).await, outcome(NOW + 5, NOW + 5));
    let after = seen(&store, &posts).await;
    assert_eq!(after.standing.horizon, Seq(NOW + 2));
    assert_eq!((after.standing.tombstones, after.standing.gone), (1, 1));
    assert_eq!(after.tail[..], before.tail[1..]);
    let known: Vec<Signature> = after.signatures.keys().copied().collect();
    let mut expected = [&["bob"][..], &["carol"], &["dora"]].map(signature);
    expected.sort_unstable();
    assert_eq!(known, expected, "nothing has the signature of alice any more");
    assert_eq!(get(&store, &a).await, None);

    // Everything; and beyond the head, up to the head.
    compact(&store, &posts, i64::MAX).await;
    let after = seen(&store, &posts).await;
    assert_eq!(after.standing.horizon, Seq(NOW + 5));
    assert_eq!((after.standing.tombstones, after.standing.gone), (0, 0));
    let carol = BTreeMap::from([(signature(&["carol"]), (1, principals(&["carol"])))]);
    assert_eq!(after.signatures, carol);
    assert_eq!(after.standing.head, before.standing.head);
    assert_summed(&store, &posts).await;
}

pub(super) async fn a_horizon_never_goes_back(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    assert_eq!(compact(&store, &posts, NOW).await, outcome(0, 0));
    assert_eq!(store.head(&posts).await.expect("it reads"), None, "nothing was made");
    let a = posts.record("a");
    apply(&store, NOW, vec![put(&a, "{}"), delete(&a), put(&a, "{}"), delete(&a)]).await;
    compact(&store, &posts, NOW + 1).await;
    for up_to in [i64::MIN, 0, NOW, NOW + 1] {
        assert_eq!(compact(&store, &posts, up_to).await, outcome(NOW + 3, NOW + 3));
        let standing = seen(&store, &posts).await.standing;
        assert_eq!(standing.horizon, Seq(NOW + 1));
        assert_eq!((standing.tombstones, standing.gone), (1, 0));
    }
    let drop = Write::DropCollection { collection: posts.clone() };
    apply(&store, NOW, vec![drop]).await;
    assert_eq!(compact(&store, &posts, i64::MAX).await, outcome(0, 0));
    assert_eq!(store.head(&posts).await.expect("it reads"), None);
}

pub(super) async fn what_was_forgotten_begins_anew(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let a = posts.record("a");
    for round in 0..3 {
        apply(&store, NOW, vec![put_for(&a, "read", &["alice", "bob"])]).await;
        let found = seen(&store, &posts).await;
        assert_eq!((found.standing.tombstones, found.standing.gone), (0, 0), "round {round}");
        let both = (1, principals(&["alice", "bob"]));
        let both = BTreeMap::from([(signature(&["alice", "bob"]), both)]);
        assert_eq!(found.signatures, both, "round {round}");
        let [live] = &found.tail[..] else { panic!("{:?}", found.tail) };
        assert_eq!((live.fate, live.entered), (RowEnd::Live, live.seq), "round {round}");
        apply(&store, NOW, vec![delete(&a)]).await;
        compact(&store, &posts, i64::MAX).await;
        let found = seen(&store, &posts).await;
        assert!(found.signatures.is_empty() && found.tail.is_empty(), "round {round}");
    }
}

pub(super) async fn writes_of_one_batch_see_each_other(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let (a, b) = (posts.record("a"), posts.record("b"));
    let compaction = Write::Compact { collection: posts.clone(), up_to: Seq(i64::MAX) };
    let writes = vec![
        put_for(&a, "read", &["alice"]),
        put_for(&b, "read", &["bob"]),
        delete(&a),
        put_for(&b, "read", &["carol"]),
        compaction.clone(),
        put_for(&a, "read", &["alice"]),
        put_for(&b, "read", &["bob"]),
        put_for(&b, "read", &["carol"]),
        put_for(&b, "read", &["bob"]),
        put_for(&b, "read", &["carol"]),
    ];
    apply(&store, NOW, writes).await;
    let found = seen(&store, &posts).await;
    assert_eq!(found.standing.horizon, Seq(NOW + 3));
    assert_eq!((found.standing.tombstones, found.standing.gone), (0, 4));
    assert_eq!(found.signatures.len(), 3);
    assert_eq!(found.standing.head.live, 2);
    apply(&store, NOW, vec![delete(&b), compaction]).await;
    let found = seen(&store, &posts).await;
    assert_eq!((found.standing.tombstones, found.standing.gone), (0, 0));
    assert_eq!(found.signatures.keys().copied().collect::<Vec<_>>(), [signature(&["alice"])]);
}

pub(super) async fn sums_follow_every_write(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let [a, b, c] = ["a", "b", "c"].map(|id| posts.record(id));
    let steps = [
        vec![put(&a, "{}")],
        vec![put_at(&b, "{}", at(NOW - 1_000)), put_at(&c, "{}", at(NOW - 2_000))],
        vec![put_at(&b, "{\"n\":1}", at(NOW - 500))],
        vec![put_for(&b, "read", &["alice"])],
        vec![put_for(&b, "read", &["alice"]), put_for(&b, "write", &["alice"])],
        vec![delete(&c), put_for(&a, "read", &["alice", "bob"])],
        vec![put_at(&c, "{}", at(NOW - 2_000))],
        vec![Write::Erase { path: b.clone() }],
        vec![Write::Erase { path: a }, put(&b, "{}"), delete(&b)],
        vec![Write::Compact { collection: posts.clone(), up_to: Seq(i64::MAX) }],
        vec![put(&b, "{}")],
    ];
    for (number, writes) in steps.into_iter().enumerate() {
        apply(&store, NOW, writes).await;
        assert_summed(&store, &posts).await;
        assert_eq!(store.admin().check().await.expect("it reads"), [], "step {number}");
    }
}

pub(super) async fn views_that_are_not_used_are_forgotten(store: Arc<dyn Store>) {
    founded(&store, "blog", "posts").await;
    founded(&store, "shop", "posts").await;
    let (alice, groups) = (Principal::from("alice"), principals(&["/buckets/blog/groups/g"]));
    let keep = |bucket: &str| Write::KeepView {
        bucket: bucket.into(),
        person: alice.clone(),
        name: [1; 16],
        groups: groups.clone(),
    };
    let forget = |before: i64| Write::ForgetViews {
        bucket: BucketId::from("blog"),
        before: Timestamp(before),
    };
    let kept = async |bucket: &str| {
        view_of(&store, &BucketId::from(bucket), &alice, [1; 16]).await.is_some()
    };
    apply(&store, NOW, vec![keep("blog"), keep("shop")]).await;
    apply(&store, NOW, vec![forget(NOW)]).await;
    assert!(kept("blog").await, "it was used at that time");
    // Noted a day later, at the latest.
    apply(&store, NOW + DAY_MS, vec![keep("blog")]).await;
    apply(&store, NOW + DAY_MS, vec![forget(NOW + DAY_MS)]).await;
    assert!(kept("blog").await);
    apply(&store, NOW, vec![forget(NOW + DAY_MS + 1), keep("shop")]).await;
    assert!(!kept("blog").await && kept("shop").await);

    apply(&store, NOW, vec![forget(NOW + 1), keep("blog")]).await;
    assert!(kept("blog").await, "it was kept afterwards");
    apply(&store, NOW, vec![keep("blog"), forget(NOW + 1)]).await;
    assert!(!kept("blog").await, "it was forgotten afterwards");

    apply(&store, NOW, vec![keep("blog")]).await;
    let gone = delete(&RecordPath::bucket("blog".into()));
    apply(&store, NOW, vec![Write::DropBucket { bucket: "blog".into() }, gone]).await;
    assert!(!kept("blog").await && kept("shop").await);
    // However many there are, nobody waits for all of them: they go in steps.
    let people = (0..6_000).map(|n| Write::KeepView {
        bucket: BucketId::from("blog"),
        person: Principal::from(format!("person{n}")),
        name: [1; 16],
        groups: groups.clone(),
    });
    apply(&store, NOW, people.collect()).await;
    let left = async || {
        let mut dump = store.admin().dump().await.expect("it can be read");
        dump.count(Table::Views).await.expect("they can be counted")
    };
    let mut before = left().await;
    while before > 1 {
        apply(&store, NOW, vec![forget(NOW + 1)]).await;
        let after = left().await;
        assert!(after < before && before - after <= 5_000, "{before}, {after}");
        before = after;
    }
    assert!(kept("shop").await);
    apply(&store, NOW, vec![Write::Flush { epoch: new_epoch() }]).await;
    assert!(!kept("shop").await);
}
