//! A file that is of a newer version, of another program, or does not stay alone.

use std::path::Path;

use nuage_model::{Bodies, CollectionPath, RecordPath, StoreError};
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
async fn closing_leaves_one_file_and_its_mark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    for count in 1..4 {
        let store = nuage_store::open(&path, Options::default()).await.unwrap();
        let record = RecordPath::account(count.to_string());
        let outcomes = crate::apply(&store, vec![crate::put(&record)]).await;
        let head = store.head(&CollectionPath::accounts()).await.unwrap().unwrap();
        assert_eq!((head.live, head.seq), (count, outcomes[0].seq));
        assert_eq!(store.admin().check().await.unwrap(), []);
        store.close().await;
    }
    let mut names: Vec<_> =
        std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert_eq!(names, [path, folder.path().join("data.mark")]);
}

#[tokio::test]
async fn a_newer_file_is_refused_untouched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    crate::open(&path).await.close().await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
    let before = std::fs::read(&path).unwrap();
    let why = refusal(&path).await;
    assert!(why.contains("format 7") && why.contains("up to 6"), "{why}");
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

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    let store = crate::open(&folder.path().join("data")).await;
    crate::apply(&store, vec![crate::put(&RecordPath::account("a"))]).await;
    store.admin().backup(&folder.path().join("copy")).await.unwrap();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", entry.path());
    }
}

#[tokio::test]
async fn what_is_saved_has_the_names_that_it_had() {
    let folder = tempfile::tempdir().unwrap();
    let (path, saved) = (folder.path().join("data"), folder.path().join("saved"));
    let store = crate::open(&path).await;
    let collections = ["c", "_groups", "__c"].map(|name| CollectionPath::new("b", name));
    crate::found(&store, "b", &["c", "_groups", "__c"]).await;
    for collection in &collections {
        crate::apply(&store, vec![crate::put(&collection.record("r"))]).await;
    }
    store.close().await;
    assert_eq!(nuage_store::salvage(&path, &saved).await.unwrap(), []);
    let store = crate::open(&saved).await;
    for collection in &collections {
        let found = store.get(&[collection.record("r")], Bodies::All).await.unwrap();
        assert!(found[0].is_some(), "{collection}");
    }
    store.close().await;
}
