//! The process is killed at any moment: what was acknowledged is lost, or a batch half applied.
//!
//! `NUAGE_KILLS` sets how often.

use std::thread;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::random::Random;

use crate::programs::{now_ms, number, open_server};
use crate::writers::{DECISION, Trouble, write_during};

both_databases!(acknowledged_writes_survive_kills);

/// On SQLite and on PostgreSQL, where a server works only after it has connected.
const KILLS: (u64, u64) = (30, 10);
/// Longest time that a server runs before it is killed.
const LIFE_MS: (usize, usize) = (500, 1_500);

fn acknowledged_writes_survive_kills(backend: Backend) {
    let mut server = open_server(backend);
    let kills = number("NUAGE_KILLS").unwrap_or(backend.choose(KILLS.0, KILLS.1));
    let seed = number("NUAGE_SEED").unwrap_or_else(|| now_ms() as u64 % 1_000_000);
    // In a file, a commit that is not there when it is opened again will never be.
    let decision = backend.choose(Duration::ZERO, DECISION);
    let life_ms = backend.choose(LIFE_MS.0, LIFE_MS.1);
    let mut random = Random::new(seed);
    let written = write_during(&mut server, seed, Trouble::Silence, decision, |server, is_over| {
        for kill in 1..=kills {
            thread::sleep(Duration::from_millis(random.below(life_ms) as u64));
            server.kill();
            if kill % 25 == 5 {
                assert_eq!(server.check().0, Some(0), "kill {kill}: {}", server.check().1);
            }
            server.start();
            if is_over() {
                return;
            }
        }
    });
    let (acknowledged, unknown) = written;
    assert!(
        acknowledged > backend.choose(10, 3) * kills,
        "only {acknowledged} writes were acknowledged"
    );
    assert!(unknown > kills / 5, "only {unknown} writes were interrupted");
    server.kill();
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}
