//! What a plan of the database must not be, whatever its statistics say.

use nuage_model::copy::{Cell, Column, Form, Table};
use nuage_testkit::postgres::Database;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::postgres::statements::{self, Statements, first};
use crate::reads::{Columns, Scan, Together};
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
        0, 0, 0, 0
    FROM records GROUP BY bucket, collection;
    INSERT INTO collections SELECT 'b' || n, 'd', '\\x00', 1, NULL, 0, 0, 0, 0, false, 0, 0, 0, 0
    FROM generate_series(1, 5000) AS n;
    INSERT INTO signature_principals
    SELECT 'b' || n, 'd', 'p' || (n % 9), decode(md5(n::text), 'hex')
    FROM generate_series(1, 5000) AS n;
    INSERT INTO signatures SELECT bucket, collection, signature, 1, 0, 1, 1
    FROM signature_principals;
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
    INSERT INTO marks SELECT bucket, collection, n, n FROM collections, generate_series(1, 3) AS n;
    INSERT INTO names SELECT 'b' || n % 9, 'c7', 'b' || n % 7, 'g' || n, 1, 0, n
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

/// Statements that read, what they are asked with, the indexes that they may go along, and how many
/// sorts of keys they need.
fn of_readers() -> Vec<(String, String, Vec<String>, usize)> {
    let mut all = Vec::new();
    let each = [
        Columns::RECORD,
        Columns::SMALL,
        Columns::TRACE,
        Columns::SEQUENCE,
        Columns::of(Table::Signatures, 2, 5),
        Columns::of(Table::SignaturePrincipals, 3, 4),
        Columns::of(Table::Views, 3, 4),
        Columns::all(Table::Members),
        Columns::of(Table::Names, 2, 7),
    ];
    for columns in each {
        let key = columns.table.key();
        let wanted = keys_of(columns.table);
        all.push((statements::point(columns), singles(key), wanted.clone(), 0));
        all.push((statements::lookups(columns, false), arrays(key), wanted.clone(), 0));
        if columns == Columns::RECORD {
            let values = format!("{}, 1000", arrays(key));
            all.push((statements::lookups(columns, true), values, wanted, 0));
        }
    }
    for count in [1, 2] {
        for scan in Scan::of_all_shapes(count) {
            let like = &scan.ranges[0];
            // Nobody reads the whole of a table twice.
            if count > 1 && like.prefix.is_empty() {
                continue;
            }
            let given = statements::given(like);
            let mut values: Vec<String> = given.iter().map(|one| single(one).to_owned()).collect();
            if let Some(high) = values.last_mut().filter(|_| like.high.is_some()) {
                "9000000::bigint".clone_into(high);
            }
            if count > 1 {
                values.iter_mut().for_each(|one| *one = format!("ARRAY[{one}]"));
            }
            let values = values.join(", ");
            let rest: &[&str] = if scan.conditions.is_empty() { &["10"] } else { &["9", "10"] };
            let values = [values].into_iter().chain(rest.iter().map(|one| (*one).to_owned()));
            let values = values.filter(|one| !one.is_empty()).collect::<Vec<_>>().join(", ");
            let mut wanted = vec![name(like.index)];
            // Tombstones are among all that happened.
            wanted.extend((like.index == Index::RecordsDead).then(|| name(Index::RecordsSeq)));
            let sorts = usize::from(count > 1 && scan.together == Together::Merged);
            all.push((statements::scan(&scan, like), values, wanted, sorts));
        }
    }
    all
}

#[tokio::test]
async fn plans_of_readers_follow_the_wanted_index_whatever_the_statistics() {
    for content in [MANY_SMALL, ONE_LARGE, ALL_CHOSEN] {
        let (_database, client) = filled(content).await;
        for mode in [Mode::Custom, Mode::Generic] {
            if mode == Mode::Generic {
                client.batch_execute(AS_SESSIONS).await.expect("they are settings");
            }
            for (sql, values, wanted, sorts_max) in of_readers() {
                let plan = plan(&client, &sql, &values, mode).await;
                let context = format!("{mode:?}: {sql}\n{values}\n{plan}");
                for never in ["Seq Scan", "Gather", "Hash"] {
                    assert!(!plan.contains(never), "{never}\n{context}");
                }
                // Where a pooler keeps our settings from the server, it may read the few rows that
                // it expects and sort them.
                for used in used(&plan).filter(|_| mode == Mode::Generic) {
                    assert!(wanted.iter().any(|wanted| wanted == used), "{used}\n{context}");
                }
                if mode == Mode::Generic {
                    let sorts = plan.matches("Sort  (").count();
                    assert!(sorts <= sorts_max, "{sorts} sorts\n{context}");
                    assert!(!plan.contains("Incremental") && !plan.contains("Bitmap"), "{context}");
                }
            }
        }
    }
}

fn name(index: Index) -> String {
    let key = || format!("{}_pkey", index.table().name());
    index.name().map_or_else(key, str::to_owned)
}

/// Indexes that hold all columns of a key serve it as well as the key.
const LIKE_KEYS: [Index; 4] = [
    Index::SignaturePrincipalsSignature,
    Index::MembersGrp,
    Index::DirectoryGroupsBucket,
    Index::DirectoryCollectionsBucket,
];

/// The indexes by which a row with a key may be found.
fn keys_of(table: Table) -> Vec<String> {
    let others = LIKE_KEYS.iter().filter(|index| index.table() == table);
    [Index::Key(table)].iter().chain(others).map(|index| name(*index)).collect()
}

fn single(column: &Column) -> &'static str {
    match column.form {
        Form::Text => "'b7'",
        Form::Bytes => "'\\x00'::bytea",
        Form::Whole | Form::WholeOrNothing => "7::bigint",
        Form::Flag => "true",
    }
}

fn singles(columns: &[Column]) -> String {
    columns.iter().map(single).collect::<Vec<_>>().join(", ")
}

fn arrays(columns: &[Column]) -> String {
    let arrays = columns.iter().map(|column| format!("ARRAY[{}]", single(column)));
    arrays.collect::<Vec<_>>().join(", ")
}

/// Statements of the writer that look rows up, what they are asked with, and the indexes that they
/// may go along.
fn of_the_writer() -> Vec<(String, String, Vec<String>)> {
    let mut all = Vec::new();
    for table in Table::ALL {
        let of = Statements::for_table(table);
        let wanted = keys_of(table);
        for sql in [&of.get, &of.get_to_change, &of.get_to_keep, &of.delete, &of.free] {
            if !sql.is_empty() {
                all.push((sql.clone(), arrays(table.key()), wanted.clone()));
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
        Range::of(
            Index::SignaturePrincipalsSignature,
            vec![cell(), cell(), Cell::Bytes(Vec::new())],
        ),
        Range {
            descending: true,
            ..Range::of(Index::RecordsSignature, vec![cell(), cell(), Cell::Bytes(Vec::new())])
        },
    ] {
        let bounds = [&range.low, &range.high].into_iter().flatten().map(|_| "ARRAY[7::bigint]");
        let prefix = first(range.index, range.prefix.len());
        let given = std::iter::once(arrays(&prefix)).chain(bounds.map(str::to_owned));
        let given = given.chain(["ARRAY[10::bigint]".to_owned()]).collect::<Vec<_>>().join(", ");
        // Tombstones are among all that happened.
        let mut wanted = vec![name(range.index)];
        wanted.extend((range.index == Index::RecordsDead).then(|| name(Index::RecordsSeq)));
        all.push((statements::range(&range), given, wanted));
    }
    for (index, unless, count) in [
        (Index::Key(Table::DirectoryGroups), Index::Key(Table::Members), 2),
        (Index::SignaturePrincipalsSignature, Index::Key(Table::Signatures), 3),
    ] {
        let columns = [first(index, count), first(unless, count)].concat();
        let others = LIKE_KEYS.iter().filter(|other| other.table() == index.table());
        let wanted = [index, unless].into_iter().chain(others.copied()).map(name).collect();
        all.push((statements::prune(index, count, &[(unless, count)]), arrays(&columns), wanted));
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

async fn make_tables(database: &Database) {
    let address = Address { url: database.url().to_owned(), password: None };
    let store = crate::connect(&address, Options::default()).await.expect("it opens");
    store.close().await;
}

#[tokio::test]
async fn tables_are_made_from_their_descriptions_as_migrations_made_them() {
    let database = nuage_testkit::postgres::database();
    make_tables(&database).await;
    let (client, connection) =
        tokio_postgres::connect(database.url(), NoTls).await.expect("it is up");
    tokio::spawn(connection);
    let made = Table::ALL.map(statements::create).join("");
    let made = format!("CREATE SCHEMA described; SET search_path = described; {made}");
    client.batch_execute(&made).await.expect("they are tables");
    for table in Table::ALL {
        let shape = async |schema: &str| {
            let said = client.simple_query(&shape_of(schema, table)).await.expect("it is told");
            let lines = said.iter().filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            lines.collect::<Vec<_>>()
        };
        let described = shape("described").await;
        assert!(!described.is_empty());
        assert_eq!(described, shape("public").await);
    }
}

// Columns and indexes, in words.
fn shape_of(schema: &str, table: Table) -> String {
    format!(
        "SELECT concat_ws(' ', column_name, data_type, is_nullable, collation_name, column_default)
        FROM information_schema.columns
        WHERE table_schema = '{schema}' AND table_name = '{name}'
        UNION ALL SELECT replace(indexdef, '{schema}.', '') FROM pg_indexes
        WHERE schemaname = '{schema}' AND tablename = '{name}' ORDER BY 1",
        name = table.name()
    )
}
