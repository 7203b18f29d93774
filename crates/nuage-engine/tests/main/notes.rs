//! What all processes on a store share: secrets, and who does a chore.

use std::sync::Arc;

use nuage_model::{Store, Timestamp};

const NOW: i64 = 1_700_000_000_000;

async fn store() -> (tempfile::TempDir, Arc<dyn Store>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nuage.db");
    let store = nuage_store::open(&file, nuage_store::Options::default()).await.unwrap();
    (folder, store)
}

#[tokio::test]
async fn of_texts_kept_under_a_name_the_first_stays() {
    let (_folder, store) = store().await;
    let keep = async |text: &str| nuage_engine::keep(&*store, "token", text).await.unwrap();
    let (one, other) = tokio::join!(keep("one"), keep("other"));
    assert_eq!(one, other);
    assert!(one == "one" || one == "other");
    assert_eq!(keep("third").await, one);
    let another = nuage_engine::keep(&*store, "another", "'\u{1f600}'").await.unwrap();
    assert_eq!(another, "'\u{1f600}'");
}

#[tokio::test]
async fn a_chore_is_done_by_one_at_a_time() {
    let (_folder, store) = store().await;
    let lease = async |chore: &str, holder: &str, now: i64, until: i64| {
        let (now, until) = (Timestamp(NOW + now), Timestamp(NOW + until));
        nuage_engine::lease(&*store, chore, holder, now, until)
            .await
            .expect("leases can be asked for")
    };
    assert!(lease("sweep", "one of them", 0, 100).await);
    assert!(!lease("sweep", "another", 0, 200).await);
    assert!(!lease("sweep", "them", 99, 200).await);
    assert!(lease("cook", "another", 0, 100).await, "another chore");
    assert!(lease("sweep", "one of them", 50, 150).await, "prolonged");
    assert!(!lease("sweep", "another", 149, 300).await);
    assert!(lease("sweep", "another", 150, 300).await, "it was over");
    assert!(!lease("sweep", "one of them", 299, 400).await);
    assert!(lease("sweep", "another", 200, 200).await, "given back");
    assert!(lease("sweep", "one of them", 200, 400).await);
    assert!(!lease("cook", "one of them", 99, 400).await);
    // For as long as can be said.
    let for_ever = i64::MAX - NOW;
    assert!(lease("guard", "one of them", 0, for_ever).await);
    assert!(lease("guard", "one of them", 1, for_ever).await);
    assert!(!lease("guard", "another", 1, for_ever).await);
    // By a clock that was a day ahead.
    const DAY: i64 = 86_400_000;
    assert!(lease("wash", "one of them", DAY, DAY + 100).await);
    assert!(!lease("wash", "another", DAY + 50, DAY + 150).await);
    assert!(!lease("wash", "another", 300, 300).await, "nothing is asked for");
    assert!(lease("wash", "another", 300, 400).await);
    assert!(!lease("wash", "one of them", 350, 450).await);
}
