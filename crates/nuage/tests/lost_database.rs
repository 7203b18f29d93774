//! The database goes away under a server that stays: clients hang, are told nonsense, or lose what
//! was acknowledged; or the server must be started again before it works.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::history::SETTINGS;
use nuage_testkit::postgres::{Cluster, Durability, Stop};
use nuage_testkit::random::Random;
use nuage_testkit::server::Server;
use serde_json::json;

use crate::programs::{now_ms, number, program, write_settings};
use crate::writers::{DECISION, Trouble, write_during};

/// How often the backends are killed, the server is stopped, and frozen.
const KILLS: usize = 12;
const STOPS: usize = 5;
const FREEZES: usize = 2;
/// Longest time between two of these.
const LIFE_MS: usize = 700;
/// Longest time for an answer, whatever is lost.
const ANSWER: Duration = Duration::from_secs(25);
/// Longest time until everything works again after the database does.
const RECOVERY: Duration = Duration::from_secs(20);
const RECORD: &str = "/v1/buckets/default/collections/c/records/r";

#[test]
fn killed_backends_cost_nothing_but_a_moment() {
    let cluster = Cluster::new(Durability::Full);
    let mut server = server_in(&cluster);
    let before = server.pid();
    let seed = number("NUAGE_SEED").unwrap_or_else(|| now_ms() as u64 % 1_000_000);
    let mut random = Random::new(seed);
    let mut killed = 0;
    let trouble = Trouble::Unavailable(ANSWER);
    let (acknowledged, unknown) =
        write_during(&mut server, seed, trouble, DECISION, |server, is_over| {
            for _ in 0..KILLS {
                thread::sleep(Duration::from_millis(random.below(LIFE_MS) as u64));
                killed += cluster.kill_backends();
                assert_recovers(server);
                if is_over() {
                    return;
                }
            }
        });
    assert!(killed >= KILLS, "only {killed} backends were killed");
    assert!(acknowledged > 50, "only {acknowledged} writes were acknowledged");
    assert!(unknown > 0, "no write was interrupted");
    assert_sound(server, before);
}

#[test]
fn a_database_that_crashes_and_comes_back_needs_no_new_start() {
    let cluster = Cluster::new(Durability::Full);
    let mut server = server_in(&cluster);
    let before = server.pid();
    let seed = number("NUAGE_SEED").unwrap_or_else(|| now_ms() as u64 % 1_000_000);
    let mut random = Random::new(seed);
    let trouble = Trouble::Unavailable(ANSWER);
    let (acknowledged, unknown) =
        write_during(&mut server, seed, trouble, DECISION, |server, is_over| {
            for _ in 0..STOPS {
                thread::sleep(Duration::from_millis(random.below(LIFE_MS) as u64));
                cluster.stop(Stop::Immediate);
                assert_down(server);
                thread::sleep(Duration::from_millis(random.below(LIFE_MS) as u64));
                cluster.start();
                assert_recovers(server);
                if is_over() {
                    return;
                }
            }
        });
    assert!(acknowledged > 50, "only {acknowledged} writes were acknowledged");
    assert!(unknown > 0, "no write was interrupted");
    assert_sound(server, before);
}

#[test]
fn a_frozen_database_is_told_and_goes_on() {
    let cluster = Cluster::new(Durability::Full);
    let mut server = server_in(&cluster);
    let before = server.pid();
    let seed = number("NUAGE_SEED").unwrap_or_else(|| now_ms() as u64 % 1_000_000);
    let mut random = Random::new(seed);
    let trouble = Trouble::Unavailable(ANSWER);
    let (acknowledged, unknown) =
        write_during(&mut server, seed, trouble, DECISION, |server, is_over| {
            for _ in 0..FREEZES {
                thread::sleep(Duration::from_millis(random.below(LIFE_MS) as u64));
                let frozen = cluster.freeze();
                assert_down(server);
                drop(frozen);
                assert_recovers(server);
                if is_over() {
                    return;
                }
            }
        });
    assert!(acknowledged > 10, "only {acknowledged} writes were acknowledged");
    assert!(unknown > 0, "no write was interrupted");
    assert_sound(server, before);
}

#[test]
fn a_database_that_is_stopped_in_peace_is_the_same() {
    let cluster = Cluster::new(Durability::Full);
    let server = server_in(&cluster);
    let put = Call::put(RECORD, &json!({"data": {"said": "before"}})).login("a:1");
    assert_eq!(server.client().send(&put).unwrap().status, 201);
    cluster.stop(Stop::Fast);
    assert_down(&server);
    let mut client = server.client();
    for call in [put.clone(), Call::get(RECORD).login("a:1"), Call::get("/v1/buckets").login("b:1")]
    {
        let answer = ask(&mut client, &call);
        assert_eq!(answer.status, 503, "{call}: {answer}");
        assert!(answer.header("Retry-After").is_some(), "{call}: {answer}");
        assert_eq!(answer.json()["errno"], 201, "{answer}");
    }
    // What needs no storage goes on.
    assert_eq!(ask(&mut client, &Call::get("/v1/")).status, 200);
    cluster.start();
    assert_recovers(&server);
    let answer = ask(&mut client, &Call::get(RECORD).login("a:1"));
    assert_eq!(answer.json()["data"]["said"], "before", "{answer}");
}

fn server_in(cluster: &Cluster) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let setup = program().in_database(Arc::new(cluster.database()));
    setup.argument("--kinto-ini").argument(settings).start_on(data, folder)
}

fn ask(client: &mut Client, call: &Call) -> Answer {
    let begun = Instant::now();
    let answer = client.send(call).unwrap_or_else(|error| panic!("{call}: {error}"));
    assert!(begun.elapsed() < ANSWER, "{call} took {:?}", begun.elapsed());
    answer
}

// Who asks how it is, is told that the storage is down; a balancer is told that the process lives.
fn assert_down(server: &Server) {
    let mut client = server.client();
    let answer = ask(&mut client, &Call::get("/v1/__heartbeat__"));
    assert_eq!(answer.status, 503, "{answer}");
    assert_eq!(answer.json()["storage"], false, "{answer}");
    assert!(answer.header("Retry-After").is_some(), "{answer}");
    assert_eq!(ask(&mut client, &Call::get("/v1/__lbheartbeat__")).status, 200);
}

fn assert_recovers(server: &Server) {
    let deadline = Instant::now() + RECOVERY;
    let mut client = server.client();
    let put = Call::put(RECORD, &json!({})).login("recovery:1");
    loop {
        let healthy = ask(&mut client, &Call::get("/v1/__heartbeat__"));
        let written = ask(&mut client, &put);
        if healthy.status == 200 && matches!(written.status, 200 | 201) {
            return;
        }
        assert!(Instant::now() < deadline, "after the recovery: {healthy}\n{written}");
        thread::sleep(Duration::from_millis(20));
    }
}

// The same process as before, without a finding.
fn assert_sound(mut server: Server, before: u32) {
    assert_eq!(server.pid(), before);
    assert_eq!(server.terminate().code(), Some(0));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}
