//! Erasing, dropping, flushing.

use std::sync::Arc;
use std::time::Duration;

use crate::random::new_epoch;
use nuage_model::{
    ApplyError, CollectionPath, GroupPath, Query, ReaderFilter, RecordPath, Scope, Store,
    StoreError, Write,
};

use super::build::{
    NOW, apply, count, delete, founded, get, group_path, guarded, head, outcome, principals, put,
    put_for,
};

pub(super) async fn an_erased_record_leaves_no_trace(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let (a, b) = (posts.record("a"), posts.record("b"));
    let writes = vec![put(&a, "{}"), put_for(&b, "read", &["alice"]), delete(&b)];
    apply(&store, NOW, writes).await;
    for path in [&a, &b, &b] {
        let outcomes = apply(&store, NOW + 9, vec![Write::Erase { path: path.clone() }]).await;
        assert_eq!(outcomes, [outcome(NOW + 2, NOW + 2)], "the head stays");
        assert_eq!(get(&store, path).await, None);
    }
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(0));
    let unknown = CollectionPath::new("blog", "unknown").record("a");
    assert_eq!(apply(&store, NOW, vec![Write::Erase { path: unknown }]).await, [outcome(0, 0)]);
    apply(&store, NOW + 20, vec![put(&b, "{}")]).await;
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(1));
}

pub(super) async fn a_dropped_collection_goes_on_at_greater_positions(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let others = founded(&store, "blog", "others").await;
    let future = super::build::at(NOW + 1_000);
    let writes = vec![
        put_for(&posts.record("a"), "read", &["alice"]),
        super::build::put_at(&posts.record("b"), "{}", future),
        delete(&posts.record("a")),
        put(&others.record("a"), "{}"),
    ];
    apply(&store, NOW, writes).await;
    let dropping = vec![Write::DropCollection { collection: posts.clone() }];
    assert_eq!(apply(&store, NOW + 1, dropping.clone()).await, [outcome(0, 0)]);
    assert_eq!(head(&store, &posts).await, None);
    assert_eq!(get(&store, &posts.record("a")).await, None);
    assert_eq!(get(&store, &posts.record("b")).await, None);
    assert_eq!(count(&store, &Query::all(posts.clone(), 9)).await, 0);
    assert_eq!(store.list(&Query::all(posts.clone(), 9)).await.expect("it reads").head, None);
    assert_eq!(head(&store, &others).await.map(|head| head.live), Some(1));
    expect_unlisted(&store, "alice").await;

    // Dropped twice, deleted from, read: it stays away until it is written to.
    apply(&store, NOW + 1, dropping.clone()).await;
    assert_eq!(apply(&store, NOW, vec![delete(&posts.record("a"))]).await, [outcome(0, 0)]);
    assert_eq!(head(&store, &posts).await, None);
    let outcomes = apply(&store, NOW + 2, vec![put(&posts.record("a"), "{}")]).await;
    assert_eq!(outcomes, [outcome(NOW + 1_002, NOW + 1_002)]);
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(1));

    // All in one batch.
    let mut writes = dropping;
    writes.push(Write::Touch { collection: posts.clone() });
    writes.push(put_for(&posts.record("c"), "read", &["bob"]));
    let outcomes = apply(&store, NOW + 3, writes).await;
    assert_eq!(
        outcomes[1..],
        [outcome(NOW + 1_003, NOW + 1_003), outcome(NOW + 1_004, NOW + 1_004)]
    );
    assert_eq!(get(&store, &posts.record("a")).await, None);
}

pub(super) async fn a_dropped_bucket_takes_everything_along(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let kept = founded(&store, "kept", "posts").await;
    let group = GroupPath { bucket: "blog".into(), group: "friends".into() };
    let writes = vec![
        put_for(&posts.record("a"), "read", &["alice"]),
        put(&kept.record("a"), "{}"),
        put(&group_path("blog", "friends"), r#"{"members":["alice"]}"#),
        Write::SetMembers { group, members: principals(&["alice"]) },
    ];
    apply(&store, NOW, writes).await;
    let writes = vec![
        put(&posts.record("b"), "{}"),
        Write::DropBucket { bucket: "blog".into() },
        delete(&RecordPath::bucket("blog".into())),
    ];
    assert_eq!(apply(&store, NOW + 9, writes).await[1], outcome(0, 0));
    for collection in [
        posts.clone(),
        CollectionPath::collections("blog".into()),
        CollectionPath::groups("blog".into()),
    ] {
        assert_eq!(head(&store, &collection).await, None, "{collection}");
    }
    assert_eq!(get(&store, &posts.record("a")).await, None);
    assert!(store.groups_of(&principals(&["alice"]), 100).await.expect("it reads").is_empty());
    expect_unlisted(&store, "alice").await;
    assert_eq!(head(&store, &kept).await.map(|head| head.live), Some(1));

    founded(&store, "blog", "posts").await;
    let outcomes = apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    assert_eq!(outcomes, [outcome(NOW + 10, NOW + 10)], "positions are never given twice");
}

pub(super) async fn the_root_is_not_dropped(store: Arc<dyn Store>) {
    founded(&store, "blog", "posts").await;
    let writes = vec![Write::DropBucket { bucket: "".into() }];
    let refused = guarded(&store, NOW, Vec::new(), writes).await;
    assert!(matches!(refused, Err(ApplyError::Store(StoreError::Unsupported(_)))), "{refused:?}");
    assert!(get(&store, &RecordPath::bucket("blog".into())).await.is_some());
}

pub(super) async fn flush_removes_everything(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let group = GroupPath { bucket: "blog".into(), group: "friends".into() };
    let writes = vec![
        put_for(&posts.record("a"), "read", &["alice"]),
        put(&RecordPath::account("alice"), "{}"),
        put(&group_path("blog", "friends"), r#"{"members":["alice"]}"#),
        Write::SetMembers { group, members: principals(&["alice"]) },
    ];
    apply(&store, NOW + 1_000, writes).await;
    let writes = vec![Write::Flush { epoch: new_epoch() }, put(&RecordPath::account("bob"), "{}")];
    let outcomes = apply(&store, NOW, writes).await;
    assert_eq!(outcomes, [outcome(0, 0), outcome(NOW, NOW)]);
    assert_eq!(head(&store, &posts).await, None);
    assert_eq!(head(&store, &CollectionPath::buckets()).await, None);
    assert_eq!(get(&store, &RecordPath::account("alice")).await, None);
    assert!(get(&store, &RecordPath::account("bob")).await.is_some());
    assert!(store.groups_of(&principals(&["alice"]), 100).await.expect("it reads").is_empty());
    let collections = store.collections(ReaderFilter::All, None, 10).await.expect("it reads");
    assert_eq!(collections, [CollectionPath::accounts()]);
}

/// The same positions come again, with other content: nothing remembered of before may count.
pub(super) async fn what_comes_after_a_flush_is_all_new(store: Arc<dyn Store>) {
    for reader in ["alice", "bob", "alice"] {
        apply(&store, NOW, vec![Write::Flush { epoch: new_epoch() }]).await;
        let posts = founded(&store, "blog", "posts").await;
        apply(&store, NOW, vec![put_for(&posts.record("a"), "read", &[reader])]).await;
        apply(&store, NOW, vec![put_for(&posts.record("b"), "read", &["alice"])]).await;
        let mine = Query { scope: Scope::Readers(principals(&[reader])), ..Query::all(posts, 10) };
        let page = store.list(&mine).await.expect("it reads");
        assert!(page.records.iter().any(|record| record.id.as_str() == "a"), "{reader}");
        assert_eq!(store.admin().check().await.expect("it reads"), []);
    }
}

// What the directory says may outlive its reason for a while.
async fn expect_unlisted(store: &Arc<dyn Store>, principal: &str) {
    let whom = principals(&[principal]);
    let gone = async {
        while !store
            .collections(ReaderFilter::Of(&whom), None, usize::MAX)
            .await
            .expect("it reads")
            .is_empty()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), gone).await.expect("it is removed behind");
}
