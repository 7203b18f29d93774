//! Data in a folder that may not be written can be neither checked nor exported, and a backup is
//! changed or needs files beside it to be verified.

use nuage_testkit::backend::Backend;

use super::{names_in, put, said, tool};
use crate::abuse::bounded_with;
use crate::failing_disk::{on_failing_disk, set_fault};

const EROFS: i32 = 30;

#[test]
fn a_read_only_disk_is_checked_and_exported() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, trigger) = on_failing_disk(bounded_with(Backend::Sqlite, &[]), folder);
    for n in 0..30 {
        assert_eq!(put(&mut server.client(), &format!("r{n}"), 1_000).status, 201);
    }
    assert_eq!(server.terminate().code(), Some(0));
    let backup = server.data().join("backup.db");
    let (code, words) = tool(&server, "backup", &["create", backup.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{words}");
    let before = names_in(server.data());

    set_fault(&trigger, &format!("{EROFS} open 0"));
    let (code, words) = tool(&server, "check", &[]);
    assert_eq!(code, Some(0), "{words}");
    assert!(words.contains("cannot be written"), "{words}");
    let export = said(server.tool("export").output().unwrap());
    assert_eq!(export.0, Some(0), "{}", export.1);
    assert_eq!(export.1.matches("\"collection\":\"c\"").count(), 30);
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("copy.db");
    let (code, words) = tool(&server, "backup", &["create", copy.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{words}");
    let (code, words) = tool(&server, "backup", &["verify", backup.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{words}");
    assert_eq!(names_in(server.data()), before, "something was left");
}

#[test]
fn a_backup_that_fails_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (server, trigger) = on_failing_disk(bounded_with(Backend::Sqlite, &[]), folder);
    for n in 0..30 {
        assert_eq!(put(&mut server.client(), &format!("r{n}"), 10_000).status, 201);
    }
    let before = names_in(server.data());
    let backup = server.data().join("backup.db");
    set_fault(&trigger, "28 write 20");
    let (code, words) = tool(&server, "backup", &["create", backup.to_str().unwrap()]);
    std::fs::remove_file(&trigger).unwrap();
    assert_ne!(code, Some(0), "{words}");
    let mut after = names_in(server.data());
    after.retain(|name| !name.ends_with(".reserve") && !name.ends_with(".mark"));
    assert!(after.iter().all(|name| before.contains(name)), "{after:?} were not all in {before:?}");
}
