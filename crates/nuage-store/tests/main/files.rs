//! A file that is of a newer version, of another program, or opened by several at once.

use std::path::Path;

use nuage_model::{CollectionPath, RecordPath, StoreError};
use nuage_store::Options;
use rusqlite::Connection;

async fn refusal(path: &Path) -> String {
    match nuage_store::open(path, Options::default()).await {
        Err(StoreError::Unsupported(why)) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn what_was_written_is_there_when_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    for count in 1..4 {
        let store = nuage_store::open(&path, Options::default()).await.unwrap();
        let record = RecordPath::account(count.to_string());
        let outcomes = crate::apply(&store, vec![crate::put(&record)]).await;
        let head = store.head(&CollectionPath::accounts()).await.unwrap().unwrap();
        assert_eq!((head.live, head.seq), (count, outcomes[0].seq));
        assert_eq!(store.check().await.unwrap(), []);
        store.close().await;
    }
    let names: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    assert_eq!(names, [path], "closing leaves one file");
}

#[tokio::test]
async fn a_store_that_was_not_closed_has_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let store = crate::open(&path).await;
    crate::apply(&store, vec![crate::put(&RecordPath::account("a"))]).await;
    let again = crate::open(&path).await;
    assert!(again.get(&[RecordPath::account("a")]).await.unwrap()[0].is_some());
    drop(store);
    crate::apply(&again, vec![crate::put(&RecordPath::account("b"))]).await;
    assert_eq!(again.check().await.unwrap(), []);
    again.close().await;
}

#[tokio::test]
async fn a_newer_file_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    crate::open(&path).await.close().await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = std::fs::read(&path).unwrap();
    let why = refusal(&path).await;
    assert!(why.contains("format 7") && why.contains("up to 1"), "{why}");
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn files_of_others_are_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let (text, tables, marked) =
        (folder.path().join("text"), folder.path().join("tables"), folder.path().join("marked"));
    std::fs::write(&text, "This is a shopping list, and a long one.\n".repeat(200)).unwrap();
    let other = Connection::open(&tables).unwrap();
    other.execute_batch("CREATE TABLE shopping (item TEXT)").unwrap();
    let other = Connection::open(&marked).unwrap();
    other.pragma_update(None, "application_id", 1).unwrap();
    for path in [text, tables, marked] {
        let before = std::fs::read(&path).unwrap();
        let why = refusal(&path).await;
        assert!(why.contains("not a Nuage database"), "{why}");
        assert!(why.contains(path.to_str().unwrap()), "{why}");
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("data");
    let opened = nuage_store::open(&path, Options::default()).await;
    assert!(matches!(opened.err(), Some(StoreError::Unavailable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_may_open_a_new_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = folder.path().join(round.to_string());
        let mut tasks = Vec::new();
        for n in 0..6 {
            let path = path.clone();
            tasks.push(tokio::spawn(async move {
                let store = crate::open(&path).await;
                let record = RecordPath::account(n.to_string());
                crate::apply(&store, vec![crate::put(&record)]).await;
                store
            }));
        }
        let mut stores = Vec::new();
        for task in tasks {
            stores.push(task.await.unwrap());
        }
        let accounts: Vec<_> = (0..6).map(|n| RecordPath::account(n.to_string())).collect();
        for store in stores {
            assert!(store.get(&accounts).await.unwrap().iter().all(Option::is_some));
            assert_eq!(store.check().await.unwrap(), []);
            store.close().await;
        }
    }
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let store = crate::open(&folder.path().join("data")).await;
    crate::apply(&store, vec![crate::put(&RecordPath::account("a"))]).await;
    store.backup(&folder.path().join("copy")).await.unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
    }
}
