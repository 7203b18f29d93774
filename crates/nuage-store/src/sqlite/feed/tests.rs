//! What only the inside shows: which way reads go, and what becomes of readers.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nuage_model::{
    Ask, Batch, Bodies, Body, CollectionPath, Hint, Placement, Readers, RecordPath, Seq, Store,
    StoreError, Timestamp, Write,
};

use crate::sqlite::SqliteStore;
use crate::{Options, Synchronous};

/// Longer than anything here takes, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options { synchronous: Synchronous::Normal, ..Options::default() }
}

fn open(folder: &Path, options: &Options) -> SqliteStore {
    SqliteStore::open(&folder.join("data"), options).unwrap()
}

fn put(path: &RecordPath) -> Batch {
    let write = Write::Put {
        path: path.clone(),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(Default::default()),
        placement: Placement::Next,
    };
    Batch { author: None, now: Timestamp(1_000), guards: Vec::new(), writes: vec![write] }
}

fn ask() -> Ask {
    Ask {
        collection: CollectionPath::accounts(),
        members: Vec::new(),
        groups_max: 10,
        paths: Vec::new(),
    }
}

#[test]
fn reads_of_a_feed_follow_an_index_to_its_end_and_never_sort() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let connection = crate::sqlite::open::writer(&path, &options()).unwrap();
    let walks = [super::traces::WALKS, super::signatures::WALKS, super::forgetting::WALKS].concat();
    for sql in walks {
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut plan = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get::<_, String>(3).unwrap());
        }
        assert_eq!(plan.len(), 1 + sql.matches("JOIN").count(), "{sql}: {plan:?}");
        for step in &plan {
            assert!(step.starts_with("SEARCH "), "{sql}: {plan:?}");
        }
        // Every comparison of the statement narrows the search, but for whether it is dead.
        let narrowed = plan[0].matches(" AND ").count() + 1;
        let (_, asked) = sql.rsplit_once("WHERE").unwrap();
        let asked = asked.replace("AND dead = 0", "").replace("AND dead = 1", "");
        assert_eq!(narrowed, asked.matches(" AND ").count() + 1, "{sql}: {plan:?}");
        if let Some(joined) = plan.get(1) {
            let expected = "(bucket=? AND collection=? AND id=?) LEFT-JOIN";
            assert!(joined.ends_with(expected), "{sql}: {plan:?}");
        }
    }
}

#[tokio::test]
async fn a_moment_that_is_dropped_gives_its_reader_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Options { readers: 1, list_ms: 60_000, ..options() });
    for n in 0..20 {
        store.apply(put(&RecordPath::account(n.to_string()))).await.unwrap();
        let ask = ask();
        let (opening, mut moment) = Store::snapshot(&store, &ask).await.unwrap();
        assert_eq!(opening.standing.unwrap().head.live, n + 1, "it is of the present moment");
        if n % 2 == 0 {
            drop(moment.tail(Seq(0), 1));
        }
        // Short reads have readers of their own.
        assert!(store.get(&[RecordPath::account("0")], Bodies::All).await.unwrap()[0].is_some());
    }
    store.close().await;
}

#[tokio::test]
async fn a_moment_waits_for_a_reader_no_longer_than_a_list_may_take() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Options { readers: 1, list_ms: 200, ..options() });
    let ask = ask();
    let (_, moment) = Store::snapshot(&store, &ask).await.unwrap();
    assert!(matches!(Store::snapshot(&store, &ask).await, Err(StoreError::TooSlow)));
    drop(moment);
    assert!(Store::snapshot(&store, &ask).await.is_ok());
    store.close().await;
    assert!(matches!(Store::snapshot(&store, &ask).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_listener_hears_of_another_process_and_not_of_this_one() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (open(folder.path(), &options()), open(folder.path(), &options()));
    let heard = Arc::new(AtomicUsize::new(0));
    let listener = {
        let heard = heard.clone();
        move |hint| {
            assert_eq!(hint, Hint::Everything);
            heard.fetch_add(1, Ordering::SeqCst);
        }
    };
    here.listen(Arc::new(listener));
    // What the other one did to open the file may still be noticed.
    let before = here.foreign_writes();
    for n in 0..100 {
        here.apply(put(&RecordPath::account(n.to_string()))).await.unwrap();
    }
    let noticed = here.foreign_writes() - before;
    assert!(heard.load(Ordering::SeqCst) as u64 <= noticed + 1 && noticed <= 1);

    let before = heard.load(Ordering::SeqCst);
    there.apply(put(&RecordPath::account("there"))).await.unwrap();
    let begun = Instant::now();
    while heard.load(Ordering::SeqCst) == before {
        assert!(begun.elapsed() < PATIENCE, "nothing was heard");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    here.close().await;
    there.close().await;
}
