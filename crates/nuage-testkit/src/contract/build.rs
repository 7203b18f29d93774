//! Short ways to say what the cases write and ask.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_model::{
    ApplyError, Batch, Bodies, Body, BucketId, CollectionPath, GroupPath, Guard, Head, Outcome,
    Page, Permissions, Placement, Principal, Put, Query, Readers, Record, RecordMeta, RecordPath,
    Seq, Signature, SnapshotRequest, Store, Timestamp, Write,
};

/// The time at which the cases begin.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// A collection of the application, whose own records exist in a bucket that exists.
pub(crate) async fn founded(store: &Arc<dyn Store>, bucket: &str, name: &str) -> CollectionPath {
    let parents = [
        RecordPath::bucket(bucket.into()),
        CollectionPath::collections(bucket.into()).record(name),
    ];
    let writes = parents.iter().map(|path| put(path, "{}")).collect();
    apply(store, NOW, writes).await;
    CollectionPath::new(bucket, name)
}

/// The groups that were kept for a person of a bucket under a name.
pub(crate) async fn view_of(
    store: &Arc<dyn Store>,
    bucket: &BucketId,
    person: &Principal,
    name: [u8; 16],
) -> Option<Vec<Principal>> {
    let collection = CollectionPath::new(bucket.clone(), "posts");
    let ask = SnapshotRequest::of(collection);
    let (_, mut moment) = store.snapshot(&ask).await.expect("moments can be read");
    moment.view(person, name).await.expect("views can be read")
}

/// A group's own record in a bucket that exists.
pub(crate) fn group_path(bucket: &str, name: &str) -> RecordPath {
    CollectionPath::groups(BucketId::from(bucket)).record(name)
}

/// Makes a group, or gives it other members.
pub(crate) fn set(bucket: &str, group: &str, who: &[&str]) -> [Write; 2] {
    let members: Vec<String> = who.iter().map(|one| format!("{one:?}")).collect();
    let body = format!(r#"{{"members":[{}]}}"#, members.join(","));
    let members = principals(who);
    let path = GroupPath { bucket: bucket.into(), group: group.into() };
    [put(&group_path(bucket, group), &body), Write::SetMembers { group: path, members }]
}

pub(crate) fn put(path: &RecordPath, body: &str) -> Write {
    put_at(path, body, Placement::Next)
}

pub(crate) fn put_at(path: &RecordPath, body: &str, placement: Placement) -> Write {
    Write::Put(Put {
        path: path.clone(),
        body: Body::from(body.to_owned()),
        permissions: "{}".to_owned(),
        readers: readers(&[]),
        placement,
    })
}

/// That a record is alive at this position, or is not; what else it takes for its row is wrong, and
/// must not matter.
pub(crate) fn guard(path: &RecordPath, live_at: Option<Seq>) -> Guard {
    let (signature, entered, chosen) = (Signature([7; 16]), Seq(7), Some(Timestamp(7)));
    let found = live_at.map(|seq| RecordMeta { seq, chosen, signature, entered, dead: false });
    Guard { path: path.clone(), found }
}

/// A put whose permissions let these read, under `permission`.
pub(crate) fn put_for(path: &RecordPath, permission: &str, who: &[&str]) -> Write {
    let mut permissions = Permissions::default();
    for principal in who {
        permissions.add(permission, Principal::from(*principal));
    }
    Write::Put(Put {
        path: path.clone(),
        body: Body::from("{}".to_owned()),
        permissions: permissions.to_text(),
        readers: readers(who),
        placement: Placement::Next,
    })
}

pub(crate) fn readers(who: &[&str]) -> Readers {
    Readers::new(principals(who).into_iter().collect::<BTreeSet<_>>())
}

pub(crate) fn principals(who: &[&str]) -> Vec<Principal> {
    who.iter().map(|principal| Principal::from(*principal)).collect()
}

pub(crate) fn delete(path: &RecordPath) -> Write {
    Write::Delete { path: path.clone(), placement: Placement::Next }
}

pub(crate) fn at(time: i64) -> Placement {
    Placement::At(Timestamp(time))
}

pub(crate) fn outcome(seq: i64, timestamp: i64) -> Outcome {
    Outcome { seq: Seq(seq), timestamp: Timestamp(timestamp) }
}

/// Applies writes without guards, which must succeed.
pub(crate) async fn apply(store: &Arc<dyn Store>, now: i64, writes: Vec<Write>) -> Vec<Outcome> {
    guarded(store, now, Vec::new(), writes).await.expect("nothing is in the way of these writes")
}

pub(crate) async fn guarded(
    store: &Arc<dyn Store>,
    now: i64,
    guards: Vec<Guard>,
    writes: Vec<Write>,
) -> Result<Vec<Outcome>, ApplyError> {
    store.apply(Batch { guards, ..Batch::new(Timestamp(now), writes) }).await
}

pub(crate) async fn get(store: &Arc<dyn Store>, path: &RecordPath) -> Option<Record> {
    let paths = [path.clone()];
    let mut records = store.get(&paths, Bodies::All).await.expect("records can be read");
    assert_eq!(records.len(), 1);
    records.pop().flatten()
}

/// The first position of a collection, as a time.
pub(crate) async fn first(store: &Arc<dyn Store>, collection: &CollectionPath) -> Timestamp {
    let header = store.standing(&SnapshotRequest::of(collection.clone())).await;
    let standing = header.expect("it answers").standing.expect("the collection is there");
    Timestamp(i64::from_be_bytes(standing.incarnation))
}

pub(crate) async fn head(store: &Arc<dyn Store>, collection: &CollectionPath) -> Option<Head> {
    store.head(collection).await.expect("heads can be read")
}

pub(crate) async fn list(store: &Arc<dyn Store>, query: &Query) -> Page {
    store.list(query).await.expect("lists can be read")
}

pub(crate) async fn count(store: &Arc<dyn Store>, query: &Query) -> u64 {
    store.count(query).await.expect("lists can be counted").1
}

/// The identifiers of a list, in order.
pub(crate) async fn ids(store: &Arc<dyn Store>, query: &Query) -> Vec<String> {
    let page = list(store, query).await;
    page.records.iter().map(|record| record.id.as_str().to_owned()).collect()
}
