//! Another program holds the lock of the file for seconds, such as an open session of `sqlite3`:
//! requests hang, reads stop, or the server needs a new start afterwards.

use std::thread;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use rusqlite::Connection;

use super::{PATIENCE, database, get, heartbeat, put};
use crate::abuse::{bounded_with, eventually};

#[test]
fn a_lock_of_another_program_is_waited_for() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    assert_eq!(put(&mut server.client(), "before", 10).status, 201);
    let foreign = Connection::open(database(&server)).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| put(&mut server.client(), "waits", 10));
        assert_eq!(get(&mut server.client(), "before").status, 200);
        thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished(), "the lock is none");
        foreign.execute_batch("ROLLBACK").unwrap();
        let answer = waiting.join().unwrap();
        assert_eq!(answer.status, 201, "{answer}");
    });
    assert_eq!(get(&mut server.client(), "waits").status, 200);
}

#[test]
fn a_lock_that_another_program_keeps_is_told_and_forgotten_when_it_goes() {
    let mut server = bounded_with(Backend::Sqlite, &[]).start();
    let mut client = server.client();
    assert_eq!(put(&mut client, "before", 10).status, 201);
    let foreign = Connection::open(database(&server)).unwrap();
    for round in 0..2 {
        foreign.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let answer = put(&mut client, &format!("refused-{round}"), 10);
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("Retry-After").is_some(), "{answer}");
        assert_eq!(get(&mut client, "before").status, 200);
        assert_eq!(get(&mut client, &format!("refused-{round}")).status, 404);
        foreign.execute_batch("ROLLBACK").unwrap();
        let mut writes = || put(&mut client, &format!("after-{round}"), 10).status < 300;
        assert!(eventually(PATIENCE, || writes() && heartbeat(&server) == 200));
    }
    drop(foreign);
    assert!(server.is_alive());
    assert_eq!(server.terminate().code(), Some(0));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}
