#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use crate::config::{Config, Files, Origin, Place, Settings, Value};
use crate::data::{
    found_secrets, lay_secrets, lock, make_folder, open_or_make, secrets_of_folder, secrets_path,
};

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
    assert_eq!(mode(&secrets_path(&files)), 0o600);

    settings.take_secrets(secrets_of_folder(&files).unwrap());
    let mut again = settings_in(folder.path());
    again.take_secrets(secrets_of_folder(&files_of(&again)).unwrap());
    assert_eq!(settings.auth.hmac_secret, again.auth.hmac_secret);
    assert_eq!(settings.kinto.token_secret, again.kinto.token_secret);
    assert_eq!(settings.kinto.token_secret.len(), 64);
    assert_ne!(settings.auth.hmac_secret.reveal(), settings.kinto.default_bucket_hmac_secret);
}

#[test]
fn secrets_that_are_set_are_not_replaced_even_by_empty_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings_in(folder.path());
    let files = files_of(&settings);
    make_folder(&files).unwrap();
    settings.userid_hmac_secret = Some(String::new());
    settings.take_secrets(secrets_of_folder(&files).unwrap());
    assert_eq!(settings.auth.hmac_secret.reveal(), "");
}

#[test]
fn secrets_that_come_with_a_copy_are_laid_beside_it_and_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let files = files_of(&settings_in(folder.path()));
    make_folder(&files).unwrap();
    assert_eq!(found_secrets(&files).unwrap(), BTreeMap::new());
    secrets_of_folder(&files).unwrap();
    let mut brought = found_secrets(&files).unwrap();
    assert_eq!(brought.len(), 3);
    for secret in brought.values_mut() {
        *secret = "with \"quotes\" and \\".to_owned();
    }
    for _ in 0..2 {
        lay_secrets(&files, &brought).unwrap();
        assert_eq!(found_secrets(&files).unwrap(), brought);
        assert_eq!(mode(&secrets_path(&files)), 0o600);
        assert_eq!(std::fs::read_dir(&files.folder).unwrap().count(), 2, "one was kept beside");
    }
    lay_secrets(&files, &BTreeMap::new()).unwrap();
    assert!(!secrets_path(&files).exists());
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
