//! What only the inside can cause: a full disk, a broken connection, a failing writer, a crowd.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use nuage_model::copy::Table;
use nuage_model::{
    Admin, ApplyError, Batch, Body, CollectionPath, Direction, Field, Filter, Guard, Head, Pace,
    Placement, Principal, Put, Query, ReaderFilter, Readers, RecordPath, Scope, Seq, Slot, Sort,
    Store, StoreError, Test, Timestamp, Write,
};
use rusqlite::Connection;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::places;
use crate::rules::Changes;
use crate::sqlite::SqliteStore;
use crate::sqlite::heads::Heads;
use crate::sqlite::reads::Look;
use crate::sqlite::writer::{Answer, Job};
use crate::{Options, Synchronous};

const NOW: Timestamp = Timestamp(1_000);

fn options() -> Options {
    Options { synchronous: Synchronous::Normal, ..Options::default() }
}

fn open(folder: &Path, options: &Options) -> SqliteStore {
    SqliteStore::open(&folder.join("data"), options).unwrap()
}

fn meddle(store: &SqliteStore, with: impl FnOnce(&mut Connection) + Send + 'static) {
    store.jobs.send(Job::Meddle(Box::new(with))).unwrap_or_else(|_| panic!("it is closed"));
}

fn put(path: &RecordPath, body: String) -> Batch {
    let write = Write::Put(Put {
        path: path.clone(),
        body: Body::from(body),
        permissions: "{}".to_owned(),
        readers: Readers::new(Default::default()),
        placement: Placement::Next,
    });
    Batch::new(NOW, vec![write])
}

fn accounts(n: usize) -> RecordPath {
    RecordPath::account(n.to_string())
}

fn large() -> String {
    format!(r#"{{"x":"{}"}}"#, "x".repeat(10_000))
}

fn small() -> String {
    "{}".to_owned()
}

async fn assert_sound(store: &SqliteStore, live: usize) {
    assert_eq!(store.check().await.unwrap(), []);
    let head = store.head(&CollectionPath::accounts()).await.unwrap();
    assert_eq!(head.map(|head| head.live), Some(live as u64));
}

fn is_unavailable<T>(answer: &Result<T, ApplyError>) -> bool {
    matches!(answer, Err(ApplyError::Store(StoreError::Unavailable(_))))
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_passes() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    store.apply(put(&accounts(0), small())).await.unwrap();
    meddle(&store, |connection| {
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages + 20, |_| Ok(())).unwrap();
    });
    let mut written = 1;
    let refused = loop {
        match store.apply(put(&accounts(written), large())).await {
            Ok(_) => written += 1,
            refused => break refused,
        }
        assert!(written < 100, "the disk is full long before");
    };
    assert!(is_unavailable(&refused), "{refused:?}");
    assert!(written > 1);
    // It reads on, and writes what fits.
    assert_sound(&store, written).await;
    let erase = Write::Erase { path: accounts(1) };
    store.apply(Batch::new(NOW, vec![erase])).await.unwrap();
    store.apply(put(&accounts(0), r#"{"fits":1}"#.to_owned())).await.unwrap();
    store.apply(put(&accounts(1), small())).await.unwrap();
    // The disk is cleared.
    meddle(&store, |connection| {
        let plenty = 1_000_000;
        connection.pragma_update_and_check(None, "max_page_count", plenty, |_| Ok(())).unwrap();
    });
    store.apply(put(&accounts(written), large())).await.unwrap();
    assert_sound(&store, written + 1).await;
    store.close().await;
}

// Applies some batches as one group, for which the disk has room for a few rows only.
async fn apply_together(store: &SqliteStore, batches: Vec<Batch>) -> Vec<Answer> {
    let (go, gate) = mpsc::channel::<()>();
    meddle(store, move |connection| {
        let pages: i64 = connection.query_row("PRAGMA page_count", [], |r| r.get(0)).unwrap();
        connection.pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(())).unwrap();
        // Until all wait in the queue, so that they make one group.
        gate.recv().unwrap();
    });
    let mut waiting = Vec::new();
    for batch in batches {
        let mut answer = store.apply(batch);
        assert!(tokio::time::timeout(Duration::ZERO, &mut answer).await.is_err());
        waiting.push(answer);
    }
    go.send(()).unwrap();
    futures_util::future::join_all(waiting).await
}

fn too_large() -> String {
    large() + &" ".repeat(100_000)
}

#[tokio::test]
async fn what_does_not_fit_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    store.apply(put(&accounts(0), small())).await.unwrap();
    let body = |n| if n == 3 { too_large() } else { small() };
    let results = apply_together(&store, (1..=6).map(|n| put(&accounts(n), body(n))).collect());
    let failed: Vec<bool> = results.await.iter().map(is_unavailable).collect();
    assert_eq!(failed, [false, false, true, false, false, false]);
    assert_sound(&store, 6).await;
    store.close().await;
}

#[tokio::test]
async fn what_may_have_been_written_is_told_so_and_not_written_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    store.apply(put(&accounts(0), small())).await.unwrap();
    // The file goes away while the commit is under way.
    let (file, elsewhere) = (folder.path().join("data"), folder.path().join("elsewhere"));
    assert!(file.exists());
    meddle(&store, move |connection| {
        let go_away = move || {
            std::fs::rename(&file, &elsewhere).unwrap();
            false
        };
        connection.commit_hook(Some(go_away)).unwrap();
    });
    let results =
        apply_together(&store, (1..=2).map(|n| put(&accounts(n), small())).collect()).await;
    for answer in &results {
        let is_unknown = matches!(answer, Err(ApplyError::Store(StoreError::Unknown(_))));
        assert!(is_unknown, "{answer:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn guards_that_do_not_hold_are_no_failures_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    store.apply(put(&accounts(0), small())).await.unwrap();
    let batch = |n: usize| {
        let body = if n == 1 { too_large() } else { small() };
        let stale = Guard::new(accounts(0), None);
        let guards = if (2..=5).contains(&n) { vec![stale] } else { Vec::new() };
        Batch { guards, ..put(&accounts(n), body) }
    };
    let results = apply_together(&store, (1..=6).map(batch).collect()).await;
    assert!(is_unavailable(&results[0]));
    assert!(results[1..5].iter().all(|answer| matches!(answer, Err(ApplyError::Conflict))));
    assert!(results[5].is_ok(), "{:?}", results[5]);
    assert_sound(&store, 2).await;
    store.close().await;
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    store.apply(put(&accounts(0), small())).await.unwrap();
    let foreign = store.foreign_writes();
    meddle(&store, |connection| connection.pragma_update(None, "query_only", true).unwrap());
    let refused = store.apply(put(&accounts(1), small())).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    store.apply(put(&accounts(1), small())).await.unwrap();
    assert!(store.foreign_writes() > foreign, "others may have written while it was closed");
    assert_sound(&store, 2).await;
    store.close().await;
}

#[tokio::test]
async fn a_panic_ends_one_batch_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    let mut bad = put(&accounts(0), small());
    if let Write::Put(Put { body, .. }) = &mut bad.writes[0] {
        *body = Body::with_slots(small(), vec![Slot { at: 99, write: 0 }]);
    }
    let refused = store.apply(bad).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    store.apply(put(&accounts(1), small())).await.unwrap();
    meddle(&store, |_| panic!("a test wants this"));
    store.apply(put(&accounts(2), small())).await.unwrap();
    assert_sound(&store, 2).await;
    store.close().await;
}

#[tokio::test]
async fn a_crowd_is_sent_away() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Options { queued_writes: 2, ..options() });
    let (go, gate) = mpsc::channel::<()>();
    let (busy, is_busy) = mpsc::channel::<()>();
    meddle(&store, move |_| {
        busy.send(()).unwrap();
        gate.recv().unwrap();
    });
    is_busy.recv().unwrap();
    let submit = |n| store.submit(Some(put(&accounts(n), small())));
    let mut waiting = [Box::pin(submit(0)), Box::pin(submit(1))];
    for answer in &mut waiting {
        assert!(tokio::time::timeout(Duration::ZERO, answer).await.is_err());
    }
    let refused = submit(2).await;
    assert!(is_unavailable(&refused), "{refused:?}");
    go.send(()).unwrap();
    for answer in waiting {
        answer.await.unwrap();
    }
    submit(2).await.unwrap();
    assert_sound(&store, 3).await;
    store.close().await;
}

#[tokio::test]
async fn writes_of_another_process_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, theirs) = (open(folder.path(), &options()), open(folder.path(), &options()));
    let accounts_path = CollectionPath::accounts();
    ours.apply(put(&accounts(0), small())).await.unwrap();
    let known = ours.head(&accounts_path).await.unwrap().unwrap();
    let before = ours.foreign_writes();
    theirs.apply(put(&accounts(1), small())).await.unwrap();
    // An idle writer looks now and then.
    let noticed = async {
        while ours.foreign_writes() == before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), noticed).await.unwrap();
    let head = ours.head(&accounts_path).await.unwrap().unwrap();
    assert_eq!((head.seq, head.live), (Seq(known.seq.0 + 1), 2));

    // A busy one looks before it writes, and goes on from there.
    for n in 2..20 {
        theirs.apply(put(&accounts(n), small())).await.unwrap();
        let outcomes = ours.apply(put(&accounts(n + 100), small())).await.unwrap();
        let head = ours.head(&accounts_path).await.unwrap().unwrap();
        assert_eq!((head.seq, head.live), (outcomes[0].seq, 2 * n as u64));
    }
    let before = ours.foreign_writes();
    for n in 0..50 {
        ours.apply(put(&accounts(n), large())).await.unwrap();
    }
    assert_eq!(ours.foreign_writes(), before, "its own writes are not foreign");
    assert_eq!(theirs.check().await.unwrap(), []);
    theirs.close().await;
    ours.close().await;
}

#[tokio::test]
async fn a_slow_list_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Options { list_ms: 0, ..options() });
    let mut batch = put(&accounts(0), small());
    batch.writes = (0..500).flat_map(|n| put(&accounts(n), small()).writes).collect();
    store.apply(batch).await.unwrap();
    let test = Test::Eq(Value::from(1));
    let filters = vec![Filter { field: Field::Body(vec!["n".to_owned()]), test }];
    let query = Query { filters, ..Query::all(CollectionPath::accounts(), 10) };
    assert!(matches!(store.list(&query).await, Err(StoreError::TooSlow)));
    assert!(matches!(store.count(&query).await, Err(StoreError::TooSlow)));
    let short = Query::all(CollectionPath::accounts(), 10);
    assert_eq!(store.list(&short).await.unwrap().records.len(), 10, "the reader is free again");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_long_reads_wait_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path(), &Options { readers: 1, ..options() }));
    let mut batch = put(&accounts(0), small());
    batch.writes = (0..500).flat_map(|n| put(&accounts(n), small()).writes).collect();
    store.apply(batch).await.unwrap();
    let mut tasks = Vec::new();
    for n in 0..40 {
        let store = store.clone();
        let test = Test::Has(n % 2 == 0);
        let filters = vec![Filter { field: Field::Body(vec!["n".to_owned()]), test }];
        let query = Query { filters, ..Query::all(CollectionPath::accounts(), 10) };
        tasks.push(tokio::spawn(async move {
            if n % 5 == 0 {
                // Somebody who stops waiting.
                let _ = tokio::time::timeout(Duration::ZERO, store.list(&query)).await;
                return 0;
            }
            store.list(&query).await.unwrap().records.len()
        }));
    }
    for (n, task) in tasks.into_iter().enumerate() {
        let expected = if n % 5 == 0 || n % 2 == 0 { 0 } else { 10 };
        assert_eq!(task.await.unwrap(), expected);
    }
    store.close().await;
}

#[tokio::test]
async fn what_is_heavy_is_not_read_at_once_whatever_it_is_asked_by() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    let bodies = CollectionPath::accounts();
    let permissions = CollectionPath::new("b", "c");
    let mut batch = put(&accounts(0), small());
    batch.writes = (0..50).flat_map(|n| put(&accounts(n), large()).writes).collect();
    for n in 0..50 {
        let mut writes = put(&permissions.record(n.to_string()), small()).writes;
        if let Write::Put(Put { permissions, .. }) = &mut writes[0] {
            *permissions = format!(r#"{{"read":["{}"]}}"#, "x".repeat(10_000));
        }
        batch.writes.extend(writes);
    }
    store.apply(batch).await.unwrap();

    let named = |collection: &CollectionPath, count: usize| {
        let names = (0..count).map(|n| Value::from(n.to_string())).collect();
        let filters = vec![Filter { field: Field::Id, test: Test::In(names) }];
        Query { filters, ..Query::all(collection.clone(), 1_000) }
    };
    for collection in [&bodies, &permissions] {
        let heavy = named(collection, 50);
        assert!(store.list_at(&heavy, Pace::Quick).await.unwrap().is_none());
        assert_eq!(store.list(&heavy).await.unwrap().records.len(), 50);
        let light = store.list_at(&named(collection, 20), Pace::Quick).await.unwrap();
        assert_eq!(light.map(|page| page.records.len()), Some(20));
        let all = Query::all(collection.clone(), 1_000);
        assert!(store.list_at(&all, Pace::Quick).await.unwrap().is_none());
        assert_eq!(store.list(&all).await.unwrap().records.len(), 50);
    }
    // Whoever counts has no need of texts.
    let counted = async |collection: &CollectionPath| {
        store.count_at(&named(collection, 50), Pace::Quick).await.unwrap().map(|(_, count)| count)
    };
    assert_eq!(counted(&bodies).await, Some(50));
    assert_eq!(counted(&permissions).await, Some(50));
    store.close().await;
}

#[tokio::test]
async fn a_list_of_several_signatures_goes_on_beyond_what_it_passes_over() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &options());
    let collection = CollectionPath::new("b", "c");
    let who = |n: usize| Principal::from(["alice", "bob"][n % 2]);
    let mut batch = put(&accounts(0), small());
    // Tombstones, live records, and tombstones again.
    for n in 0..640 {
        let path = collection.record(format!("{n:03}"));
        let mut writes = put(&path, small()).writes;
        if let Write::Put(Put { readers, .. }) = &mut writes[0] {
            *readers = Readers::new([who(n)].into_iter().collect());
        }
        batch.writes.extend(writes);
        if !(300..340).contains(&n) {
            batch.writes.push(Write::Delete { path, placement: Placement::Next });
        }
    }
    // Others, so that what they may see is looked for by signature.
    for n in 0..2_000 {
        batch.writes.extend(put(&collection.record(format!("other-{n}")), small()).writes);
    }
    store.apply(batch).await.unwrap();
    for direction in [Direction::Ascending, Direction::Descending] {
        let query = Query {
            scope: Scope::Readers(vec![who(0), who(1)]),
            sort: vec![Sort { field: Field::Timestamp, direction }],
            ..Query::all(collection.clone(), 30)
        };
        let page = store.list(&query).await.unwrap();
        assert!(page.more);
        let ids: Vec<String> = page.records.iter().map(|record| record.id.to_string()).collect();
        let mut expected: Vec<String> = (300..340).map(|n| n.to_string()).collect();
        if direction == Direction::Descending {
            expected.reverse();
        }
        assert_eq!(ids, expected[..30]);
    }
    store.close().await;
}

#[tokio::test]
async fn a_read_that_nobody_waits_for_ends() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Options { readers: 1, list_ms: 30_000, ..options() });
    let (begin, begun) = oneshot::channel();
    let mut endless = Box::pin(store.patiently::<()>(async move |look: &Look<'_>| {
        begin.send(()).unwrap();
        loop {
            places::tally(look).await?;
            std::thread::yield_now();
        }
    }));
    tokio::select! {
        _ = &mut endless => panic!("it does not end by itself"),
        begun = begun => begun.unwrap(),
    }
    drop(endless);
    let next = store.patiently(async |_: &Look<'_>| Ok(()));
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("the reader is free").unwrap();
    store.close().await;
}

#[tokio::test]
async fn collections_are_looked_for_beside_the_calling_thread() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &Options { readers: 1, ..options() });
    let who = [Principal::from("basicauth:alice")];
    let mut batch = put(&accounts(0), small());
    if let Write::Put(Put { readers, .. }) = &mut batch.writes[0] {
        *readers = Readers::new(who.iter().cloned().collect());
    }
    store.apply(batch).await.unwrap();
    let reader = store.shared.patient.get().unwrap();
    let mut found = store.collections(ReaderFilter::Of(&who), None, 10);
    assert!(tokio::time::timeout(Duration::ZERO, &mut found).await.is_err());
    drop(reader);
    assert_eq!(found.await.unwrap(), [CollectionPath::accounts()]);
    store.close().await;
}

// A log of this length is moved, and one four times as long at the latest.
fn with_short_log() -> Options {
    Options { log_pages: 500, ..options() }
}

fn log_bytes(folder: &Path) -> u64 {
    std::fs::metadata(folder.join("data-wal")).unwrap().len()
}

// Some 250 pages, also where a record is there already: what does not change is not written.
async fn write_much(store: &SqliteStore, n: usize) {
    let body = format!(r#"{{"x":"{}"}}"#, format!("{n:05}").repeat(200_000));
    store.apply(put(&accounts(n % 10), body)).await.unwrap();
}

#[tokio::test]
async fn the_log_does_not_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &with_short_log());
    for n in 0..60 {
        write_much(&store, n).await;
    }
    let log = log_bytes(folder.path());
    assert!(log < 12_000_000, "the log has {log} bytes");
    store.close().await;
    assert!(!folder.path().join("data-wal").exists(), "closing leaves one file");
}

#[tokio::test]
async fn the_log_shrinks_to_its_bound_when_those_who_read_it_leave() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), &with_short_log());
    write_much(&store, 0).await;
    let mut reader = store.shared.patient.get().unwrap();
    reader.begin().unwrap();
    let read = |connection: &Connection| -> Result<i64, super::errors::Fault> {
        Ok(connection.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?)
    };
    assert_eq!(reader.read(read).unwrap(), 1);
    for n in 1..30 {
        write_much(&store, n).await;
    }
    assert_eq!(reader.read(read).unwrap(), 1, "it reads the moment in which it began");
    let log = log_bytes(folder.path());
    assert!(log > 12_000_000, "the log has {log} bytes");
    drop(reader);
    for n in 30..60 {
        write_much(&store, n).await;
    }
    let log = log_bytes(folder.path());
    assert!(log < 12_000_000, "the log has {log} bytes");
    store.close().await;
    assert!(!folder.path().join("data-wal").exists(), "closing leaves one file");
}

#[test]
fn an_older_head_does_not_replace_a_newer_one() {
    let heads = Heads::default();
    let path = CollectionPath::accounts();
    let head = |seq| Head { seq: Seq(seq), timestamp: Timestamp(seq), live: 1 };
    let Err(before) = heads.get(&path) else { panic!("nothing is known yet") };
    heads.publish(Changes { heads: vec![(path.clone(), Some(head(2)))], ..Changes::default() });
    heads.learn(&path, head(1), before);
    assert_eq!(heads.get(&path).ok(), Some(head(2)));
    heads.forget();
    let Err(after) = heads.get(&path) else { panic!("all was forgotten") };
    heads.learn(&path, head(1), before);
    assert!(heads.get(&path).is_err());
    heads.learn(&path, head(2), after);
    assert_eq!(heads.get(&path).ok(), Some(head(2)));
}

#[test]
fn tables_are_made_from_their_descriptions_as_migrations_made_them() {
    let folder = tempfile::tempdir().unwrap();
    let migrated = super::open::writer(&folder.path().join("data"), &options()).unwrap();
    let described = Connection::open_in_memory().unwrap();
    for table in Table::ALL {
        described.execute_batch(&super::tables::create(table)).unwrap();
        assert_eq!(shape_of(&described, table), shape_of(&migrated, table));
    }
}

// Columns and indexes, in words.
fn shape_of(connection: &Connection, table: Table) -> BTreeSet<String> {
    const COLUMNS: &str = "
        SELECT 'column ' || name || ' ' || type || ' ' || \"notnull\" || ' ' || pk
        FROM pragma_table_xinfo(?1)";
    const INDEXES: &str = "
        SELECT 'index ' || iif(list.origin = 'c', list.name, list.origin) || ' ' ||
            list.\"unique\" || ' ' || list.partial || ' ' ||
            (SELECT group_concat(info.name) FROM pragma_index_info(list.name) AS info)
        FROM pragma_index_list(?1) AS list";
    let mut all = BTreeSet::new();
    for sql in [COLUMNS, INDEXES] {
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([table.name()], |row| row.get(0)).unwrap();
        all.extend(rows.map(Result::unwrap));
    }
    all
}
