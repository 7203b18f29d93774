//! A database that Nuage must not use, or that it makes twice.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener;
use std::sync::{Mutex, OnceLock};

use nuage_model::{ApplyError, Batch, Store, StoreError, Timestamp, Write};
use nuage_testkit::contract::contract;
use nuage_testkit::postgres::{Cluster, Database, Durability, Pooler, database};

use crate::postgres::PostgresStore;
use crate::postgres::connect::Target;
use crate::postgres::start::{Prepared, prepare};
use crate::{Address, Options};

fn target(url: &str) -> Target {
    Target::of(&Address { url: url.to_owned(), password: None }).unwrap()
}

/// Why it is not used, and whether that may change by itself.
async fn refusal(target: &Target) -> (String, bool) {
    match prepare(target).await.map_err(StoreError::from) {
        Ok(_) => panic!("it is used"),
        Err(StoreError::Unsupported(why)) => (why, false),
        Err(StoreError::Unavailable(why)) => (why, true),
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn assert_says(said: &(String, bool), expected: &[&str]) {
    for expected in expected {
        assert!(said.0.contains(expected), "{:?} does not say {expected:?}", said.0);
    }
    assert!(!said.0.ends_with('.') && !said.0.contains("secret"), "{:?}", said.0);
}

/// The same database for another account.
fn as_user(database: &Database, name: &str, password: &str) -> Address {
    let (scheme, rest) = database.url().split_once("://").unwrap();
    let (_, place) = rest.split_once('@').unwrap();
    let url = format!("{scheme}://{name}@{place}");
    Address { url, password: Some(password.to_owned()) }
}

/// A cluster of our own: what it is told does not hold for others.
fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::new(Durability::Fast))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_that_start_at_once_make_the_tables_once() {
    let database = database();
    let target = target(database.url());
    let starts: Vec<_> = (0..8)
        .map(|_| {
            let target = target.clone();
            tokio::spawn(async move { prepare(&target).await })
        })
        .collect();
    for start in starts {
        start.await.unwrap().unwrap();
    }
    prepare(&target).await.unwrap();
    let meta = "SELECT key, value ~ '^[0-9a-f]{32}$', value FROM meta ORDER BY key";
    let meta = database.execute(meta);
    let lines: Vec<&str> = meta.lines().collect();
    assert_eq!(lines[..2], ["application|f|nuage", "form|f|6"]);
    assert!(lines.len() == 4 && lines[2].starts_with("lineage|f|"), "{meta}");
    assert!(lines[3].starts_with("store|t|"), "{meta}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_several_processes_one_notes_something_first() {
    let database = database();
    let target = target(database.url());
    prepare(&target).await.unwrap();
    let writers: Vec<_> = (0..6)
        .map(|n| {
            let target = target.clone();
            tokio::spawn(async move {
                let store = PostgresStore::connect(&target, &Options::default()).await.unwrap();
                let (name, text) = ("kept.token".to_owned(), format!("mine {n}"));
                let writes = vec![Write::Note { name, was: None, text }];
                let now = Timestamp(0);
                let batch = Batch::new(now, writes);
                let noted = store.apply(batch).await;
                let kept = store.note("kept.token").await.unwrap().unwrap();
                store.close().await;
                match noted {
                    Ok(_) => assert_eq!(kept, format!("mine {n}")),
                    Err(error) => assert!(matches!(error, ApplyError::Conflict), "{error}"),
                }
                kept
            })
        })
        .collect();
    let mut kept = Vec::new();
    for writer in writers {
        kept.push(writer.await.unwrap());
    }
    kept.dedup();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(database.execute("SELECT count(*) FROM meta WHERE key LIKE 'kept.%'"), "1");
}

#[tokio::test]
async fn a_database_of_another_program_or_of_a_newer_form_is_left_alone() {
    let foreign = database();
    foreign.execute("CREATE TABLE songs (n int)");
    let said = refusal(&target(foreign.url())).await;
    assert_says(&said, &["another program", "songs", "a database of its own"]);
    foreign.execute("CREATE TABLE meta (name text)");
    assert_says(&refusal(&target(foreign.url())).await, &["another program"]);
    foreign.execute("DROP TABLE meta; CREATE TABLE meta (key int, value int)");
    assert_says(&refusal(&target(foreign.url())).await, &["another program"]);
    assert_eq!(foreign.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"), "2");

    let newer = database();
    prepare(&target(newer.url())).await.unwrap();
    newer.execute("UPDATE meta SET value = '99' WHERE key = 'form'");
    assert_says(&refusal(&target(newer.url())).await, &["format 99", "up to 6", "newer version"]);
}

#[tokio::test]
async fn what_extensions_bring_and_other_schemas_do_not_matter() {
    let database = database();
    database.execute(
        "CREATE SCHEMA other; CREATE TABLE other.songs (n int); CREATE FUNCTION public.f() \
         RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    prepare(&target(database.url())).await.unwrap();
}

#[tokio::test]
async fn another_encoding_is_refused_and_another_collation_is_not() {
    let latin =
        cluster().database_with("TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'");
    let said = refusal(&target(latin.url())).await;
    assert_says(&said, &["encoding LATIN1", "needs UTF8", "createdb --encoding UTF8"]);
    let ascii = cluster()
        .database_with("TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'");
    assert_says(&refusal(&target(ascii.url())).await, &["SQL_ASCII"]);
    let swedish = cluster().database_with(
        "TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'sv' LC_COLLATE 'C' \
         LC_CTYPE 'C'",
    );
    prepare(&target(swedish.url())).await.unwrap();
    let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'public' \
        AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'";
    assert_eq!(swedish.execute(columns), "0");
}

#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let database = cluster().database();
    let name = database.name();
    database.execute("CREATE ROLE reader LOGIN PASSWORD 'secret'");
    let reader = Target::of(&as_user(&database, "reader", "secret")).unwrap();
    let create = ["user reader", "may not make tables", "GRANT CREATE ON SCHEMA public TO reader"];
    assert_says(&refusal(&reader).await, &create);
    database.execute("GRANT CREATE ON SCHEMA public TO reader");
    prepare(&reader).await.unwrap();

    database.execute("CREATE ROLE guest LOGIN PASSWORD 'secret'");
    let guest = Target::of(&as_user(&database, "guest", "secret")).unwrap();
    assert_says(&refusal(&guest).await, &["may not read the table public.meta", "TO guest"]);
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest");
    let write = ["may not read and write the table public.collections", "GRANT ALL"];
    assert_says(&refusal(&guest).await, &write);
    database.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest");
    prepare(&guest).await.unwrap();

    database.execute("ALTER ROLE guest SET search_path = nowhere");
    assert_says(&refusal(&guest).await, &["no schema", "CREATE SCHEMA nuage"]);
    database.execute("ALTER ROLE guest RESET search_path");
    database.execute(&format!("REVOKE CONNECT ON DATABASE {name} FROM PUBLIC"));
    assert_says(&refusal(&guest).await, &["may not connect", "GRANT CONNECT ON DATABASE"]);
}

#[tokio::test]
async fn a_standby_is_refused() {
    let primary = Cluster::new(Durability::Fast);
    let standby = primary.standby();
    let said = refusal(&target(&standby.url("postgres"))).await;
    assert_says(&said, &["only lets read", "primary server"]);

    // Of several, it is told what each of them did.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = listener.local_addr().unwrap();
    let (standby, nobody) = (standby.address(), nuage_testkit::server::free_address());
    let url = format!("postgres://postgres@{silent},{standby},{nobody}/postgres?connect_timeout=2");
    let said = refusal(&target(&url)).await;
    assert_says(
        &said,
        &[
            &format!("{silent} takes connections and does not answer"),
            &format!("{standby} only lets read"),
            &format!("{nobody} cannot be reached"),
        ],
    );
    assert!(said.1);
    drop(listener);
}

/// What somebody may have set for a role, for good reasons of their own.
const HOSTILE: [&str; 16] = [
    "default_transaction_isolation = 'serializable'",
    "default_transaction_read_only = on",
    "default_transaction_deferrable = on",
    "statement_timeout = 1",
    "lock_timeout = 1",
    "idle_in_transaction_session_timeout = 1",
    "idle_session_timeout = 1",
    "client_encoding = 'LATIN1'",
    "datestyle = 'SQL, DMY'",
    "bytea_output = 'escape'",
    "standard_conforming_strings = off",
    "row_security = off",
    "session_replication_role = 'replica'",
    "plan_cache_mode = 'force_custom_plan'",
    "jit_above_cost = 0",
    "synchronous_commit = off",
];

#[tokio::test]
async fn settings_of_a_role_change_nothing() {
    let database = cluster().database();
    database.execute("CREATE ROLE odd LOGIN PASSWORD 'secret'");
    for setting in HOSTILE {
        database.execute(&format!("ALTER ROLE odd SET {setting}"));
    }
    let databases = Mutex::new(Vec::new());
    contract(async || {
        let database = cluster().database();
        database.execute("GRANT ALL ON SCHEMA public TO odd");
        let odd = as_user(&database, "odd", "secret");
        databases.lock().unwrap().push(database);
        crate::connect(&odd, crate::Options::default()).await.unwrap()
    })
    .await;
    drop(databases);
    database.execute("GRANT ALL ON SCHEMA public TO odd");
    let odd = as_user(&database, "odd", "secret");
    let Prepared { target, is_lax } = prepare(&Target::of(&odd).unwrap()).await.unwrap();
    assert!(is_lax);
    let client = target.connect().await.unwrap();
    let asked = ["synchronous_commit", "search_path", "transaction_isolation", "row_security"];
    let mut found = Vec::new();
    for name in asked {
        let row = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap();
        found.push(row.get::<_, String>(0));
    }
    assert_eq!(found, ["on", "\"public\"", "read committed", "off"]);
    database.execute("DROP OWNED BY odd; DROP ROLE odd");
}

#[tokio::test]
async fn a_path_that_changes_later_leads_nobody_astray() {
    let database = cluster().database();
    database.execute(
        "CREATE ROLE mover LOGIN PASSWORD 'secret'; CREATE SCHEMA \"An \"\"odd\"\" name\" \
         AUTHORIZATION mover; ALTER ROLE mover SET search_path = nowhere, 'An \"odd\" name'",
    );
    let mover = Target::of(&as_user(&database, "mover", "secret")).unwrap();
    let Prepared { target, .. } = prepare(&mover).await.unwrap();
    database.execute("ALTER ROLE mover SET search_path = nowhere");
    let client = target.connect().await.unwrap();
    client.query("SELECT * FROM records", &[]).await.unwrap();
    database.execute("DROP OWNED BY mover; DROP ROLE mover");
}

#[tokio::test]
async fn policies_that_hide_rows_are_refused() {
    let database = cluster().database();
    prepare(&target(database.url())).await.unwrap();
    database.execute(
        "CREATE ROLE watched LOGIN PASSWORD 'secret'; GRANT ALL ON ALL TABLES IN SCHEMA public TO \
         watched; ALTER TABLE gone ENABLE ROW LEVEL SECURITY",
    );
    let watched = Target::of(&as_user(&database, "watched", "secret")).unwrap();
    let said = refusal(&watched).await;
    assert_says(&said, &["policies", "public.gone", "DISABLE ROW LEVEL SECURITY"]);
    assert!(!said.1);
    database.execute("DROP OWNED BY watched; DROP ROLE watched");
}

#[tokio::test]
async fn who_cannot_be_let_in_is_told_why() {
    let database = cluster().database();
    database.execute("CREATE ROLE known LOGIN PASSWORD 'right'");
    let wrong = Target::of(&as_user(&database, "known", "secret")).unwrap();
    assert_says(&refusal(&wrong).await, &["refuses the password of the user known"]);
    let none = Address { password: None, ..as_user(&database, "known", "") };
    let said = refusal(&Target::of(&none).unwrap()).await;
    assert_says(&said, &["asks for a password", "storage.password_file"]);
    let stranger = Target::of(&as_user(&database, "stranger", "secret")).unwrap();
    assert_says(&refusal(&stranger).await, &["the user stranger"]);

    let elsewhere = database.url().replace(database.name(), "nowhere");
    let said = refusal(&target(&elsewhere)).await;
    assert_says(&said, &["there is no database nowhere", "createdb"]);
    assert!(!said.1);
}

#[tokio::test]
async fn a_server_that_is_not_there_may_come() {
    let address = nuage_testkit::server::free_address();
    let said = refusal(&target(&format!("postgres://u:secret@{address}/d"))).await;
    assert_says(&said, &["cannot be reached", &address.to_string(), "refused"]);
    assert!(said.1);
    let said = refusal(&target("postgres://u@host.invalid/d")).await;
    assert_says(&said, &["host.invalid cannot be reached"]);
    let said = refusal(&target("postgres:///d?host=/nowhere&user=u")).await;
    assert_says(&said, &["/nowhere cannot be reached"]);
}

#[tokio::test]
async fn a_server_that_does_not_encrypt_is_told() {
    let url = format!("{}?sslmode=require", cluster().url("postgres"));
    let said = refusal(&target(&url)).await;
    assert_says(&said, &["does not encrypt", "postgresql.conf"]);
}

#[tokio::test]
async fn a_pooler_that_forgets_statements_is_refused() {
    let database = cluster().database();
    let pooler = Pooler::new(cluster(), "transaction");
    let said = refusal(&target(&pooler.url(database.name()))).await;
    assert_says(&said, &["pgbouncer", "pool_mode = session", "max_prepared_statements"]);
    assert!(!said.1);
    let pooler = Pooler::new(cluster(), "session");
    let target = target(&pooler.url(database.name()));
    prepare(&target).await.unwrap();
}
