//! Positions, and times that clients choose.

use std::sync::Arc;

use nuage_model::{
    ApplyError, CollectionPath, Placement, Seq, Store, StoreError, Timestamp, Write,
};

use super::build::{
    NOW, apply, at, delete, founded, get, guarded, head, ids, list, outcome, put, put_at,
};

async fn heads(store: &Arc<dyn Store>, collection: &CollectionPath) -> (i64, i64) {
    let head = head(store, collection).await.expect("the collection exists");
    (head.seq.0, head.timestamp.0)
}

pub(super) async fn ordinary_positions_follow_the_clock_or_each_other(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let touched = apply(&store, NOW, vec![Write::Touch { collection: posts.clone() }]).await;
    assert_eq!(touched, [outcome(NOW, NOW)]);
    let again = apply(&store, NOW + 9, vec![Write::Touch { collection: posts.clone() }]).await;
    assert_eq!(again, [outcome(NOW, NOW)], "a second touch changes nothing");
    for (now, expected) in
        [(NOW, NOW + 1), (NOW, NOW + 2), (NOW + 10, NOW + 10), (NOW - 1_000, NOW + 11)]
    {
        let outcomes = apply(&store, now, vec![put(&posts.record("a"), "{}")]).await;
        assert_eq!(outcomes, [outcome(expected, expected)]);
        assert_eq!(heads(&store, &posts).await, (expected, expected));
    }
}

pub(super) async fn a_future_time_is_a_position(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    let future = NOW + 1_000_000;
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("b"), "{}", at(future))]).await;
    assert_eq!(outcomes, [outcome(future, future)]);
    let record = get(&store, &posts.record("b")).await.expect("it was written");
    assert_eq!((record.seq, record.chosen), (Seq(future), None));
    let outcomes = apply(&store, NOW + 1, vec![delete(&posts.record("a"))]).await;
    assert_eq!(outcomes, [outcome(future + 1, future + 1)], "what follows goes on from there");
}

pub(super) async fn a_past_time_is_shown_without_moving_the_head(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    for (n, past) in [(1, 5), (2, 0), (3, -7)] {
        let path = posts.record(n.to_string());
        let outcomes = apply(&store, NOW, vec![put_at(&path, "{}", at(past))]).await;
        assert_eq!(outcomes, [outcome(NOW + n, past)]);
        let record = get(&store, &path).await.expect("it was written");
        assert_eq!((record.seq.0, record.timestamp().0), (NOW + n, past));
        assert_eq!(heads(&store, &posts).await, (NOW + n, NOW));
    }
    // Between the time and the position of the head nothing is shown yet.
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("4"), "{}", at(NOW + 2))]).await;
    assert_eq!(outcomes, [outcome(NOW + 4, NOW + 2)]);
    assert_eq!(heads(&store, &posts).await, (NOW + 4, NOW + 2));
    let outcomes = apply(&store, NOW, vec![put(&posts.record("5"), "{}")]).await;
    assert_eq!(outcomes, [outcome(NOW + 5, NOW + 5)]);
    assert_eq!(heads(&store, &posts).await, (NOW + 5, NOW + 5));
    // A deletion in the past.
    let write = Write::Delete { path: posts.record("5"), placement: at(6) };
    assert_eq!(apply(&store, NOW, vec![write]).await, [outcome(NOW + 6, 6)]);
    assert_eq!(heads(&store, &posts).await, (NOW + 6, NOW + 5));
}

pub(super) async fn the_time_of_the_head_counts_as_next(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("b"), "{}", at(NOW))]).await;
    assert_eq!(outcomes, [outcome(NOW + 1, NOW + 1)]);
}

pub(super) async fn a_taken_time_is_raised_to_a_free_one(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    for n in 0..3 {
        apply(&store, NOW + n, vec![put(&posts.record(format!("plain{n}")), "{}")]).await;
    }
    apply(&store, NOW + 10, vec![put(&posts.record("head"), "{}")]).await;
    for (n, expected) in [(0, NOW + 3), (1, NOW + 4), (2, NOW + 5)] {
        let path = posts.record(format!("chosen{n}"));
        let outcomes = apply(&store, NOW, vec![put_at(&path, "{}", at(NOW))]).await;
        assert_eq!(outcomes[0].timestamp, Timestamp(expected));
    }
    // Everything up to the head is taken: it goes next.
    let writes = (6..10).map(|n| put_at(&posts.record(format!("c{n}")), "{}", at(NOW + n)));
    apply(&store, NOW, writes.collect()).await;
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("z"), "{}", at(NOW))]).await;
    assert_eq!(outcomes[0].timestamp.0, outcomes[0].seq.0);
    let mut query = nuage_model::Query::all(posts, 100);
    query.sort[0].direction = nuage_model::Direction::Ascending;
    let page = list(&store, &query).await;
    let times: Vec<i64> = page.records.iter().map(|record| record.timestamp().0).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    assert_eq!(ids(&store, &query).await[..4], ["plain0", "plain1", "plain2", "chosen0"]);
}

pub(super) async fn a_record_may_keep_its_own_past_time(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    apply(&store, NOW + 5, vec![put(&posts.record("b"), "{}")]).await;
    for n in 1..3 {
        let outcomes = apply(&store, NOW, vec![put_at(&posts.record("a"), "{}", at(NOW))]).await;
        assert_eq!(outcomes, [outcome(NOW + 5 + n, NOW)]);
    }
}

pub(super) async fn a_time_is_free_once_its_record_is_gone_or_elsewhere(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let (old, new) = (posts.record("z"), posts.record("a"));
    let take = || put_at(&new, "{}", at(5));
    let ways = [
        vec![put(&old, "{}"), take()],
        vec![put_at(&old, "{}", at(9)), take()],
        vec![delete(&old), take()],
        vec![Write::Erase { path: old.clone() }, take()],
        vec![Write::Erase { path: old.clone() }, put(&old, "{}"), take()],
        vec![Write::Erase { path: old.clone() }, put_at(&old, "{}", at(9)), take()],
    ];
    for writes in ways {
        apply(&store, NOW, vec![Write::DropCollection { collection: posts.clone() }]).await;
        apply(&store, NOW, vec![put(&posts.record("head"), "{}")]).await;
        apply(&store, NOW, vec![put_at(&old, "{}", at(5))]).await;
        let outcomes = apply(&store, NOW, writes).await;
        assert_eq!(outcomes.last().map(|outcome| outcome.timestamp), Some(Timestamp(5)));
    }
    assert_eq!(store.admin().check().await.expect("it can be checked"), []);
}

pub(super) async fn a_time_too_far_ahead_counts_as_next(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    let latest = NOW + Seq::AHEAD_MS;
    for (n, time) in [(1, latest + 1), (2, i64::MAX)] {
        let outcomes = apply(&store, NOW, vec![put_at(&posts.record("b"), "{}", at(time))]).await;
        assert_eq!(outcomes, [outcome(NOW + n, NOW + n)]);
    }
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("b"), "{}", at(i64::MIN))]).await;
    assert_eq!(outcomes, [outcome(NOW + 3, i64::MIN)]);
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("b"), "{}", at(latest))]).await;
    assert_eq!(outcomes, [outcome(latest, latest)]);
    // As far as the collection already is, and no further, also once it was dropped.
    apply(&store, NOW, vec![put(&posts.record("c"), "{}")]).await;
    let again = vec![put_at(&posts.record("d"), "{}", at(latest + 1))];
    assert_eq!(apply(&store, NOW, again).await, [outcome(latest + 2, latest + 2)]);
    apply(&store, NOW, vec![Write::DropCollection { collection: posts.clone() }]).await;
    let outcomes = apply(&store, NOW, vec![put_at(&posts.record("e"), "{}", at(latest))]).await;
    assert_eq!(outcomes, [outcome(latest + 4, latest)]);
}

pub(super) async fn the_first_time_of_a_collection_is_its_head(store: Arc<dyn Store>) {
    let old = founded(&store, "blog", "old").await;
    let outcomes = apply(&store, NOW, vec![put_at(&old.record("a"), "{}", at(1_000))]).await;
    assert_eq!(outcomes, [outcome(1_000, 1_000)]);
    assert_eq!(heads(&store, &old).await, (1_000, 1_000));

    let older = founded(&store, "blog", "older").await;
    let outcomes = apply(&store, NOW, vec![put_at(&older.record("a"), "{}", at(-5))]).await;
    assert_eq!(outcomes, [outcome(NOW + 1, -5)], "positions are positive");
    assert_eq!(heads(&store, &older).await, (NOW + 1, NOW));
}

pub(super) async fn exact_places_are_kept_and_must_lie_ahead(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let exact = |seq, chosen: Option<i64>| Placement::Exact {
        seq: Seq(seq),
        chosen: chosen.map(Timestamp),
    };
    let places = [(100, None), (105, Some(50)), (110, None), (111, Some(-3))];
    for (n, (seq, chosen)) in places.into_iter().enumerate() {
        let write = put_at(&posts.record(n.to_string()), "{}", exact(seq, chosen));
        let outcomes = apply(&store, NOW, vec![write]).await;
        assert_eq!(outcomes, [outcome(seq, chosen.unwrap_or(seq))]);
    }
    assert_eq!(heads(&store, &posts).await, (111, 110));
    let grave = Write::Delete { path: posts.record("0"), placement: exact(120, Some(60)) };
    assert_eq!(apply(&store, NOW, vec![grave]).await, [outcome(120, 60)]);
    assert_eq!(heads(&store, &posts).await, (120, 110));
    for refused in [exact(120, None), exact(3, None), exact(130, Some(50)), exact(130, Some(131))] {
        let write = put_at(&posts.record("x"), "{}", refused);
        let answer = guarded(&store, NOW, Vec::new(), vec![write]).await;
        let unsupported = matches!(answer, Err(ApplyError::Store(StoreError::Unsupported(_))));
        assert!(unsupported, "{refused:?}: {answer:?}");
    }
    assert_eq!(heads(&store, &posts).await, (120, 110));
}

pub(super) async fn an_import_brings_tombstones_of_unknown_records(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let grave = |id: &str, seq, chosen: Option<i64>| Write::Delete {
        path: posts.record(id),
        placement: Placement::Exact { seq: Seq(seq), chosen: chosen.map(Timestamp) },
    };
    let writes = vec![grave("a", 100, None), grave("b", 110, Some(50))];
    assert_eq!(apply(&store, NOW, writes).await, [outcome(100, 100), outcome(110, 50)]);
    assert_eq!(heads(&store, &posts).await, (110, 100));
    let tombstone = get(&store, &posts.record("b")).await.expect("it was made");
    assert_eq!((tombstone.is_live(), tombstone.timestamp()), (false, Timestamp(50)));
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(1));
}
