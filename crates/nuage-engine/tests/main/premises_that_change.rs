//! What was decided on something that changed before the commit is not applied.

use std::sync::Arc;

use nuage_engine::{Attempts, CommitError, Engine, EngineError, Intent, Settings};
use nuage_model::{Principal, StoreError};
use nuage_testkit::fault::FaultStore;

use crate::houses::{House, collection, delete, is_conflict, put, records, world};

#[tokio::test]
async fn two_changes_of_one_record_decided_on_the_same_state() {
    let house = House::with_collection(Settings::default()).await;
    let path = records().record("r");
    let mut first = house.session("alice").await;
    let mut second = house.session("alice").await;
    put(&mut first, &path, r#"{"n":1}"#).await;
    put(&mut second, &path, r#"{"n":2}"#).await;
    first.commit().await.unwrap();
    assert!(is_conflict(&second.commit().await));
    assert_eq!(house.body(&path).await.unwrap(), r#"{"n":1}"#);
}

#[tokio::test]
async fn a_record_is_not_created_in_a_collection_that_was_deleted_meanwhile() {
    let house = House::with_collection(Settings::default()).await;
    let path = records().record("r");
    let mut writer = house.session("alice").await;
    put(&mut writer, &path, "{}").await;
    let mut other = house.session("alice").await;
    delete(&mut other, &collection()).await;
    other.commit().await.unwrap();
    assert!(is_conflict(&writer.commit().await));
    assert!(house.body(&path).await.is_none());
}

#[tokio::test]
async fn a_right_that_was_withdrawn_meanwhile_no_longer_lets_write() {
    let house = House::with_collection(Settings::default()).await;
    let mut alice = house.session("alice").await;
    let opened = alice.open(collection(), Intent::Write).await.unwrap();
    let mut shared = crate::houses::change("{}");
    shared.permissions.add("write", "bob".into());
    alice.put(&opened, shared).await.unwrap();
    alice.commit().await.unwrap();

    let mut bob = house.session("bob").await;
    put(&mut bob, &records().record("r"), "{}").await;
    let mut alice = house.session("alice").await;
    let opened = alice.open(collection(), Intent::Write).await.unwrap();
    alice.put(&opened, crate::houses::change("{}")).await.unwrap();
    alice.commit().await.unwrap();
    assert!(is_conflict(&bob.commit().await));

    let mut bob = house.session("bob").await;
    assert!(bob.open(records().record("r"), Intent::Put).await.is_err());
}

#[tokio::test]
async fn a_second_attempt_sees_what_another_process_changed() {
    let house = House::with_collection(Settings::default()).await;
    let neighbour = house.neighbour();
    let path = records().record("r");
    let alice = Some(Principal::from("alice"));
    for round in 0..2 {
        let mut attempts = Attempts::default();
        let mut session = neighbour.session(alice.clone(), &attempts).await;
        put(&mut session, &path, "{}").await;
        // The neighbour remembers the collection and is not told that it changes.
        let mut other = house.session("alice").await;
        match round {
            0 => drop(put(&mut other, &collection(), r#"{"changed":true}"#).await),
            _ => delete(&mut other, &collection()).await,
        }
        other.commit().await.unwrap();
        let Err(CommitError::Conflict(conflict)) = session.commit().await else {
            panic!("it relied on what changed");
        };
        assert!(attempts.again(conflict, 2));
        let mut session = neighbour.session(alice.clone(), &attempts).await;
        match round {
            0 => {
                put(&mut session, &path, "{}").await;
                session.commit().await.unwrap();
            }
            _ => assert!(session.open(path.clone(), Intent::Put).await.is_err()),
        }
    }
}

#[tokio::test]
async fn a_commit_that_nobody_waits_for_is_finished_and_seen() {
    let house = House::with_collection(Settings::default()).await;
    for n in 0..50 {
        let mut session = house.session("alice").await;
        let opened = session.open(collection(), Intent::Write).await.unwrap();
        let change = crate::houses::change(&format!(r#"{{"n":{n}}}"#));
        session.put(&opened, change).await.unwrap();
        let commit = session.commit();
        tokio::select! {
            biased;
            _ = commit => {}
            () = std::future::ready(()) => {}
        }
        // Dropped or done: after a bounded number of attempts a change is decided on what the
        // store and the cache of the engine both say.
        let mut attempts = 0;
        loop {
            let mut later = house.session("alice").await;
            put(&mut later, &records().record("r"), "{}").await;
            match later.commit().await {
                Ok(_) => break,
                refused => assert!(is_conflict(&refused) && attempts < 20),
            }
            attempts += 1;
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn records_of_a_batch_are_read_with_one_question() {
    let house = House::with_collection(Settings::default()).await;
    let store = Arc::new(FaultStore::new(Arc::clone(house.engine.store())));
    let engine = Engine::new(store.clone(), Settings::default(), world());
    let caller = Some(Principal::from("alice"));
    let mut session = engine.session(caller.clone(), &Attempts::default()).await;
    put(&mut session, &records().record("0"), "{}").await;
    session.commit().await.unwrap();

    // What is above them is known by now: one question, one batch of writes.
    store.fail_after(2);
    let paths: Vec<_> = (0..25).map(|n| records().record(n.to_string())).collect();
    let mut session = engine.session(caller, &Attempts::default()).await;
    session.announce(paths.clone());
    for path in &paths {
        put(&mut session, path, r#"{"n":1}"#).await;
    }
    session.commit().await.unwrap();
    for path in &paths {
        assert_eq!(house.body(path).await.unwrap(), r#"{"n":1}"#);
    }
}

#[tokio::test]
async fn what_was_read_in_advance_must_still_be_so() {
    let house = House::with_collection(Settings::default()).await;
    let path = records().record("r");
    let mut early = house.session("alice").await;
    early.announce(vec![path.clone(), records().record("s")]);
    early.open(records().record("s"), Intent::Read).await.unwrap();
    let neighbour = house.neighbour();
    let alice = Some(Principal::from("alice"));
    let mut other = neighbour.session(alice, &Attempts::default()).await;
    put(&mut other, &path, r#"{"n":1}"#).await;
    other.commit().await.unwrap();
    put(&mut early, &path, r#"{"n":2}"#).await;
    assert!(is_conflict(&early.commit().await));
    assert_eq!(house.body(&path).await.unwrap(), r#"{"n":1}"#);
}

#[tokio::test]
async fn what_keeps_changing_is_given_up_after_so_many_attempts() {
    const ATTEMPTS: u64 = 3;
    let mut settings = Settings::default();
    settings.limits.write_attempts = ATTEMPTS as usize;
    let house = House::with_collection(settings.clone()).await;
    let store = Arc::new(FaultStore::new(Arc::clone(house.engine.store())));
    let engine = Engine::new(store.clone(), settings, world());
    let deletes = async || engine.delete_bucket(&"b".into()).await;
    let erases = async || engine.erase(&"alice".into()).await;
    store.conflict(ATTEMPTS + 2);
    let refused = deletes().await;
    assert!(matches!(refused, Err(EngineError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert_eq!(store.conflicts_left(), 2);
    store.conflict(ATTEMPTS + 2);
    let refused = erases().await;
    assert!(matches!(refused, Err(EngineError::Store(StoreError::Unavailable(_)))), "{refused:?}");
    assert_eq!(store.conflicts_left(), 2);
    // The last attempt is one.
    store.conflict(ATTEMPTS - 1);
    assert!(deletes().await.unwrap());
    assert_eq!(store.conflicts_left(), 0);
}
