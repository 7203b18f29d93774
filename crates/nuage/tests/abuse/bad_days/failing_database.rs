//! The disk of the database is full, fails or only lets read: what is written is not refused with a
//! sentence, nothing can be read any more, or the server needs a new start when the disk is well.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::postgres::{Cluster, Durability};
use nuage_testkit::random::Random;
use serde_json::json;

use super::{PATIENCE, RECORDS, USER, get, heartbeat, put};
use crate::abuse::{bounded_with, eventually};
use crate::failing_disk::{compile, set_fault};

/// Numbers of the errors in Linux: the disk fails, is full, only lets read.
const ERRORS: [i32; 3] = [5, 28, 30];
/// Letters of a text that the database cannot make much shorter, and how many records of it fill
/// whatever room a table still has.
const LETTERS: usize = 200_000;
const RECORDS_MAX: usize = 40;

#[test]
fn a_database_on_a_bad_disk_needs_no_new_start_of_the_server() {
    let folder = tempfile::tempdir().unwrap();
    // The database runs as somebody else.
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let (library, trigger) = (compile(folder.path()), folder.path().join("trigger"));
    let cluster = Cluster::with_variables(Durability::Full, |data| {
        let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
        // Tables, and not the log, without which the database itself ends.
        let tables = text(&data.join("base"));
        vec![
            ("LD_PRELOAD", text(&library)),
            ("FAULT_FOLDER", tables),
            ("FAULT_TRIGGER", text(&trigger)),
        ]
    });
    let database = Arc::new(cluster.database());
    let mut server = bounded_with(Backend::Sqlite, &[]).in_database(database).start();
    let mut client = server.client();
    assert_eq!(put(&mut client, "before", 10).status, 201);
    let mut random = Random::new(1);
    for error in ERRORS {
        set_fault(&trigger, &format!("{error} write 0"));
        let refused = (0..RECORDS_MAX)
            .map(|n| put_text(&mut client, &format!("r{error}-{n}"), &mut random))
            .find(|answer| answer.status != 201);
        let refused = refused.unwrap_or_else(|| panic!("the tables grow in spite of {error}"));
        assert_eq!(refused.status, 503, "{refused}");
        assert!(refused.header("Retry-After").is_some(), "{refused}");
        assert_eq!(get(&mut client, "before").status, 200, "error {error}");
        std::fs::remove_file(&trigger).unwrap();
        let mut writes =
            || put_text(&mut client, &format!("after-{error}"), &mut random).status < 300;
        assert!(eventually(PATIENCE, || writes() && heartbeat(&server) == 200), "error {error}");
    }
    assert!(server.is_alive());
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}

fn put_text(client: &mut Client, id: &str, random: &mut Random) -> Answer {
    let letters = (0..LETTERS / 16).map(|_| format!("{:016x}", random.number()));
    let body = json!({"data": {"filler": letters.collect::<String>()}});
    client.send(&Call::put(format!("{RECORDS}/{id}"), &body).login(USER)).unwrap()
}
