//! What one account, one client or one bad day does to everybody else: each module is a kind of
//! danger, each test one sample of it.
//!
//! Servers run with bounded memory, and what they took at the most is read from the system.

mod bad_days;
mod command_line;
mod connections;
mod large_answers;
mod limits;
mod passwords;
mod proxies;
mod schemas;
mod slow_work;
mod times;

use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::server::{Server, Setup};

use crate::programs::program;

/// Most address space that a server under attack may take.
const ADDRESS_SPACE: u64 = 3 << 30;

/// A program whose memory is bounded. Anybody who logs in with HTTP Basic is somebody, as
/// `name:password`, unless a test sets other policies.
fn bounded(backend: Backend) -> Setup {
    program().on(backend).address_space(ADDRESS_SPACE)
}

/// The same with settings, `section.name=value` each.
fn bounded_with(backend: Backend, settings: &[&str]) -> Setup {
    let open = ["kinto.accounts=false", "auth.policies=basicauth"];
    let settings = open.iter().chain(settings);
    settings.fold(bounded(backend), |setup, setting| setup.argument("--set").argument(*setting))
}

/// Asserts that the server never took more than this, in MiB.
fn assert_peak(server: &Server, most_mib: u64) {
    let peak_mib = server.peak_kib() / 1024;
    assert!(peak_mib <= most_mib, "{peak_mib} MiB were resident, {most_mib} may be");
}

/// Waits until something holds, for at most this long.
fn eventually(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if holds() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    holds()
}
