//! A feed that leaks, forgets, keeps what is lost, or never ends; and an oracle that would not
//! notice it.
//!
//! `NUAGE_SEED` replays a history, `NUAGE_HISTORIES` sets how many (0: without end), `NUAGE_STEPS`
//! how long they are.

mod forgetful;
mod mutants;
mod subject;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nuage_model::Store;
use nuage_store::{Address, Options, Synchronous};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::oracle::{Campaign, Minimum, Tally, campaign};
use nuage_testkit::postgres::Database;

use subject::{Engines, Fault};

both_databases!(async random_histories_agree_with_the_oracle);

/// Histories by default.
const HISTORIES: u64 = 2_000;
/// The time after which no other is begun, unless it was said how many: some machines are slow.
const TIME: Duration = Duration::from_secs(180);
/// How long they are, on SQLite and on PostgreSQL.
const STEPS: [usize; 2] = [50, 16];
/// What must be tried on each of them, however slow the machine is.
const LEAST: [Minimum; 2] = [
    Minimum { histories: 300, resets: 1_000, removals: 500 },
    Minimum { histories: 300, resets: 600, removals: 100 },
];
/// At a time: the commits of many are flushed together.
const WORKERS: usize = 24;
/// How often a run without end says how far it is.
const EVERY: Duration = Duration::from_secs(10);

async fn random_histories_agree_with_the_oracle(backend: Backend) {
    let place = Place::new(backend).await;
    let stage = Arc::new(Engines::new(Arc::clone(&place.store), Fault::None));
    let steps = backend.choose(STEPS[0], STEPS[1]);
    let seed = number("NUAGE_SEED");
    let histories = match (number("NUAGE_HISTORIES"), seed) {
        (Some(0), _) => None,
        (Some(histories), _) => Some(histories),
        (None, Some(_)) => Some(1),
        (None, None) => Some(HISTORIES),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let tried = Campaign {
        seed: seed.unwrap_or(now.as_millis() as u64 % 1_000_000_000),
        histories,
        time: if number("NUAGE_HISTORIES").is_some() { Duration::MAX } else { TIME },
        least: if histories == Some(HISTORIES) {
            backend.choose(LEAST[0], LEAST[1])
        } else {
            Minimum::default()
        },
        steps: number("NUAGE_STEPS").map_or(steps, |steps| steps as usize),
        workers: WORKERS,
        mix: None,
        shrink: true,
        every: EVERY,
    };
    eprintln!("feeds: first seed {}", tried.seed);
    let report = |tally: Tally| eprintln!("feeds: {tally}");
    match campaign(stage, tried, report).await {
        Ok(tally) => report(tally),
        Err(why) => panic!("{why}"),
    }
    let findings = place.store.admin().check().await.unwrap();
    assert!(findings.is_empty(), "{findings:?}");
    place.store.close().await;
}

/// A fresh store, and where it lies.
pub(crate) struct Place {
    pub(crate) store: Arc<dyn Store>,
    _folder: tempfile::TempDir,
    _database: Option<Arc<Database>>,
}

impl Place {
    pub(crate) async fn new(backend: Backend) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = backend.database();
        // Nobody cuts the power here.
        let options = Options { synchronous: Synchronous::Normal, ..Options::default() };
        let store = match &database {
            None => nuage_store::open(&folder.path().join("nuage.db"), options).await.unwrap(),
            Some(database) => {
                let address = Address { url: database.url().to_owned(), password: None };
                nuage_store::connect(&address, options).await.unwrap()
            }
        };
        Self { store, _folder: folder, _database: database }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}
