//! Pages of the file are damaged: a backup keeps them, a check says one word, an export fails whole,
//! and the heartbeat is content.

use std::collections::BTreeSet;
use std::path::Path;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::Call;
use nuage_testkit::server::{Server, clean_command};
use serde_json::json;

use super::{PATIENCE, RECORDS, USER, database, heartbeat, names_in, said, tool};
use crate::abuse::{bounded_with, eventually};
use crate::programs::program;

const COUNT: usize = 2_000;
const PAGE: usize = 4_096;
/// First byte of a page that holds rows of a table.
const LEAF: u8 = 0x0d;

#[test]
fn damage_is_told_with_its_extent_and_what_can_be_read_is_saved() {
    let server = damaged_server();
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();

    let (code, words) = tool(&server, "check", &[]);
    assert_eq!(code, Some(6), "{words}");
    assert!(words.contains("of 2000 records can be read"), "{words}");
    assert!(words.contains("--salvage"), "{words}");
    let (code, words) = tool(&server, "backup", &["create", &path("backup.db")]);
    assert_eq!(code, Some(6), "{words}");
    assert_eq!(names_in(folder.path()), Vec::<String>::new(), "a damaged copy was kept");
    let (code, words) = tool(&server, "export", &[&path("whole")]);
    assert_eq!(code, Some(4), "{words}");
    assert!(words.contains("--salvage"), "{words}");

    let (code, words) = tool(&server, "export", &["--salvage", &path("saved")]);
    assert_eq!(code, Some(6), "{words}");
    let saved = ids_in(Path::new(&path("saved")));
    assert!(saved.len() > COUNT / 2 && saved.len() < COUNT, "{} were saved", saved.len());
    assert!(words.contains(&format!("{} of {COUNT} records can be read", saved.len())), "{words}");
    let lost = (0..COUNT).map(id).find(|id| !saved.contains(id)).unwrap();
    assert!(words.contains(&lost), "{lost} is not told: {words}");
    let mut import = clean_command(&program().binary);
    import.arg("import").arg(path("saved")).arg("--data").arg(path("new"));
    let (code, words) = said(import.output().unwrap());
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn a_server_that_meets_damage_says_so() {
    let mut server = damaged_server();
    server.start();
    assert_eq!(heartbeat(&server), 200, "nobody has met it yet");
    let mut client = server.client();
    for n in 0..COUNT {
        let call = Call::get(format!("{RECORDS}/{}", id(n))).login(USER);
        if client.send(&call).unwrap().status == 503 {
            break;
        }
    }
    assert!(eventually(PATIENCE, || heartbeat(&server) == 503));
    assert!(eventually(PATIENCE, || server.log().contains("the data is damaged")));
    assert!(server.log().contains("--salvage"), "{}", server.log());
}

// Not running, four pages of its records overwritten.
fn damaged_server() -> Server {
    let mut server = bounded_with(Backend::Sqlite, &[]).start();
    let mut client = server.client();
    for first in (0..COUNT).step_by(25) {
        let requests: Vec<_> = (first..first + 25)
            .map(|n| {
                let data = json!({"data": {"filler": "x".repeat(300)}});
                json!({"path": format!("{RECORDS}/{}", id(n)), "body": data})
            })
            .collect();
        let batch = json!({"defaults": {"method": "PUT"}, "requests": requests});
        assert_eq!(client.send(&Call::post("/v1/batch", &batch).login(USER)).unwrap().status, 200);
    }
    assert_eq!(server.terminate().code(), Some(0));
    let mut bytes = std::fs::read(database(&server)).unwrap();
    let leaves: Vec<_> =
        (20..bytes.len() / PAGE).filter(|page| bytes[page * PAGE] == LEAF).collect();
    assert!(leaves.len() > 40);
    for page in [leaves[10], leaves[11], leaves[20], leaves[30]] {
        bytes[page * PAGE..(page + 1) * PAGE].fill(0x5a);
    }
    std::fs::write(database(&server), &bytes).unwrap();
    server
}

fn id(n: usize) -> String {
    format!("record-{n:05}")
}

fn ids_in(export: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(export).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let ids = lines.filter(|line| line["collection"] == "c");
    ids.filter_map(|line| Some(line["id"].as_str()?.to_owned())).collect()
}
