//! A refusal asks the store as often whether what is asked for is there, remembered, or not.

use std::sync::Arc;

use nuage_engine::{Attempts, Engine, EngineError, Intent, ListIntent, Settings, Validation};
use nuage_model::{CollectionPath, Principal, RecordPath};
use nuage_testkit::fault::FaultStore;

use crate::houses::{House, bucket, collection, delete, put, records, world};

/// An engine that remembers nothing, over a store that counts.
fn counted(house: &House) -> (Arc<FaultStore>, Arc<Engine>) {
    let store = Arc::new(FaultStore::new(Arc::clone(house.engine.store())));
    let engine = Engine::new(store.clone(), house.engine.settings().clone(), world());
    (store, engine)
}

async fn session(engine: &Arc<Engine>, user: &str) -> nuage_engine::Session {
    let caller = Some(Principal::from(user));
    engine.session(caller, &Attempts::default()).await
}

/// How many questions it takes to refuse these to bob, the first time and later.
async fn questions(house: &House, path: &RecordPath, list: bool) -> Vec<u64> {
    let (store, engine) = counted(house);
    let intents = [Intent::Read, Intent::Write, Intent::Delete, Intent::Put, Intent::CreateOrRead];
    let mut counts = Vec::new();
    for remembered in ["nothing", "the bucket", "the collection"] {
        for number in 0..intents.len() {
            // Another engine knows nothing; the same remembers what others look at.
            let mut alice = session(&engine, "alice").await;
            match remembered {
                "the bucket" => drop(alice.open(collection(), Intent::Read).await.unwrap()),
                "the collection" => {
                    drop(alice.open(records().record("r"), Intent::Read).await.unwrap());
                }
                _ => {}
            }
            let mut bob = session(&engine, "bob").await;
            let before = store.calls();
            let refused = match list {
                true => {
                    let intents = [ListIntent::Read, ListIntent::Write, ListIntent::Create];
                    let intent = intents[number % intents.len()];
                    bob.open_list(path.collection.clone(), intent).await.map(drop)
                }
                false => bob.open(path.clone(), intents[number]).await.map(drop),
            };
            assert!(matches!(refused, Err(EngineError::Forbidden)), "{path}: {refused:?}");
            counts.push(store.calls() - before);
        }
    }
    counts
}

#[tokio::test]
async fn a_refusal_takes_as_many_questions_whatever_there_is() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    put(&mut alice, &records().record("r"), "{}").await;
    alice.commit().await.unwrap();
    let elsewhere = |bucket: &str, name: &str| CollectionPath::new(bucket, name).record("r");
    let missing = [
        records().record("missing"),
        elsewhere("b", "missing"),
        elsewhere("missing", "c"),
        elsewhere("b", &"x".repeat(200)),
    ];
    for (list, many) in [(false, vec![3; 15]), (true, [4, 4, 2, 4, 4].repeat(3))] {
        assert_eq!(questions(&house, &records().record("r"), list).await, many);
        for path in &missing {
            assert_eq!(questions(&house, path, list).await, many, "{path}");
        }
    }
    // In a bucket there is one record above, and none above a bucket.
    for bucket in ["b", "missing"] {
        for name in ["c", "missing"] {
            let path = CollectionPath::collections(bucket.into()).record(name);
            assert_eq!(questions(&house, &path, false).await, vec![3; 15], "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_above_a_record_is_read_with_one_question() {
    let house = House::with_collection(Settings::default()).await;
    let (store, engine) = counted(&house);
    for questions in [2, 1, 1] {
        let mut alice = session(&engine, "alice").await;
        let before = store.calls();
        alice.open(records().record("r"), Intent::Put).await.unwrap();
        assert_eq!(store.calls() - before, questions);
    }
}

#[tokio::test]
async fn what_another_process_creates_or_changes_is_seen_at_once() {
    let settings = Settings { validation: Validation::On, ..Settings::default() };
    let house = House::with_collection(settings).await;
    // It remembers the collection, and is not told what happens to it.
    let (_, engine) = counted(&house);
    let path = records().record("r");
    let read = async || session(&engine, "bob").await.open(path.clone(), Intent::Put).await;
    assert!(matches!(read().await, Err(EngineError::Forbidden)));
    let mut alice = house.session("alice").await;
    let opened = alice.open(collection(), Intent::Write).await.unwrap();
    let mut shared = crate::houses::change("{}");
    shared.permissions.add("write", "bob".into());
    alice.put(&opened, shared).await.unwrap();
    alice.commit().await.unwrap();
    read().await.unwrap();

    // A body that is read only after the decision is not missing afterwards.
    let large = format!(r#"{{"schema":{{"required":["n"]}},"text":"{}"}}"#, random_text());
    let mut alice = house.session("alice").await;
    put(&mut alice, &collection(), &large).await;
    alice.commit().await.unwrap();
    let (_, engine) = counted(&house);
    let mut carol = session(&engine, "carol").await;
    assert!(matches!(carol.open(path.clone(), Intent::Put).await, Err(EngineError::Forbidden)));
    let mut bob = session(&engine, "bob").await;
    let opened = bob.open(path.clone(), Intent::Put).await.unwrap();
    let refused = bob.put(&opened, crate::houses::change("{}")).await;
    assert!(matches!(refused, Err(EngineError::Invalid(_))), "the schema is there");

    for _ in 0..2 {
        let mut alice = house.session("alice").await;
        delete(&mut alice, &collection()).await;
        alice.commit().await.unwrap();
        let (_, engine) = counted(&house);
        let read = async || session(&engine, "alice").await.open(path.clone(), Intent::Put).await;
        assert!(matches!(read().await, Err(EngineError::UnknownParent(_))));
        let mut alice = house.session("alice").await;
        put(&mut alice, &collection(), "{}").await;
        alice.commit().await.unwrap();
        read().await.unwrap();
    }
    assert!(house.body(&bucket()).await.is_some());
}

/// A text that no database makes small.
fn random_text() -> String {
    (0..4_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_string()).collect()
}
