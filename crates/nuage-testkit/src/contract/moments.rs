//! Moments of a collection, and the other reads that feeds need.

use std::sync::Arc;

use crate::random::new_epoch;
use nuage_model::copy::Table;
use nuage_model::{
    Bodies, BucketId, Checksum, CollectionPath, DIGEST_MODULUS, Placement, Principal, ReaderFilter,
    RecordPath, RowEnd, Seq, Snapshot, SnapshotHeader, SnapshotRequest, Store, StoreError,
    Timestamp, Write, digest,
};

use super::build::{
    NOW, apply, delete, founded, head, outcome, principals, put, put_at, put_for, readers, view_of,
};

/// What these cases ask for, unless they say otherwise.
fn ask(collection: &CollectionPath) -> SnapshotRequest {
    SnapshotRequest::of(collection.clone())
}

async fn open<'a>(
    store: &'a Arc<dyn Store>,
    ask: &'a SnapshotRequest,
) -> (SnapshotHeader, Box<dyn Snapshot + 'a>) {
    store.snapshot(ask).await.expect("moments can be read")
}

async fn opening(store: &Arc<dyn Store>, ask: &SnapshotRequest) -> SnapshotHeader {
    open(store, ask).await.0
}

pub(super) async fn a_moment_says_where_its_collection_stands(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let asked = ask(&posts);
    assert_eq!(opening(&store, &asked).await.standing, None);
    let (a, b, c) = (posts.record("a"), posts.record("b"), posts.record("c"));
    let writes = vec![
        put_for(&a, "read", &["alice"]),
        put_for(&a, "read", &["bob"]),
        put(&b, "{}"),
        put(&c, "{}"),
        delete(&b),
    ];
    apply(&store, NOW, writes).await;
    let asked =
        SnapshotRequest { paths: vec![b.clone(), posts.record("unknown"), a.clone()], ..asked };
    let found = opening(&store, &asked).await;
    let standing = found.standing.expect("it was written to");
    assert_eq!(Some(standing.head), head(&store, &posts).await);
    assert_eq!((standing.horizon, standing.tombstones, standing.gone), (Seq(0), 1, 1));
    assert_eq!(standing.rows(), 4);
    assert_eq!(found.records, store.get(&asked.paths, Bodies::All).await.expect("it reads"));
    let entered = |header: &SnapshotHeader| -> Vec<Option<Seq>> {
        header.records.iter().map(|found| found.as_ref().map(|record| record.entered)).collect()
    };
    assert_eq!(entered(&found), [Some(Seq(NOW + 2)), None, Some(Seq(NOW + 1))]);
    assert!(!found.epoch.is_empty());

    apply(&store, NOW, vec![put_for(&a, "write", &["bob"]), Write::Erase { path: c }]).await;
    let later = opening(&store, &asked).await;
    assert_eq!(later.epoch, found.epoch);
    assert_eq!(entered(&later), entered(&found), "the readers are the same");
    let later = later.standing.expect("it is still there");
    assert_eq!(later.incarnation, standing.incarnation);
    assert_eq!((later.horizon, later.tombstones, later.gone), (Seq(NOW + 5), 1, 0));
}

pub(super) async fn a_collection_of_the_same_name_is_another_incarnation(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let asked = ask(&posts);
    let mut incarnations = Vec::new();
    for reader in ["alice", "bob", "carol"] {
        let writes = vec![
            put_for(&posts.record("a"), "read", &["everyone", reader]),
            put_for(&posts.record("a"), "read", &[reader]),
        ];
        apply(&store, NOW, writes).await;
        let (opening, mut moment) = open(&store, &asked).await;
        let standing = opening.standing.expect("it was written to");
        assert_eq!((standing.head.live, standing.gone, standing.horizon), (1, 1, Seq(0)));
        incarnations.push(standing.incarnation);
        let tail = moment.tail(Seq(0), 100).await.expect("it reads");
        assert_eq!(tail.len(), 2, "what was before is gone: {tail:?}");
        let whose = principals(&[reader]);
        let mine = moment.signatures(ReaderFilter::Of(&whose), None, 9).await.expect("it reads");
        assert_eq!(mine.len(), 2);
        let theirs = moment.signatures(ReaderFilter::All, None, 9).await.expect("it reads");
        assert_eq!(theirs.len(), 2);
        drop(moment);
        apply(&store, NOW, vec![Write::DropCollection { collection: posts.clone() }]).await;
        let (opening, mut moment) = open(&store, &asked).await;
        assert_eq!(opening.standing, None);
        assert_eq!(moment.tail(Seq(0), 100).await.expect("it reads"), []);
        assert_eq!(moment.signatures(ReaderFilter::All, None, 9).await.expect("it reads"), []);
        assert_eq!(moment.sum(ReaderFilter::All).await.expect("it reads"), Default::default());
    }
    incarnations.sort();
    incarnations.dedup();
    assert_eq!(incarnations.len(), 3);
}

pub(super) async fn an_emptied_or_renewed_store_is_of_another_epoch(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    let asked = ask(&posts);
    let first = opening(&store, &asked).await;
    let before = first.epoch;
    founded(&store, "blog", "others").await;
    assert_eq!(opening(&store, &asked).await.epoch, before);
    apply(&store, NOW, vec![Write::Renew { epoch: new_epoch() }]).await;
    let renewed = opening(&store, &asked).await;
    assert_ne!(renewed.epoch, before);
    assert!(renewed.standing.is_some());
    assert_eq!(renewed.standing, first.standing, "nothing else changes");
    apply(&store, NOW, vec![Write::Flush { epoch: new_epoch() }]).await;
    let after = opening(&store, &asked).await.epoch;
    assert!(after != before && after != renewed.epoch);
    founded(&store, "blog", "posts").await;
    assert_eq!(opening(&store, &asked).await.epoch, after);
}

pub(super) async fn a_moment_stays_as_it_was(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let (a, b) = (posts.record("a"), posts.record("b"));
    apply(&store, NOW, vec![put_for(&a, "read", &["alice"]), put(&b, "{}")]).await;
    let asked = ask(&posts);
    let (before, mut moment) = open(&store, &asked).await;
    let writes = vec![
        put_for(&a, "read", &["bob"]),
        delete(&b),
        put_for(&posts.record("c"), "read", &["alice"]),
        delete(&CollectionPath::collections("blog".into()).record("posts")),
        Write::DropCollection { collection: posts.clone() },
    ];
    for write in writes {
        apply(&store, NOW + 10, vec![write]).await;
        let tail = moment.tail(Seq(0), 100).await.expect("it reads");
        let seen: Vec<_> = tail.iter().map(|trace| (trace.id.as_str(), trace.fate)).collect();
        assert_eq!(seen, [("a", RowEnd::Live), ("b", RowEnd::Live)]);
        let alice = principals(&["alice"]);
        let sum = moment.sum(ReaderFilter::Of(&alice)).await.expect("it reads");
        assert_eq!(sum.live, 1);
        let ids = [a.id.clone(), b.id.clone(), "c".into()];
        let records = moment.records(&ids, 1_000).await.expect("it reads");
        assert_eq!(records.len(), 2);
        let signatures = [readers(&["alice"]).signature(), readers(&["bob"]).signature()];
        let who = moment.principals_of(&signatures).await.expect("it reads");
        assert_eq!(who, [alice, Vec::new()]);
    }
    drop(moment);
    let (after, mut moment) = open(&store, &asked).await;
    assert_eq!(after.standing, None);
    assert_eq!(after.epoch, before.epoch);
    assert_eq!(moment.tail(Seq(0), 100).await.expect("it reads"), []);
}

pub(super) async fn moments_are_dropped_wherever_they_are(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let writes = (0..50).map(|n| put(&posts.record(n.to_string()), "{}")).collect();
    apply(&store, NOW, writes).await;
    let asked = ask(&posts);
    // Many more than a store has readers.
    for n in 0..60 {
        let (_, mut moment) = open(&store, &asked).await;
        if n % 3 > 0 {
            let mut tail = moment.tail(Seq(0), 10);
            if n % 3 > 1 {
                // Begun and given up.
                let waker = std::task::Waker::noop();
                let _ = tail.as_mut().poll(&mut std::task::Context::from_waker(waker));
            }
        }
    }
    let (_, mut moment) = open(&store, &asked).await;
    assert_eq!(moment.tail(Seq(0), 10).await.expect("it reads").len(), 10);
}

/// More than a store looks up in one go.
const MANY: usize = 4_200;

pub(super) async fn many_signatures_are_read_and_summed(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let record = |n: usize| posts.record(n.to_string());
    let share = |n: usize| put_for(&record(n), "read", &["alice", &format!("p{n}"), "x"]);
    let outcomes = apply(&store, NOW, (0..MANY).map(share).collect()).await;
    apply(&store, NOW, vec![delete(&record(0)), delete(&record(1))]).await;
    let asked = ask(&posts);
    let (_, mut moment) = open(&store, &asked).await;
    let who = principals(&["x", "alice", "p7", "p8"]);
    let mine = moment.signatures(ReaderFilter::Of(&who), None, MANY + 1).await.expect("it reads");
    assert_eq!(mine.len(), MANY, "also those without live records");
    assert_eq!(mine.iter().map(|counted| counted.live).sum::<u64>(), MANY as u64 - 2);
    let theirs = moment.signatures(ReaderFilter::All, None, MANY + 1).await.expect("it reads");
    assert_eq!(theirs, mine);
    let expected = outcomes.iter().enumerate().skip(2).fold(0, |sum, (n, outcome)| {
        (sum + digest(&record(n).id, outcome.timestamp)) % DIGEST_MODULUS
    });
    let expected = Checksum { live: MANY as u64 - 2, digest: expected };
    for whose in [ReaderFilter::All, ReaderFilter::Of(&who)] {
        assert_eq!(moment.sum(whose).await.expect("it reads"), expected, "{whose:?}");
    }
    let signatures: Vec<_> = mine.iter().map(|counted| counted.signature).collect();
    let members = moment.principals_of(&signatures).await.expect("it reads");
    assert!(members.iter().all(|members| members.len() == 3));
    // In pages, probed and walked, which must be the same.
    for limit in [1_000, MANY] {
        let mut after = Seq(0);
        loop {
            let walked = moment.tail(after, limit).await.expect("it reads");
            let probed = moment.tail_of(&signatures, &signatures, after, limit).await;
            assert_eq!(probed.expect("it reads"), walked);
            let Some(last) = walked.last() else { break };
            after = last.seq;
        }
    }
}

pub(super) async fn heads_of_several_collections_are_told_in_order(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let books = founded(&store, "shelf", "books").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    apply(&store, NOW, vec![put(&posts.record("b"), "{}"), put(&books.record("a"), "{}")]).await;
    let unknown = CollectionPath::new("blog", "unknown");
    let asked = [books.clone(), unknown, posts.clone(), CollectionPath::buckets(), books.clone()];
    for _ in 0..2 {
        let heads = store.heads(&asked).await.expect("heads can be read");
        let mut expected = Vec::new();
        for path in &asked {
            expected.push(head(&store, path).await);
        }
        assert_eq!(heads, expected);
        assert_eq!(heads[1], None);
        assert_eq!(heads[0].map(|head| head.live), Some(1));
    }
    apply(&store, NOW, vec![delete(&books.record("a"))]).await;
    apply(&store, NOW, vec![Write::DropCollection { collection: posts }]).await;
    let heads = store.heads(&asked).await.expect("heads can be read");
    assert_eq!(heads[0].map(|head| (head.seq, head.live)), Some((Seq(NOW + 1), 0)));
    assert_eq!(heads[2], None);
    assert_eq!(store.heads(&[]).await.expect("heads can be read"), []);
}

pub(super) async fn views_are_kept_by_bucket_person_and_name(store: Arc<dyn Store>) {
    founded(&store, "blog", "posts").await;
    founded(&store, "club", "posts").await;
    let (blog, club) = (BucketId::from("blog"), BucketId::from("club"));
    let (alice, bob) = (Principal::from("alice"), Principal::from("bob"));
    let view = async |bucket: &BucketId, person: &Principal, name: u8| {
        view_of(&store, bucket, person, [name; 16]).await
    };
    let keep = |person: &Principal, name: u8, groups: &[&str]| Write::KeepView {
        bucket: blog.clone(),
        person: person.clone(),
        name: [name; 16],
        groups: principals(groups),
    };
    assert_eq!(view(&blog, &alice, 1).await, None);
    let group = "/buckets/blog/groups/\"odd\" \\ and é";
    let writes =
        vec![keep(&alice, 1, &[group, "b"]), keep(&alice, 255, &[]), keep(&bob, 1, &["c"])];
    apply(&store, NOW, writes).await;
    assert_eq!(view(&blog, &alice, 1).await, Some(principals(&[group, "b"])));
    assert_eq!(view(&blog, &alice, 255).await, Some(Vec::new()));
    assert_eq!(view(&blog, &bob, 1).await, Some(principals(&["c"])));
    assert_eq!(view(&blog, &bob, 255).await, None);
    assert_eq!(view(&club, &alice, 1).await, None);
    assert_eq!(view(&blog, &Principal::from("alice\0"), 1).await, None);
    apply(&store, NOW, vec![Write::DropBucket { bucket: blog.clone() }]).await;
    assert_eq!(view(&blog, &alice, 1).await, None);
    apply(&store, NOW, vec![delete(&RecordPath::bucket(blog.clone()))]).await;
}

pub(super) async fn what_is_overdue_is_the_oldest(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let compaction_target = async |before: i64, keep: u64, limit: usize| {
        let asked = ask(&posts);
        let (_, mut moment) = open(&store, &asked).await;
        let answer = moment.compaction_target(Timestamp(NOW + before), keep, limit).await;
        answer.expect("it can be asked for").map(|seq| seq.0 - NOW)
    };
    assert_eq!(compaction_target(100, 0, 100).await, None, "there is no collection");
    let record = |n: usize| posts.record(n.to_string());
    let mut writes: Vec<Write> = (0..8).map(|n| put(&record(n), "{}")).collect();
    apply(&store, NOW, writes).await;
    assert_eq!(compaction_target(100, 0, 100).await, None, "nothing ended");
    // Ended residencies at 10, 12 and 14, tombstones at 11, 13 and 15, and 16 is live.
    writes = vec![
        put_for(&record(0), "read", &["alice"]),
        delete(&record(1)),
        put_for(&record(2), "read", &["alice"]),
        delete(&record(3)),
        put_for(&record(4), "read", &["alice"]),
        delete(&record(5)),
        put(&record(6), "{}"),
    ];
    apply(&store, NOW + 10, writes).await;
    for (before, keep, limit, expected) in [
        // By age.
        (9, 100, 100, None),
        (10, 100, 100, Some(10)),
        (11, 100, 100, Some(11)),
        (13, 100, 100, Some(13)),
        (99, 100, 100, Some(15)),
        (99, 100, 4, Some(13)),
        (99, 100, 1, Some(10)),
        // By number.
        (0, 6, 100, None),
        (0, 5, 100, Some(10)),
        (0, 2, 100, Some(13)),
        (0, 0, 100, Some(15)),
        (0, 0, 2, Some(11)),
        // Whichever goes further.
        (12, 5, 100, Some(12)),
        (10, 3, 100, Some(12)),
        (12, 3, 1, Some(10)),
        (99, 0, 0, None),
    ] {
        let answer = compaction_target(before, keep, limit).await;
        assert_eq!(answer, expected, "before {before}, keep {keep}, limit {limit}");
    }
    apply(&store, NOW, vec![Write::DropCollection { collection: posts.clone() }]).await;
    assert_eq!(compaction_target(99, 0, 100).await, None);
}

pub(super) async fn positions_ahead_of_the_clock_grow_old(store: Arc<dyn Store>) {
    const FAR: i64 = (1 << 53) - 1_000;
    const KEPT: i64 = 1_600;
    let posts = founded(&store, "blog", "posts").await;
    let compaction_target = async |before: i64| {
        let asked = ask(&posts);
        let (_, mut moment) = open(&store, &asked).await;
        let answer = moment.compaction_target(Timestamp(NOW + before), 100, 100).await;
        answer.expect("it can be asked for").map(|seq| seq.0)
    };
    let mark = async |now: i64| {
        let before = Timestamp(NOW + now - KEPT);
        let mark = Write::Mark { collection: posts.clone(), before };
        apply(&store, NOW + now, vec![mark]).await[0]
    };
    assert_eq!(mark(0).await, outcome(0, 0), "there is no collection");
    // As an import may bring it, or a clock that was wrong.
    let far = posts.record("far");
    let placement = Placement::Exact { seq: Seq(FAR), chosen: None };
    apply(&store, NOW, vec![put_at(&far, "{}", placement), delete(&far)]).await;
    assert_eq!(compaction_target(1_000_000).await, None, "it is not known when that was");
    assert_eq!(mark(10).await, outcome(FAR + 1, FAR + 1));
    assert_eq!(compaction_target(9).await, None);
    assert_eq!(compaction_target(10).await, Some(FAR + 1));
    // What follows is younger.
    apply(&store, NOW + 20, vec![put(&far, "{}"), delete(&far)]).await;
    assert_eq!(compaction_target(1_000_000).await, Some(FAR + 1));
    mark(500).await;
    assert_eq!(compaction_target(499).await, Some(FAR + 1));
    assert_eq!(compaction_target(500).await, Some(FAR + 3));
    // A clock that is a day ahead for a while notes nothing that lasts.
    apply(&store, NOW + 600, vec![put(&far, "{}"), delete(&far)]).await;
    mark(86_400_000).await;
    assert_eq!(compaction_target(86_400_000).await, Some(FAR + 5));
    mark(700).await;
    assert_eq!(compaction_target(699).await, Some(FAR + 3));
    assert_eq!(compaction_target(86_399_000).await, Some(FAR + 5));
    // There are never many.
    for n in 0..200 {
        apply(&store, NOW + 1_000 + 10 * n, vec![put(&far, "{}"), delete(&far)]).await;
        mark(1_000 + 10 * n).await;
    }
    let mut dump = store.admin().dump().await.expect("it can be read");
    let noted = dump.count(Table::Marks).await.expect("they can be counted");
    assert!((2..=18).contains(&noted), "{noted} notes");
    assert_eq!(store.admin().check().await.expect("it can be checked"), []);
    apply(&store, NOW, vec![Write::DropCollection { collection: posts.clone() }]).await;
    assert_eq!(compaction_target(1_000_000).await, None);
    assert_eq!(store.admin().check().await.expect("it can be checked"), []);
}

pub(super) async fn feeds_end_with_the_store(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    store.close().await;
    let asked = ask(&posts);
    assert!(matches!(store.snapshot(&asked).await.err(), Some(StoreError::Closed)));
    let paths = [posts.clone()];
    assert!(matches!(store.heads(&paths).await, Err(StoreError::Closed)));
    assert!(matches!(store.note("sweep").await, Err(StoreError::Closed)));
}
