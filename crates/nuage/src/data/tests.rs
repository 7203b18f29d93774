#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;

use crate::config::{Config, Origin, Settings, Value};
use crate::data::{lock, make_folder, open_or_make, secrets, secrets_path};

/// Settings with their data in that folder.
pub(crate) fn settings_in(folder: &std::path::Path) -> Settings {
    let mut config = Config::defaults();
    let path = folder.join("data").display().to_string();
    config.set("storage.path", Value::Text(path), Origin::Default);
    Settings::of(&config).unwrap()
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
    assert_eq!(mode(&settings.storage.folder), 0o700);
    assert_eq!(mode(&settings.storage.database), 0o600);
    assert_eq!(mode(&secrets_path(&settings.storage)), 0o600);

    settings.take_secrets(&secrets(&settings.storage).unwrap());
    let mut again = settings_in(folder.path());
    again.take_secrets(&secrets(&again.storage).unwrap());
    assert_eq!(settings.auth.hmac_secret, again.auth.hmac_secret);
    assert_eq!(settings.kinto.token_secret, again.kinto.token_secret);
    assert_eq!(settings.kinto.token_secret.len(), 64);
    assert_ne!(settings.auth.hmac_secret.reveal(), settings.kinto.default_bucket_hmac_secret);
}

#[test]
fn secrets_that_are_set_are_not_replaced_even_by_empty_ones() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings_in(folder.path());
    make_folder(&settings.storage).unwrap();
    settings.userid_hmac_secret = Some(String::new());
    settings.take_secrets(&secrets(&settings.storage).unwrap());
    assert_eq!(settings.auth.hmac_secret.reveal(), "");
}

#[test]
fn one_server_at_a_time_holds_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(folder.path());
    make_folder(&settings.storage).unwrap();
    let first = lock(&settings.storage).unwrap();
    let refused = lock(&settings.storage).unwrap_err();
    assert!(refused.to_string().starts_with("Another nuage serves"), "{refused}");
    drop(first);
    lock(&settings.storage).unwrap();
}
