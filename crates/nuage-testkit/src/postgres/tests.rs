//! Clusters that stay behind, or databases that are not fresh.

#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Cluster, Durability, Stop, database, with_database};

#[test]
fn each_database_is_fresh_and_goes_with_its_handle() {
    let (one, other) = (database(), database());
    one.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)");
    assert_eq!(one.execute("SELECT n, 'x' FROM t ORDER BY n"), "1|x\n2|x");
    assert!(other.try_execute("SELECT n FROM t").unwrap_err().contains("does not exist"));
    let name = one.name().to_owned();
    drop(one);
    let left = format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'");
    assert_eq!(other.execute(&left), "0");
    let settings = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database
        WHERE datname = current_database()";
    assert_eq!(other.execute(settings), "UTF8|C");
}

#[test]
fn it_can_be_stopped_started_and_crashed() {
    let cluster = Cluster::new(Durability::Full);
    let database = cluster.database();
    database.execute("CREATE TABLE t (n int); INSERT INTO t VALUES (1)");
    for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
        cluster.stop(how);
        assert!(database.try_execute("SELECT 1").is_err());
        cluster.start();
        assert_eq!(database.execute("SELECT n FROM t"), "1");
    }
    let asleep = std::thread::scope(|scope| {
        let asleep = scope.spawn(|| database.try_execute("SELECT pg_sleep(60)"));
        let deadline = Instant::now() + Duration::from_secs(20);
        while cluster.kill_backends() == 0 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        asleep.join().unwrap()
    });
    assert!(asleep.is_err());
    eventually(|| database.try_execute("SELECT n FROM t").is_ok());
    assert_eq!(database.execute("SELECT n FROM t"), "1");
}

#[test]
fn nothing_stays_behind_when_its_process_dies() {
    let mut cluster = Cluster::new(Durability::Fast);
    let (folder, address) = (cluster.folder.clone(), cluster.address);
    assert!(TcpStream::connect(address).is_ok());
    // The system does this for a process that was killed.
    drop(cluster.watchdog.stdin.take());
    eventually(|| !folder.exists());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn urls() {
    for (url, expected) in [
        ("postgres://a@h:1/b", "postgres://a@h:1/x"),
        ("postgres://a:p@h", "postgres://a:p@h/x"),
        ("postgresql://h/b?sslmode=require", "postgresql://h/x?sslmode=require"),
        ("postgres:///b?host=/run", "postgres:///x?host=/run"),
    ] {
        assert_eq!(with_database(url, "x"), expected);
    }
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "it never happens");
        std::thread::sleep(Duration::from_millis(20));
    }
}
