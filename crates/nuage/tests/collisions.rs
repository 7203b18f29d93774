//! Writers at the same time lose each other's updates, or get the same timestamp, or are sent
//! away; readers at the same time miss what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::random::Random;
use serde_json::json;

use crate::programs::open_server;

both_databases!(
    no_update_is_lost_and_every_timestamp_is_its_own,
    readers_that_poll_miss_nothing_acknowledged,
    a_default_bucket_is_made_once_by_many,
    deletions_of_all_race_with_writes_and_leave_nothing_behind
);

const CONNECTIONS: usize = 64;
const COUNTERS: usize = 3;
const TIME: Duration = Duration::from_secs(8);
const USER: &str = "collisions:1";
const LIST: &str = "/v1/buckets/default/collections/busy/records";

fn no_update_is_lost_and_every_timestamp_is_its_own(backend: Backend) {
    let server = open_server(backend);
    prepare(server.address());
    let counted = [const { AtomicUsize::new(0) }; COUNTERS];
    let times = Mutex::new(Vec::new());
    let deadline = Instant::now() + TIME;
    thread::scope(|scope| {
        for number in 0..CONNECTIONS {
            let (counted, times, address) = (&counted, &times, server.address());
            scope.spawn(move || {
                let mut writer = Writer::new(address, number as u64);
                while Instant::now() < deadline {
                    writer.write(counted);
                }
                times.lock().unwrap().extend(writer.times);
            });
        }
    });
    let mut client = server.client();
    for (number, counted) in counted.iter().enumerate() {
        let answer = send(&mut client, Call::get(format!("{LIST}/counter-{number}")));
        let counted = counted.load(Ordering::SeqCst);
        assert!(counted > 0, "nobody counted");
        assert_eq!(answer.json()["data"]["value"], counted, "updates were lost");
    }
    let times = times.into_inner().unwrap();
    let distinct: BTreeSet<_> = times.iter().collect();
    assert_eq!(distinct.len(), times.len(), "two writes got the same timestamp");
    let head = send(&mut client, Call::get(format!("{LIST}?_limit=1"))).etag().unwrap();
    assert_eq!(head, **distinct.last().unwrap(), "the list is not where its last change is");
}

fn readers_that_poll_miss_nothing_acknowledged(backend: Backend) {
    let server = open_server(backend);
    prepare(server.address());
    let running = AtomicBool::new(true);
    let acknowledged = Mutex::new(BTreeMap::new());
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let readers: Vec<_> = (0..8)
            .map(|_| {
                let (running, acknowledged, address) = (&running, &acknowledged, server.address());
                scope.spawn(move || poll(address, running, acknowledged))
            })
            .collect();
        let writers: Vec<_> = (0..24)
            .map(|number| {
                let (acknowledged, address) = (&acknowledged, server.address());
                scope.spawn(move || write_records(address, number, acknowledged))
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        running.store(false, Ordering::SeqCst);
        seen.extend(readers.into_iter().map(|reader| reader.join().unwrap()));
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() > backend.choose(200, 100), "only {} writes", acknowledged.len());
    for seen in seen {
        for (id, time) in &acknowledged {
            assert_eq!(seen.get(id), Some(time), "a reader never saw the last change of {id}");
        }
    }
}

fn a_default_bucket_is_made_once_by_many(backend: Backend) {
    let server = open_server(backend);
    for round in 0..40 {
        let user = format!("many{round}:1");
        thread::scope(|scope| {
            for number in 0..8 {
                let (user, address) = (&user, server.address());
                scope.spawn(move || {
                    let path = format!("{LIST}/r{number}");
                    let put = Call::put(path, &json!({"data": {}})).login(user);
                    let answer = Client::new(address).send(&put).unwrap();
                    assert_eq!(answer.status, 201, "{answer}");
                });
            }
        });
    }
}

fn deletions_of_all_race_with_writes_and_leave_nothing_behind(backend: Backend) {
    let mut server = open_server(backend);
    let deadline = Instant::now() + TIME / 2;
    let written = AtomicUsize::new(0);
    thread::scope(|scope| {
        for number in 0..16 {
            let (written, address) = (&written, server.address());
            scope.spawn(move || {
                let (mut client, mut random) = (Client::new(address), Random::new(number));
                while Instant::now() < deadline {
                    let answer = send(&mut client, upheaval(&mut random));
                    let expected = matches!(answer.status, 200 | 201 | 403 | 404);
                    assert!(expected, "{answer}");
                    written.fetch_add(usize::from(answer.status < 300), Ordering::SeqCst);
                }
            });
        }
        let (code, words) = server.check();
        assert_eq!(code, Some(0), "while the server runs: {words}");
    });
    assert!(written.into_inner() > backend.choose(200, 50), "hardly anything was written");
    // What is below something that is not there cannot be seen, nor be in the way later.
    let mut client = server.client();
    for bucket in ["a", "b"] {
        let path = format!("/v1/buckets/{bucket}");
        send(&mut client, Call::delete(&path));
        send(&mut client, Call::put(&path, &json!({})));
        let list = send(&mut client, Call::get(format!("{path}/collections?_since=0")));
        assert_eq!(list.json()["data"], json!([]), "collections of an earlier bucket");
        for collection in ["c", "d"] {
            let path = format!("{path}/collections/{collection}");
            send(&mut client, Call::put(&path, &json!({})));
            let list = send(&mut client, Call::get(format!("{path}/records?_since=0")));
            assert_eq!(list.json()["data"], json!([]), "records of an earlier collection");
        }
    }
    assert_eq!(server.terminate().code(), Some(0));
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
}

// Makes, changes or deletes something on any level.
fn upheaval(random: &mut Random) -> Call {
    let bucket = format!("/v1/buckets/{}", random.pick(&["a", "b"]));
    let collection = format!("{bucket}/collections/{}", random.pick(&["c", "d"]));
    let record = format!("{collection}/records/r{}", random.below(4));
    let group = format!("{bucket}/groups/g");
    let members = json!({"data": {"members": ["system.Authenticated"]}});
    let requests = [
        json!({"method": "PUT", "path": collection, "body": {}}),
        json!({"method": "PUT", "path": record, "body": {"data": {"in": "a batch"}}}),
        json!({"method": "DELETE", "path": collection}),
        json!({"method": "PUT", "path": collection, "body": {}}),
    ];
    let requests = &requests[..1 + random.below(4)];
    match random.below(20) {
        0..4 => Call::put(bucket, &json!({})),
        4 => Call::delete(bucket),
        5..9 => Call::put(collection, &json!({})),
        9 => Call::delete(collection),
        10 => Call::delete(format!("{bucket}/collections")),
        11 => Call::put(group, &members),
        12 => Call::delete(group),
        13 => Call::delete(record),
        14 => Call::post("/v1/batch", &json!({"requests": requests})),
        _ => Call::put(record, &json!({"data": {"in": "time"}})),
    }
}

// Reads what changed since the last time, until the writers are done; what was acknowledged
// before a poll began must be there after it.
fn poll(
    address: SocketAddr,
    running: &AtomicBool,
    acknowledged: &Mutex<BTreeMap<String, i64>>,
) -> BTreeMap<String, i64> {
    let mut client = Client::new(address);
    let mut seen: BTreeMap<String, i64> = BTreeMap::new();
    let mut since = 0;
    loop {
        let last = !running.load(Ordering::SeqCst);
        let before = acknowledged.lock().unwrap().clone();
        let answer = send(&mut client, Call::get(format!("{LIST}?_since={since}")));
        assert_eq!(answer.status, 200, "{answer}");
        let head = answer.etag().unwrap();
        assert!(head >= since, "the list went back from {since} to {head}");
        for record in answer.json()["data"].as_array().unwrap() {
            let time = record["last_modified"].as_i64().unwrap();
            assert!(time > since && time <= head, "{time} is not after {since} up to {head}");
            seen.insert(record["id"].as_str().unwrap().to_owned(), time);
        }
        since = head;
        for (id, time) in before {
            let shown = seen.get(&id).copied().unwrap_or(0);
            assert!(shown >= time, "{id} was acknowledged at {time}, and seen at {shown}");
        }
        if last {
            return seen;
        }
    }
}

fn write_records(address: SocketAddr, number: u64, acknowledged: &Mutex<BTreeMap<String, i64>>) {
    let mut client = Client::new(address);
    let mut random = Random::new(number);
    let deadline = Instant::now() + TIME / 2;
    while Instant::now() < deadline {
        let id = format!("w{number}-{}", random.below(20));
        let path = format!("{LIST}/{id}");
        let call = match random.chance(80) {
            true => Call::put(path, &json!({"data": {"n": random.below(1000)}})),
            false => Call::delete(path),
        };
        let answer = send(&mut client, call);
        assert!(matches!(answer.status, 200 | 201 | 404), "{answer}");
        if answer.status != 404 {
            let time = answer.json()["data"]["last_modified"].as_i64().unwrap();
            let earlier = acknowledged.lock().unwrap().insert(id.clone(), time);
            assert!(earlier.is_none_or(|earlier| earlier < time), "{id} went back in time");
        }
    }
}

/// One of many who write to the same few records.
struct Writer {
    client: Client,
    random: Random,
    number: u64,
    times: Vec<i64>,
}

impl Writer {
    fn new(address: SocketAddr, number: u64) -> Self {
        Self {
            client: Client::new(address),
            random: Random::new(number),
            number,
            times: Vec::new(),
        }
    }

    fn write(&mut self, counted: &[AtomicUsize]) {
        match self.random.below(10) {
            0..6 => self.count(counted),
            6 => self.note(Call::post(LIST, &json!({"data": {"by": self.number}}))),
            7 => self.note(Call::put(self.own(), &json!({"data": {"by": self.number}}))),
            8 => self.note(Call::delete(self.own())),
            _ => {
                let requests = [
                    json!({"method": "PUT", "path": self.own(), "body": {"data": {"batch": 1}}}),
                    json!({"method": "DELETE", "path": self.own()}),
                    json!({"method": "POST", "path": LIST, "body": {"data": {"batch": 2}}}),
                ];
                let batch = Call::post("/v1/batch", &json!({"requests": requests}));
                let answer = send(&mut self.client, batch);
                assert_eq!(answer.status, 200, "{answer}");
                for response in answer.json()["responses"].as_array().unwrap() {
                    let status = response["status"].as_u64().unwrap();
                    assert!(status < 400, "{response}");
                    self.times.push(response["body"]["data"]["last_modified"].as_i64().unwrap());
                }
            }
        }
    }

    // Adds one to a counter that nobody changed since it was read.
    fn count(&mut self, counted: &[AtomicUsize]) {
        let number = self.random.below(COUNTERS);
        let path = format!("{LIST}/counter-{number}");
        let read = send(&mut self.client, Call::get(&path));
        let value = read.json()["data"]["value"].as_u64().unwrap();
        let body = json!({"data": {"value": value + 1}});
        let call = match self.random.chance(50) {
            true => Call::put(path, &body),
            false => Call::patch(path, &body),
        };
        let answer = send(&mut self.client, call.if_match(read.etag().unwrap()));
        match answer.status {
            200 => {
                counted[number].fetch_add(1, Ordering::SeqCst);
                self.times.push(answer.etag().unwrap());
            }
            412 => {
                let existing = &answer.json()["details"]["existing"];
                assert_ne!(existing["last_modified"], read.etag().unwrap(), "refused for nothing");
            }
            status => panic!("{status}: {answer}"),
        }
    }

    fn own(&self) -> String {
        format!("{LIST}/own-{}", self.number)
    }

    fn note(&mut self, call: Call) {
        let answer = send(&mut self.client, call);
        assert!(matches!(answer.status, 200 | 201 | 404), "{answer}");
        self.times.extend(answer.json()["data"]["last_modified"].as_i64());
    }
}

fn prepare(address: SocketAddr) {
    let mut client = Client::new(address);
    for number in 0..COUNTERS {
        let call = Call::put(format!("{LIST}/counter-{number}"), &json!({"data": {"value": 0}}));
        assert_eq!(send(&mut client, call).status, 201);
    }
}

fn send(client: &mut Client, call: Call) -> Answer {
    let answer = client.send(&call.login(USER)).unwrap();
    assert!(!matches!(answer.status, 409 | 500..), "{answer}");
    answer
}
