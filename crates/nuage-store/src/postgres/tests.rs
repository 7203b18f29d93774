//! What a plan of the database must not be, whatever its statistics say.

use nuage_model::copy::{Cell, Column, Form, Table};
use nuage_testkit::postgres::Database;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::postgres::statements::{self, Statements, first};
use crate::postgres::{feed, places, query, scan};
use crate::schema::{Index, Range};
use crate::{Address, Options};

/// So many collections of a few records that each is expected to have one; and one that has many.
const MANY_SMALL: &str = "
    INSERT INTO records SELECT 'b' || (n % 900), 'c' || (n % 900), md5(n::text), n, NULL,
        decode(md5((n % 3)::text), 'hex'), n, n % 50 = 0, '{}', '{}'
    FROM generate_series(1, 40000) AS n;
    INSERT INTO records SELECT 'b7', 'c7', md5('x' || n), 100000 + n, NULL,
        decode(md5((n % 3)::text), 'hex'), n, n % 50 = 0, '{}', '{}'
    FROM generate_series(1, 3000) AS n;";
/// One collection with everything, of one signature, its positions in no order on the disk.
const ONE_LARGE: &str = "
    INSERT INTO records SELECT 'b7', 'c7', md5(n::text), n, NULL, decode(md5('a'), 'hex'), n,
        n % 50 = 0, '{}', '{\"text\":\"' || repeat('x', 300) || '\"}'
    FROM generate_series(1, 40000) AS n ORDER BY md5(n::text);";
/// The same, and nearly all records show a time of their own.
const ALL_CHOSEN: &str = "
    INSERT INTO records SELECT 'b7', 'c7', md5(n::text), 100000 + n,
        CASE WHEN n % 100 > 0 THEN n END, decode(md5('a'), 'hex'), n, n % 2 = 0, '{}', '{}'
    FROM generate_series(1, 40000) AS n ORDER BY md5(n::text);";
/// What lies around the records, and what the server knows of it.
const REST: &str = "
    INSERT INTO collections SELECT bucket, collection, '\\x00', max(seq), NULL, 0,
        count(*) FILTER (WHERE NOT dead), count(*) FILTER (WHERE dead), count(timestamp), false,
        0
    FROM records GROUP BY bucket, collection;
    INSERT INTO collections SELECT 'b' || n, 'd', '\\x00', 1, NULL, 0, 0, 0, 0, false, 0
    FROM generate_series(1, 5000) AS n;
    INSERT INTO signature_principals
    SELECT 'b' || n, 'd', 'p' || (n % 9), decode(md5(n::text), 'hex')
    FROM generate_series(1, 5000) AS n;
    INSERT INTO signatures SELECT bucket, collection, signature, 1, 0 FROM signature_principals;
    INSERT INTO members SELECT 'b' || n, 'm' || (n % 700), 'g' || (n % 9)
    FROM generate_series(1, 5000) AS n;
    INSERT INTO directory_groups SELECT DISTINCT member, bucket FROM members;
    INSERT INTO directory_collections SELECT DISTINCT principal || bucket, bucket, collection
    FROM signature_principals;
    INSERT INTO gone SELECT bucket, collection, seq, id, signature, seq - 1 FROM records
    WHERE seq % 3 = 0;
    INSERT INTO signature_principals SELECT DISTINCT bucket, collection, 'p' || (seq % 9), signature
    FROM records ON CONFLICT DO NOTHING;
    INSERT INTO views SELECT 'b' || (n % 900), 'p' || n, decode(md5(n::text), 'hex'), '[]', 1
    FROM generate_series(1, 5000) AS n;
    INSERT INTO meta SELECT 'kept.' || n, '' FROM generate_series(1, 5000) AS n;
    ANALYZE;";

/// What our sessions tell the server beside [`Mode::Generic`].
const AS_SESSIONS: &str = "SET enable_sort = off; SET enable_incremental_sort = off;
    SET enable_bitmapscan = off; SET jit = off";

/// Whether a plan knows the values that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    /// As our sessions want it.
    Generic,
    /// As it may be where a pooler does not tell the server what they want.
    Custom,
}

/// What the statements of feeds are asked with, which indexes they may go along, and how many sorts
/// of a few keys they need. In their order.
const FEEDS: [(&str, &[&str], usize); 14] = [
    ("ARRAY['b7'], ARRAY['c7']", &["collections_pkey"], 0),
    ("'b7', 'p7', '\\x00'", &["views_pkey"], 0),
    ("ARRAY['m7'], 10", &["directory_groups_pkey", "members_pkey", "records_pkey"], 0),
    ("'b7', 'c7'", &["meta_pkey", "collections_pkey"], 0),
    ("'b7', 'c7', 100, 10", &["records_seq", "gone_pkey", "records_pkey"], 0),
    (
        "'b7', 'c7', 100, 10, ARRAY['\\x00'::bytea], ARRAY[true], ARRAY[true],
            ARRAY['\\x00'::bytea]",
        &["records_signature", "gone_signature", "records_pkey"],
        1,
    ),
    ("'b7', 'c7', ARRAY['\\x00'::bytea], 100, 1000, 1000, 10", &["records_signature"], 0),
    ("'b7', 'c7', ARRAY['x', 'y'], 1000", &["records_pkey"], 0),
    ("'b7', 'c7', '\\x00', 10", &["signatures_pkey"], 0),
    ("'b7', 'c7', '\\x00', ARRAY['p1'], 10", &["signature_principals_pkey", "signatures_pkey"], 1),
    ("'b7', 'c7', ARRAY['\\x00'::bytea]", &["signature_principals_signature"], 0),
    ("'b7', 'c7'", &["signatures_pkey"], 0),
    ("'b7', 'c7', '\\x00', ARRAY['p1']", &["signature_principals_pkey", "signatures_pkey"], 1),
    ("'b7', 'c7', 1000, 10, 100", &["collections_pkey", "records_dead", "gone_pkey"], 0),
];

/// Values that the statements are asked with, in the order of their parameters.
fn values(sql: &str) -> String {
    let names = "'b7', 'c7'";
    let signatures = "ARRAY[decode(md5('a'), 'hex'), decode(md5('1'), 'hex')]";
    let [ascending, .., by_id] = scan::WALKS else { panic!("there are walks") };
    if sql == *by_id {
        return format!("{names}, ARRAY['x', md5('1')], false, true");
    }
    if sql.contains("AS keys") {
        return format!("{names}, {signatures}, 0, 9000000, 1001, true");
    }
    if sql.contains("AS tried") {
        return format!("{names}, 0, 9000000, 1001, false, true, ARRAY['p1', 'p2']");
    }
    let walk = format!("{names}, 0, 9000000, 1001, false, NULL");
    if sql.contains("max(shown)") {
        return walk;
    }
    if sql.contains("AS walk") {
        assert!(ascending.contains("AS walk"));
        return format!("{walk}, true");
    }
    match sql {
        _ if sql.contains("FROM unnest($1::text[], $2::text[]") => {
            "ARRAY['b7'], ARRAY['c7'], ARRAY['x']".to_owned()
        }
        _ if sql.contains("FROM unnest($3::text[])") => {
            format!("{names}, ARRAY['p1', 'p2'], 1000")
        }
        _ if sql.contains("> ($2, $3)") => "ARRAY['m7', 'p1b1'], 'b7', 'c7', 100".to_owned(),
        _ if sql.contains("FROM unnest($1::text[])") => "ARRAY['m7', 'p1b1']".to_owned(),
        _ if sql.contains("> ($1, $2)") => format!("{names}, 100"),
        _ if sql.contains("AND id = $3") => format!("{names}, 'x'"),
        _ => names.to_owned(),
    }
}

/// Indexes that the statement may go along in each table.
fn wanted(sql: &str) -> &'static [&'static str] {
    match sql {
        _ if sql.contains("AS keys") => &["records_signature", "records_seq"],
        _ if sql.contains("AS tried") => {
            &["records_seq", "signature_principals_pkey", "signature_principals_signature"]
        }
        _ if sql.contains("AS walk") => &["records_seq", "records_timestamp", "collections_pkey"],
        _ if sql.contains("FROM records") => &["records_pkey"],
        _ if sql.contains("signature_principals") => {
            &["signature_principals_pkey", "signatures_pkey"]
        }
        _ if sql.contains("directory_groups") => &["directory_groups_pkey", "members_pkey"],
        _ if sql.contains("directory_collections") => &["directory_collections_pkey"],
        _ => &["collections_pkey"],
    }
}

#[tokio::test]
async fn plans_follow_the_wanted_index_whatever_the_statistics() {
    for content in [MANY_SMALL, ONE_LARGE, ALL_CHOSEN] {
        let (_database, client) = filled(content).await;
        for sql in scan::WALKS.iter().chain(query::LOOKUPS).chain(places::DIRECTIONS) {
            for mode in [Mode::Generic, Mode::Custom] {
                judge(sql, &plan(&client, sql, &values(sql), mode).await, mode);
            }
        }
    }
}

#[tokio::test]
async fn plans_of_feeds_follow_the_wanted_index_whatever_the_statistics() {
    for content in [MANY_SMALL, ONE_LARGE, ALL_CHOSEN] {
        let (_database, client) = filled(content).await;
        let statements = feed::statements();
        assert_eq!(statements.len(), FEEDS.len());
        client.batch_execute(AS_SESSIONS).await.expect("they are settings");
        for (sql, (values, wanted, sorts_max)) in statements.into_iter().zip(FEEDS) {
            let plan = plan(&client, sql, values, Mode::Generic).await;
            let context = format!("{sql}\n{plan}");
            for never in ["Seq Scan", "Gather", "Hash", "Bitmap"] {
                assert!(!plan.contains(never), "{never}\n{context}");
            }
            let sorts = plan.matches("Sort  (").count() + plan.matches("Incremental").count();
            assert!(sorts <= sorts_max, "{sorts} sorts\n{context}");
            let mut used: Vec<&str> = used(&plan).collect();
            used.sort_unstable();
            used.dedup();
            let mut wanted = wanted.to_vec();
            wanted.sort_unstable();
            assert_eq!(used, wanted, "{context}");
            // Where a signature or a principal is looked up, it begins where it was left.
            for line in plan.lines().filter(|line| line.contains("Index Cond:")) {
                let is_range = line.contains("(signature <=") || line.contains("(principal <=");
                let is_whole = line.contains("(signature >=");
                assert!(!is_range || is_whole || line.contains("ROW("), "{line}\n{context}");
            }
        }
    }
}

/// Statements of the writer that look rows up, what they are asked with, and the indexes that they
/// may go along.
fn of_the_writer() -> Vec<(String, String, Vec<String>)> {
    let name = |index: Index| {
        let key = || format!("{}_pkey", index.table().name());
        index.name().map_or_else(key, str::to_owned)
    };
    let array = |column: &Column| match column.form {
        Form::Text => "ARRAY['b7']",
        Form::Bytes => "ARRAY['\\x00'::bytea]",
        Form::Whole | Form::WholeOrNothing => "ARRAY[7::bigint]",
        Form::Flag => "ARRAY[true]",
    };
    let values = |columns: &[Column]| columns.iter().map(array).collect::<Vec<_>>().join(", ");
    let mut all = Vec::new();
    // Indexes that hold all columns of a key serve it as well as the key.
    let others = [
        Index::SignaturePrincipalsSignature,
        Index::MembersGrp,
        Index::DirectoryGroupsBucket,
        Index::DirectoryCollectionsBucket,
    ];
    for table in Table::ALL {
        let of = Statements::for_table(table);
        let others = others.iter().filter(|index| index.table() == table);
        let wanted: Vec<String> =
            [Index::Key(table)].iter().chain(others).map(|i| name(*i)).collect();
        for sql in [&of.get, &of.get_to_change, &of.get_to_keep, &of.delete, &of.free] {
            if !sql.is_empty() {
                all.push((sql.clone(), values(table.key()), wanted.clone()));
            }
        }
    }
    let cell = || Cell::Text(String::new());
    let of_collection = |index| Range::of(index, vec![cell(), cell()]);
    for range in [
        of_collection(Index::RecordsSeq).between(1, 2),
        of_collection(Index::RecordsTimestamp).between(1, 2),
        of_collection(Index::RecordsDead).up_to(1),
        of_collection(Index::Key(Table::Gone)).up_to(1),
        of_collection(Index::Key(Table::Gone)),
        of_collection(Index::MembersGrp),
    ] {
        let bounds = [&range.low, &range.high].into_iter().flatten().map(|_| "ARRAY[7::bigint]");
        let prefix = first(range.index, range.prefix.len());
        let given = std::iter::once(values(&prefix)).chain(bounds.map(str::to_owned));
        let given = given.chain(["ARRAY[10::bigint]".to_owned()]).collect::<Vec<_>>().join(", ");
        // Tombstones are among all that happened.
        let mut wanted = vec![name(range.index)];
        wanted.extend((range.index == Index::RecordsDead).then(|| name(Index::RecordsSeq)));
        all.push((statements::range(&range), given, wanted));
    }
    let unused = [(Index::RecordsSignature, 3), (Index::GoneSignature, 3)];
    for (index, count, unless) in [
        (Index::Key(Table::Signatures), 3, &unused[..]),
        (Index::SignaturePrincipalsSignature, 3, &unused[..]),
        (Index::Key(Table::DirectoryGroups), 2, &[(Index::Key(Table::Members), 2)][..]),
    ] {
        let mut columns = first(index, count);
        columns.extend(unless.iter().flat_map(|(index, count)| first(*index, *count)));
        let needed = unless.iter().map(|(index, _)| *index);
        let wanted = [index].into_iter().chain(needed);
        let others = others.iter().filter(|other| other.table() == index.table());
        let wanted = wanted.chain(others.copied()).map(name).collect();
        all.push((statements::prune(index, count, unless), values(&columns), wanted));
    }
    all
}

#[tokio::test]
async fn plans_of_writers_follow_the_wanted_index_whatever_the_statistics() {
    for content in [MANY_SMALL, ONE_LARGE, ALL_CHOSEN] {
        let (_database, client) = filled(content).await;
        client.batch_execute(AS_SESSIONS).await.expect("they are settings");
        for (sql, values, wanted) in of_the_writer() {
            let plan = plan(&client, &sql, &values, Mode::Generic).await;
            let context = format!("{sql}\n{plan}");
            for never in ["Seq Scan", "Gather", "Hash", "Bitmap", "Sort  ("] {
                assert!(!plan.contains(never), "{never}\n{context}");
            }
            for used in used(&plan) {
                assert!(wanted.iter().any(|wanted| wanted == used), "{used}\n{context}");
            }
        }
    }
}

async fn filled(content: &str) -> (Database, Client) {
    let database = nuage_testkit::postgres::database();
    make_tables(&database).await;
    let (client, connection) =
        tokio_postgres::connect(database.url(), NoTls).await.expect("it is up");
    tokio::spawn(connection);
    client.batch_execute(&format!("{content}{REST}")).await.expect("they are rows");
    (database, client)
}

async fn plan(client: &Client, sql: &str, values: &str, mode: Mode) -> String {
    let setting = match mode {
        Mode::Generic => "force_generic_plan",
        Mode::Custom => "force_custom_plan",
    };
    let explain = format!(
        "SET plan_cache_mode = {setting}; PREPARE asked AS {sql};
        EXPLAIN EXECUTE asked ({values}); DEALLOCATE asked"
    );
    let said = client.simple_query(&explain).await.expect(sql);
    let lines = said.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

// The indexes that a plan goes along.
fn used(plan: &str) -> impl Iterator<Item = &str> {
    plan.lines().filter_map(|line| {
        let index = line.split(" using ").nth(1).or(line.split("Bitmap Index Scan on ").nth(1));
        index?.split(' ').next()
    })
}

fn judge(sql: &str, plan: &str, mode: Mode) {
    let context = format!("{mode:?}: {sql}\n{plan}");
    for never in ["Seq Scan", "Gather", "Hash"] {
        assert!(!plan.contains(never), "{never}\n{context}");
    }
    // Only the first few keys of several signatures are sorted, never rows; but where a pooler
    // keeps our settings from the server, it may read the few rows that it expects and sort them.
    // What has no limit (OFFSET 0) is read as a whole anyhow.
    if mode == Mode::Generic && !sql.contains("OFFSET 0") {
        let sorts = plan.matches("->  Sort").count() + plan.matches("Incremental").count();
        assert!(sorts <= usize::from(sql.contains("AS keys")), "a sort\n{context}");
        assert!(!plan.contains("Bitmap"), "{context}");
    }
    let wanted = wanted(sql);
    for used in used(plan) {
        assert!(wanted.contains(&used), "{used}\n{context}");
    }
    if wanted == ["records_pkey"] {
        let condition = plan.lines().find(|line| line.contains("Index Cond:"));
        let is_point = condition.is_some_and(|line| line.contains("ROW(collection, id) >="));
        assert!(is_point, "{context}");
    }
}

async fn make_tables(database: &Database) {
    let address = Address { url: database.url().to_owned(), password: None };
    let store = crate::connect(&address, Options::default()).await.expect("it opens");
    store.close().await;
}
