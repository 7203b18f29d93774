//! Several processes write to the same collections: an update is lost, a reader is told of a head
//! and not of all that is before it, two writes get one timestamp, half a batch is seen.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::checker::{self, Event, Over, Rule, What};
use nuage_testkit::history::SETTINGS;
use nuage_testkit::random::Random;

use crate::several_processes::load::{Load, Processes, Trouble};
use crate::several_processes::sites::{Seed, Site};

const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(8);
/// What must be done in that time or later, and the longest that is waited for it.
const STEPS: usize = 1_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// The process that is killed: the last one.
const MORTAL: usize = 2;
/// How often it is killed, and the longest that it lives and is dead.
const KILLS: usize = 6;
const LIFE_MS: usize = 1_500;
const DEATH_MS: usize = 400;
/// Longest that clients of the others may wait: the database ends a transaction that is not heard
/// of after this time, and locks must not be held for so long.
const UNNOTICED: Duration = Duration::from_secs(10);

#[test]
fn one_process_keeps_the_laws() {
    let site = Site::new(Backend::Sqlite, 1, SETTINGS);
    let seed = Seed::new();
    let run = run(&site.addresses(), &seed, None, |done| wait(done, TIME / 2));
    let events = judge(&site.addresses(), &seed, run);
    let broken = |spoil: fn(&mut What) -> bool| {
        let mut events = events.clone();
        // Late in the record, so that there is something to be broken.
        let spoilt = events.iter_mut().rev().any(|event| spoil(&mut event.what));
        assert!(spoilt, "there is nothing to spoil");
        checker::check(&events).into_iter().map(|fault| fault.rule).collect::<Vec<_>>()
    };
    assert!(broken(lose_an_update).contains(&Rule::LostUpdate));
    assert!(broken(hide_a_record).contains(&Rule::Incomplete));
    assert!(broken(turn_a_head_back).contains(&Rule::Stale));
    assert!(broken(repeat_a_time).contains(&Rule::RepeatedTime));
}

fn lose_an_update(what: &mut What) -> bool {
    let What::Wrote(writes) = what else { return false };
    let mut writes = writes.iter_mut();
    let Some(write) = writes.find(|write| matches!(write.over, Over::Version(_))) else {
        return false;
    };
    write.over = Over::Version(1);
    true
}

fn hide_a_record(what: &mut What) -> bool {
    let What::Listed(list) = what else { return false };
    list.shown.pop().is_some()
}

fn turn_a_head_back(what: &mut What) -> bool {
    let What::Headed { head, .. } = what else { return false };
    *head -= 1;
    true
}

fn repeat_a_time(what: &mut What) -> bool {
    let What::Wrote(writes) = what else { return false };
    let [first, second, ..] = writes.as_mut_slice() else { return false };
    if first.place.collection != second.place.collection {
        return false;
    }
    first.time = second.time;
    true
}

#[test]
fn three_processes_keep_the_laws() {
    let site = Site::new(Backend::Postgres, 3, SETTINGS);
    let seed = Seed::new();
    let run = run(&site.addresses(), &seed, None, |done| wait(done, TIME));
    judge(&site.addresses(), &seed, run);
    let count = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let deadlocks = site.database.as_ref().unwrap().execute(count);
    assert_eq!(deadlocks.trim(), "0", "locks are not taken in one order");
}

#[test]
fn a_process_that_is_killed_is_noticed_by_nobody_but_its_clients() {
    let mut site = Site::new(Backend::Postgres, 3, SETTINGS);
    let seed = Seed::new();
    let mut random = Random::new(seed.0);
    let addresses = site.addresses();
    let victim = &mut site.processes[MORTAL];
    let run = run(&addresses, &seed, Some((MORTAL, Trouble::Silence)), |done| {
        for _ in 0..KILLS {
            thread::sleep(Duration::from_millis(random.below(LIFE_MS) as u64));
            victim.kill();
            thread::sleep(Duration::from_millis(random.below(DEATH_MS) as u64));
            victim.start();
        }
        wait(done, Duration::ZERO);
    });
    assert!(run.unanswered() > 0, "no write was interrupted");
    let longest = run.loads.iter().map(|load| load.longest).max().unwrap();
    assert!(longest < UNNOTICED, "a client of the others waited for {longest:?}");
    judge(&addresses, &seed, run);
}

/// What was done.
pub(super) struct Run {
    clock: Instant,
    loads: Vec<Load>,
}

impl Run {
    /// Writes of which nobody knows what became.
    pub(super) fn unanswered(&self) -> usize {
        let events = self.loads.iter().flat_map(|load| &load.events);
        events.filter(|event| event.returned.is_none()).count()
    }
}

// Lets all clients work while something else happens.
pub(super) fn run(
    addresses: &[SocketAddr],
    seed: &Seed,
    mortal: Option<(usize, Trouble)>,
    meanwhile: impl FnOnce(&AtomicUsize),
) -> Run {
    let clock = Instant::now();
    let (running, done) = (AtomicBool::new(true), AtomicUsize::new(0));
    let load = |number: usize| {
        let mut addresses = addresses.to_vec();
        let home = number % addresses.len();
        // Who is at home elsewhere has nothing to do with the process that is killed.
        if mortal.is_some_and(|(mortal, _)| mortal != home) {
            addresses.truncate(MORTAL);
        }
        let trouble = mortal.map_or(Trouble::Silence, |(_, trouble)| trouble);
        let mortal = mortal.map(|(mortal, _)| mortal).filter(|mortal| *mortal == home);
        Load::new(number, seed.0, clock, Processes { addresses, home, mortal, trouble })
    };
    let mut first = load(0);
    first.prepare();
    let mut loads = vec![first];
    thread::scope(|scope| {
        let threads: Vec<_> = (1..=CONNECTIONS)
            .map(|number| {
                let (mut load, running, done) = (load(number), &running, &done);
                scope.spawn(move || {
                    while running.load(Ordering::Relaxed) {
                        load.step();
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    load
                })
            })
            .collect();
        // Also when the rest fails.
        let stop = Stop(&running);
        meanwhile(&done);
        drop(stop);
        loads.extend(threads.into_iter().map(|thread| thread.join().unwrap()));
    });
    Run { clock, loads }
}

// Waits for so long, and until enough is done.
pub(super) fn wait(done: &AtomicUsize, time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time || done.load(Ordering::Relaxed) < STEPS {
        assert!(begun.elapsed() < PATIENCE, "only {done:?} of {STEPS} steps were done");
        thread::sleep(Duration::from_millis(20));
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

// Looks at everything through each process, and lets the checker judge.
pub(super) fn judge(addresses: &[SocketAddr], seed: &Seed, run: Run) -> Vec<Event> {
    let Run { clock, mut loads } = run;
    let counted = |collection: usize, counter: usize| {
        let counted = loads.iter().map(|load| load.counted[collection][counter]);
        counted.fold((0, 0), |sum, counted| (sum.0 + counted.0, sum.1 + counted.1))
    };
    let mut last = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let processes = Processes {
            addresses: vec![*address],
            home: 0,
            mortal: None,
            trouble: Trouble::Silence,
        };
        let mut load = Load::new(CONNECTIONS + 1 + number, seed.0, clock, processes);
        for (collection, counters) in load.finish().iter().enumerate() {
            for (counter, value) in counters.iter().enumerate() {
                let (sure, perhaps) = counted(collection, counter);
                let possible = sure..=sure + perhaps;
                assert!(possible.contains(value), "updates were lost: {value} of {possible:?}");
            }
        }
        last.push(load);
    }
    loads.extend(last);
    let events: Vec<Event> = loads.into_iter().flat_map(|load| load.events).collect();
    let writes = events.iter().filter(|event| matches!(event.what, What::Wrote(_))).count();
    assert!(writes > STEPS / 5, "only {writes} writes in {} events", events.len());
    let faults: Vec<String> = checker::check(&events).iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    events
}
