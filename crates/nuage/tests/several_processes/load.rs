//! A client that reads and writes a few hot collections through several processes, and records
//! what it asked and what it was told.
//!
//! It judges only what an answer may never be; the rest is for the checker.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nuage_testkit::checker::{Event, List, Over, Place, Shown, Version, What, Write};
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::random::Random;
use serde_json::{Value, json};

use crate::several_processes::requests::{
    COLLECTIONS, address, condition, outcome, path, records, shown, time,
};

/// Records of each collection that are only counted up.
pub(super) const COUNTERS: usize = 3;
/// The records after them are everybody's.
const SHARED: std::ops::Range<usize> = COUNTERS..COUNTERS + 24;
/// Records of each collection that only one client writes.
const OWN: usize = 4;
const PAGE: usize = 5;
const USER: &str = "laws:1";
/// How long a client waits before it turns to a process again that was not there.
const PAUSE: Duration = Duration::from_millis(20);

/// Which processes a client turns to.
#[derive(Clone, Debug)]
pub(super) struct Processes {
    pub(super) addresses: Vec<SocketAddr>,
    /// The one that it mostly asks.
    pub(super) home: usize,
    /// The one that may go away at any time, or whose database may.
    pub(super) mortal: Option<usize>,
    /// What goes away.
    pub(super) trouble: Trouble,
}

/// What may go away under a client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Trouble {
    /// The process: nothing is answered.
    Silence,
    /// What the process needs: it says that it is unavailable, and when to come again.
    Unavailable,
}

/// A client.
pub(super) struct Load {
    number: usize,
    random: Random,
    clock: Instant,
    processes: Processes,
    clients: Vec<Client>,
    tokens: u64,
    heads: [i64; COLLECTIONS.len()],
    /// What it asked and was told.
    pub(super) events: Vec<Event>,
    /// For each counter, how often it was counted up for certain, and perhaps.
    pub(super) counted: [[(u64, u64); COUNTERS]; COLLECTIONS.len()],
    /// The longest wait for an answer of a process that nobody killed.
    pub(super) longest: Duration,
}

/// One write of a batch.
struct Part {
    place: Place,
    write: Write,
    request: Value,
}

/// An answer, and when it was asked for.
struct Told {
    process: usize,
    called: u64,
    returned: u64,
    /// Whether tombstones were asked for too.
    tombstones: bool,
    answer: Answer,
}

impl Load {
    /// The clock is the same for all.
    pub(super) fn new(number: usize, seed: u64, clock: Instant, processes: Processes) -> Self {
        let clients = processes.addresses.iter().map(|address| Client::new(*address)).collect();
        Self {
            number,
            random: Random::new(seed ^ ((number as u64 + 1) << 40)),
            clock,
            clients,
            processes,
            tokens: 0,
            heads: Default::default(),
            events: Vec::new(),
            counted: Default::default(),
            longest: Duration::ZERO,
        }
    }

    /// Makes the buckets, the collections and the counters.
    pub(super) fn prepare(&mut self) {
        for (number, (bucket, collection)) in COLLECTIONS.iter().enumerate() {
            let bucket = format!("/v1/buckets/{bucket}");
            for path in [bucket.clone(), format!("{bucket}/collections/{collection}")] {
                let answer = self.send(Call::put(path, &json!({}))).unwrap().answer;
                assert!(matches!(answer.status, 200 | 201), "{answer}");
            }
            for record in 0..COUNTERS {
                self.put(Place { collection: number, record }, 0, Over::Nothing);
            }
        }
    }

    /// Does something.
    pub(super) fn step(&mut self) {
        let collection = self.random.below(COLLECTIONS.len());
        match self.random.below(100) {
            0..18 => self.count(collection),
            18..30 => {
                let place = self.some_record(collection);
                self.put(place, 0, Over::Anything);
            }
            30..34 => {
                let place = self.some_record(collection);
                self.put(place, 0, Over::Nothing);
            }
            34..42 => self.delete(collection),
            42..44 => self.delete_several(collection),
            44..58 => self.write_together(),
            58..74 => self.poll(collection),
            74..79 => self.list(collection, 0, i64::MAX, usize::MAX),
            79..84 => self.page(collection),
            84..88 => {
                let before = self.heads[collection];
                let since = before.saturating_sub(self.random.below(400) as i64).max(0);
                self.list(collection, since, before, usize::MAX);
            }
            88..93 => self.look(collection),
            93 => self.tend(collection),
            _ => {
                let place = self.some_record(collection);
                self.read(place);
            }
        }
    }

    /// Reads everything of each collection, tombstones included, and the counters, whose values
    /// it gives.
    pub(super) fn finish(&mut self) -> [[u64; COUNTERS]; COLLECTIONS.len()] {
        let mut values = [[0; COUNTERS]; COLLECTIONS.len()];
        for (collection, values) in values.iter_mut().enumerate() {
            self.list(collection, 0, i64::MAX, usize::MAX);
            self.list(collection, 1, i64::MAX, usize::MAX);
            self.look(collection);
            for (record, value) in values.iter_mut().enumerate() {
                let told = self.send(Call::get(path(Place { collection, record }))).unwrap();
                *value = told.answer.json()["data"]["count"].as_u64().unwrap();
            }
        }
        values
    }

    fn some_record(&mut self, collection: usize) -> Place {
        let record = match self.random.chance(50) {
            true => SHARED.start + self.random.below(SHARED.len()),
            false => SHARED.end + OWN * self.number + self.random.below(OWN),
        };
        Place { collection, record }
    }

    fn token(&mut self) -> u64 {
        self.tokens += 1;
        ((self.number as u64) << 32) | self.tokens
    }

    // Adds one to a counter that nobody changed since it was read.
    fn count(&mut self, collection: usize) {
        let record = self.random.below(COUNTERS);
        let place = Place { collection, record };
        let Some((time, count)) = self.read(place) else { return };
        let answer = self.put(place, count + 1, Over::Version(time));
        let counted = &mut self.counted[collection][record];
        match answer {
            Some(200) => counted.0 += 1,
            Some(_) => {}
            None => counted.1 += 1,
        }
    }

    fn put(&mut self, place: Place, count: u64, over: Over) -> Option<u16> {
        let write = Write { place, token: Some(self.token()), time: None, over };
        let body = json!({"data": {"token": write.token, "count": count}});
        let call = match matches!(over, Over::Version(_)) && self.random.chance(50) {
            true => Call::patch(path(place), &body),
            false => Call::put(path(place), &body),
        };
        self.write(call, write)
    }

    fn delete(&mut self, collection: usize) {
        let place = self.some_record(collection);
        let over = match self.random.chance(50).then(|| self.read(place)).flatten() {
            Some((time, _)) => Over::Version(time),
            None => Over::Anything,
        };
        self.write(Call::delete(path(place)), Write { place, token: None, time: None, over });
    }

    // Sends a write of one record. Gives the status of the answer.
    fn write(&mut self, call: Call, write: Write) -> Option<u16> {
        let call = condition(write.over)
            .into_iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        let Ok(told) = self.send(call).map_err(|called| self.lose(called, vec![write])) else {
            self.read(write.place);
            return None;
        };
        let status = told.answer.status;
        let what = outcome(write, status, &told.answer.json());
        self.note(&told, what);
        Some(status)
    }

    // Records writes whose answer never came.
    fn lose(&mut self, called: u64, writes: Vec<Write>) {
        let by = format!("client {}", self.number);
        self.events.push(Event { by, called, returned: None, what: What::Wrote(writes) });
    }

    // Deletes some of the shared records with one request.
    fn delete_several(&mut self, collection: usize) {
        let first = SHARED.start + self.random.below(SHARED.len() - 3);
        let ids = (first..first + 3).map(|record| format!("r{record}")).collect::<Vec<_>>();
        let list = format!("{}?in_id={}", records(collection), ids.join(","));
        let deletion = |record, time| Write {
            place: Place { collection, record },
            token: None,
            time,
            over: Over::Anything,
        };
        match self.send(Call::delete(list)) {
            Ok(told) => {
                assert_eq!(told.answer.status, 200, "{}", told.answer);
                let shown = shown(&told.answer);
                let writes = shown.iter().map(|shown| deletion(shown.record, Some(shown.time)));
                self.note(&told, What::Wrote(writes.collect()));
            }
            Err(called) => {
                // Which of them were there is not known.
                for record in first..first + 3 {
                    self.lose(called, vec![deletion(record, None)]);
                }
            }
        }
    }

    // Writes several records of several collections at once, in any order.
    fn write_together(&mut self) {
        let mut parts: Vec<Part> = Vec::new();
        for _ in 0..2 + self.random.below(5) {
            let collection = self.random.below(COLLECTIONS.len());
            let place = self.some_record(collection);
            if parts.iter().all(|part| part.place != place) {
                let part = self.part(place);
                parts.push(part);
            }
        }
        let requests: Vec<&Value> = parts.iter().map(|part| &part.request).collect();
        let batch = Call::post("/v1/batch", &json!({"requests": requests}));
        match self.send(batch) {
            Ok(told) => self.note_together(&told, &parts),
            Err(called) => {
                // What is conditional may have been refused, the rest happened or did not.
                let writes = parts.iter().map(|part| part.write);
                let (sure, maybe): (Vec<Write>, Vec<Write>) =
                    writes.partition(|write| write.token.is_some() && write.over == Over::Anything);
                self.lose(called, sure);
                for write in maybe {
                    self.lose(called, vec![write]);
                }
                for part in parts {
                    self.read(part.place);
                }
            }
        }
    }

    fn part(&mut self, place: Place) -> Part {
        let token = self.random.chance(80).then(|| self.token());
        let over = match self.random.chance(25).then(|| self.read(place)) {
            Some(Some((time, _))) => Over::Version(time),
            Some(None) => Over::Nothing,
            None => Over::Anything,
        };
        // Nobody deletes what must not be there.
        let over = if token.is_none() && over == Over::Nothing { Over::Anything } else { over };
        let mut request = match token {
            Some(token) => json!({"method": "PUT", "body": {"data": {"token": token}}}),
            None => json!({"method": "DELETE"}),
        };
        request["path"] = path(place).into();
        if let Some((name, value)) = condition(over) {
            request["headers"] = json!({name: value});
        }
        Part { place, write: Write { place, token, time: None, over }, request }
    }

    fn note_together(&mut self, told: &Told, parts: &[Part]) {
        assert_eq!(told.answer.status, 200, "{}", told.answer);
        let body = told.answer.json();
        let responses = body["responses"].as_array().unwrap();
        assert_eq!(responses.len(), parts.len(), "{}", told.answer);
        let mut together = Vec::new();
        for (part, response) in parts.iter().zip(responses) {
            let status = response["status"].as_u64().unwrap() as u16;
            match outcome(part.write, status, &response["body"]) {
                What::Wrote(writes) => together.extend(writes),
                refused => self.note(told, refused),
            }
        }
        self.note(told, What::Wrote(together));
    }

    // Changes the record of a bucket or a collection, which all others rely on.
    fn tend(&mut self, collection: usize) {
        let (bucket, collection) = COLLECTIONS[collection];
        let mut path = format!("/v1/buckets/{bucket}");
        if self.random.chance(70) {
            path.push_str(&format!("/collections/{collection}"));
        }
        let note = json!({"data": {"note": self.token()}});
        if let Ok(told) = self.send(Call::patch(path, &note)) {
            assert_eq!(told.answer.status, 200, "{}", told.answer);
        }
    }

    // Asks what is new since the last time.
    fn poll(&mut self, collection: usize) {
        self.list(collection, self.heads[collection], i64::MAX, usize::MAX);
    }

    // Reads a list in pages, each from any process.
    fn page(&mut self, collection: usize) {
        let since = *self.random.pick(&[0, self.heads[collection]]);
        let (mut before, mut begun) = (i64::MAX, None);
        let mut address = Some(address(collection, since, i64::MAX, PAGE));
        while let Some(next) = address {
            let Ok(told) = self.send(Call::get(next)) else { return };
            let list = match begun {
                None => self.note_list(&told, collection, since, before, PAGE),
                Some(head) => self.note_later_page(&told, collection, (since, before), head),
            };
            begun = begun.or(told.answer.etag());
            before = list.last().map_or(before, |shown| shown.time);
            let next = told.answer.header("Next-Page");
            address = next.map(|next| next[next.find("/v1/").unwrap()..].to_owned());
        }
    }

    fn list(&mut self, collection: usize, since: i64, before: i64, limit: usize) {
        let mut call = Call::get(address(collection, since, before, limit));
        let is_poll = since > 0 && before == i64::MAX && limit == usize::MAX;
        if is_poll && self.random.chance(50) {
            call = call.header("If-None-Match", format!("\"{since}\""));
        }
        let Ok(told) = self.send(call) else { return };
        if told.answer.status == 304 {
            let head = told.answer.etag().unwrap();
            assert_eq!(head, since, "{}", told.answer);
            return self.note(&told, What::Headed { collection, head, live: None });
        }
        self.note_list(&told, collection, since, before, limit);
    }

    fn note_list(
        &mut self,
        told: &Told,
        collection: usize,
        since: i64,
        before: i64,
        limit: usize,
    ) -> Vec<Shown> {
        assert_eq!(told.answer.status, 200, "{}", told.answer);
        let head = told.answer.etag().unwrap();
        let shown = shown(&told.answer);
        self.heads[collection] = self.heads[collection].max(head);
        let tombstones = told.tombstones;
        let list =
            List { collection, head, since, before, limit, tombstones, shown: shown.clone() };
        self.note(told, What::Listed(list));
        shown
    }

    // All pages tell the head of the first: whoever polls from it later misses nothing. Of which
    // moment a later page is, it does not say; what it shows was so in that moment.
    fn note_later_page(
        &mut self,
        told: &Told,
        collection: usize,
        (since, before): (i64, i64),
        head: i64,
    ) -> Vec<Shown> {
        assert_eq!((told.answer.status, told.answer.etag()), (200, Some(head)), "{}", told.answer);
        let all = shown(&told.answer);
        assert!(all.len() <= PAGE && all.is_sorted_by(|a, b| a.time > b.time), "{all:?}");
        assert!(all.iter().all(|one| one.time > since && one.time < before), "{all:?}");
        for one in &all {
            let place = Place { collection, record: one.record };
            let found = one.token.map(|token| Version { time: one.time, token });
            self.note(told, What::Read { place, found });
        }
        all
    }

    // Asks for the head and the number of records.
    fn look(&mut self, collection: usize) {
        let Ok(told) = self.send(Call::new("HEAD", records(collection))) else { return };
        assert_eq!(told.answer.status, 200, "{}", told.answer);
        let head = told.answer.etag().unwrap();
        let live = told.answer.header("Total-Objects").map(|number| number.parse().unwrap());
        assert!(live.is_some(), "{:?}", told.answer.headers);
        self.note(&told, What::Headed { collection, head, live });
    }

    // Reads a record: its time, and the count if it is a counter.
    fn read(&mut self, place: Place) -> Option<(i64, u64)> {
        let told = self.send(Call::get(path(place))).ok()?;
        let body = told.answer.json();
        let found = match told.answer.status {
            200 => {
                let (time, token) = (time(&body), body["data"]["token"].as_u64().unwrap());
                assert_eq!(told.answer.etag(), Some(time), "{}", told.answer);
                Some(Version { time, token })
            }
            404 => None,
            _ => panic!("{}", told.answer),
        };
        self.note(&told, What::Read { place, found });
        Some((found?.time, body["data"]["count"].as_u64().unwrap_or(0)))
    }

    fn note(&mut self, told: &Told, what: What) {
        let by = format!("client {} of process {}", self.number, told.process);
        self.events.push(Event { by, called: told.called, returned: Some(told.returned), what });
    }

    // Asks some process. The error is when a request was sent of which nobody knows what became,
    // because the process or its database was killed.
    fn send(&mut self, call: Call) -> Result<Told, u64> {
        let process = match self.random.chance(80) {
            true => self.processes.home,
            false => self.random.below(self.clients.len()),
        };
        let tombstones = call.path.contains("_since=") || call.path.contains("_before=");
        let called = self.moment();
        let sent = self.clients[process].send(&call.login(USER));
        let returned = self.moment();
        let is_mortal = self.processes.mortal == Some(process);
        match sent {
            Ok(answer)
                if is_mortal
                    && answer.status == 503
                    && self.processes.trouble == Trouble::Unavailable =>
            {
                assert!(answer.header("Retry-After").is_some(), "no Retry-After: {answer}");
                std::thread::sleep(PAUSE);
                Err(called)
            }
            Ok(answer) => {
                assert!(!matches!(answer.status, 409 | 429 | 500..), "process {process}: {answer}");
                if !is_mortal {
                    self.longest = self.longest.max(Duration::from_nanos(returned - called));
                }
                Ok(Told { process, called, returned, tombstones, answer })
            }
            Err(error) if is_mortal && self.processes.trouble == Trouble::Silence => {
                self.forgive(&error);
                Err(called)
            }
            Err(error) => panic!("process {process} did not answer: {error}"),
        }
    }

    fn forgive(&self, error: &io::Error) {
        let patience = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        assert!(!patience.contains(&error.kind()), "a process hangs: {error}");
        std::thread::sleep(PAUSE);
    }

    fn moment(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }
}
