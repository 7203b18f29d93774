//! Ways to share out rights over a collection, and stores that are filled with them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use nuage_engine::{Engine, FeedQuery, Settings, World};
use nuage_model::{
    Batch, Body, CollectionPath, GroupPath, Placement, Principal, Put, Readers, RecordPath, Store,
    Timestamp, Write,
};
use nuage_store::{Address, Options};

use crate::feeds::FeedOptions;
use crate::servers::database::Database;

/// Records written at once.
const ROWS: u64 = 1_000;
/// Groups of the shape with teams, and how many a person is in.
const TEAMS: u64 = 50;
const TEAMS_OF_ONE: u64 = 5;
/// Bytes of a body, about.
const BODY_BYTES: usize = 300;

/// Who may read which record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// Each record has one reader.
    Private,
    /// Each record has three readers of its own.
    Pairs,
    /// Each record is for one of some groups, and a person is in a few.
    Teams,
}

impl Shape {
    pub(crate) const ALL: [Self; 3] = [Self::Private, Self::Pairs, Self::Teams];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Pairs => "pairs",
            Self::Teams => "teams",
        }
    }

    pub(crate) fn collection(self) -> CollectionPath {
        CollectionPath::new(self.name(), "c")
    }

    /// Who may read record number `n`.
    pub(crate) fn readers(self, n: u64, people: u64) -> Readers {
        let who: BTreeSet<Principal> = match self {
            Self::Private => [person(n % people)].into(),
            Self::Pairs => (0..3).map(|salt| person(scatter(3 * n + salt) % people)).collect(),
            Self::Teams => [team(n % TEAMS).principal()].into(),
        };
        Readers::new(who)
    }
}

/// A principal of the benchmark.
pub(crate) fn person(n: u64) -> Principal {
    Principal::from(format!("account:p{n}"))
}

fn team(n: u64) -> GroupPath {
    GroupPath { bucket: Shape::Teams.name().into(), group: format!("t{n}").as_str().into() }
}

// The same numbers in each run.
pub(crate) fn scatter(n: u64) -> u64 {
    let n = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

/// A store, and an engine over it.
pub(crate) struct Home {
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) engine: Arc<Engine>,
    /// The processes that work for it.
    pub(crate) pids: Vec<u32>,
    /// Where to look by hand.
    pub(crate) place: String,
}

impl Home {
    pub(crate) async fn on_sqlite(folder: &Path) -> Result<Self> {
        let file = folder.join("feeds.db");
        let store = nuage_store::open(&file, Options::default()).await?;
        let place = file.display().to_string();
        Ok(Self::over("SQLite", store, vec![std::process::id()], place))
    }

    pub(crate) async fn on_postgres(database: &Database) -> Result<Self> {
        let address = Address { url: database.url(), password: None };
        let store = nuage_store::connect(&address, Options::default()).await?;
        let pids = vec![std::process::id(), database.pid()];
        Ok(Self::over("PostgreSQL", store, pids, database.url()))
    }

    fn over(name: &'static str, store: Arc<dyn Store>, pids: Vec<u32>, place: String) -> Self {
        let engine = engine(&store);
        Self { name, store, engine, pids, place }
    }

    /// Another engine over the same store, which remembers nothing yet.
    pub(crate) fn another_engine(&self) -> Arc<Engine> {
        engine(&self.store)
    }

    /// Makes a bucket of that shape.
    pub(crate) async fn load(&self, shape: Shape, options: &FeedOptions) -> Result<()> {
        let bucket = shape.name();
        let mut writes = vec![
            plain(&RecordPath::bucket(bucket.into())),
            plain(&CollectionPath::collections(bucket.into()).record("c")),
        ];
        if shape == Shape::Teams {
            for n in 0..TEAMS {
                let members = (0..options.people)
                    .filter(|p| (0..TEAMS_OF_ONE).any(|i| (p + 10 * i) % TEAMS == n))
                    .map(person);
                let path = CollectionPath::groups(bucket.into()).record(&*format!("t{n}"));
                writes.push(plain(&path));
                writes.push(Write::SetMembers { group: team(n), members: members.collect() });
            }
        }
        self.apply(writes).await?;
        for first in (0..options.records).step_by(ROWS as usize) {
            let rows = first..(first + ROWS).min(options.records);
            let writes = rows.map(|n| put(shape, n, shape.readers(n, options.people)));
            self.apply(writes.collect()).await?;
        }
        Ok(())
    }

    pub(crate) async fn apply(&self, writes: Vec<Write>) -> Result<()> {
        let batch = Batch::new(now(), writes);
        self.store.apply(batch).await.map(drop).map_err(|error| anyhow!("{error}"))
    }
}

fn engine(store: &Arc<dyn Store>) -> Arc<Engine> {
    let ids = std::sync::atomic::AtomicU64::new(0);
    let world = World {
        clock: Box::new(now),
        random: Box::new(move || ids.fetch_add(1, std::sync::atomic::Ordering::Relaxed).into()),
    };
    let mut settings = Settings::default();
    settings.feed.secret = "benchmark".to_owned();
    Engine::new(Arc::clone(store), settings, world)
}

/// What a person asks.
pub(crate) fn ask(shape: Shape, n: u64, limit: usize) -> FeedQuery {
    FeedQuery { user: Some(person(n)), collection: shape.collection(), limit, sum: false }
}

/// Writes record number `n` for these readers.
pub(crate) fn put(shape: Shape, n: u64, readers: Readers) -> Write {
    let path = shape.collection().record(format!("r{n:07}").as_str());
    let named: Vec<String> = readers.principals().iter().map(|p| format!("\"{p}\"")).collect();
    Write::Put(Put {
        path,
        body: Body::from(format!("{{\"n\":{n},\"text\":\"{}\"}}", "x".repeat(BODY_BYTES - 20))),
        permissions: format!("{{\"read\":[{}]}}", named.join(",")),
        readers,
        placement: Placement::Next,
    })
}

pub(crate) fn plain(path: &RecordPath) -> Write {
    Write::Put(Put {
        path: path.clone(),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(BTreeSet::new()),
        placement: Placement::Next,
    })
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(i64::MAX))
}
