//! A change in one process that another one is not told of, or a flood of telling.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nuage_model::{CollectionPath, Hint, Kind, RecordPath, Store, Write};
use nuage_store::{Address, Options};
use nuage_testkit::backend::block_on;
use nuage_testkit::postgres::{Database, database};
use nuage_testkit::random::new_epoch;
use tokio_postgres::{AsyncMessage, NoTls};

use crate::{apply, put};

/// A machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two notifications of a process.
const COLLECT: Duration = Duration::from_millis(20);

/// A process on the database, and what it was told.
struct Process {
    store: Arc<dyn Store>,
    hints: Arc<Mutex<Vec<Hint>>>,
}

impl Process {
    // One that listens already.
    async fn new(database: &Database) -> Self {
        let address = Address { url: database.url().to_owned(), password: None };
        // What moves is moved by hints alone.
        let options = Options { trust_ms: 3_600_000, ..Options::default() };
        let store = nuage_store::connect(&address, options).await.unwrap();
        let hints: Arc<Mutex<Vec<Hint>>> = Arc::default();
        let heard = Arc::clone(&hints);
        store.listen(Arc::new(move |hint| heard.lock().unwrap().push(hint)));
        let process = Self { store, hints };
        process.hears(&Hint::Everything).await;
        process
    }

    async fn hears(&self, hint: &Hint) {
        self.hears_times(hint, 1).await;
    }

    async fn hears_times(&self, hint: &Hint, times: usize) {
        let begun = Instant::now();
        while self.heard(hint) < times {
            assert!(begun.elapsed() < PATIENCE, "{hint:?} was not heard {times} times");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn heard(&self, hint: &Hint) -> usize {
        self.hints.lock().unwrap().iter().filter(|heard| *heard == hint).count()
    }

    async fn write(&self, collection: &CollectionPath) {
        apply(&self.store, vec![put(&collection.record("r"))]).await;
    }
}

fn collection(name: &str) -> CollectionPath {
    CollectionPath::new("b", name)
}

#[test]
fn a_change_in_one_process_is_told_to_the_others() {
    block_on(async {
        let database = database();
        let (a, b) = (Process::new(&database).await, Process::new(&database).await);
        let moved = (a.store.foreign_writes(), b.store.foreign_writes());
        let odd = collection("o'd\"d\\ \u{e9}");
        a.write(&collection("c")).await;
        a.write(&odd).await;
        b.hears(&Hint::Changed(collection("c"))).await;
        b.hears(&Hint::Changed(odd)).await;
        b.write(&collection("d")).await;
        a.hears(&Hint::Changed(collection("d"))).await;
        assert_eq!(a.heard(&Hint::Changed(collection("c"))), 0, "nobody is told of his own");
        let now = (a.store.foreign_writes(), b.store.foreign_writes());
        assert_eq!(now, moved, "what applications store gives nobody a right");

        let told = b.heard(&Hint::Rights);
        apply(&a.store, vec![put(&RecordPath::bucket("b".into()))]).await;
        b.hears_times(&Hint::Rights, told + 1).await;
        assert_ne!(b.store.foreign_writes(), moved.1);
        assert_eq!(a.store.foreign_writes(), moved.0);
        let named = b.hints.lock().unwrap().iter().any(|hint| match hint {
            Hint::Changed(path) => path.kind() != Kind::Record,
            Hint::Rights | Hint::Everything => false,
        });
        assert!(!named, "built-in collections are rights");
        a.store.close().await;
        b.store.close().await;
    });
}

#[test]
fn many_changes_are_few_notifications() {
    block_on(async {
        let database = database();
        let (client, mut connection) =
            tokio_postgres::connect(database.url(), NoTls).await.unwrap();
        let payloads: Arc<Mutex<Vec<String>>> = Arc::default();
        let told = Arc::clone(&payloads);
        tokio::spawn(async move {
            let mut message = pin!(poll_fn(|cx| connection.poll_message(cx)));
            while let Some(Ok(message)) = message.as_mut().await {
                if let AsyncMessage::Notification(notification) = message {
                    told.lock().unwrap().push(notification.payload().to_owned());
                }
            }
        });
        client.batch_execute("LISTEN nuage").await.unwrap();
        let (a, b) = (Process::new(&database).await, Process::new(&database).await);
        let names: Vec<CollectionPath> = (0..20).map(|n| collection(&format!("c{n}"))).collect();
        let begun = Instant::now();
        for n in 0..200 {
            a.write(&names[n % names.len()]).await;
        }
        for name in &names {
            b.hears(&Hint::Changed(name.clone())).await;
        }
        let periods = begun.elapsed().as_millis() / COLLECT.as_millis();
        // An answer shows that what was told before has arrived.
        client.batch_execute("SELECT 1").await.unwrap();
        let payloads = payloads.lock().unwrap().clone();
        assert!(!payloads.is_empty());
        let most = usize::try_from(periods).unwrap() + 2;
        assert!(payloads.len() <= most, "{} notifications in {periods} periods", payloads.len());
        let distinct: HashSet<&String> = payloads.iter().collect();
        assert!(distinct.iter().all(|payload| payload.len() < 8_000));
        a.store.close().await;
        b.store.close().await;
    });
}

#[test]
fn more_names_than_fit_are_everything() {
    block_on(async {
        let database = database();
        let (a, b) = (Process::new(&database).await, Process::new(&database).await);
        let (told, moved) = (b.heard(&Hint::Everything), b.store.foreign_writes());
        let long = "x".repeat(100);
        let paths = (0..100).map(|n| collection(&format!("{long}{n}")).record("r"));
        apply(&a.store, paths.map(|path| put(&path)).collect()).await;
        b.hears_times(&Hint::Everything, told + 1).await;
        assert_eq!(b.store.foreign_writes(), moved, "it is known that no rights changed");
        apply(&a.store, vec![Write::Flush { epoch: new_epoch() }]).await;
        b.hears_times(&Hint::Everything, told + 2).await;
        assert_ne!(b.store.foreign_writes(), moved);
        a.store.close().await;
        b.store.close().await;
    });
}

#[test]
fn a_broken_connection_is_everything_and_what_was_not_told_is_told_later() {
    block_on(async {
        let database = database();
        let (a, b) = (Process::new(&database).await, Process::new(&database).await);
        for round in 1..=2 {
            let moved = b.store.foreign_writes();
            database.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                 WHERE application_name = 'nuage listener' AND datname = current_database()",
            );
            let name = collection(&format!("c{round}"));
            a.write(&name).await;
            a.hears_times(&Hint::Everything, 1 + round).await;
            b.hears_times(&Hint::Everything, 1 + round).await;
            assert_ne!(b.store.foreign_writes(), moved);
            // Now both listen again.
            a.write(&name).await;
            b.hears(&Hint::Changed(name)).await;
        }
        a.store.close().await;
        b.store.close().await;
    });
}
