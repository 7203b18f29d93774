//! What a change brings with it: history, members, cascades, the erasure of a person.

use nuage_engine::{History, Intent, ListIntent, Settings, Trim};
use nuage_model::{CollectionPath, Query, Record, RecordPath};
use serde_json::Value;

use crate::houses::{House, bucket, change, collection, create_unjudged, delete, put, records};

fn remembering(trim: Option<Trim>) -> Settings {
    Settings { history: Some(History { trim, ..History::default() }), ..Settings::default() }
}

async fn entries(house: &House) -> Vec<(Record, Value)> {
    let query = Query::all(CollectionPath::history("b".into()), 1000);
    let page = house.engine.store().list(&query).await.unwrap();
    let read = |record: Record| {
        let body = serde_json::from_str(record.body()).unwrap();
        (record, body)
    };
    page.records.into_iter().map(read).collect()
}

#[tokio::test]
async fn an_entry_tells_the_time_that_its_change_was_given() {
    let house = House::with_collection(remembering(None)).await;
    let path = records().record("r");
    let mut session = house.session("alice").await;
    put(&mut session, &path, r#"{"n":1}"#).await;
    put(&mut session, &path, r#"{"n":2}"#).await;
    delete(&mut session, &path).await;
    session.commit().await.unwrap();

    let stored = house.engine.peek(&path).await.unwrap().unwrap();
    let told: Vec<_> = entries(&house).await.into_iter().map(|(_, body)| body).collect();
    assert_eq!(told[0]["action"], "delete");
    assert_eq!(told[0]["target"]["data"]["last_modified"], stored.timestamp().0);
    assert_eq!(told[0]["target"]["data"]["deleted"], true);
    assert_eq!(told[1]["action"], "update");
    assert_eq!(told[1]["target"]["data"]["n"], 2);
    assert_eq!(told[2]["action"], "create");
    let times: Vec<_> =
        told.iter().map(|e| e["target"]["data"]["last_modified"].as_i64().unwrap()).collect();
    assert!(times[0] > times[1] && times[1] > times[2], "{times:?}");
    assert_eq!(told[0]["collection_id"], "c");
    assert_eq!(told[0]["uri"], "/buckets/b/collections/c/records/r");
}

#[tokio::test]
async fn history_is_trimmed_to_its_count() {
    let trim = Trim { max_count: 3, threshold: 2, users: Default::default() };
    let house = House::with_collection(remembering(Some(trim))).await;
    for n in 0..20 {
        let mut session = house.session("alice").await;
        put(&mut session, &records().record("r"), &format!(r#"{{"n":{n}}}"#)).await;
        session.commit().await.unwrap();
        let of_records = entries(&house).await;
        let count = of_records.iter().filter(|(_, e)| e["resource_name"] == "record").count();
        assert!(count <= 5, "{count} entries");
    }
    let newest = entries(&house).await.remove(0).1;
    assert_eq!(newest["target"]["data"]["n"], 19);
    assert!(house.engine.store().admin().check().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_deleted_bucket_takes_everything_with_it() {
    let house = House::with_collection(remembering(None)).await;
    let mut session = house.session("alice").await;
    put(&mut session, &records().record("r"), "{}").await;
    session.commit().await.unwrap();
    let mut session = house.session("alice").await;
    delete(&mut session, &bucket()).await;
    session.commit().await.unwrap();
    assert!(entries(&house).await.is_empty());
    assert!(house.engine.peek(&records().record("r")).await.unwrap().is_none());
    assert!(house.engine.peek(&collection()).await.unwrap().is_none());
    assert!(!house.engine.peek(&bucket()).await.unwrap().unwrap().is_live());
    assert!(house.engine.store().admin().check().await.unwrap().is_empty());
}

#[tokio::test]
async fn membership_gives_and_takes_at_once() {
    let house = House::with_collection(Settings::default()).await;
    let group = CollectionPath::groups("b".into()).record("g");
    let mut alice = house.session("alice").await;
    put(&mut alice, &group, r#"{"members":["bob"]}"#).await;
    let opened = alice.open(collection(), Intent::Write).await.unwrap();
    let mut shared = change("{}");
    shared.permissions.add("read", "/buckets/b/groups/g".into());
    alice.put(&opened, shared).await.unwrap();
    // Within the same unit of work already.
    alice.act_as(Some("bob".into()));
    assert!(alice.open_list(records(), ListIntent::Read).await.is_ok());
    alice.commit().await.unwrap();

    let mut bob = house.session("bob").await;
    assert!(bob.open_list(records(), ListIntent::Read).await.is_ok());
    let mut alice = house.session("alice").await;
    put(&mut alice, &group, r#"{"members":[]}"#).await;
    alice.commit().await.unwrap();
    let mut bob = house.session("bob").await;
    assert!(bob.open_list(records(), ListIntent::Read).await.is_err());
}

#[tokio::test]
async fn an_erased_person_leaves_no_trace_and_takes_only_their_own() {
    let house = House::with_collection(Settings::default()).await;
    let group = CollectionPath::groups("b".into()).record("g");
    let mut alice = house.session("alice").await;
    put(&mut alice, &group, r#"{"members":["bob","carol"]}"#).await;
    let opened = alice.open(collection(), Intent::Write).await.unwrap();
    let mut open_to_all = change("{}");
    open_to_all.permissions.add("record:create", "bob".into());
    alice.put(&opened, open_to_all).await.unwrap();
    alice.commit().await.unwrap();
    let mut bob = house.session("bob").await;
    let own = records().record("own");
    let opened = bob.open(own.clone(), Intent::Put).await.unwrap();
    bob.put(&opened, change("{}")).await.unwrap();
    let shared = records().record("shared");
    let opened = bob.open(shared.clone(), Intent::Put).await.unwrap();
    let mut with_alice = change("{}");
    with_alice.permissions.add("write", "alice".into());
    bob.put(&opened, with_alice).await.unwrap();
    bob.commit().await.unwrap();

    house.engine.erase(&"bob".into()).await.unwrap();
    assert!(house.body(&own).await.is_none());
    assert!(house.body(&shared).await.is_some());
    let record = house.engine.peek(&shared).await.unwrap().unwrap();
    assert!(!record.permissions().contains("bob"), "{}", record.permissions());
    let record = house.engine.peek(&collection()).await.unwrap().unwrap();
    assert!(!record.permissions().contains("bob"), "{}", record.permissions());
    assert_eq!(house.body(&group).await.unwrap(), r#"{"members":["carol"]}"#);
    assert!(house.engine.store().admin().check().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_unit_of_work_deletes_no_more_by_lists_than_others_may_wait_for() {
    let house = House::with_collection(Settings::default()).await;
    let lists = ["b", "d"].map(|bucket| CollectionPath::collections(bucket.into()));
    let mut session = house.session("alice").await;
    create_unjudged(&mut session, &RecordPath::bucket("d".into())).await;
    session.commit().await.unwrap();
    for list in &lists {
        let mut session = house.session("alice").await;
        for n in 0..700 {
            put(&mut session, &list.record(format!("c{n}")), "{}").await;
        }
        session.commit().await.unwrap();
    }
    let mut session = house.session("alice").await;
    for (list, most, goes_on) in [(&lists[0], 701, false), (&lists[1], 299, true)] {
        let opened = session.open_list(list.clone(), ListIntent::Write).await.unwrap();
        let query = Query::all(list.clone(), 10_000);
        let (deleted, last) = session.delete_list(&opened, query, None).await.unwrap();
        assert_eq!((deleted.len(), last.is_some()), (most, goes_on));
    }
    session.commit().await.unwrap();
    let head = house.engine.store().head(&lists[1]).await.unwrap().unwrap();
    assert_eq!(head.live, 401);
}
