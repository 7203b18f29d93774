//! What only the inside shows of reads: which way they go, and what becomes of readers.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nuage_model::copy::Table;
use nuage_model::{
    Batch, Bodies, Body, CollectionPath, Hint, Placement, Put, Readers, RecordPath, Seq,
    SnapshotRequest, Store, StoreError, Timestamp, Write,
};

use crate::reads::Scan;
use crate::schema::{Index, Only, under_collection};
use crate::sqlite::{SqliteStore, reads, tables};
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
    let write = Write::Put(Put {
        path: path.clone(),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(Default::default()),
        placement: Placement::Next,
    });
    Batch::new(Timestamp(1_000), vec![write])
}

fn ask() -> SnapshotRequest {
    SnapshotRequest::of(CollectionPath::accounts())
}

#[test]
fn ranges_are_followed_along_their_index_and_never_sorted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let connection = crate::sqlite::open::writer(&path, &options()).unwrap();
    for scan in Scan::of_all_shapes(1) {
        let like = &scan.ranges[0];
        let (index, table) = (like.index, like.index.table());
        let wide = reads::names(scan.columns);
        let key = *tables::names_of(Index::Key(table), 1).first().unwrap();
        for columns in [wide.as_str(), key] {
            let sql = reads::sql(columns, &scan, like);
            let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let mut rows = statement.raw_query();
            let mut plan = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push(row.get::<_, String>(3).unwrap());
            }
            let context = format!("{sql}: {plan:?}");
            // The number of the collection, where there is one.
            let under = under_collection(table);
            if under > 0 {
                let found = "SEARCH collections USING COVERING INDEX sqlite_autoindex_collections_1 \
                             (bucket=? AND collection=?)";
                assert_eq!(plan.drain(1..).collect::<Vec<_>>(), ["SCALAR SUBQUERY 1", found]);
            }
            assert_eq!(plan.len(), 1, "{context}");
            let way = match index.name() {
                Some(name) => name.to_owned(),
                None if [Table::Records, Table::Collections].contains(&table) => {
                    format!("sqlite_autoindex_{}_1", table.name())
                }
                None => "PRIMARY KEY".to_owned(),
            };
            // All comparisons narrow the search, but for what a partial index has already.
            let order = crate::reads::order(index, like.prefix.len());
            let name = |at: &usize| table.columns()[*at].name;
            let columns = tables::names_of(index, like.prefix.len()).into_iter();
            let mut narrowed: Vec<String> = columns.map(|name| format!("{name}=?")).collect();
            match like.after.len() {
                0 => {}
                1 => narrowed.push(format!("{}>?", name(&order[0]))),
                after => {
                    let names: Vec<&str> = order[..after].iter().map(name).collect();
                    let marks = vec!["?"; after];
                    narrowed.push(format!("({})>({})", names.join(","), marks.join(",")));
                }
            }
            narrowed.extend(like.low.as_ref().map(|_| format!("{}>?", name(&order[0]))));
            narrowed.extend(like.high.as_ref().map(|_| format!("{}<?", name(&order[0]))));
            if let Some(Only::Group(at)) = index.only() {
                narrowed.extend([">?", "<?"].map(|bound| format!("{}{bound}", name(&at))));
            }
            match narrowed.is_empty() {
                true => assert!(plan[0].starts_with("SCAN "), "{context}"),
                false => {
                    let expected = format!("{way} ({})", narrowed.join(" AND "));
                    assert!(plan[0].starts_with("SEARCH "), "{context}");
                    assert!(plan[0].ends_with(&expected), "{expected}: {context}");
                }
            }
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
