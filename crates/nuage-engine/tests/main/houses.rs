//! An engine over a fresh store, and shorthands to use it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nuage_engine::{
    Attempts, Change, CommitError, Engine, Intent, Resolved, Session, Settings, World,
};
use nuage_model::{CollectionPath, Permissions, Principal, Record, RecordPath, Timestamp};

/// An engine, and the folder that its store is in.
pub(crate) struct House {
    pub(crate) engine: Arc<Engine>,
    _folder: tempfile::TempDir,
}

/// When the clock of these tests begins; it moves by one millisecond with each look.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

impl House {
    pub(crate) async fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("nuage.db");
        let store = nuage_store::open(&file, nuage_store::Options::default()).await.unwrap();
        Self { engine: Engine::new(store, settings, world()), _folder: folder }
    }

    /// Another engine over the same store, which is told nothing of what this one does.
    pub(crate) fn neighbour(&self) -> Arc<Engine> {
        let store = Arc::clone(self.engine.store());
        Engine::new(store, self.engine.settings().clone(), world())
    }

    /// The same store under an engine that behaves otherwise.
    pub(crate) fn with_settings(self, settings: Settings) -> Self {
        let store = Arc::clone(self.engine.store());
        Self { engine: Engine::new(store, settings, world()), ..self }
    }

    pub(crate) async fn session(&self, user: &str) -> Session {
        let caller = Some(Principal::from(user));
        self.engine.session(caller, &Attempts::default()).await
    }

    /// A bucket `b` with a collection `c`, both of alice.
    pub(crate) async fn with_collection(settings: Settings) -> Self {
        let house = Self::new(settings).await;
        let mut session = house.session("alice").await;
        create_unjudged(&mut session, &bucket()).await;
        put(&mut session, &collection(), "{}").await;
        session.commit().await.unwrap();
        house
    }

    pub(crate) async fn body(&self, path: &RecordPath) -> Option<String> {
        let record = self.engine.peek(path).await.unwrap();
        record.filter(Record::is_live).map(|record| record.body().to_owned())
    }
}

pub(crate) fn world() -> World {
    let clock = AtomicI64::new(START_MS);
    World {
        clock: Box::new(move || Timestamp(clock.fetch_add(1, Ordering::Relaxed))),
        random: Box::new(|| uuid::Uuid::new_v4().as_u128()),
    }
}

pub(crate) fn bucket() -> RecordPath {
    RecordPath::bucket("b".into())
}

pub(crate) fn collection() -> RecordPath {
    CollectionPath::collections("b".into()).record("c")
}

pub(crate) fn records() -> CollectionPath {
    CollectionPath::new("b", "c")
}

pub(crate) fn change(body: &str) -> Change {
    Change { body: body.to_owned(), permissions: Permissions::default(), chosen: None, owner: None }
}

pub(crate) async fn create_unjudged(session: &mut Session, path: &RecordPath) {
    let opened = session.open_unjudged(path.clone()).await.unwrap();
    session.put(&opened, change("{}")).await.unwrap();
}

/// Creates or replaces, keeping the permissions.
pub(crate) async fn put(session: &mut Session, path: &RecordPath, body: &str) -> Record {
    let opened = session.open(path.clone(), Intent::Put).await.unwrap();
    let mut change = change(body);
    change.permissions = opened.permissions().clone();
    session.put(&opened, change).await.unwrap().0
}

pub(crate) async fn delete(session: &mut Session, path: &RecordPath) {
    let opened = session.open(path.clone(), Intent::Delete).await.unwrap();
    session.delete(&opened, None).await.unwrap();
}

pub(crate) fn is_conflict(result: &Result<Resolved, CommitError>) -> bool {
    matches!(result, Err(CommitError::Conflict(_)))
}
