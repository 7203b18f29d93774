//! The engine as the oracle sees it: sessions for changes, `feed` for pages, the store itself for
//! what the engine does in the background.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use nuage_engine::mutants::{self, Mutant};
use nuage_engine::{
    Attempts, Change, CommitError, Engine, EngineError, FeedQuery, FeedSettings, Intent, Ownership,
    Session, Settings, World,
};
use nuage_model::{
    Batch, BucketId, CollectionPath, Permissions, Principal, Record, RecordPath, Seq, Store,
    Timestamp, Write,
};
use nuage_testkit::oracle::{
    Ask, BUCKETS, Deed, Entry, Names, PERSONS, Page, Reply, Stage, Subject, Who,
};
use serde_json::{Value, json};

use crate::feeds::forgetful::{Forgetful, Lapse};
use crate::houses::START_MS;

/// Who makes all changes.
const KEEPER: &str = "keeper";
/// Bytes of bodies in one page, in some histories: two or three fit.
const FEW_BYTES: usize = 24;

/// What is left out, if anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    None,
    Rule(Mutant),
    Store(Lapse),
}

/// Engines over one store.
pub(crate) struct Engines {
    store: Arc<dyn Store>,
    fault: Fault,
}

impl Engines {
    pub(crate) fn new(store: Arc<dyn Store>, fault: Fault) -> Self {
        Self { store, fault }
    }
}

impl Stage for Engines {
    type Subject = House;

    async fn subject(&self, seed: u64) -> House {
        let store: Arc<dyn Store> = match self.fault {
            Fault::Store(lapse) => Arc::new(Forgetful::new(Arc::clone(&self.store), lapse)),
            _ => Arc::clone(&self.store),
        };
        let names = Names {
            bucket: format!("h{seed}"),
            persons: (0..PERSONS).map(|person| format!("h{seed}:p{person}")).collect(),
        };
        let clock = Arc::new(AtomicI64::new(START_MS));
        let engines = engines(&store, seed, &clock);
        let mut rules = Vec::new();
        if let Fault::Rule(mutant) = self.fault {
            rules.push(mutant);
        }
        match seed / 10 % 5 {
            0 => rules.push(Mutant::NoOrdinals),
            1 => rules.push(Mutant::FormerTokens),
            _ => {}
        }
        let mut house = House { engines, seed, clock, names, rules, pages: 0 };
        house.clear().await;
        house
    }
}

// Those that give pages, in turn; the first one makes all changes.
fn engines(store: &Arc<dyn Store>, seed: u64, clock: &Arc<AtomicI64>) -> Vec<Arc<Engine>> {
    (0..1 + seed / 2 % 2).map(|_| engine(store, seed, clock)).collect()
}

fn engine(store: &Arc<dyn Store>, seed: u64, clock: &Arc<AtomicI64>) -> Arc<Engine> {
    let page_bytes = if seed % 4 == 3 { FEW_BYTES } else { FeedSettings::default().page_bytes };
    let feed = FeedSettings { secret: "oracle".to_owned(), page_bytes, ..FeedSettings::default() };
    let ownership = if seed % 2 == 1 { Ownership::Explicit } else { Ownership::Inherited };
    let settings = Settings { feed, ownership, ..Settings::default() };
    let clock = Arc::clone(clock);
    let world = World {
        clock: Box::new(move || Timestamp(clock.fetch_add(1, Ordering::Relaxed))),
        random: Box::new(|| uuid::Uuid::new_v4().as_u128()),
    };
    Engine::new(Arc::clone(store), settings, world)
}

/// One engine or two, for the buckets of one history.
pub(crate) struct House {
    engines: Vec<Arc<Engine>>,
    seed: u64,
    clock: Arc<AtomicI64>,
    names: Names,
    rules: Vec<Mutant>,
    pages: usize,
}

impl House {
    fn engine(&self) -> &Arc<Engine> {
        &self.engines[0]
    }

    fn bucket(&self, number: usize) -> RecordPath {
        RecordPath::bucket(self.names.bucket(number).as_str().into())
    }

    fn collection(&self) -> RecordPath {
        CollectionPath::collections(self.names.bucket.as_str().into()).record("c")
    }

    fn records(&self) -> CollectionPath {
        CollectionPath::new(self.names.bucket.as_str(), "c")
    }

    fn group(&self, group: usize) -> RecordPath {
        let (bucket, group) = self.names.group(group);
        CollectionPath::groups(bucket.as_str().into()).record(group)
    }

    /// A history that was played before left its buckets.
    async fn clear(&mut self) {
        for bucket in 0..BUCKETS {
            let found = self.engine().peek(&self.bucket(bucket)).await.unwrap();
            if found.is_some_and(|found| found.is_live()) {
                self.change(&[Deed::DropBucket(bucket)]).await.unwrap();
            }
        }
    }

    async fn session(&self, attempts: &Attempts) -> Result<Session, EngineError> {
        let caller = Some(Principal::from(KEEPER));
        Ok(self.engine().session(caller, attempts).await)
    }

    async fn stage(&self, session: &mut Session, deed: &Deed) -> Result<Record, EngineError> {
        match deed {
            Deed::Put { record, readers, content, chosen } => {
                let path = self.records().record(format!("r{record}"));
                // Whoever may write may read.
                let verb = if content % 3 == 0 { "write" } else { "read" };
                let permissions = self.permissions(verb, readers);
                put(session, path, json!({ "n": content }), permissions, *chosen).await
            }
            Deed::Delete { record, chosen } => {
                let path = self.records().record(format!("r{record}"));
                delete(session, path, *chosen).await
            }
            Deed::SetMembers { group, members } => {
                let body = json!({ "members": self.names.principals(members) });
                put(session, self.group(*group), body, Permissions::default(), None).await
            }
            Deed::DropGroup(group) => delete(session, self.group(*group), None).await,
            Deed::CollectionReaders(readers) => {
                let permissions = self.permissions("read", readers);
                put(session, self.collection(), json!({}), permissions, None).await
            }
            Deed::BucketReaders(readers) => {
                let mut permissions = self.permissions("read", readers);
                permissions.add("write", KEEPER.into());
                put(session, self.bucket(0), json!({}), permissions, None).await
            }
            Deed::DropCollection => delete(session, self.collection(), None).await,
            Deed::DropBucket(number) => delete(session, self.bucket(*number), None).await,
            Deed::CreateBucket(number) => {
                let opened = session.open_unjudged(self.bucket(*number)).await?;
                let mut permissions = Permissions::default();
                permissions.add("write", KEEPER.into());
                let change =
                    Change { body: "{}".to_owned(), permissions, chosen: None, owner: None };
                Ok(session.put(&opened, change).await?.0)
            }
            Deed::CreateCollection => {
                let permissions = Permissions::default();
                put(session, self.collection(), json!({}), permissions, None).await
            }
        }
    }

    fn permissions(&self, verb: &str, readers: &BTreeSet<Who>) -> Permissions {
        let mut permissions = Permissions::default();
        let readers = self.names.principals(readers).into_iter().map(Principal::from);
        permissions.set(verb, readers.collect());
        permissions
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), String> {
        let batch = Batch::new(self.engine().now(), writes);
        self.engine().store().apply(batch).await.map(drop).map_err(|error| error.to_string())
    }
}

async fn put(
    session: &mut Session,
    path: RecordPath,
    body: Value,
    permissions: Permissions,
    chosen: Option<i64>,
) -> Result<Record, EngineError> {
    let opened = session.open(path, Intent::Put).await?;
    let chosen = chosen.map(Timestamp);
    let change = Change { body: body.to_string(), permissions, chosen, owner: None };
    Ok(session.put(&opened, change).await?.0)
}

async fn delete(
    session: &mut Session,
    path: RecordPath,
    chosen: Option<i64>,
) -> Result<Record, EngineError> {
    let opened = session.open(path, Intent::Delete).await?;
    session.delete(&opened, chosen.map(Timestamp)).await
}

impl Subject for House {
    async fn change(&mut self, deeds: &[Deed]) -> Result<Vec<i64>, String> {
        let mut attempts = Attempts::default();
        let (records, resolved) = loop {
            let session = self.session(&attempts).await;
            let mut session = session.map_err(|error| error.to_string())?;
            let mut records = Vec::new();
            for deed in deeds {
                let staged = self.stage(&mut session, deed).await;
                records.push(staged.map_err(|error| format!("{deed:?}: {error}"))?);
            }
            match session.commit().await {
                Ok(resolved) => break (records, resolved),
                // What is remembered of records may have gone with their collection.
                Err(CommitError::Conflict(conflict)) => {
                    let why = format!("{conflict:?}");
                    if !attempts.again(conflict, 1) {
                        return Err(why);
                    }
                }
                Err(error) => return Err(format!("{error:?}")),
            }
        };
        let times = deeds.iter().zip(records).map(|(deed, record)| match deed {
            Deed::Put { .. } | Deed::Delete { .. } => resolved.record(record).timestamp().0,
            _ => 0,
        });
        Ok(times.collect())
    }

    async fn page(&mut self, ask: Ask<'_>) -> Result<Reply, String> {
        let query = FeedQuery {
            user: self.names.persons.get(ask.person).map(|name| Principal::from(name.as_str())),
            collection: self.records(),
            limit: ask.limit,
            sum: ask.sum,
        };
        self.pages += 1;
        let engine = &self.engines[self.pages % self.engines.len()];
        let page = mutants::with(self.rules.clone(), engine.feed(&query, ask.token));
        let page = match page.await {
            Ok(page) => page,
            Err(EngineError::Forbidden | EngineError::UnknownParent(_)) => {
                return Ok(Reply::Refused);
            }
            Err(error) => return Err(format!("no page: {error}")),
        };
        let entries = page.entries.into_iter().map(|entry| match entry {
            nuage_engine::Entry::Change(record) => {
                let body: Value = serde_json::from_str(record.body()).unwrap_or_default();
                let content = body["n"].as_u64().unwrap_or_default();
                Entry::Change(record.id.to_string(), content, record.timestamp().0)
            }
            nuage_engine::Entry::Removal(id) => Entry::Removal(id.to_string()),
        });
        Ok(Reply::Page(Page {
            reset: page.reset,
            entries: entries.collect(),
            token: page.token,
            more: page.more,
            head: Some(page.head.0),
            sum: page.sum.map(|sum| (sum.live, sum.digest)),
        }))
    }

    async fn compact(&mut self, up_to: Option<i64>) -> Result<Option<i64>, String> {
        let collection = self.records();
        let head = self.engine().store().head(&collection).await;
        let Some(head) = head.map_err(|error| error.to_string())? else { return Ok(None) };
        let up_to = up_to.map_or(head.seq, Seq);
        self.write(vec![Write::Compact { collection, up_to }]).await?;
        Ok(Some(up_to.0))
    }

    async fn forget_views(&mut self) -> Result<bool, String> {
        let bucket = BucketId::from(self.names.bucket.as_str());
        let before = Timestamp(self.engine().now().0 + 1);
        self.write(vec![Write::ForgetViews { bucket, before }]).await?;
        // What the engines themselves remember goes with it.
        self.engines = engines(&Arc::clone(self.engine().store()), self.seed, &self.clock);
        let keeping = [Mutant::NoOrdinals, Mutant::FormerTokens];
        Ok(self.rules.iter().any(|rule| keeping.contains(rule)))
    }
}
