#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use nuage_engine::readers;
use nuage_model::{
    Batch, CollectionPath, GroupPath, Permissions, Placement, Principal, Put, ReaderFilter,
    Readers, RecordPath, Store, Timestamp, Write,
};

use crate::transfer::export::export;
use crate::transfer::import::{Choice, import};

async fn open(folder: &Path, name: &str) -> Arc<dyn Store> {
    nuage_store::open(&folder.join(name), nuage_store::Options::default()).await.unwrap()
}

fn put(path: RecordPath, body: &str, permissions: &str, placement: Placement) -> Write {
    let set = Permissions::from_text(permissions).unwrap();
    Write::Put(Put {
        readers: Readers::new(readers(path.kind(), &set)),
        path,
        body: body.to_owned().into(),
        permissions: set.to_text(),
        placement,
    })
}

async fn apply(store: &dyn Store, writes: Vec<Write>) {
    let batch = Batch::new(Timestamp(1_000_000), writes);
    store.apply(batch).await.unwrap();
}

/// A bucket with a group, records with times of their own, and tombstones side by side.
async fn fill(store: &dyn Store) {
    let next = Placement::Next;
    let posts = CollectionPath::new("blog", "posts");
    let group = RecordPath { collection: CollectionPath::groups("blog".into()), id: "us".into() };
    let own = r#"{"write":["account:alice"]}"#;
    let mut writes = vec![
        put(RecordPath::bucket("blog".into()), "{}", own, next),
        put(posts.owner().unwrap(), "{}", "{}", next),
        put(group, r#"{"members":["account:bob"]}"#, "{}", next),
        Write::SetMembers {
            group: GroupPath { bucket: "blog".into(), group: "us".into() },
            members: vec![Principal::from("account:bob")],
        },
        put(RecordPath::account("alice"), r#"{"password":"x"}"#, own, next),
    ];
    for n in 0..300 {
        let body = format!("{{\"n\":{n},\n \"text\":\"a\\nb\"}}");
        writes.push(put(posts.record(format!("r{n}")), &body, own, next));
    }
    for n in (0..300).step_by(7) {
        let chosen = Placement::At(Timestamp(500 + n));
        writes.push(put(posts.record(format!("r{n}")), "{\"old\":true}", "{}", chosen));
    }
    for n in (0..300).step_by(5) {
        writes.push(Write::Delete { path: posts.record(format!("r{n}")), placement: next });
    }
    apply(store, writes).await;
}

async fn text_of(store: &dyn Store) -> String {
    let mut lines = Vec::new();
    export(store, &mut lines, false).await.unwrap();
    let text = String::from_utf8(lines).unwrap();
    // The first line tells when it was written.
    text.split_once('\n').unwrap().1.to_owned()
}

fn file(folder: &Path, text: &str) -> File {
    let path = folder.join("lines");
    let mut file = File::create(&path).unwrap();
    file.write_all(b"{\"nuage\":\"export\",\"format\":1,\"created\":1}\n").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    File::open(path).unwrap()
}

#[tokio::test]
async fn what_is_exported_and_imported_is_exported_again_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let original = open(folder.path(), "a.db").await;
    fill(original.as_ref()).await;
    let text = text_of(original.as_ref()).await;
    assert!(text.contains("\"deleted\":true") && text.contains("\"timestamp\":514"));

    let copy = open(folder.path(), "b.db").await;
    let records =
        import(copy.as_ref(), file(folder.path(), &text), "lines", Choice::Same).await.unwrap();
    assert_eq!(records as usize, text.lines().count() - 1);
    assert_eq!(text_of(copy.as_ref()).await, text);
    assert_eq!(copy.admin().check().await.unwrap(), Vec::new());
    let groups = copy.groups_of(&[Principal::from("account:bob")], 100).await.unwrap();
    assert_eq!(groups.len(), 1);
    for path in copy.collections(ReaderFilter::All, None, 100).await.unwrap() {
        let heads = (original.head(&path).await.unwrap(), copy.head(&path).await.unwrap());
        assert_eq!(heads.0, heads.1, "{path}");
    }
}

#[tokio::test]
async fn a_wrong_line_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let original = open(folder.path(), "a.db").await;
    fill(original.as_ref()).await;
    let text = text_of(original.as_ref()).await;
    let mut wrong: Vec<String> = text.lines().map(str::to_owned).collect();
    wrong[10] = wrong[10].replace("\"seq\":", "\"position\":");
    let cases = [
        (wrong.join("\n"), "lines line 12 is not a line of an export"),
        (text.replace("{\"nuage\":\"end\"", "{\"nuage\":\"und\""), "out of place"),
        (text[..text.len() / 2].to_owned(), "is cut off"),
        (text.lines().take(20).collect::<Vec<_>>().join("\n"), "has no end"),
        (text.replacen("\"id\":\"r3\"", "\"id\":\"\"", 1), "needs a collection, an id"),
    ];
    for (text, expected) in cases {
        let copy = open(folder.path(), "b.db").await;
        let error = import(copy.as_ref(), file(folder.path(), &text), "lines", Choice::Same)
            .await
            .unwrap_err();
        let sentence = format!("{error:#}");
        assert!(sentence.contains(expected), "{sentence:?} does not say {expected:?}");
        assert_eq!(copy.collections(ReaderFilter::All, None, 10).await.unwrap(), Vec::new());
    }
}

#[tokio::test]
async fn collections_that_were_looked_at_are_not_imported_into() {
    let folder = tempfile::tempdir().unwrap();
    let original = open(folder.path(), "a.db").await;
    fill(original.as_ref()).await;
    let text = text_of(original.as_ref()).await;
    let last = original.collections(ReaderFilter::All, None, 100).await.unwrap().pop().unwrap();
    let copy = open(folder.path(), "b.db").await;
    let touch = |now| Batch::new(Timestamp(now), vec![Write::Touch { collection: last.clone() }]);
    copy.apply(touch(i64::from(u32::MAX) << 10)).await.unwrap();
    let error =
        import(copy.as_ref(), file(folder.path(), &text), "lines", Choice::Same).await.unwrap_err();
    let sentence = format!("{error:#}");
    for words in [&*last.to_string(), "somebody looked at it", "Nothing was imported", "--data"] {
        assert!(sentence.contains(words), "{sentence:?} does not say {words:?}");
    }
    // An earlier look is in nobody's way.
    let copy = open(folder.path(), "c.db").await;
    copy.apply(touch(1)).await.unwrap();
    import(copy.as_ref(), file(folder.path(), &text), "lines", Choice::Same).await.unwrap();
    assert_eq!(text_of(copy.as_ref()).await, text);
}

#[tokio::test]
async fn collections_that_hold_something_are_not_imported_into() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), "a.db").await;
    fill(store.as_ref()).await;
    let text = text_of(store.as_ref()).await;
    let error = import(store.as_ref(), file(folder.path(), &text), "lines", Choice::Same)
        .await
        .unwrap_err();
    assert!(format!("{error:#}").contains("is not empty here"), "{error:#}");
    assert_eq!(text_of(store.as_ref()).await, text);
}
