//! The file of the data, or its log, is deleted or replaced while it is served: writes are
//! acknowledged that nobody finds after the next start, and the heartbeat is content.

use nuage_testkit::backend::Backend;

use super::{PATIENCE, database, get, heartbeat, put};
use crate::abuse::{bounded_with, eventually};

#[test]
fn what_goes_to_a_deleted_file_is_not_acknowledged() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    let mut client = server.client();
    assert_eq!(put(&mut client, "before", 10).status, 201);
    assert_eq!(heartbeat(&server), 200);
    let away = database(&server).with_extension("away");
    std::fs::rename(database(&server), &away).unwrap();
    for n in 0..20 {
        let answer = put(&mut client, &format!("lost{n}"), 10);
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("Retry-After").is_some());
    }
    assert!(eventually(PATIENCE, || heartbeat(&server) == 503));
    assert!(!database(&server).exists(), "a new file took its place");
    let told = server.log().matches("could not write").count();
    assert_eq!(told, 1, "{}", server.log());
    assert!(server.log().contains("was deleted or moved away"), "{}", server.log());

    std::fs::rename(&away, database(&server)).unwrap();
    assert!(eventually(PATIENCE, || put(&mut client, "after", 10).status == 201));
    assert!(eventually(PATIENCE, || heartbeat(&server) == 200));
}

#[test]
fn what_goes_to_a_replaced_file_is_not_acknowledged() {
    let mut server = bounded_with(Backend::Sqlite, &[]).start();
    let mut client = server.client();
    assert_eq!(put(&mut client, "before", 10).status, 201);
    assert_eq!(server.terminate().code(), Some(0));
    let copy = database(&server).with_extension("copy");
    std::fs::copy(database(&server), &copy).unwrap();
    server.start();
    let mut client = server.client();
    assert_eq!(put(&mut client, "between", 10).status, 201);
    std::fs::rename(&copy, database(&server)).unwrap();
    for n in 0..20 {
        assert_eq!(put(&mut client, &format!("lost{n}"), 10).status, 503);
    }
    assert!(eventually(PATIENCE, || heartbeat(&server) == 503));
    assert!(server.log().contains("another file has taken the name"), "{}", server.log());
    // The end of this server does no harm to the file that took the name.
    assert_eq!(server.terminate().code(), Some(0));
    server.start();
    let mut client = server.client();
    assert_eq!(get(&mut client, "before").status, 200);
    assert_eq!(put(&mut client, "after", 10).status, 201);
    assert_eq!(server.check().0, Some(0));
}

#[test]
fn a_deleted_log_loses_nothing_that_was_acknowledged() {
    let mut server = bounded_with(Backend::Sqlite, &[]).start();
    let mut client = server.client();
    for n in 0..20 {
        assert_eq!(put(&mut client, &format!("r{n}"), 10).status, 201);
    }
    std::fs::remove_file(database(&server).with_extension("db-wal")).unwrap();
    for n in 0..20 {
        assert_eq!(put(&mut client, &format!("lost{n}"), 10).status, 503);
    }
    assert!(eventually(PATIENCE, || heartbeat(&server) == 503));
    assert!(server.log().contains("was deleted or replaced"), "{}", server.log());
    // Even if it cannot end well.
    server.kill();
    server.start();
    let mut client = server.client();
    for n in 0..20 {
        assert_eq!(get(&mut client, &format!("r{n}")).status, 200);
    }
    assert_eq!(put(&mut client, "after", 10).status, 201);
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(server.check().0, Some(0));
}

#[test]
fn many_heartbeats_write_once_a_second() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    assert_eq!(put(&mut server.client(), "first", 10).status, 201);
    let log = database(&server).with_extension("db-wal");
    let (begun, before) = (std::time::Instant::now(), log.metadata().unwrap().len());
    for _ in 0..200 {
        assert_eq!(heartbeat(&server), 200);
    }
    let written = (log.metadata().unwrap().len() - before) / 4096;
    // Others write as well now and then.
    let most = 2 * begun.elapsed().as_secs() + 10;
    assert!((1..=most).contains(&written), "{written} pages for heartbeats, of at most {most}");
}
