//! Writers who know what they were told: whoever loses what was acknowledged, or applies half of
//! a batch, is found out.
//!
//! Each has records of its own and knows what each may be: the last acknowledged state, or, where
//! an answer never came, that or the state asked for.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::random::Random;
use nuage_testkit::server::Server;
use serde_json::json;

const WRITERS: u64 = 12;
/// Records that a writer changes one by one, and those that it changes together.
const SINGLES: usize = 6;
const TOGETHER: usize = 5;
/// Longest wait of a writer for a server that was killed.
const REVIVAL: Duration = Duration::from_secs(30);
const USER: &str = "crash:1";
const BUCKET: &str = "/v1/buckets/crash";

/// What else a writer may be told than what it asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// Nothing: the server dies before it answers.
    Silence,
    /// That the server is unavailable and when to come again, within so much time.
    Unavailable(Duration),
}

/// How long a database may need to decide what became of a commit that nobody answered. Until
/// then others still see what was before: a server process may die between the moment that makes
/// its commit last and the one that shows it, and another still answer.
pub(crate) const DECISION: Duration = Duration::from_millis(500);

/// Lets writers work while `trouble` is made, until it returns or one of them found a fault; then
/// looks whether everything is there. Gives how many writes were acknowledged and how many not.
pub(crate) fn write_during(
    server: &mut Server,
    seed: u64,
    kind: Trouble,
    decision: Duration,
    mut trouble: impl FnMut(&mut Server, &dyn Fn() -> bool),
) -> (u64, u64) {
    prepare(server);
    let address = server.address();
    let running = AtomicBool::new(true);
    let counts = Counts::default();
    let mut writers = Vec::new();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (running, counts) = (&running, &counts);
                let mut writer = Writer::new(address, number, seed, (kind, decision));
                scope.spawn(move || {
                    while running.load(Ordering::SeqCst) {
                        writer.write(counts);
                    }
                    writer
                })
            })
            .collect();
        // A writer that found a fault has panicked. The others end also when the trouble does so.
        let is_over = || threads.iter().any(ScopedJoinHandle::is_finished);
        let made = catch_unwind(AssertUnwindSafe(|| trouble(server, &is_over)));
        running.store(false, Ordering::SeqCst);
        made.unwrap_or_else(|panic| resume_unwind(panic));
        let joined = threads.into_iter().map(ScopedJoinHandle::join);
        writers.extend(joined.map(|end| end.unwrap_or_else(|panic| resume_unwind(panic))));
    });
    for writer in &mut writers {
        writer.inspect();
    }
    let answer = server.client().send(&Call::get(counter()).login(USER)).unwrap();
    let value = answer.json()["data"]["value"].as_u64().unwrap();
    let (sure, maybe) = (counts.sure.into_inner(), counts.maybe.into_inner());
    assert!((sure..=sure + maybe).contains(&value), "{value} is not {sure} to {}", sure + maybe);
    let acknowledged = writers.iter().map(|writer| writer.acknowledged).sum();
    let unknown = writers.iter().map(|writer| writer.unanswered).sum();
    (acknowledged, unknown)
}

fn prepare(server: &Server) {
    let mut client = server.client();
    for path in [BUCKET.to_owned(), format!("{BUCKET}/collections/all")] {
        let answer = client.send(&Call::put(path, &json!({})).login(USER)).unwrap();
        assert_eq!(answer.status, 201, "{answer}");
    }
    let put = Call::put(counter(), &json!({"data": {"value": 0}}));
    assert_eq!(client.send(&put.login(USER)).unwrap().status, 201);
}

#[derive(Default)]
struct Counts {
    sure: AtomicU64,
    maybe: AtomicU64,
}

/// What a record holds: a number and its timestamp, which is unknown as long as no answer told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Held {
    value: u64,
    time: Option<i64>,
}

struct Writer {
    client: Client,
    address: SocketAddr,
    random: Random,
    number: u64,
    value: u64,
    /// What each record may hold: one state, or two after an answer that never came.
    singles: BTreeMap<usize, Vec<Option<Held>>>,
    /// Which number all the records of the last batches hold.
    together: Vec<u64>,
    /// How many records the collection of the writer may have; `None`: it is not there.
    collection: Vec<Option<usize>>,
    acknowledged: u64,
    unanswered: u64,
    trouble: Trouble,
    decision: Duration,
}

impl Writer {
    fn new(
        address: SocketAddr,
        number: u64,
        seed: u64,
        (trouble, decision): (Trouble, Duration),
    ) -> Self {
        Self {
            client: Client::new(address),
            address,
            random: Random::new(seed ^ (number << 32)),
            number,
            value: 0,
            singles: (0..SINGLES).map(|single| (single, vec![None])).collect(),
            together: vec![0],
            collection: vec![None],
            acknowledged: 0,
            unanswered: 0,
            trouble,
            decision,
        }
    }

    fn write(&mut self, counts: &Counts) {
        match self.random.below(10) {
            0..5 => self.write_single(),
            5..7 => self.write_together(),
            7 => self.write_collection(),
            _ => self.count(counts),
        }
    }

    fn write_single(&mut self) {
        let single = self.random.below(SINGLES);
        let path = self.single(single);
        let held = self.singles[&single][0];
        self.value += 1;
        let wanted = Held { value: self.value, time: None };
        let body = json!({"data": {"value": wanted.value}});
        let (call, after) = match (held, self.random.below(3)) {
            (Some(_), 0) => (Call::delete(path), None),
            (Some(Held { time: Some(time), .. }), 1) => {
                (Call::patch(path, &body).if_match(time), Some(wanted))
            }
            _ => (Call::put(path, &body), Some(wanted)),
        };
        let states = match self.send(call) {
            Some(answer) => {
                assert!(matches!(answer.status, 200 | 201), "{answer}");
                vec![after.map(|held| Held { time: answer.etag(), ..held })]
            }
            None => vec![held, after],
        };
        self.singles.insert(single, states);
        self.inspect_single(single);
    }

    fn write_together(&mut self) {
        self.value += 1;
        let body = json!({"data": {"value": self.value}});
        let requests: Vec<_> = (0..TOGETHER)
            .map(|one| json!({"method": "PUT", "path": self.one_of(one), "body": body}))
            .collect();
        match self.send(Call::post("/v1/batch", &json!({"requests": requests}))) {
            Some(answer) => {
                for response in answer.json()["responses"].as_array().unwrap() {
                    assert!(response["status"].as_u64().unwrap() < 300, "{response}");
                }
                self.together = vec![self.value];
            }
            None => self.together.push(self.value),
        }
        self.inspect_together();
    }

    // Makes a collection with a record, or takes it away with the record.
    fn write_collection(&mut self) {
        let collection = format!("{BUCKET}/collections/of-{}", self.number);
        let now = self.collection[0];
        let (call, after) = match now {
            None => (Call::put(collection, &json!({})), Some(0)),
            Some(records) if records < 3 => {
                let call = Call::post(format!("{collection}/records"), &json!({"data": {}}));
                (call, Some(records + 1))
            }
            Some(_) => (Call::delete(collection), None),
        };
        self.collection = match self.send(call) {
            Some(answer) => {
                assert!(matches!(answer.status, 200 | 201), "{answer}");
                vec![after]
            }
            None => vec![now, after],
        };
        self.inspect_collection();
    }

    // Adds one to the counter of all.
    fn count(&mut self, counts: &Counts) {
        let Some(read) = self.send(Call::get(counter())) else { return };
        let value = read.json()["data"]["value"].as_u64().unwrap() + 1;
        let call = Call::put(counter(), &json!({"data": {"value": value}}));
        match self.send(call.if_match(read.etag().unwrap())).map(|answer| answer.status) {
            Some(200) => counts.sure.fetch_add(1, Ordering::SeqCst),
            Some(412) => 0,
            Some(status) => panic!("{status} for a counter"),
            None => counts.maybe.fetch_add(1, Ordering::SeqCst),
        };
    }

    fn inspect(&mut self) {
        (0..SINGLES).for_each(|single| self.inspect_single(single));
        self.inspect_together();
        self.inspect_collection();
    }

    fn inspect_single(&mut self, single: usize) {
        let answer = self.insist(Call::get(self.single(single)));
        let found = match answer.status {
            200 => {
                let value = answer.json()["data"]["value"].as_u64().unwrap();
                Some(Held { value, time: answer.etag() })
            }
            404 => None,
            status => panic!("{status}: {answer}"),
        };
        let fits = |state: &Option<Held>| match (state, &found) {
            (Some(state), Some(found)) => {
                state.value == found.value && (state.time.is_none() || state.time == found.time)
            }
            (state, found) => state == found,
        };
        let states = &self.singles[&single];
        assert!(states.iter().any(fits), "{found:?} is none of {states:?}");
        self.singles.insert(single, vec![found]);
    }

    fn inspect_together(&mut self) {
        let mut values = Vec::new();
        for one in 0..TOGETHER {
            let answer = self.insist(Call::get(self.one_of(one)));
            values.push(match answer.status {
                404 => 0,
                _ => answer.json()["data"]["value"].as_u64().unwrap(),
            });
        }
        let whole = values.iter().all(|value| *value == values[0]);
        assert!(whole, "half of a batch was applied: {values:?}");
        assert!(self.together.contains(&values[0]), "{} is none of {:?}", values[0], self.together);
        self.together = vec![values[0]];
    }

    fn inspect_collection(&mut self) {
        let path = format!("{BUCKET}/collections/of-{}/records", self.number);
        let answer = self.insist(Call::get(path));
        let found = match answer.status {
            200 => Some(answer.json()["data"].as_array().map_or(0, Vec::len)),
            404 => None,
            status => panic!("{status}: {answer}"),
        };
        assert!(self.collection.contains(&found), "{found:?} is none of {:?}", self.collection);
        self.collection = vec![found];
    }

    // `None` if nobody knows what became of it.
    fn send(&mut self, call: Call) -> Option<Answer> {
        let write = call.method != "GET";
        let begun = Instant::now();
        let sent = self.client.send(&call.clone().login(USER));
        let answer = match (self.trouble, sent) {
            (Trouble::Silence, Ok(answer)) => {
                assert!(!matches!(answer.status, 409 | 500..), "{answer}");
                Some(answer)
            }
            (Trouble::Silence, Err(_)) => {
                self.client = Client::new(self.address);
                None
            }
            (Trouble::Unavailable(patience), Ok(answer)) => {
                let waited = begun.elapsed();
                assert!(waited < patience, "{call} took {waited:?}: {answer}");
                assert!(!matches!(answer.status, 409 | 500..=502 | 504..), "{call}: {answer}");
                let told = answer.header("Retry-After").is_some();
                assert!(answer.status != 503 || told, "{call}: no Retry-After: {answer}");
                Some(answer).filter(|answer| answer.status != 503)
            }
            (Trouble::Unavailable(_), Err(error)) => panic!("{call} has no answer: {error}"),
        };
        if write && answer.is_none() {
            self.unanswered += 1;
            thread::sleep(self.decision);
        }
        self.acknowledged += u64::from(write && answer.is_some());
        answer
    }

    // Asks until there is an answer.
    fn insist(&mut self, call: Call) -> Answer {
        let deadline = Instant::now() + REVIVAL;
        while Instant::now() < deadline {
            if let Some(answer) = self.send(call.clone()) {
                return answer;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the server did not come back for {call}");
    }

    fn single(&self, single: usize) -> String {
        format!("{BUCKET}/collections/all/records/single-{}-{single}", self.number)
    }

    fn one_of(&self, one: usize) -> String {
        format!("{BUCKET}/collections/all/records/together-{}-{one}", self.number)
    }
}

fn counter() -> String {
    format!("{BUCKET}/collections/all/records/counter")
}
