//! The server means something else than Kinto does.
//!
//! Random histories against a model. `NUAGE_SEED` replays one, `NUAGE_HISTORIES` sets how many,
//! `NUAGE_STEPS` how long they are.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::history::{self, Flavour};

use crate::programs::{flavour, foreign_server, now_ms, number, open_server};

both_databases!(
    random_histories_agree_with_the_model,
    a_past_time_that_is_taken_twice_in_a_list_that_nobody_looked_at,
);

/// Histories by default, the time after which no other is begun, and how many there must be.
const HISTORIES: u64 = 150;
const TIME: Duration = Duration::from_secs(30);
const LEAST: u64 = 20;
const STEPS: u64 = 200;

fn random_histories_agree_with_the_model(backend: Backend) {
    if let Some(address) = foreign_server() {
        return try_histories(address);
    }
    let mut server = open_server(backend);
    try_histories(server.address());
    assert_eq!(server.terminate().code(), Some(0));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}

fn a_past_time_that_is_taken_twice_in_a_list_that_nobody_looked_at(backend: Backend) {
    let server = open_server(backend);
    let outcome = history::run(server.address(), Flavour::Nuage, 315_572_217, STEPS as usize);
    outcome.unwrap_or_else(|why| panic!("{why}"));
}

fn try_histories(server: SocketAddr) {
    let steps = number("NUAGE_STEPS").unwrap_or(STEPS) as usize;
    let run = |seed| {
        let outcome = history::run(server, flavour(), seed, steps);
        outcome.unwrap_or_else(|why| panic!("replay with NUAGE_SEED={seed}\n{why}"));
    };
    if let Some(seed) = number("NUAGE_SEED") {
        return run(seed);
    }
    let wanted = number("NUAGE_HISTORIES");
    let first = now_ms() as u64 * 1_000;
    let start = Instant::now();
    let mut played = 0;
    while played < wanted.unwrap_or(HISTORIES) {
        if wanted.is_none() && played >= LEAST && start.elapsed() > TIME {
            break;
        }
        run(first.wrapping_add(played) % 1_000_000_000);
        played += 1;
    }
    eprintln!("{played} histories of {steps} steps agree with the model");
}
