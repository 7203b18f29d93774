//! A process, or the database under it, is killed again and again while many clients read and
//! write: what was acknowledged is lost, half a batch is there, a time is given twice.
//!
//! `NUAGE_KILLS` sets how often.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use nuage_testkit::history::SETTINGS;
use nuage_testkit::postgres::{Cluster, Durability, Stop};
use nuage_testkit::random::Random;
use nuage_testkit::server::Server;

use crate::programs::number;
use crate::several_processes::laws::{judge, run, wait};
use crate::several_processes::load::Trouble;
use crate::several_processes::sites::{Seed, serve_with};

/// All clients are one person, who may have much waiting.
const SETTING: [(&str, &str); 1] = [("NUAGE_LIMITS__WAITING_WORK_OWN", "256")];

both_databases!(a_process_that_is_killed_keeps_the_laws);

/// How often the process is killed, and how often the database.
const PROCESS_KILLS: u64 = 8;
const DATABASE_KILLS: u64 = 4;
/// Most requests between two kills.
const STEPS: usize = 400;
/// Longest wait for these, and for a database that recovers.
const PATIENCE: Duration = Duration::from_secs(60);

fn a_process_that_is_killed_keeps_the_laws(backend: Backend) {
    let mut server = serve_with(backend.database(), SETTINGS, &SETTING);
    let (seed, kills) = (Seed::new(), number("NUAGE_KILLS").unwrap_or(PROCESS_KILLS));
    let mut random = Random::new(seed.0);
    let addresses = [server.address()];
    let run = run(&addresses, &seed, Some((0, Trouble::Silence)), |done| {
        for _ in 0..kills {
            wait_for_some(done, &mut random);
            server.kill();
            server.start();
        }
        wait(done, Duration::ZERO);
    });
    let unanswered = run.unanswered();
    assert!(unanswered as u64 > kills, "only {unanswered} writes were interrupted");
    let events = judge(&addresses, &seed, run).len();
    eprintln!("{kills} kills of the process, {unanswered} of {events} requests interrupted");
    assert_sound(&mut server);
}

#[test]
fn a_database_that_is_killed_keeps_the_laws() {
    let cluster = Cluster::new(Durability::Full);
    let mut server = serve_with(Some(Arc::new(cluster.database())), SETTINGS, &SETTING);
    let before = server.pid();
    let (seed, kills) = (Seed::new(), number("NUAGE_KILLS").unwrap_or(DATABASE_KILLS));
    let mut random = Random::new(seed.0);
    let addresses = [server.address()];
    let run = run(&addresses, &seed, Some((0, Trouble::Unavailable)), |done| {
        for _ in 0..kills {
            wait_for_some(done, &mut random);
            cluster.restart(Stop::Kill);
            wait_for_health(&server);
        }
        wait(done, Duration::ZERO);
    });
    let unanswered = run.unanswered();
    assert!(unanswered as u64 > kills, "only {unanswered} writes were interrupted");
    let events = judge(&addresses, &seed, run).len();
    eprintln!("{kills} kills of the database, {unanswered} of {events} requests interrupted");
    assert_eq!(server.pid(), before, "the process was started anew");
    assert_sound(&mut server);
}

// A kill comes after some requests, however long they take.
fn wait_for_some(done: &AtomicUsize, random: &mut Random) {
    let wanted = done.load(Ordering::Relaxed) + 1 + random.below(STEPS);
    let deadline = Instant::now() + PATIENCE;
    while done.load(Ordering::Relaxed) < wanted {
        assert!(Instant::now() < deadline, "nothing is answered any more");
        thread::sleep(Duration::from_millis(1));
    }
}

fn wait_for_health(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    let mut client = server.client();
    while client.send(&Call::get("/v1/__heartbeat__")).unwrap().status != 200 {
        assert!(Instant::now() < deadline, "the server does not notice that its database is back");
        thread::sleep(Duration::from_millis(10));
    }
}

fn assert_sound(server: &mut Server) {
    assert_eq!(server.terminate().code(), Some(0));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}
