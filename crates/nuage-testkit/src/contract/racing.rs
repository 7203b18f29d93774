//! Many at once, some of whom go away.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_model::{ApplyError, Batch, Bodies, Guard, Query, Store, StoreError, Timestamp, Write};

use super::build::{NOW, apply, founded, get, guarded, head, put};

const TASKS: usize = 16;
const ROUNDS: usize = 12;

pub(super) async fn concurrent_writes_get_positions_of_their_own(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (store, posts) = (store.clone(), posts.clone());
        tasks.push(tokio::spawn(async move {
            let mut given = Vec::new();
            for round in 0..ROUNDS {
                let path = posts.record(format!("{task}-{round}"));
                given.push(apply(&store, NOW, vec![put(&path, "{}")]).await[0].seq);
            }
            assert!(given.is_sorted_by(|a, b| a < b), "{given:?}");
            given
        }));
    }
    let mut all = BTreeSet::new();
    for task in tasks {
        all.extend(task.await.expect("the task ends"));
    }
    assert_eq!(all.len(), TASKS * ROUNDS, "no position is given twice");
    let head = head(&store, &posts).await.expect("it was written to");
    assert_eq!((Some(&head.seq), head.live), (all.last(), (TASKS * ROUNDS) as u64));
}

pub(super) async fn of_two_that_read_the_same_one_is_turned_down(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let path = posts.record("counter");
    apply(&store, NOW, vec![put(&path, "0")]).await;
    let mut tasks = Vec::new();
    for _ in 0..TASKS {
        let (store, path) = (store.clone(), path.clone());
        tasks.push(tokio::spawn(async move {
            let mut done = 0;
            while done < ROUNDS {
                let record = get(&store, &path).await.expect("it is there");
                let next = record.body().parse::<usize>().expect("a number") + 1;
                let guards = vec![Guard::new(path.clone(), Some(&record))];
                let writes = vec![put(&path, &next.to_string())];
                match guarded(&store, NOW, guards, writes).await {
                    Ok(_) => done += 1,
                    Err(ApplyError::Conflict) => {
                        let now = get(&store, &path).await.expect("it is there");
                        assert!(now.seq > record.seq, "a conflict can be seen");
                    }
                    Err(ApplyError::Store(error)) => panic!("{error}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.expect("the task ends");
    }
    let record = get(&store, &path).await.expect("it is there");
    assert_eq!(record.body(), (TASKS * ROUNDS).to_string(), "no update is lost");
    // What a counter keeps is no body.
    apply(&store, NOW, vec![put(&path, "{}")]).await;
}

pub(super) async fn what_is_acknowledged_is_seen(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let mut tasks = Vec::new();
    for task in 0..TASKS {
        let (store, posts) = (store.clone(), posts.clone());
        tasks.push(tokio::spawn(async move {
            let path = posts.record(task.to_string());
            for _ in 0..ROUNDS {
                let seq = apply(&store, NOW, vec![put(&path, "{}")]).await[0].seq;
                let head = head(&store, &posts).await.expect("it was written to");
                assert!(head.seq >= seq, "the head is {} after {seq}", head.seq);
                let record = get(&store, &path).await.expect("it was written");
                assert_eq!(record.seq, seq);
                let page = store.list(&Query::all(posts.clone(), 100)).await.expect("it lists");
                let newest = page.records[0].seq;
                assert_eq!(page.head.map(|head| head.seq), Some(newest), "one snapshot");
                assert!(newest >= seq);
            }
        }));
    }
    for task in tasks {
        task.await.expect("the task ends");
    }
}

pub(super) async fn dropped_requests_do_no_harm(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    for n in 0..50 {
        let writes = vec![put(&posts.record(n.to_string()), "{}")];
        let batch = Batch::new(Timestamp(NOW), writes);
        let (store, query) = (store.clone(), Query::all(posts.clone(), 5_000));
        let task = tokio::spawn(async move {
            let _ = store.apply(batch).await;
            let _ = store.list(&query).await;
        });
        tokio::task::yield_now().await;
        task.abort();
        // It may still be handing in its batch.
        let _ = task.await;
    }
    let last = apply(&store, NOW, vec![put(&posts.record("last"), "{}")]).await;
    assert_eq!(head(&store, &posts).await.map(|head| head.seq), Some(last[0].seq));
}

pub(super) async fn after_closing_everything_says_so(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    store.close().await;
    store.close().await;
    let paths = [posts.record("a")];
    assert!(matches!(store.get(&paths, Bodies::All).await, Err(StoreError::Closed)));
    assert!(matches!(store.head(&posts).await, Err(StoreError::Closed)));
    let query = Query::all(posts.clone(), 1);
    assert!(matches!(store.list(&query).await, Err(StoreError::Closed)));
    assert!(matches!(store.count(&query).await, Err(StoreError::Closed)));
    assert!(matches!(store.admin().ping().await, Err(StoreError::Closed)));
    assert!(matches!(store.admin().check().await, Err(StoreError::Closed)));
    let touch = vec![Write::Touch { collection: posts }];
    let refused = guarded(&store, NOW, Vec::new(), touch).await;
    assert!(matches!(refused, Err(ApplyError::Store(StoreError::Closed))), "{refused:?}");
}
