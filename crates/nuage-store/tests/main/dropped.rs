//! What was dropped from a file is gone at once, and is removed behind, a slice at a time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuage_model::{
    Body, CollectionPath, GroupPath, Principal, Put, Query, Readers, RecordPath, Store, Write,
};
use nuage_store::Options;
use rusqlite::Connection;

/// Records of the collection that is dropped.
const RECORDS: i64 = 50_000;
/// How long the removal may take on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// Made by hand: what is counted of them does not matter once they are dropped.
const FILL: &str = "
    WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < ?1)
    INSERT INTO records (number, id, seq, timestamp, signature, entered, dead, permissions, body)
    SELECT number, 'many-' || n, 2000 + n, NULL, signature, 1, 0, '{}', '{}'
    FROM n, (SELECT number, signature FROM named_records WHERE bucket = 'b' AND collection = 'x')";
const LEFT: &str = "
    SELECT count(*) FROM records WHERE number IN (SELECT number FROM dropped)";
const ALL: &str = "
    SELECT (SELECT count(*) FROM dropped) + (SELECT count(*) FROM records WHERE id LIKE 'many-%')
        + (SELECT count(*) FROM directory_collections WHERE principal = 'bob')
        + (SELECT count(*) FROM directory_groups WHERE member = 'bob')";

fn count(path: &Path, sql: &str) -> i64 {
    Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

fn x() -> CollectionPath {
    CollectionPath::new("b", "x")
}

// Many records, of which one is bob's, and a group that bob is in.
async fn fill(path: &Path) {
    let store = crate::open(path).await;
    crate::found(&store, "b", &["x"]).await;
    crate::found(&store, "other", &["y"]).await;
    let mut first = crate::put(&x().record("first"));
    if let Write::Put(Put { readers, .. }) = &mut first {
        *readers = Readers::new(BTreeSet::from([Principal::from("bob")]));
    }
    let group = GroupPath { bucket: "b".into(), group: "g".into() };
    let groups = CollectionPath::groups("b".into());
    let members = vec![Principal::from("bob")];
    let mut listed = crate::put(&groups.record("g"));
    if let Write::Put(Put { body, .. }) = &mut listed {
        *body = Body::from(r#"{"members":["bob"]}"#.to_owned());
    }
    let writes = vec![first, listed, Write::SetMembers { group, members }];
    crate::apply(&store, writes).await;
    store.close().await;
    Connection::open(path).unwrap().execute(FILL, [RECORDS]).unwrap();
}

async fn ids(store: &Arc<dyn Store>) -> Vec<String> {
    let page = store.list(&Query::all(x(), 10)).await.unwrap();
    page.records.iter().map(|record| record.id.as_str().to_owned()).collect()
}

async fn expect_sound(store: &Arc<dyn Store>) {
    let findings = store.admin().check().await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
}

mod in_time {
    use super::*;

    #[tokio::test]
    async fn a_drop_keeps_nobody_waiting_for_all_that_it_removes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        fill(&path).await;
        let store = crate::open(&path).await;
        crate::apply(&store, vec![Write::DropCollection { collection: x() }]).await;
        let other = CollectionPath::new("other", "y").record("r");
        crate::apply(&store, vec![crate::put(&other)]).await;
        let left = count(&path, LEFT);
        assert!(left >= RECORDS / 2, "only {left} are left: a write waited for the others");
        store.close().await;
    }
}

#[tokio::test]
async fn nothing_of_what_was_dropped_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fill(&path).await;
    let store = crate::open(&path).await;
    crate::apply(&store, vec![Write::DropCollection { collection: x() }]).await;
    assert_eq!(ids(&store).await, [""; 0]);

    crate::apply(&store, vec![crate::put(&x().record("new"))]).await;
    let begun = Instant::now();
    while count(&path, ALL) > 1 {
        assert!(begun.elapsed() < PATIENCE, "it is not removed");
        assert_eq!(ids(&store).await, ["new"]);
        expect_sound(&store).await;
    }
    assert_eq!(ids(&store).await, ["new"]);
    expect_sound(&store).await;
    store.close().await;
}

#[tokio::test]
async fn the_removal_goes_on_where_it_ended() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fill(&path).await;
    let store = crate::open(&path).await;
    crate::apply(&store, vec![Write::DropBucket { bucket: "b".into() }]).await;
    assert_eq!(store.groups_of(&[Principal::from("bob")], 100).await.unwrap(), []);
    crate::apply(&store, vec![Write::Erase { path: RecordPath::bucket("b".into()) }]).await;
    store.close().await;

    let mut left = vec![count(&path, LEFT)];
    let begun = Instant::now();
    while left.last() != Some(&0) {
        assert!(begun.elapsed() < PATIENCE, "it does not go on");
        let store = nuage_store::look(&path, Options::default()).await.unwrap();
        expect_sound(&store).await;
        store.close().await;
        let store = crate::open(&path).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        store.close().await;
        left.push(count(&path, LEFT));
    }
    assert!(left.len() > 2 && left.is_sorted_by(|one, next| one >= next), "{left:?}");
    let store = crate::open(&path).await;
    while count(&path, ALL) > 0 {
        assert!(begun.elapsed() < PATIENCE, "it is not removed");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    expect_sound(&store).await;
    store.close().await;
}
