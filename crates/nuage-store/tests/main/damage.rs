//! Damage that nobody notices: each law is broken by hand, and must be told in a sentence.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_model::{
    Body, BucketId, CollectionPath, GroupPath, Placement, Principal, Put, Readers, Store,
    Timestamp, Write,
};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::place::Place;

both_databases!(async every_broken_law_is_told);

/// What is done to the tables, and what must be said of it.
const DAMAGES: &[(&str, &str)] = &[
    ("UPDATE collections SET live = live + 1 WHERE collection = 'x'", "live records and"),
    ("UPDATE collections SET tombstones = 9 WHERE collection = 'x'", "9 tombstones"),
    ("UPDATE collections SET gone = 0 WHERE collection = 'x'", "0 ended residencies, but has 1"),
    ("UPDATE named_signatures SET digest = digest + 1 WHERE live > 0", "keeps the sum of digests"),
    ("UPDATE views SET groups = '{}'", "a view of alice in b has groups that cannot be read"),
    ("UPDATE views SET groups = '[1]'", "a view of alice in b has groups that cannot be read"),
    (
        "UPDATE views SET name = substr(name, 1, 3)",
        "a view of alice in b has a name that is not of sixteen",
    ),
    ("UPDATE collections SET chosen = 0 WHERE collection = 'x'", "a time of their own"),
    (
        "UPDATE collections SET seq = 1001, timestamp = NULL WHERE collection = 'x'",
        "beyond the head",
    ),
    ("UPDATE collections SET timestamp = 1000 WHERE collection = 'x'", "beyond the time of"),
    ("UPDATE collections SET timestamp = seq WHERE collection = 'x'", "not before its position"),
    ("UPDATE collections SET gc_seq = seq + 1 WHERE collection = 'x'", "beyond its head"),
    ("UPDATE named_records SET timestamp = 1001 WHERE id = 'chosen'", "share the time 1001"),
    ("UPDATE named_records SET timestamp = seq WHERE id = 'chosen'", "not before its position"),
    ("DELETE FROM collections WHERE collection = 'x'", "in a collection that does not exist"),
    (
        "UPDATE collections SET dropped = true WHERE collection = 'x'",
        "a collection that does not exist",
    ),
    (
        "UPDATE named_records SET id = 'z' WHERE collection = '_collections' AND id = 'x'",
        "the bucket has no such collection",
    ),
    ("UPDATE named_records SET id = 'z' WHERE collection = '_buckets'", "bucket b does not exist"),
    ("UPDATE named_signatures SET live = live + 1 WHERE collection = 'x'", "live records, but"),
    ("DELETE FROM named_signatures WHERE collection = 'x'", "has the unknown signature"),
    ("DELETE FROM named_signatures WHERE collection = 'x'", "had the unknown signature"),
    (
        "DELETE FROM named_signatures WHERE collection = 'x'",
        "is listed under the unknown signature",
    ),
    (
        "DELETE FROM named_signature_principals WHERE principal = 'alice'",
        "does not name the principals",
    ),
    ("DELETE FROM directory_collections", "but the directory does not say so"),
    (
        "UPDATE named_records SET entered = seq + 1 WHERE id = 'plain'",
        "but entered its signature later",
    ),
    ("UPDATE named_records SET entered = seq WHERE id = 'dead'", "but entered its signature later"),
    ("UPDATE named_gone SET entered = seq", "that it entered no earlier"),
    ("UPDATE named_gone SET seq = seq + 1 WHERE id = 'moved'", "after it had entered the next"),
    (
        "INSERT INTO named_gone (bucket, collection, seq, id, signature, entered)
        SELECT bucket, collection, seq - 1, id, signature, entered - 3 FROM named_gone;
        UPDATE named_gone SET entered = entered - 1 WHERE seq = (SELECT max(seq) FROM named_gone)",
        "had one signature twice",
    ),
    ("UPDATE collections SET gc_seq = seq WHERE collection = 'x'", "not within the horizon"),
    ("DELETE FROM directory_groups", "has the member alice, but the directory"),
    ("DELETE FROM named_records WHERE collection = '_groups'", "group b/g does not exist"),
    ("DELETE FROM named_members", "lists other members"),
    (
        "UPDATE named_records SET body = '[1]' WHERE id = 'plain'",
        "a body that is not a JSON object",
    ),
    ("UPDATE named_records SET body = '{' WHERE id = 'plain'", "a body that is not a JSON object"),
    (
        "UPDATE named_records SET permissions = '{\"read\":1}' WHERE id = 'plain'",
        "permissions that cannot be read",
    ),
    (
        "DROP INDEX records_seq; UPDATE named_records SET seq = 1001 WHERE id = 'plain';
        CREATE INDEX records_seq ON records (PLACE, seq)",
        "share the position 1001",
    ),
];

async fn every_broken_law_is_told(backend: Backend) {
    let first = Place::new(backend);
    for (sql, sentence) in DAMAGES {
        let place = first.another();
        fill(&place.open().await).await;
        place.execute(sql);
        let store = place.open().await;
        let findings = store.admin().check().await.unwrap();
        let told = findings.iter().any(|finding| finding.0.contains(sentence));
        assert!(told, "after {sql}\nnobody says {sentence:?}:\n{findings:#?}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_damaged_page_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    fill(&crate::open(&path).await).await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2 / 4_096 * 4_096;
    bytes[middle..middle + 512].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let store = crate::open(&path).await;
    match store.admin().check().await {
        Ok(findings) => assert!(findings[0].0.contains("damaged"), "{findings:?}"),
        Err(error) => assert!(error.to_string().contains("damaged"), "{error}"),
    }
    store.close().await;
}

async fn fill(store: &Arc<dyn Store>) {
    crate::found(store, "b", &["x"]).await;
    let x = CollectionPath::new("b", "x");
    let put = |id: &str, who: &[&str], placement| {
        Write::Put(Put {
            path: x.record(id),
            body: Body::from("{}".to_owned()),
            permissions: "{}".to_owned(),
            readers: readers(who),
            placement,
        })
    };
    let bucket = BucketId::from("b");
    let mut group = crate::put(&CollectionPath::groups(bucket.clone()).record("g"));
    if let Write::Put(Put { body, .. }) = &mut group {
        *body = Body::from(r#"{"members":["alice"]}"#.to_owned());
    }
    let members = vec![Principal::from("alice")];
    let view = Write::KeepView {
        bucket: bucket.clone(),
        person: Principal::from("alice"),
        name: [7; 16],
        groups: vec![Principal::from("/buckets/b/groups/g")],
    };
    let writes = vec![
        put("first", &[], Placement::Next),
        put("second", &["bob"], Placement::Next),
        put("plain", &["alice"], Placement::Next),
        put("dead", &[], Placement::Next),
        Write::Delete { path: x.record("dead"), placement: Placement::Next },
        put("moved", &["alice"], Placement::Next),
        put("moved", &["alice", "bob"], Placement::Next),
        put("chosen", &[], Placement::At(Timestamp(5))),
        group,
        view,
        Write::SetMembers { group: GroupPath { bucket, group: "g".into() }, members },
    ];
    crate::apply(store, writes).await;
    assert_eq!(store.admin().check().await.unwrap(), []);
    store.close().await;
}

fn readers(who: &[&str]) -> Readers {
    Readers::new(who.iter().map(|one| Principal::from(*one)).collect::<BTreeSet<_>>())
}
