//! The program is pointed at a database that it cannot or must not use, or used on one from the
//! command line.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use nuage_testkit::client::Call;
use nuage_testkit::postgres::{Database, database};
use nuage_testkit::server::{clean_command, free_address};
use serde_json::json;

use crate::programs::program;

/// Runs the program to its end.
fn nuage(arguments: &[&str]) -> Output {
    nuage_with("", arguments)
}

/// The same, with something to read.
fn nuage_with(input: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    std::fs::write(&path, input).unwrap();
    let mut command: Command = clean_command(&program().binary);
    command.args(arguments).stdin(Stdio::from(std::fs::File::open(path).unwrap()));
    // A folder that is made by mistake is found there.
    let output = command.current_dir(folder.path()).output().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
    output
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

#[track_caller]
fn assert_end(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    assert!(!said.contains("hush"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

/// The URL for somebody with a password.
fn for_user(database: &Database, name: &str) -> String {
    let (_, place) = database.url().split_once('@').unwrap();
    format!("postgres://{name}:hush@{place}")
}

#[test]
fn each_way_of_being_wrong_has_a_sentence_and_a_number() {
    let nobody = free_address();
    let [foreign, newer, mine] = [database(), database(), database()];
    foreign.execute("CREATE TABLE songs (n int)");
    assert_end(&nuage(&["check", "--storage-url", newer.url()]), 0, &["is sound"]);
    newer.execute("UPDATE meta SET value = '99' WHERE key = 'form'");
    let role = format!("role_of_{}", mine.name());
    mine.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'right'"));
    let elsewhere = mine.url().replace(mine.name(), "there_is_no_such_database");
    let cases = [
        ("postgres://u:hush@h/d?colour=red".to_owned(), 3, "there is no parameter colour"),
        ("postgres://u:hush@h/d?sslmode=verify-ca&sslrootcert=/none".to_owned(), 3, "/none"),
        ("mysql://u:hush@h/d".to_owned(), 3, "mysql is not a database of Nuage"),
        (format!("postgres://u:hush@{nobody}/d"), 4, "cannot be reached"),
        (for_user(&mine, &role), 4, "refuses the password"),
        (elsewhere, 4, "there is no database there_is_no_such_database"),
        (foreign.url().to_owned(), 4, "another program, such as songs"),
        (newer.url().to_owned(), 4, "use a newer version"),
    ];
    for (url, code, words) in &cases {
        let listen = free_address().to_string();
        let serve = ["serve", "--listen", &listen, "--storage-url", url];
        for arguments in [serve.as_slice(), &["check", "--storage-url", url]] {
            assert_end(&nuage(arguments), *code, &["nuage: ", words]);
        }
    }
    mine.execute(&format!("DROP ROLE {role}"));
}

#[test]
fn every_command_works_on_a_server() {
    let (first, second) = (database(), database());
    let url = first.url();
    let added =
        nuage_with("pw\n", &["user", "add", "alice", "--password-stdin", "--storage-url", url]);
    assert_end(&added, 0, &["alice is there"]);
    assert_end(&nuage(&["user", "list", "--storage-url", url]), 0, &["alice\n"]);

    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = program().argument("--storage-url").argument(url);
    let server = server.start_on(data.clone(), folder);
    let put = Call::put("/v1/buckets/default/collections/c/records/r", &json!({"data": {"n": 1}}));
    let answer = server.client().send(&put.login("alice:pw")).unwrap();
    assert_eq!(answer.status, 201, "{answer}");
    let seen = server.client().send(&Call::get("/v1/").login("alice:pw")).unwrap();
    let bucket = seen.json()["user"]["bucket"].as_str().unwrap().to_owned();
    assert!(!data.exists(), "nothing of a server's data lies in a folder");
    drop(server);

    let exported = nuage(&["export", "--storage-url", url]);
    assert_end(&exported, 0, &["\"records\":4", "\"id\":\"r\"", &bucket]);
    let lines = records(&exported);
    let imported = nuage_with(&lines_of(&exported), &["import", "--storage-url", second.url()]);
    assert_end(&imported, 0, &["4 records and tombstones are imported"]);
    let again = nuage_with(&lines_of(&exported), &["import", "--storage-url", second.url()]);
    assert_end(&again, 1, &["is not empty here"]);
    assert_eq!(records(&nuage(&["export", "--storage-url", second.url()])), lines);
    assert_end(&nuage(&["check", "--storage-url", second.url()]), 0, &["is sound"]);
    // And to a file on this machine.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nuage.db").display().to_string();
    assert_end(&nuage_with(&lines_of(&exported), &["import", "--storage-url", &file]), 0, &[]);
    assert_eq!(records(&nuage(&["export", "--storage-url", &file])), lines);
    assert_end(&nuage(&["user", "delete", "alice", "--storage-url", url]), 0, &["is deleted"]);
}

fn lines_of(exported: &Output) -> String {
    String::from_utf8(exported.stdout.clone()).unwrap()
}

/// The lines of an export but the first and the last.
fn records(exported: &Output) -> Vec<String> {
    let lines = lines_of(exported);
    lines.lines().filter(|line| line.contains("\"seq\":")).map(str::to_owned).collect()
}

#[test]
fn copies_of_a_server_are_left_to_its_own_programs() {
    let database = database();
    let file = Path::new("/nowhere/copy").display().to_string();
    for verb in ["create", "verify", "restore"] {
        let output = nuage(&["backup", verb, &file, "--storage-url", database.url()]);
        assert_end(&output, 2, &["is a PostgreSQL database", "pg_"]);
    }
}

#[test]
fn a_password_is_never_shown() {
    let url = "postgres://u:hush@h/d?sslmode=require";
    let shown = nuage(&["config", "show", "--storage-url", url]);
    assert_end(&shown, 0, &["postgres://u:********@h/d?sslmode=require"]);
    let json = nuage(&["config", "show", "--json", "--storage-url", url]);
    assert_end(&json, 0, &["postgres://u:********@h/d?sslmode=require"]);
    assert_end(&nuage(&["config", "check", "--storage-url", url]), 0, &["are right"]);
}

#[test]
fn settings_of_kinto_may_be_used_with_a_database_of_ours() {
    let database = database();
    let folder = tempfile::tempdir().unwrap();
    let ini = folder.path().join("kinto.ini");
    let text = "[app:main]\nuse = egg:kinto\nkinto.storage_backend = kinto.core.storage.postgresql\n\
                kinto.storage_url = postgresql://k:hush@h/d\nmultiauth.policies = basicauth\n";
    std::fs::write(&ini, text).unwrap();
    let ini = ini.display().to_string();
    let checked = nuage(&["config", "check", "--kinto-ini", &ini]);
    assert_end(&checked, 0, &["replaced by Nuage's own storage"]);
    let server = program().argument("--kinto-ini").argument(ini);
    let server = server.argument("--storage-url").argument(database.url()).start();
    let put = Call::put("/v1/buckets/b", &json!({})).login("a:1");
    assert_eq!(server.client().send(&put).unwrap().status, 201);
    let stored = "SELECT id FROM records WHERE collection = '_buckets'";
    assert_eq!(database.execute(stored), "b");
}
