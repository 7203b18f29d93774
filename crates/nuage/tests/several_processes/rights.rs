//! Somebody reads, writes or logs in through one process after another took the right away.
//!
//! Reads may lag: in practice until a hint arrives, at worst for the trust period. Writes may not:
//! what was decided on rights of a bucket or collection that are no more is never applied.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::postgres::Database;
use serde_json::{Value, json};

use crate::several_processes::sites::Site;

/// How long a process relies on what it knows, if nobody tells it better.
const TRUST: Duration = Duration::from_millis(1_000);
/// What the machine may add to that.
const MARGIN: Duration = Duration::from_millis(250);
/// Half of all changes are known to others by then, thanks to hints.
const USUAL: Duration = Duration::from_millis(250);
/// How long it is tried whether writes pass that may not.
const CLOSED: Duration = Duration::from_millis(250);
const ROUNDS: usize = 3;
/// How often listeners are cut before it begins.
const CUTS_BEFORE: usize = 10;
const OWNER: &str = "owner:1";
const BUCKET: &str = "/v1/buckets/rights";
const COLLECTION: &str = "/v1/buckets/rights/collections/c";
const RECORD: &str = "/v1/buckets/rights/collections/c/records/r";
const GROUP: &str = "/v1/buckets/rights/groups/g";
const ACCOUNT: &str = "/v1/accounts/guest";
const SETTINGS: &str = "\
kinto.includes = kinto.plugins.accounts
multiauth.policies = account
multiauth.policy.account.use = kinto.plugins.accounts.authentication.AccountsAuthenticationPolicy
kinto.account_create_principals = system.Everyone
kinto.experimental_collection_schema_validation = true
";

#[test]
fn what_one_process_takes_away_the_others_know_at_once() {
    let site = prepared_site();
    let mut lags = lags(&site.addresses(), ROUNDS);
    lags.sort();
    let longest = lags[lags.len() - 1];
    assert!(longest < TRUST + MARGIN, "a right outlived its end by {longest:?}: {lags:?}");
    let usual = lags[lags.len() / 2];
    assert!(usual < USUAL, "hints do not arrive: {lags:?}");
}

#[test]
fn without_hints_rights_end_with_the_trust_period() {
    let site = prepared_site();
    let database = site.database.as_deref().unwrap();
    let lags = with_listeners_cut(database, || lags(&site.addresses(), 2));
    let longest = lags.iter().max().unwrap();
    assert!(*longest < TRUST + MARGIN, "a right outlived its end by {longest:?}: {lags:?}");
}

#[test]
fn no_write_is_applied_on_rights_that_are_no_more() {
    let site = prepared_site();
    let addresses = site.addresses();
    let mut owner = Client::new(addresses[0]);
    let guest = json!(["account:guest"]);
    let write = |holders: &Value| json!({"permissions": {"write": holders}});
    let create = |holders: &Value| json!({"permissions": {"record:create": holders}});
    let strict = json!({"type": "object", "required": ["n"]});
    let gates: [(&str, Value, Value); 4] = [
        (BUCKET, write(&guest), write(&json!([]))),
        (COLLECTION, write(&guest), write(&json!([]))),
        (COLLECTION, create(&guest), create(&json!([]))),
        (COLLECTION, write(&guest), json!({"data": {"schema": strict}})),
    ];
    let reset = json!({
        "data": {"schema": {"type": "object"}},
        "permissions": {"write": [], "record:create": []},
    });
    let (running, passed) = (AtomicBool::new(true), AtomicUsize::new(0));
    let clock = Instant::now();
    // From when until when no write may be asked for and pass.
    let mut closed: Vec<(Duration, Duration)> = Vec::new();
    let mut writes: Vec<(Duration, Duration)> = Vec::new();
    with_listeners_cut(site.database.as_deref().unwrap(), || {
        thread::scope(|scope| {
            let writers: Vec<_> = (0..8)
                .map(|number| {
                    let (running, passed) = (&running, &passed);
                    let address = addresses[1 + number % 2];
                    scope.spawn(move || write_on(address, number, clock, running, passed))
                })
                .collect();
            let stop = Stop(&running);
            for (gate, open, close) in gates.iter().cycle().take(ROUNDS * gates.len()) {
                let before = passed.load(Ordering::Relaxed);
                change(&mut owner, gate, open, OWNER);
                while passed.load(Ordering::Relaxed) < before + 3 {
                    assert!(!writers.iter().any(|w| w.is_finished()), "a writer failed");
                    assert!(clock.elapsed() < Duration::from_secs(60), "{open} does not help");
                    thread::sleep(Duration::from_millis(5));
                }
                change(&mut owner, gate, close, OWNER);
                let from = clock.elapsed();
                thread::sleep(CLOSED);
                closed.push((from, clock.elapsed()));
                change(&mut owner, COLLECTION, &reset, OWNER);
            }
            drop(stop);
            writes.extend(writers.into_iter().flat_map(|writer| writer.join().unwrap()));
        });
    });
    for (called, returned) in &writes {
        let late = closed.iter().find(|(from, to)| from < called && returned < to);
        assert!(late.is_none(), "a write passed {:?} after the end", *called - late.unwrap().0);
    }
}

#[test]
fn what_is_deleted_in_one_process_cannot_be_filled_through_another() {
    let site = prepared_site();
    let addresses = site.addresses();
    with_listeners_cut(site.database.as_deref().unwrap(), || {
        let (mut owner, mut other) = (Client::new(addresses[0]), Client::new(addresses[1]));
        for round in 0..ROUNDS * 4 {
            delete_and_fill(&mut owner, &mut other, [BUCKET, COLLECTION][round % 2]);
        }
    });
}

fn delete_and_fill(owner: &mut Client, other: &mut Client, parent: &str) {
    for path in [BUCKET, COLLECTION] {
        send(owner, Call::put(path, &json!({})), OWNER);
    }
    // What was made is there for all at once, also where it was looked for in vain before.
    let made = send(other, Call::put(RECORD, &json!({"data": {"n": 1}})), OWNER);
    assert!(matches!(made.status, 200 | 201), "{made}");
    // The other process knows the bucket and the collection now, and nobody tells it better.
    assert_eq!(send(owner, Call::delete(parent), OWNER).status, 200);
    let late = send(other, Call::put(RECORD, &json!({"data": {"n": 2}})), OWNER);
    assert!(matches!(late.status, 403 | 404), "written below what is deleted: {late}");
    let gone = send(other, Call::get(RECORD), OWNER);
    assert!(matches!(gone.status, 403 | 404), "read below what is deleted: {gone}");
    for path in [BUCKET, COLLECTION] {
        send(other, Call::put(path, &json!({})), OWNER);
    }
    let list = send(owner, Call::get(format!("{COLLECTION}/records?_since=1")), OWNER);
    assert_eq!(list.json()["data"], json!([]), "left over from an earlier collection");
}

// Grants and takes away each kind of right through the first process, and gives how long the
// others still acted upon it after the answer.
fn lags(addresses: &[SocketAddr], rounds: usize) -> Vec<Duration> {
    let mut owner = Client::new(addresses[0]);
    let guest = json!(["account:guest"]);
    let reads = |holders: &Value| json!({"permissions": {"read": holders}});
    let members = |members: &Value| json!({"data": {"members": members}});
    let by_group = json!({"permissions": {"read": ["/buckets/rights/groups/g"]}});
    let none = json!([]);
    let mut lags = Vec::new();
    for round in 0..rounds {
        let other = addresses[1 + round % (addresses.len() - 1)];
        for gate in [BUCKET, COLLECTION] {
            change(&mut owner, gate, &reads(&guest), OWNER);
            await_status(other, "guest:1", 200);
            change(&mut owner, gate, &reads(&none), OWNER);
            lags.push(lag(other, "guest:1", 403));
        }
        change(&mut owner, GROUP, &members(&guest), OWNER);
        change(&mut owner, RECORD, &by_group, OWNER);
        await_status(other, "guest:1", 200);
        change(&mut owner, GROUP, &members(&none), OWNER);
        lags.push(lag(other, "guest:1", 403));
        change(&mut owner, GROUP, &members(&guest), OWNER);
        await_status(other, "guest:1", 200);
        assert_eq!(send(&mut owner, Call::delete(GROUP), OWNER).status, 200);
        lags.push(lag(other, "guest:1", 403));
        send(&mut owner, Call::put(GROUP, &json!({})), OWNER);
        change(&mut owner, RECORD, &reads(&guest), OWNER);
        lags.extend(credentials(&mut owner, other));
        change(&mut owner, RECORD, &reads(&none), OWNER);
    }
    lags
}

// The same for the password of an account, and the account itself.
fn credentials(owner: &mut Client, other: SocketAddr) -> Vec<Duration> {
    let mut lags = Vec::new();
    await_status(other, "guest:1", 200);
    change(owner, ACCOUNT, &json!({"data": {"password": "2"}}), "guest:1");
    // A new password is right at once: nobody remembers anything of it.
    let answer = send(&mut Client::new(other), Call::get(RECORD), "guest:2");
    assert_eq!(answer.status, 200, "{answer}");
    lags.push(lag(other, "guest:1", 401));
    await_status(other, "guest:2", 200);
    assert_eq!(send(owner, Call::delete(ACCOUNT), "guest:2").status, 200);
    lags.push(lag(other, "guest:2", 401));
    let made = owner.send(&Call::put(ACCOUNT, &json!({"data": {"password": "1"}}))).unwrap();
    assert_eq!(made.status, 201, "{made}");
    await_status(other, "guest:1", 200);
    lags
}

// Reads until the status is this one.
fn await_status(address: SocketAddr, user: &str, status: u16) {
    let mut client = Client::new(address);
    let deadline = Instant::now() + 4 * TRUST;
    loop {
        let answer = send(&mut client, Call::get(RECORD), user);
        if answer.status == status {
            return;
        }
        assert!(Instant::now() < deadline, "{user} does not get {status}: {answer}");
        thread::sleep(Duration::from_millis(5));
    }
}

// How long after now a request was begun whose answer was not yet this one.
fn lag(address: SocketAddr, user: &str, status: u16) -> Duration {
    let mut client = Client::new(address);
    let begun = Instant::now();
    let mut lag = Duration::ZERO;
    loop {
        let called = begun.elapsed();
        let answer = send(&mut client, Call::get(RECORD), user);
        if answer.status == status {
            return lag;
        }
        assert_eq!(answer.status, 200, "{answer}");
        assert!(called < 4 * TRUST, "{user} still reads after {called:?}");
        lag = called;
        thread::sleep(Duration::from_millis(2));
    }
}

// Writes records without the field `n` all the time, and tells when those that passed were asked
// for and answered.
fn write_on(
    address: SocketAddr,
    number: usize,
    clock: Instant,
    running: &AtomicBool,
    passed: &AtomicUsize,
) -> Vec<(Duration, Duration)> {
    let mut client = Client::new(address);
    let mut calls = Vec::new();
    let mut count = 0;
    while running.load(Ordering::Relaxed) {
        count += 1;
        let path = format!("{COLLECTION}/records/w{number}-{count}");
        let put = json!({"method": "PUT", "path": path, "body": {"data": {}}});
        let call = match count % 3 {
            0 => Call::post("/v1/batch", &json!({"requests": [put]})),
            _ => Call::put(path, &json!({"data": {}})),
        };
        let called = clock.elapsed();
        let answer = send(&mut client, call, "guest:1");
        let status = match answer.json()["responses"][0]["status"].as_u64() {
            Some(status) => status as u16,
            None => answer.status,
        };
        match status {
            200 | 201 => {
                calls.push((called, clock.elapsed()));
                passed.fetch_add(1, Ordering::Relaxed);
            }
            400 | 403 => {}
            _ => panic!("{answer}"),
        }
    }
    calls
}

// Ends the connections on which processes hear from each other, again and again.
pub(super) fn with_listeners_cut<T>(database: &Database, work: impl FnOnce() -> T) -> T {
    const CUT: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'nuage listener'";
    let (running, cuts) = (AtomicBool::new(true), AtomicUsize::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            while running.load(Ordering::Relaxed) {
                let cut: usize = database.execute(CUT).trim().parse().unwrap();
                cuts.fetch_add(cut, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let _stop = Stop(&running);
        // They wait longer each time before they try again.
        while cuts.load(Ordering::Relaxed) < CUTS_BEFORE {
            thread::sleep(Duration::from_millis(5));
        }
        work()
    })
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

fn prepared_site() -> Site {
    let site = Site::new(Backend::Postgres, 3, SETTINGS);
    let mut client = site.processes[0].client();
    for user in [OWNER, "guest:1"] {
        let (name, password) = user.split_once(':').unwrap();
        let account = json!({"data": {"password": password}});
        let made = Call::put(format!("/v1/accounts/{name}"), &account);
        assert_eq!(client.send(&made).unwrap().status, 201);
    }
    for path in [BUCKET, COLLECTION, RECORD, GROUP] {
        assert_eq!(send(&mut client, Call::put(path, &json!({})), OWNER).status, 201);
    }
    site
}

fn change(client: &mut Client, path: &str, change: &Value, user: &str) {
    let changed = send(client, Call::patch(path, change), user);
    assert_eq!(changed.status, 200, "{path} {change}: {changed}");
}

fn send(client: &mut Client, call: Call, user: &str) -> Answer {
    let answer = client.send(&call.login(user)).unwrap();
    assert!(!matches!(answer.status, 409 | 429 | 500..), "{answer}");
    answer
}
