//! The machine of the primary is gone or hangs: the other server of the URL is never tried, or only
//! after everything else gave up.

use std::mem::ManuallyDrop;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::history::SETTINGS;
use nuage_testkit::postgres::{Cluster, Durability};
use nuage_testkit::server::Server;

use super::{get, heartbeat, put, tool};
use crate::abuse::{bounded_with, eventually};
use crate::programs::{now_ms, program, write_settings};
use crate::writers::{DECISION, Trouble, write_during};

/// Longest time until writes pass again on a machine that is busy.
const RECOVERY: Duration = Duration::from_secs(25);

/// Longest time for an answer meanwhile.
const ANSWER: Duration = Duration::from_secs(40);

#[test]
fn a_promoted_standby_takes_over_from_a_frozen_primary() {
    let primary = Cluster::new(Durability::Fast);
    let standby = primary.standby();
    let database = primary.database();
    let url = hosts(&[primary.address(), standby.address()], database.name());
    let server = serve(&url);
    assert_eq!(put(&mut server.client(), "before", 10).status, 201);
    assert!(server.log().contains("listening"));
    let received = || {
        let sql = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = sent_lsn \
            AND sent_lsn = pg_current_wal_lsn()";
        database.execute(sql) == "1"
    };
    assert!(eventually(RECOVERY, received));

    let frozen = primary.freeze();
    standby.promote();
    assert_recovers(&server);
    assert_eq!(get(&mut server.client(), "before").status, 200);
    drop(frozen);
    // The former primary is there again, and nobody goes back to it.
    assert_eq!(put(&mut server.client(), "after", 10).status, 201);
    let there = "SELECT count(*) FROM records WHERE id = 'after'";
    assert_eq!(database.execute(there), "0");
}

#[test]
fn a_failover_under_load_loses_nothing_that_the_standby_has() {
    let primary = Cluster::new(Durability::Full);
    let standby = primary.standby();
    // It goes with its server: nothing can be dropped that must be on a standby as well.
    let database = ManuallyDrop::new(primary.database());
    // What is acknowledged is on both.
    database.execute("ALTER SYSTEM SET synchronous_standby_names = '*'");
    database.execute("SELECT pg_reload_conf()");
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let url = hosts(&[primary.address(), standby.address()], database.name());
    let setup = program().argument("--kinto-ini").argument(settings);
    let mut server = setup.argument("--storage-url").argument(url).start_on(data, folder);
    let before = server.pid();
    let mut frozen = None;
    let trouble = Trouble::Unavailable(ANSWER);
    let seed = now_ms() as u64;
    let (acknowledged, unknown) =
        write_during(&mut server, seed, trouble, DECISION, |server, _| {
            std::thread::sleep(Duration::from_secs(1));
            // Some are under way, since the standby does not confirm them: what becomes of them nobody
            // can tell.
            let held_up = standby.freeze();
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            assert!(eventually(RECOVERY, || database.execute(waits) != "0"));
            frozen = Some(primary.freeze());
            drop(held_up);
            standby.promote();
            assert_recovers(server);
            std::thread::sleep(Duration::from_secs(1));
        });
    assert!(acknowledged > 10, "only {acknowledged} writes were acknowledged");
    assert!(unknown > 0, "no write was interrupted");
    assert_eq!(server.pid(), before);
    let (code, words) = tool(&server, "check", &[]);
    assert_eq!(code, Some(0), "{words}");
}

#[test]
fn servers_that_let_nobody_in_keep_nobody_from_the_next() {
    let primary = Cluster::new(Durability::Fast);
    let database = primary.database();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let (full, _queue) = full_listener();
    let addresses = [silent.local_addr().unwrap(), full, primary.address()];
    let server = serve(&hosts(&addresses, database.name()));
    assert_eq!(put(&mut server.client(), "first", 10).status, 201);
    // All connections are made anew.
    primary.kill_backends();
    assert_recovers(&server);
}

fn serve(url: &str) -> Server {
    bounded_with(Backend::Sqlite, &[]).argument("--storage-url").argument(url).start()
}

fn hosts(addresses: &[SocketAddr], database: &str) -> String {
    let hosts: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    format!("postgres://postgres@{}/{database}", hosts.join(","))
}

fn assert_recovers(server: &Server) {
    let mut client = server.client();
    let recovers = eventually(RECOVERY, || {
        matches!(put(&mut client, "again", 10).status, 200 | 201) && heartbeat(server) == 200
    });
    assert!(recovers, "nothing can be written");
}

/// An address whose queue of new connections is full, so that the system answers nobody.
fn full_listener() -> (SocketAddr, (TcpListener, Vec<TcpStream>)) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut queue = Vec::new();
    let moment = Duration::from_millis(300);
    while let Ok(stream) = TcpStream::connect_timeout(&address, moment) {
        queue.push(stream);
    }
    (address, (listener, queue))
}
