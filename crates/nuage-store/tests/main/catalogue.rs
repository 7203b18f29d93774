//! A table, an index or a statement that would keep buckets from being spread over machines.
//!
//! The bucket is the first column of every key and of every index, and a condition on every table
//! of every statement, except in what is told of the tables that know nothing of buckets. What
//! the database itself says of its tables is asked, and what it says it was asked.

use std::sync::Arc;

use nuage_model::{
    Bodies, BucketId, CollectionPath, GroupPath, MembershipQuery, Placement, Principal, Query,
    ReaderFilter, RecordId, RecordPath, ResidentsQuery, Seq, Signature, SnapshotRequest, Store,
    Timestamp, Write,
};
use nuage_store::{Address, Options};
use nuage_testkit::backend::block_on;
use nuage_testkit::contract::law;
use nuage_testkit::postgres::{Cluster, Database, Durability, database};

use crate::{apply, found, put};

/// Tables whose rows belong to one bucket each.
const OF_BUCKETS: [&str; 9] = [
    "collections",
    "gone",
    "marks",
    "members",
    "names",
    "records",
    "signature_principals",
    "signatures",
    "views",
];
/// Small tables that say in which buckets to look. Every machine would have all of them.
const DIRECTORY: [&str; 2] = ["directory_collections", "directory_groups"];
/// What is true of the whole database.
const META: &str = "meta";
/// What comes before the name of a table in a statement.
const NAMING: [&str; 5] = ["FROM", "JOIN", "UPDATE", "INTO", "USING"];

#[test]
fn the_bucket_comes_first_in_every_key() {
    block_on(async {
        let database = database();
        open(&database).await.close().await;
        let mut tables: Vec<&str> = OF_BUCKETS.into_iter().chain(DIRECTORY).chain([META]).collect();
        tables.sort_unstable();
        let told = ask(&database, "SELECT relname FROM ours WHERE relkind IN ('r', 'p')");
        assert_eq!(told, tables, "a new table must be one of a bucket, or told here as another");
        let keyed =
            "SELECT relname FROM ours JOIN pg_index ON indrelid = ours.oid AND indisprimary";
        assert_eq!(ask(&database, keyed), tables, "every table has a primary key");
        let firsts = "SELECT relname || ' ' || indexrelid::regclass || ' ' || attname
            FROM ours JOIN pg_index ON indrelid = ours.oid
            JOIN pg_attribute ON attrelid = ours.oid AND attnum = indkey[0]";
        for index in ask(&database, firsts) {
            let words: Vec<&str> = index.split(' ').collect();
            let is_of_bucket = OF_BUCKETS.contains(&words[0]);
            assert!(!is_of_bucket || words[2] == "bucket", "the first column of an index: {index}");
        }
        let texts = "SELECT relname || '.' || attname FROM ours
            JOIN pg_attribute ON attrelid = ours.oid AND attnum > 0 AND NOT attisdropped
            JOIN pg_collation ON pg_collation.oid = attcollation AND collname <> 'C'
            WHERE relkind = 'r'";
        assert_eq!(ask(&database, texts), [""; 0], "names are compared byte by byte");
    });
}

#[test]
fn nothing_in_the_tables_needs_one_machine() {
    block_on(async {
        let database = database();
        open(&database).await.close().await;
        let searched = [
            (
                "sequences",
                "SELECT relname FROM ours WHERE relkind NOT IN ('r', 'i')
                 AND NOT (relkind = 'v' AND relname LIKE 'named_%')",
            ),
            ("defaults", "SELECT relname FROM ours JOIN pg_attrdef ON adrelid = ours.oid"),
            ("triggers", "SELECT tgname FROM ours JOIN pg_trigger ON tgrelid = ours.oid"),
            (
                "rules",
                "SELECT rulename FROM ours JOIN pg_rewrite ON ev_class = ours.oid
                 WHERE relkind <> 'v'",
            ),
            (
                "foreign keys, exclusions",
                "SELECT conname FROM ours JOIN pg_constraint ON conrelid = ours.oid
                 WHERE contype NOT IN ('p', 'c', 'n')",
            ),
            (
                "functions",
                "SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace",
            ),
        ];
        for (what, sql) in searched {
            assert_eq!(ask(&database, sql), [""; 0], "{what} belong to one machine");
        }
    });
}

#[test]
fn every_statement_names_the_bucket_of_every_table() {
    let cluster = Cluster::new(Durability::Fast);
    let database = cluster.database();
    block_on(async {
        open(&database).await.close().await;
        let told = format!("ALTER DATABASE {} SET log_statement = 'all'", database.name());
        database.execute(&told);
        let store = open(&database).await;
        exercise(&store).await;
        store.close().await;
    });
    let log = cluster.log();
    let mut seen: Vec<String> = statements(&log);
    seen.sort_unstable();
    seen.dedup();
    for table in OF_BUCKETS {
        let is_named = seen.iter().any(|sql| tables(sql).contains(&table));
        assert!(is_named, "nothing was asked of {table}");
    }
    for sql in &seen {
        assert!(is_of_buckets(sql), "a table without its bucket: {sql}");
        for word in ["nextval", "pg_advisory", "SAVEPOINT", "TEMP", "CALL"] {
            assert!(!sql.contains(word), "{word} belongs to one machine: {sql}");
        }
    }
}

#[test]
fn a_statement_that_leaves_its_bucket_would_be_found() {
    let apart = [
        "SELECT * FROM records r JOIN gone g ON r.id = g.id WHERE r.bucket = $1",
        "SELECT * FROM (SELECT * FROM records WHERE (bucket, id) >= ($1, $2)) r WHERE bucket = $1",
        "INSERT INTO gone (seq, bucket) SELECT * FROM unnest($1::bigint[], $2::text[])",
        "DELETE FROM members WHERE member = $1",
    ];
    let together = [
        "SELECT * FROM records r JOIN gone g ON g.bucket = r.bucket WHERE r.bucket = $1",
        "SELECT * FROM (SELECT * FROM records WHERE bucket = $1 AND id >= $2) r WHERE id = $2",
        "INSERT INTO gone (bucket, seq) SELECT * FROM unnest($1::text[], $2::bigint[])",
        "DELETE FROM members WHERE bucket = ANY($1)",
    ];
    assert_eq!(apart.map(is_of_buckets), [false; 4]);
    assert_eq!(together.map(is_of_buckets), [true; 4]);
}

// Reads and writes in every way in which requests do.
async fn exercise(store: &Arc<dyn Store>) {
    law::lists_agree_with_the_model(Arc::clone(store), 1).await;
    found(store, "b", &["c", "d"]).await;
    found(store, "e", &["c"]).await;
    let record = |bucket: &str, id: &str| CollectionPath::new(bucket, "c").record(id);
    let paths: Vec<RecordPath> =
        ["r", "s", "t"].iter().flat_map(|id| [record("b", id), record("e", id)]).collect();
    for _ in 0..3 {
        apply(store, paths.iter().map(put).collect()).await;
    }
    let group = GroupPath { bucket: "b".into(), group: "g".into() };
    let member = Principal::from("somebody");
    for members in [vec![member.clone()], vec![], vec![member.clone()]] {
        apply(store, vec![Write::SetMembers { group: group.clone(), members }]).await;
    }
    assert_eq!(store.groups_of(std::slice::from_ref(&member), 100).await.unwrap(), [group]);
    store.collections(ReaderFilter::Of(&[member]), None, usize::MAX).await.unwrap();
    assert_eq!(store.get(&paths, Bodies::All).await.unwrap().len(), paths.len());
    store.head(&paths[0].collection).await.unwrap();
    store.list(&Query::all(paths[0].collection.clone(), 2)).await.unwrap();
    store.count(&Query::all(paths[0].collection.clone(), 2)).await.unwrap();
    store.admin().ping().await.unwrap();
    read_feeds(store, &paths[0].collection).await;
    let bucket = |name: &str| BucketId::from(name);
    let drops = [
        vec![Write::Erase { path: paths[0].clone() }],
        vec![Write::Touch { collection: CollectionPath::new("b", "d") }],
        vec![Write::DropCollection { collection: CollectionPath::new("b", "c") }],
        vec![Write::DropBucket { bucket: bucket("b") }],
        vec![Write::DropBucket { bucket: bucket("e") }],
    ];
    for writes in drops {
        apply(store, writes).await;
    }
}

// What feeds ask, and what is written for them.
async fn read_feeds(store: &Arc<dyn Store>, collection: &CollectionPath) {
    let (bucket, person) = (collection.bucket.clone(), Principal::from("somebody"));
    let writes = vec![
        Write::KeepView {
            bucket: bucket.clone(),
            person: person.clone(),
            name: [1; 16],
            groups: vec![],
        },
        Write::Delete { path: collection.record("t"), placement: Placement::Next },
        Write::Mark { collection: collection.clone(), before: Timestamp(1) },
        Write::ForgetViews { bucket: bucket.clone(), before: Timestamp(0) },
    ];
    apply(store, writes).await;
    let asked = SnapshotRequest::of(collection.clone());
    let (_, mut moment) = store.snapshot(&asked).await.unwrap();
    assert_eq!(moment.view(&person, [1; 16]).await.unwrap(), Some(vec![]));
    drop(moment);
    assert_eq!(store.heads(std::slice::from_ref(collection)).await.unwrap().len(), 1);
    let paths = vec![collection.record("r"), RecordPath::bucket(bucket.clone())];
    let ask = SnapshotRequest { collection: collection.clone(), paths, buckets: vec![bucket] };
    let (opening, mut moment) = store.snapshot(&ask).await.unwrap();
    assert_eq!(opening.groups.len(), 1);
    let query = MembershipQuery {
        collection: Some(collection.clone()),
        groups: vec![GroupPath { bucket: "b".into(), group: "g".into() }],
        members: vec![person.clone()],
        depth: 2,
        inner_max: 10,
        only_named: false,
    };
    assert_eq!(moment.memberships(&query).await.unwrap().direct, query.groups);
    let persons = [person];
    let mut all = Vec::new();
    for whose in [ReaderFilter::All, ReaderFilter::Of(&persons)] {
        moment.sum(whose).await.unwrap();
        all.extend(moment.signatures(whose, None, 10).await.unwrap());
    }
    let signatures: Vec<Signature> = all.iter().map(|one| one.signature).collect();
    moment.principals_of(&signatures).await.unwrap();
    let tail = moment.tail(Seq(0), 10).await.unwrap();
    assert_eq!(moment.tail_of(&signatures, &signatures, Seq(0), 10).await.unwrap(), tail);
    let (after, limit) = (Seq(0), 10);
    let residents = ResidentsQuery { signatures, after, up_to: None, entered_up_to: None, limit };
    let ids: Vec<RecordId> =
        moment.residents(&residents).await.unwrap().into_iter().map(|trace| trace.id).collect();
    assert_eq!(moment.records(&ids, 1_000).await.unwrap().len(), ids.len());
    drop(moment);
    let (_, mut moment) = store.snapshot(&asked).await.unwrap();
    let up_to = moment.compaction_target(Timestamp(i64::MAX), 0, 10).await.unwrap().unwrap();
    drop(moment);
    apply(store, vec![Write::Compact { collection: collection.clone(), up_to }]).await;
    let (name, text) = ("chore".to_owned(), "holder".to_owned());
    apply(store, vec![Write::Note { name, was: None, text }]).await;
    assert!(store.note("chore").await.unwrap().is_some());
}

async fn open(database: &Database) -> Arc<dyn Store> {
    let address = Address { url: database.url().to_owned(), password: None };
    nuage_store::connect(&address, Options::default()).await.unwrap()
}

// The answers to a question about `ours`: tables, indexes and the like that are Nuage's.
fn ask(database: &Database, sql: &str) -> Vec<String> {
    let ours = "WITH ours AS (SELECT oid, relname, relkind FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace)";
    let told = database.execute(&format!("{ours} {sql} ORDER BY 1"));
    told.lines().map(str::to_owned).collect()
}

// What the server says that it was asked of tables, each on one line.
fn statements(log: &str) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    let mut is_statement = false;
    for line in log.lines() {
        if let Some(more) = line.strip_prefix('\t') {
            if let Some(last) = statements.last_mut().filter(|_| is_statement) {
                last.push(' ');
                last.push_str(more.trim());
            }
            continue;
        }
        let begun = line.split_once("LOG:  execute ").or(line.split_once("LOG:  statement"));
        is_statement = begun.is_some();
        let sql = begun.and_then(|(_, rest)| rest.split_once(": "));
        statements.extend(sql.map(|(_, sql)| sql.trim().to_owned()));
    }
    let of_tables = ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"];
    statements.retain(|sql| of_tables.iter().any(|verb| sql.starts_with(verb)));
    statements
}

// The tables that a statement reads or writes.
fn tables(sql: &str) -> Vec<&str> {
    let words = words(sql);
    let named = words.windows(2).filter(|pair| NAMING.contains(&pair[0]));
    named.map(|pair| pair[1]).collect()
}

// Whether within each pair of parentheses there are as many conditions on buckets as tables.
fn is_of_buckets(sql: &str) -> bool {
    let words = words(sql);
    let mut open = vec![(0, 0)];
    let mut closed = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let next = words.get(at + 1).copied().unwrap_or("");
        let (tables, conditions) = open.last_mut().expect("there are no more to close than open");
        match *word {
            "(" => open.push((0, 0)),
            ")" => closed.extend(open.pop()),
            // Rows that are inserted hold their bucket.
            "INTO" if OF_BUCKETS.contains(&next) => {
                *tables += 1;
                *conditions += usize::from(words.get(at + 3) == Some(&"bucket"));
            }
            verb if NAMING.contains(&verb) && OF_BUCKETS.contains(&next) => *tables += 1,
            name if next == "=" && (name == "bucket" || name.ends_with(".bucket")) => {
                *conditions += 1;
            }
            _ => {}
        }
    }
    closed.extend(open);
    closed.into_iter().all(|(tables, conditions)| tables <= conditions)
}

// The words of a statement, each parenthesis by itself.
fn words(sql: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut word in sql.split(|c: char| c.is_whitespace() || c == ',') {
        while let Some(at) = word.find(['(', ')']) {
            words.extend(Some(&word[..at]).filter(|word| !word.is_empty()));
            words.push(&word[at..=at]);
            word = &word[at + 1..];
        }
        words.extend(Some(word).filter(|word| !word.is_empty()));
    }
    words
}
