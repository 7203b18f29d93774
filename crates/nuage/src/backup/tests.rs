#![allow(clippy::unwrap_used)]

use nuage_model::{Batch, Bodies, Placement, Put, Readers, RecordPath, Timestamp, Write};

use crate::backup::{perform, secrets_beside};
use crate::cli::BackupVerb;
use crate::config::Settings;
use crate::data::tests::{files_of, settings_in};
use crate::data::{make_folder, open_or_make, secrets_path};

async fn add_account(settings: &Settings, name: &str) {
    let store = open_or_make(&settings.storage).await.unwrap();
    let write = Write::Put(Put {
        path: RecordPath::account(name),
        body: "{}".to_owned().into(),
        permissions: "{}".to_owned(),
        readers: Readers::new([].into()),
        placement: Placement::Next,
    });
    let batch = Batch::new(Timestamp(1), vec![write]);
    store.apply(batch).await.unwrap();
    store.close().await;
}

/// As earlier versions kept them.
fn lay_secrets_beside(settings: &Settings) {
    let files = files_of(settings);
    make_folder(&files).unwrap();
    std::fs::write(secrets_path(&files), "token_secret = 'c'\n").unwrap();
}

async fn has_account(settings: &Settings, name: &str) -> bool {
    let store = open_or_make(&settings.storage).await.unwrap();
    let found = store.get(&[RecordPath::account(name)], Bodies::All).await.unwrap();
    store.close().await;
    found[0].is_some()
}

async fn epoch(settings: &Settings) -> String {
    let store = open_or_make(&settings.storage).await.unwrap();
    let meta = nuage_store::copy::meta(&*store).await.unwrap();
    store.close().await;
    meta["store"].clone()
}

#[tokio::test]
async fn a_copy_brings_back_data_and_secrets() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(folder.path());
    lay_secrets_beside(&settings);
    add_account(&settings, "before").await;
    let file = folder.path().join("copy.db");
    perform(BackupVerb::Create { file: file.clone() }, &settings, false).await.unwrap();
    let again = perform(BackupVerb::Create { file: file.clone() }, &settings, false).await;
    assert!(again.unwrap_err().to_string().contains("is there already"));
    add_account(&settings, "after").await;

    let restore = |force| BackupVerb::Restore { file: file.clone(), force };
    let refused = perform(restore(false), &settings, false).await.unwrap_err();
    assert!(refused.to_string().contains("--force"));
    assert!(has_account(&settings, "after").await);

    let before = epoch(&settings).await;
    let made = std::fs::read(secrets_path(&files_of(&settings))).unwrap();
    std::fs::write(secrets_path(&files_of(&settings)), "lost").unwrap();
    perform(restore(true), &settings, false).await.unwrap();
    assert_ne!(epoch(&settings).await, before, "devices begin afresh");
    assert!(has_account(&settings, "before").await && !has_account(&settings, "after").await);
    assert_eq!(std::fs::read(secrets_path(&files_of(&settings))).unwrap(), made);
    let names = std::fs::read_dir(&files_of(&settings).folder).unwrap();
    let kept = names.filter(|name| {
        let name = name.as_ref().unwrap().file_name().into_string().unwrap();
        name.starts_with("nuage.db.before-") && !name.ends_with("-wal") && !name.ends_with("-shm")
    });
    assert_eq!(kept.count(), 1);
}

#[tokio::test]
async fn a_damaged_copy_is_told_and_not_restored() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(folder.path());
    lay_secrets_beside(&settings);
    add_account(&settings, "alice").await;
    let file = folder.path().join("copy.db");
    perform(BackupVerb::Create { file: file.clone() }, &settings, false).await.unwrap();
    perform(BackupVerb::Verify { file: file.clone() }, &settings, false).await.unwrap();
    assert!(secrets_beside(&file).is_file());

    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[20_000..middle.max(30_000)].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    perform(BackupVerb::Verify { file: file.clone() }, &settings, false).await.unwrap_err();
    let restore = BackupVerb::Restore { file: file.clone(), force: true };
    perform(restore, &settings, false).await.unwrap_err();
    assert!(has_account(&settings, "alice").await);
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    // Nothing of the attempts remains.
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 3, "data, copy.db and its secrets");
}
