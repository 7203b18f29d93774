//! Data that went back, by a failover that lost writes or a copy that was put in its place, passes for
//! what devices know; or data one that lost nothing makes all of them begin afresh.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nuage_model::{Batch, CollectionPath, RecordPath, SnapshotRequest, Store, Timestamp};
use nuage_store::{Address, Options};
use nuage_testkit::postgres::{Cluster, Database, Durability, Stop};

use tokio::net::{TcpListener, TcpStream};

use crate::{apply, found, put};

/// Longest time until something is so on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

async fn open(url: &str) -> Arc<dyn Store> {
    let address = Address { url: url.to_owned(), password: None };
    nuage_store::connect(&address, Options::default()).await.unwrap()
}

fn record(collection: &str, id: &str) -> RecordPath {
    CollectionPath::new("b", collection).record(id)
}

/// Writes a record, as soon as that is possible.
async fn write(store: &Arc<dyn Store>, path: &RecordPath) {
    let batch = Batch::new(Timestamp(1_000), vec![put(path)]);
    let begun = Instant::now();
    while let Err(error) = store.apply(batch.clone()).await {
        assert!(begun.elapsed() < PATIENCE, "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Looks at a collection as a feed does, as soon as that is possible.
async fn epoch(store: &Arc<dyn Store>, collection: &str) -> String {
    let collection = CollectionPath::new("b", collection);
    let ask = SnapshotRequest::of(collection);
    let begun = Instant::now();
    loop {
        let error = match store.snapshot(&ask).await {
            Ok((opening, _)) => return opening.epoch,
            Err(error) => error,
        };
        assert!(begun.elapsed() < PATIENCE, "{error:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Lets through whoever waits at a gate.
async fn pass(gate: TcpListener, to: SocketAddr) {
    while let Ok((mut one, _)) = gate.accept().await {
        tokio::spawn(async move {
            let mut other = TcpStream::connect(to).await?;
            tokio::io::copy_bidirectional(&mut one, &mut other).await
        });
    }
}

/// A primary and a standby that has everything, and a database with a collection `c` and `d`.
struct Pair {
    primary: Cluster,
    standby: Cluster,
    database: Database,
}

impl Pair {
    async fn new() -> (Self, Arc<dyn Store>) {
        let primary = Cluster::new(Durability::Fast);
        let standby = primary.standby();
        let database = primary.database();
        let pair = Self { primary, standby, database };
        let store = open(&pair.url()).await;
        found(&store, "b", &["c", "d"]).await;
        (pair, store)
    }

    fn url(&self) -> String {
        let (one, other) = (self.primary.address(), self.standby.address());
        format!("postgres://postgres@{one},{other}/{}", self.database.name())
    }

    /// What is written from now on does not arrive at the standby.
    fn separate(&self) {
        let arrived = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = sent_lsn \
            AND sent_lsn = pg_current_wal_lsn()";
        let begun = Instant::now();
        while self.database.execute(arrived) != "1" {
            assert!(begun.elapsed() < PATIENCE, "the standby does not follow");
            std::thread::sleep(Duration::from_millis(20));
        }
        self.standby.stop(Stop::Fast);
    }

    /// The standby takes over from a primary that is gone.
    fn fail_over(&self) {
        self.primary.stop(Stop::Immediate);
        self.standby.start();
        self.standby.promote();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failover_lost_begins_one_new_epoch() {
    let (pair, store) = Pair::new().await;
    let other = open(&pair.url()).await;
    write(&store, &record("c", "kept")).await;
    write(&other, &record("d", "kept")).await;
    let before = epoch(&store, "c").await;
    pair.separate();
    write(&store, &record("c", "lost")).await;
    write(&other, &record("d", "lost")).await;
    pair.fail_over();
    let after = epoch(&store, "c").await;
    assert_ne!(after, before, "a record is gone that was acknowledged");
    // The other one lost something too, and finds that all is done.
    write(&other, &record("d", "next")).await;
    assert_eq!(epoch(&other, "d").await, after);
    assert_eq!(epoch(&store, "c").await, after);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_wrote_over_the_loss_hides_nothing() {
    let (pair, other) = Pair::new().await;
    let gate = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (one, door) = (pair.primary.address(), gate.local_addr().unwrap());
    let store = open(&format!("postgres://postgres@{one},{door}/{}", pair.database.name())).await;
    write(&other, &record("d", "kept")).await;
    let before = epoch(&store, "c").await;
    pair.separate();
    write(&store, &record("c", "r")).await;
    pair.fail_over();
    // This one lost nothing; and the record is there again, with a position of its own.
    write(&other, &record("d", "next")).await;
    assert_eq!(epoch(&other, "d").await, before);
    for _ in 0..3 {
        write(&other, &record("c", "r")).await;
    }
    tokio::spawn(pass(gate, pair.standby.address()));
    assert_ne!(epoch(&store, "c").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_shown_is_missed_as_well() {
    let (pair, store) = Pair::new().await;
    let other = open(&pair.url()).await;
    write(&store, &record("d", "kept")).await;
    pair.separate();
    write(&other, &record("c", "lost")).await;
    let before = epoch(&store, "c").await;
    // The one that wrote it ends with the primary.
    other.close().await;
    pair.fail_over();
    assert_ne!(epoch(&store, "d").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_lost_nothing_is_not_noticed() {
    let (pair, store) = Pair::new().await;
    write(&store, &record("c", "kept")).await;
    let before = epoch(&store, "c").await;
    pair.separate();
    pair.fail_over();
    assert_eq!(epoch(&store, "c").await, before);
    // Whoever starts now relies on that.
    let other = open(&pair.url()).await;
    assert_eq!(epoch(&other, "c").await, before);
    pair.standby.restart(Stop::Immediate);
    write(&store, &record("c", "next")).await;
    assert_eq!(epoch(&other, "c").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_that_nobody_saw_is_feared_to_have_lost() {
    let (pair, store) = Pair::new().await;
    let before = epoch(&store, "c").await;
    store.close().await;
    let store = open(&pair.url()).await;
    assert_eq!(epoch(&store, "c").await, before);
    store.close().await;
    pair.separate();
    pair.fail_over();
    let store = open(&pair.url()).await;
    let after = epoch(&store, "c").await;
    assert_ne!(after, before);
    store.close().await;
    let store = open(&pair.url()).await;
    assert_eq!(epoch(&store, "c").await, after, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_database_is_of_another_epoch() {
    let cluster = Cluster::new(Durability::Fast);
    let database = cluster.database();
    let store = open(database.url()).await;
    found(&store, "b", &["c"]).await;
    let before = epoch(&store, "c").await;
    store.close().await;
    // As a dump that is restored: the same rows in new tables, in the same database.
    database.execute(
        "CREATE TABLE copy (LIKE meta INCLUDING ALL); INSERT INTO copy SELECT * FROM meta;
        DROP TABLE meta; ALTER TABLE copy RENAME TO meta",
    );
    let store = open(database.url()).await;
    let restored = epoch(&store, "c").await;
    assert_ne!(restored, before);
    store.close().await;
    // All of it elsewhere.
    let copy = cluster.database_with(&format!("TEMPLATE {}", database.name()));
    let elsewhere = open(copy.url()).await;
    assert_ne!(epoch(&elsewhere, "c").await, restored);
    elsewhere.close().await;
    let store = open(database.url()).await;
    assert_eq!(epoch(&store, "c").await, restored, "this one is where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_ask_for_the_timeline_is_served() {
    let cluster = Cluster::new(Durability::Fast);
    let database = cluster.database();
    database.execute(
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC;
        CREATE ROLE nuage LOGIN PASSWORD 'secret'; GRANT CREATE ON SCHEMA public TO nuage",
    );
    let url = database.url().replace("postgres@", "nuage:secret@");
    let store = open(&url).await;
    found(&store, "b", &["c"]).await;
    let before = epoch(&store, "c").await;
    store.close().await;
    let store = open(&url).await;
    assert_eq!(epoch(&store, "c").await, before);
    assert!(database.execute("SELECT value FROM meta WHERE key = 'lineage'").starts_with("-."));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_file_in_the_place_of_a_newer_one_is_of_another_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (file, older) = (folder.path().join("data"), folder.path().join("older"));
    let store = crate::open(&file).await;
    found(&store, "b", &["c", "d"]).await;
    apply(&store, vec![put(&record("c", "kept"))]).await;
    store.admin().backup(&older).await.unwrap();
    let before = epoch(&store, "c").await;
    store.close().await;
    let store = crate::open(&file).await;
    assert_eq!(epoch(&store, "c").await, before, "nothing happened");
    apply(&store, vec![put(&record("d", "lost"))]).await;
    store.close().await;
    std::fs::copy(&older, &file).unwrap();
    let store = crate::open(&file).await;
    let after = epoch(&store, "c").await;
    assert_ne!(after, before);
    apply(&store, vec![put(&record("d", "next"))]).await;
    store.close().await;
    let store = crate::open(&file).await;
    assert_eq!(epoch(&store, "c").await, after, "once");
    store.close().await;
}
