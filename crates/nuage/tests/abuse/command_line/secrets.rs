//! Data that is copied, restored or imported elsewhere looks empty to everybody, because what
//! names people's data stayed behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use nuage_testkit::postgres::Database;
use nuage_testkit::server::{Server, Setup};
use serde_json::json;
use tempfile::TempDir;

use crate::abuse::command_line::{assert_end, nuage, nuage_reading, run_reading, said, send};
use crate::abuse::{bounded, bounded_with, eventually};
use crate::programs::program;

both_databases!(an_import_brings_the_secrets);

const PATIENCE: Duration = Duration::from_secs(15);
const LOGIN: &str = "ann:1";
const NOTE: &str = "/v1/buckets/default/collections/notes/records/n";

fn serve(data: &Path) -> Server {
    serve_in(data, None)
}

fn serve_in(data: &Path, database: Option<Arc<Database>>) -> Server {
    let mut setup: Setup = bounded_with(Backend::Sqlite, &[]);
    setup.database = database;
    setup.start_on(data.to_owned(), tempfile::tempdir().unwrap())
}

fn write_note(server: &Server) {
    let put = Call::put(NOTE, &json!({"data": {"text": "mine"}}));
    assert_eq!(send(server, put, LOGIN).status, 201);
}

#[track_caller]
fn assert_note(server: &Server) {
    let answer = send(server, Call::get(NOTE), LOGIN);
    assert_eq!(answer.status, 200, "{answer}\n{}", server.log());
}

/// A folder that was served, with a note in it.
fn folder_with_note() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut server = serve(&data);
    write_note(&server);
    assert_eq!(server.terminate().code(), Some(0));
    let data = data.display().to_string();
    (folder, data)
}

fn export(data: &str) -> String {
    let exported = nuage(&["export", "--data", data]);
    assert_end(&exported, 0, &[]);
    String::from_utf8(exported.stdout).unwrap()
}

/// As earlier versions wrote it.
fn without_secrets(export: &str) -> String {
    let lines = export.lines().filter(|line| !line.starts_with("{\"nuage\":\"secrets\""));
    let text: String = lines.map(|line| format!("{line}\n")).collect();
    text.replacen("\"format\":2", "\"format\":1", 1)
}

#[test]
fn the_file_alone_is_everything() {
    let (folder, data) = folder_with_note();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    std::fs::copy(Path::new(&data).join("nuage.db"), elsewhere.join("nuage.db")).unwrap();
    assert_note(&serve(&elsewhere));
}

#[test]
fn a_backup_alone_is_everything() {
    let (folder, data) = folder_with_note();
    let backup = folder.path().join("b.db").display().to_string();
    let made = nuage(&["backup", "create", &backup, "--data", &data]);
    assert_end(&made, 0, &["holds password hashes and secrets"]);
    let elsewhere = folder.path().join("elsewhere");
    let restored =
        nuage(&["backup", "restore", &backup, "--data", &elsewhere.display().to_string()]);
    assert_end(&restored, 0, &[]);
    assert_note(&serve(&elsewhere));
}

fn an_import_brings_the_secrets(backend: Backend) {
    let (folder, data) = folder_with_note();
    let text = export(&data);
    let elsewhere = folder.path().join("elsewhere");
    let database = backend.database();
    let place = match &database {
        Some(database) => ["--storage-url".to_owned(), database.url().to_owned()],
        None => ["--data".to_owned(), elsewhere.display().to_string()],
    };
    assert_end(&nuage_reading(&text, &["import", "-", &place[0], &place[1]]), 0, &[]);
    let server = serve_in(&elsewhere, database);
    assert_note(&server);
    // And out again.
    let mut again = server.tool("export");
    let again = again.arg("-").output().unwrap();
    let secrets =
        |text: &str| text.lines().find(|line| line.contains("secrets")).map(str::to_owned);
    assert_eq!(secrets(&said(&again)), secrets(&text));
}

#[test]
fn an_import_into_data_with_other_secrets_is_refused_or_chosen() {
    let (folder, data) = folder_with_note();
    let text = export(&data);
    // A server ran there once, and nobody used it.
    let unused = folder.path().join("unused");
    assert_eq!(serve(&unused).terminate().code(), Some(0));
    let unused_path = unused.display().to_string();
    let running = serve(&unused);
    let refused = nuage_reading(&text, &["import", "--data", &unused_path]);
    assert_end(&refused, 1, &["other secrets", "--keep-secrets"]);
    drop(running);
    assert_end(&nuage_reading(&text, &["import", "--data", &unused_path]), 0, &[]);
    assert_note(&serve(&unused));

    // Somebody wrote there.
    let used = folder.path().join("used");
    let server = serve(&used);
    let put = Call::put("/v1/buckets/mine", &json!({}));
    assert_eq!(send(&server, put, LOGIN).status, 201);
    drop(server);
    let used = used.display().to_string();
    let text: String = text.replace("\"collection\":\"_buckets\"", "\"collection\":\"other\"");
    let refused = nuage_reading(&text, &["import", "--data", &used]);
    assert_end(&refused, 1, &["other secrets", "--keep-secrets"]);
    assert_end(&nuage_reading(&text, &["import", "--keep-secrets", "--data", &used]), 0, &[]);
}

#[test]
fn data_without_the_secrets_of_an_earlier_version_is_not_served_as_if_it_were_empty() {
    let (folder, data) = folder_with_note();
    let text = export(&data);
    let elsewhere = folder.path().join("elsewhere");
    let path = elsewhere.display().to_string();
    let imported = nuage_reading(&without_secrets(&text), &["import", "--data", &path]);
    assert_end(&imported, 0, &["holds no secrets", "secrets.toml"]);
    let address = nuage_testkit::server::free_address().to_string();
    let serve_there = ["serve", "--listen", &address, "--data", &path];
    assert_end(&nuage(&serve_there), 4, &["not the secrets", "secrets.toml", "hmac_secret"]);
    // With a file that says nothing, likewise, and not to be tried again and again.
    for wrong in ["", "[", "token_secret = 'x'\n"] {
        std::fs::write(elsewhere.join("secrets.toml"), wrong).unwrap();
        assert_end(&nuage(&serve_there), 4, &["secrets.toml", "put back"]);
    }
    // With those that were beside it, everything is there.
    let line = text.lines().nth(1).unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    let secrets = line["secrets"].as_object().unwrap().iter();
    let secrets: String = secrets.map(|(name, secret)| format!("{name} = {secret}\n")).collect();
    std::fs::write(elsewhere.join("secrets.toml"), secrets).unwrap();
    // An import does not put others in their place.
    let other = "{\"nuage\":\"export\",\"format\":2,\"created\":1}\n\
                 {\"nuage\":\"secrets\",\"secrets\":{\"default_bucket_hmac_secret\":\"x\"}}\n\
                 {\"nuage\":\"end\",\"records\":0}\n";
    let refused = nuage_reading(other, &["import", "--data", &path]);
    assert_end(&refused, 1, &["other secrets"]);
    drop(serve(&elsewhere));
    std::fs::remove_file(elsewhere.join("secrets.toml")).unwrap();
    assert_note(&serve(&elsewhere));
}

#[test]
fn a_secret_that_names_other_buckets_is_told() {
    let (_folder, data) = folder_with_note();
    let other = "kinto.default_bucket_hmac_secret=other";
    let token = "kinto.token_secret=turned";
    let log = tempfile::tempdir().unwrap();
    let mut server =
        bounded_with(Backend::Sqlite, &[other, token]).start_on(data.clone().into(), log);
    let told = || server.log().contains("is not the secret that names the personal buckets");
    assert!(eventually(PATIENCE, told), "{}", server.log());
    assert_eq!(server.terminate().code(), Some(0));
    // Tokens may get another one at any time.
    let log = tempfile::tempdir().unwrap();
    let server = bounded_with(Backend::Sqlite, &[token]).start_on(data.into(), log);
    assert!(!server.log().contains("secret"), "{}", server.log());
    assert_note(&server);
}

#[test]
fn an_account_makes_no_data_by_surprise() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let path = data.display().to_string();
    for verb in [&["user", "add", "alice"][..], &["create-user", "-u", "alice", "-p", "pw"]] {
        let mut command = nuage_testkit::server::clean_command(&program().binary);
        command.args(verb).args(["--data", &path]);
        let refused = run_reading("pw\n", command);
        assert_end(&refused, 4, &["There is no data at", "--create"]);
        assert!(!data.exists());
    }
    let add = ["user", "add", "alice", "--password-stdin", "--create", "--data", &path];
    assert_end(&nuage_reading("pw\n", &add), 0, &["alice is there"]);
    let server = bounded(Backend::Sqlite).start_on(data, tempfile::tempdir().unwrap());
    let put = Call::put(NOTE, &json!({}));
    assert_eq!(send(&server, put, "alice:pw").status, 201);
}
