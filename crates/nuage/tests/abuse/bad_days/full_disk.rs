//! The disk is full: nothing can be deleted either, a new start fails, and the heartbeat is content.

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Call, Client};
use nuage_testkit::server::Server;

use super::{PATIENCE, RECORDS, USER, delete, get, heartbeat, put};
use crate::abuse::{bounded_with, eventually};
use crate::failing_disk::{on_failing_disk, set_fault};

const ENOSPC: i32 = 28;
/// Bytes of a record.
const LARGE: usize = 250_000;

#[test]
fn a_heartbeat_tells_that_nothing_can_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let (server, trigger) = on_failing_disk(bounded_with(Backend::Sqlite, &[]), folder);
    assert_eq!(heartbeat(&server), 200);
    set_fault(&trigger, &format!("{ENOSPC} write 0"));
    assert!(eventually(PATIENCE, || heartbeat(&server) == 503));
    std::fs::remove_file(&trigger).unwrap();
    assert!(eventually(PATIENCE, || heartbeat(&server) == 200));
}

#[test]
fn a_full_disk_takes_deletions_and_then_new_data() {
    let folder = tempfile::tempdir().unwrap();
    let (mut server, trigger) = on_failing_disk(bounded_with(Backend::Sqlite, &[]), folder);
    let reserve = server.data().join("nuage.db.reserve");
    assert!(eventually(PATIENCE, || reserve.metadata().is_ok_and(|file| file.len() == 8 << 20)));
    let mut client = server.client();
    for n in 0..32 {
        assert_eq!(put(&mut client, &format!("r{n}"), LARGE).status, 201);
    }
    set_fault(&trigger, &format!("{ENOSPC} room {}", used(&server) + 600_000));
    fill(&mut client);
    assert!(eventually(PATIENCE, || heartbeat(&server) == 503));
    assert!(!reserve.exists(), "the reserve was not given up");
    assert_eq!(server.log().matches("the disk is full: what makes").count(), 1);
    assert_eq!(get(&mut client, "r0").status, 200);
    assert_eq!(delete(&mut client, "r0").status, 200);
    assert_eq!(put(&mut client, "r0", LARGE).status, 503);

    // A new start makes no difference, however the last one ended.
    server.kill();
    server.start();
    let mut client = server.client();
    assert_eq!(delete(&mut client, "r1").status, 200);
    assert_eq!(server.terminate().code(), Some(0));
    server.start();
    let mut client = server.client();
    assert_eq!(delete(&mut client, "r2").status, 200);
    // A log that was emptied leaves some room, and this time there is no reserve.
    fill(&mut client);
    assert_eq!(delete(&mut client, "r3").status, 200);
    let all = client.send(&Call::delete(RECORDS).login(USER)).unwrap();
    assert_eq!(all.status, 200, "{all}");
    // The disk is as full as before: the room is inside.
    assert!(eventually(PATIENCE, || put(&mut client, "r0", LARGE).status == 201));
    assert!(eventually(PATIENCE, || heartbeat(&server) == 200));
    std::fs::remove_file(&trigger).unwrap();
    assert!(eventually(PATIENCE, || {
        assert!(put(&mut client, "r1", 10).status < 300);
        reserve.exists()
    }));
    assert_eq!(server.check().0, Some(0));
}

// Until nothing is taken any more.
fn fill(client: &mut Client) {
    let refused = (100..400).find(|n| put(client, &format!("r{n}"), LARGE).status == 503);
    assert!(refused.is_some(), "the disk is not full");
}

fn used(server: &Server) -> u64 {
    let files = std::fs::read_dir(server.data()).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}
