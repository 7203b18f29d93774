#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use crate::config::{Config, Files, Origin, Place, Settings, Value};
use crate::data::secrets::Secrets;
use crate::data::{lock, make_folder, open_or_make, secrets, secrets_path};

/// Settings with their data in that folder.
pub(crate) fn settings_in(folder: &std::path::Path) -> Settings {
    let mut config = Config::defaults();
    let path = folder.join("data").display().to_string();
    config.set("storage.path", Value::Text(path), Origin::Default);
    Settings::of(&config).unwrap()
}

/// Where their data lies.
pub(crate) fn files_of(settings: &Settings) -> Files {
    match &settings.storage.place {
        Place::Files(files) => files.clone(),
        Place::Server(server) => panic!("{} is not a file", server.shown),
    }
}

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_first_start_makes_everything_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings_in(folder.path());
    let store = open_or_make(&settings.storage).await.unwrap();
    store.close().await;
    let files = files_of(&settings);
    assert_eq!(mode(&files.folder), 0o700);
    assert_eq!(mode(&files.database), 0o600);

    settings.take_secrets(taken(&settings).await.unwrap());
    let mut again = settings_in(folder.path());
    again.take_secrets(taken(&again).await.unwrap());
    assert_eq!(settings.auth.hmac_secret, again.auth.hmac_secret);
    assert_eq!(settings.kinto.token_secret, again.kinto.token_secret);
    assert_eq!(settings.kinto.token_secret.len(), 64);
    assert_ne!(settings.auth.hmac_secret.reveal(), settings.kinto.default_bucket_hmac_secret);
}

/// The secrets that a server with these settings takes.
async fn taken(settings: &Settings) -> anyhow::Result<Secrets> {
    let store = open_or_make(&settings.storage).await.unwrap();
    let secrets = secrets(settings, store.as_ref()).await;
    store.close().await;
    secrets
}

#[tokio::test]
async fn secrets_that_are_set_are_not_replaced_even_by_empty_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings_in(folder.path());
    // As of an empty store that was made without.
    taken(&settings).await.unwrap();
    settings.userid_hmac_secret = Some(String::new());
    let secrets = taken(&settings).await.unwrap();
    assert_eq!(secrets.notes, [""; 0]);
    settings.take_secrets(secrets);
    assert_eq!(settings.auth.hmac_secret.reveal(), "");
    // It is what names things from now on, also when nobody says so any more.
    let mut again = settings_in(folder.path());
    again.take_secrets(taken(&again).await.unwrap());
    assert_eq!(again.auth.hmac_secret.reveal(), "");
}

#[tokio::test]
async fn the_secrets_of_earlier_versions_are_taken_over_and_the_database_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings_in(folder.path());
    make_folder(&files_of(&settings)).unwrap();
    let path = secrets_path(&files_of(&settings));
    let text = "userid_hmac_secret = 'a'\ndefault_bucket_hmac_secret = 'b'\ntoken_secret = 'c'\n";
    std::fs::write(&path, text).unwrap();
    settings.take_secrets(taken(&settings).await.unwrap());
    assert_eq!(settings.kinto.default_bucket_hmac_secret, "b");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "for whoever goes back");
    for (text, note) in
        [(text.replace('b', "x"), "lacks"), (text.replace("'b'", "'x'"), "holds another")]
    {
        std::fs::write(&path, text).unwrap();
        let secrets = taken(&settings_in(folder.path())).await.unwrap();
        assert!(secrets.notes.len() == 1 && secrets.notes[0].contains(note), "{:?}", secrets.notes);
        settings.take_secrets(secrets);
        assert_eq!(settings.kinto.default_bucket_hmac_secret, "b");
    }
}

#[test]
fn one_server_at_a_time_holds_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_of(&settings_in(folder.path()));
    make_folder(&files).unwrap();
    let first = lock(&files).unwrap();
    let refused = lock(&files).unwrap_err();
    assert!(refused.to_string().starts_with("Another nuage serves"), "{refused}");
    drop(first);
    lock(&files).unwrap();
}
