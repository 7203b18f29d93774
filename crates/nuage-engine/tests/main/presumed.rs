//! Changes are decided by what is remembered of a record, or that there is none, without reading it;
//! and nobody is told anything by it that is not so.

use std::sync::Arc;

use nuage_engine::{
    Attempts, CommitError, Conflict, Engine, EngineError, Intent, Resolved, Session, Settings,
};
use nuage_model::{Principal, RecordPath};
use nuage_testkit::fault::FaultStore;

use crate::houses::{House, change, collection, delete, is_conflict, put, records, world};

/// An engine over the store of a house, whose questions to it are counted.
struct Counted {
    house: House,
    store: Arc<FaultStore>,
    engine: Arc<Engine>,
}

impl Counted {
    async fn new() -> Self {
        let house = House::with_collection(Settings::default()).await;
        let store = Arc::new(FaultStore::new(Arc::clone(house.engine.store())));
        let engine = Engine::new(store.clone(), Settings::default(), world());
        let counted = Self { house, store, engine };
        // What is above the records is read once.
        counted.write(&records().record("other"), "{}").await;
        counted
    }

    async fn session(&self, user: &str, attempts: &Attempts) -> Session {
        let caller = Some(Principal::from(user));
        self.engine.session(caller, attempts).await
    }

    async fn first(&self, user: &str) -> Session {
        self.session(user, &Attempts::default()).await
    }

    async fn write(&self, path: &RecordPath, body: &str) {
        let mut session = self.first("alice").await;
        put(&mut session, path, body).await;
        session.commit().await.unwrap();
    }

    // What another process writes, of which this engine is told nothing.
    async fn elsewhere(&self) -> Session {
        let engine = self.house.neighbour();
        let caller = Some(Principal::from("alice"));
        engine.session(caller, &Attempts::default()).await
    }

    async fn write_elsewhere(&self, path: &RecordPath, body: &str) {
        let mut session = self.elsewhere().await;
        put(&mut session, path, body).await;
        session.commit().await.unwrap();
    }

    async fn asked(&self, work: impl AsyncFnOnce()) -> u64 {
        let before = self.store.calls();
        work().await;
        self.store.calls() - before
    }
}

fn conflict_of(committed: Result<Resolved, CommitError>) -> Conflict {
    match committed {
        Err(CommitError::Conflict(conflict)) => conflict,
        other => panic!("it was decided by something that is not so: {other:?}"),
    }
}

#[tokio::test]
async fn what_was_written_here_is_written_again_without_reading_it() {
    let counted = Counted::new().await;
    let path = records().record("r");
    counted.write(&path, r#"{"n":0}"#).await;
    for n in 1..4 {
        let asked = counted.asked(async || counted.write(&path, &format!(r#"{{"n":{n}}}"#)).await);
        assert_eq!(asked.await, 1);
    }
    let asked = counted.asked(async || {
        let mut session = counted.first("alice").await;
        delete(&mut session, &path).await;
        session.commit().await.unwrap();
    });
    assert_eq!(asked.await, 1);
    // The tombstone is remembered too.
    assert_eq!(counted.asked(async || counted.write(&path, "{}").await).await, 1);
    assert_eq!(counted.house.body(&path).await.unwrap(), "{}");
}

#[tokio::test]
async fn what_is_to_be_new_is_written_without_looking_for_it() {
    let counted = Counted::new().await;
    let create = async |path: &RecordPath, attempts: &Attempts| {
        let mut session = counted.session("alice", attempts).await;
        let opened = session.open(path.clone(), Intent::Create).await.unwrap();
        let is_new = opened.live().is_none();
        if is_new {
            session.put(&opened, change(r#"{"new":true}"#)).await.unwrap();
        }
        (is_new, session.commit().await)
    };
    let path = records().record("r");
    let asked = counted.asked(async || {
        let (is_new, committed) = create(&path, &Attempts::default()).await;
        assert!(is_new && committed.is_ok());
    });
    assert_eq!(asked.await, 1);
    // One that is there, and of which nothing is known here.
    let there = records().record("there");
    counted.write_elsewhere(&there, r#"{"old":true}"#).await;
    let mut attempts = Attempts::default();
    let (is_new, committed) = create(&there, &attempts).await;
    assert!(is_new);
    assert!(attempts.again(conflict_of(committed), 1), "nothing was read, so it does not count");
    let (is_new, committed) = create(&there, &attempts).await;
    assert!(!is_new && committed.is_ok());
    assert_eq!(counted.house.body(&there).await.unwrap(), r#"{"old":true}"#);
}

#[tokio::test]
async fn what_another_process_changed_is_not_written_over() {
    let counted = Counted::new().await;
    let path = records().record("r");
    for round in 0..3 {
        counted.write(&path, r#"{"here":true}"#).await;
        match round {
            0 => counted.write_elsewhere(&path, r#"{"elsewhere":true}"#).await,
            1 => {
                let mut other = counted.elsewhere().await;
                delete(&mut other, &path).await;
                other.commit().await.unwrap();
            }
            _ => {
                let mut other = counted.elsewhere().await;
                delete(&mut other, &collection()).await;
                put(&mut other, &collection(), "{}").await;
                other.commit().await.unwrap();
            }
        }
        let there = counted.house.body(&path).await;
        let mut attempts = Attempts::default();
        let mut session = counted.session("alice", &attempts).await;
        put(&mut session, &path, r#"{"again":true}"#).await;
        let conflict = conflict_of(session.commit().await);
        assert_eq!(counted.house.body(&path).await, there);
        assert!(attempts.again(conflict, 1), "round {round}");
        let mut session = counted.session("alice", &attempts).await;
        let opened = session.open(path.clone(), Intent::Put).await.unwrap();
        assert_eq!(opened.live().map(|record| record.body().to_owned()), there);
        session.put(&opened, change("{}")).await.unwrap();
        session.commit().await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_that_changes_nothing_is_not_given_by_what_is_remembered() {
    let counted = Counted::new().await;
    let path = records().record("r");
    counted.write(&path, r#"{"n":1}"#).await;
    let look = async || {
        let mut session = counted.first("alice").await;
        let opened = session.open(path.clone(), Intent::Put).await.unwrap();
        (opened.live().map(|record| record.body().to_owned()), session.commit().await)
    };
    let (body, ended) = look().await;
    assert_eq!(body.as_deref(), Some(r#"{"n":1}"#));
    assert!(ended.is_ok(), "it is so");
    counted.write_elsewhere(&path, r#"{"n":2}"#).await;
    let (_, ended) = look().await;
    assert!(is_conflict(&ended), "it is not so any more");
    let (body, ended) = look().await;
    assert_eq!(body.as_deref(), Some(r#"{"n":2}"#), "it was forgotten");
    assert!(ended.is_ok());
    counted.write(&path, r#"{"n":3}"#).await;
    counted.write_elsewhere(&path, r#"{"n":4}"#).await;
    let mut session = counted.first("alice").await;
    session.open(path.clone(), Intent::Delete).await.unwrap();
    assert!(matches!(session.abandon().await, Err(CommitError::Conflict(_))));
}

#[tokio::test]
async fn nobody_is_refused_by_what_is_remembered() {
    let counted = Counted::new().await;
    let path = records().record("r");
    counted.write(&path, "{}").await;
    let open = async || counted.first("bob").await.open(path.clone(), Intent::Write).await;
    assert!(matches!(open().await, Err(EngineError::Forbidden)));
    let mut other = counted.elsewhere().await;
    let opened = other.open(path.clone(), Intent::Write).await.unwrap();
    let mut shared = change("{}");
    shared.permissions.add("write", "bob".into());
    other.put(&opened, shared).await.unwrap();
    other.commit().await.unwrap();
    assert!(open().await.is_ok());
}

#[tokio::test]
async fn a_refusal_takes_as_many_questions_whatever_is_remembered() {
    let counted = Counted::new().await;
    counted.write(&records().record("hidden"), "{}").await;
    let refused = async |names: &[&str]| {
        let mut session = counted.first("bob").await;
        let paths: Vec<RecordPath> = names.iter().map(|name| records().record(*name)).collect();
        if paths.len() > 1 {
            session.announce(paths.clone());
        }
        for path in paths {
            for intent in [Intent::Put, Intent::Write, Intent::Delete, Intent::Create] {
                let opened = session.open(path.clone(), intent).await;
                assert!(matches!(opened, Err(EngineError::Forbidden)));
            }
        }
        session.commit().await.unwrap();
    };
    refused(&["known"]).await;
    let missing = counted.asked(async || refused(&["missing"]).await).await;
    assert_eq!(counted.asked(async || refused(&["hidden"]).await).await, missing);
    let missing = counted.asked(async || refused(&["a", "b", "c"]).await).await;
    assert_eq!(counted.asked(async || refused(&["a", "hidden", "c"]).await).await, missing);
    assert_eq!(counted.asked(async || refused(&["hidden", "other", "c"]).await).await, missing);
}

#[tokio::test]
async fn what_is_remembered_does_not_hide_behind_what_was_read() {
    let counted = Counted::new().await;
    counted.write(&collection(), r#"{"n":1}"#).await;
    counted.write_elsewhere(&collection(), r#"{"n":2}"#).await;
    // The collection above the record is as it is now; the one that is changed is as it was.
    let mut attempts = Attempts::default();
    let change = async |attempts: &Attempts| {
        let mut session = counted.session("alice", attempts).await;
        put(&mut session, &records().record("r"), "{}").await;
        let opened = session.open(collection(), Intent::Put).await.unwrap();
        let old = opened.live().unwrap().body().to_owned();
        put(&mut session, &collection(), &format!(r#"{{"before":{old}}}"#)).await;
        session.commit().await
    };
    assert!(attempts.again(conflict_of(change(&attempts).await), 1));
    change(&attempts).await.unwrap();
    let body = counted.house.body(&collection()).await.unwrap();
    assert_eq!(body, r#"{"before":{"n":2}}"#);
}
