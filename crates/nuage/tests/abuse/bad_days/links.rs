//! Two servers on one file, which has two names; and data that may not be looked at.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use nuage_testkit::backend::Backend;
use nuage_testkit::server::{Server, clean_command, free_address};

use super::{database, put, said};
use crate::abuse::bounded_with;
use crate::programs::program;

#[test]
fn a_file_of_two_names_is_served_once() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    assert_eq!(put(&mut server.client(), "first", 10).status, 201);
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("nuage.db");
    symlink(database(&server), &link).unwrap();
    let (code, words) = run(&["serve"], folder.path());
    assert_eq!(code, Some(4), "{words}");
    assert!(words.contains("Another nuage serves"), "{words}");
    std::fs::remove_file(&link).unwrap();

    let beside = Server::data(&server).join("other.db");
    std::fs::hard_link(database(&server), &beside).unwrap();
    let url = beside.display().to_string();
    for verb in [&["serve"][..], &["user", "list"]] {
        let (code, words) = run(&[verb, &["--storage-url", &url]].concat(), folder.path());
        assert_eq!(code, Some(4), "{words}");
        assert!(words.contains("hard links"), "{words}");
    }
    std::fs::remove_file(&beside).unwrap();
    assert_eq!(put(&mut server.client(), "second", 10).status, 201);
    assert_eq!(server.check().0, Some(0));
}

#[test]
fn data_that_may_not_be_looked_at_is_not_told_as_missing() {
    let folder = tempfile::tempdir().unwrap();
    // No rights are needed for a name that leads nowhere.
    let around = folder.path().join("around");
    symlink(&around, &around).unwrap();
    for verb in ["check", "export"] {
        let (code, words) = run(&[verb], &around);
        assert_eq!(code, Some(4), "{words}");
        assert!(words.contains("cannot be seen"), "{words}");
        let (code, words) = run(&[verb], &folder.path().join("nothing"));
        assert_eq!(code, Some(4), "{words}");
        assert!(words.contains("There is no data"), "{words}");
    }
}

fn run(arguments: &[&str], data: &Path) -> (Option<i32>, String) {
    let mut command = clean_command(&program().binary);
    command.args(arguments).arg("--listen").arg(free_address().to_string());
    said(command.arg("--data").arg(data).stdin(Stdio::null()).output().unwrap())
}
