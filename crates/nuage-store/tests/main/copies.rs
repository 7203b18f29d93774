//! A copy that is torn, or that stops those who write.

use nuage_model::{CollectionPath, Query, RecordPath, StoreError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_is_one_moment_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = crate::open(&folder.path().join("data")).await;
    for n in 0..300 {
        crate::apply(&store, vec![crate::put(&RecordPath::account(n.to_string()))]).await;
    }
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 300..900 {
                // Two at a time: a torn copy would have one of them.
                let pair = [format!("{n}"), format!("{n}b")];
                let writes = pair.iter().map(|id| crate::put(&RecordPath::account(id.as_str())));
                crate::apply(&store, writes.collect()).await;
            }
        })
    };
    let mut copies = Vec::new();
    for n in 0..4 {
        let copy = folder.path().join(format!("copy{n}"));
        let head = store.head(&CollectionPath::accounts()).await.unwrap().unwrap();
        store.admin().backup(&copy).await.unwrap();
        copies.push((copy, head));
    }
    writer.await.unwrap();
    for (path, before) in copies {
        let copy = crate::open(&path).await;
        assert_eq!(copy.admin().check().await.unwrap(), []);
        let page = copy.list(&Query::all(CollectionPath::accounts(), 10_000)).await.unwrap();
        let head = page.head.unwrap();
        assert_eq!(page.records.len() as u64, head.live);
        assert!(head.live >= before.live && head.live.is_multiple_of(2), "{}", head.live);
        crate::apply(&copy, vec![crate::put(&RecordPath::account("new"))]).await;
        copy.close().await;
    }
    store.close().await;
}

#[tokio::test]
async fn a_file_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let store = crate::open(&path).await;
    let taken = folder.path().join("taken");
    std::fs::write(&taken, "precious").unwrap();
    for to in [&taken, &path] {
        let answer = store.admin().backup(to).await;
        assert!(matches!(answer, Err(StoreError::Unsupported(_))), "{answer:?}");
    }
    assert_eq!(std::fs::read(&taken).unwrap(), b"precious");
    let missing = folder.path().join("missing").join("copy");
    assert!(matches!(store.admin().backup(&missing).await, Err(StoreError::Unavailable(_))));
    store.close().await;
    let answer = store.admin().backup(&folder.path().join("late")).await;
    assert!(matches!(answer, Err(StoreError::Closed)));
}
