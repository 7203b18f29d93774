//! Somebody watches through one process what is written, shared and taken away through another.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::postgres::Database;
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::several_processes::rights::with_listeners_cut;
use crate::several_processes::sites::serve_with;

/// Whatever is awaited comes sooner on any machine, unless it is lost: then watchers look again
/// by themselves, but later than this.
const DEADLINE: Duration = Duration::from_secs(25);
/// Half of all changes are seen by then.
const USUAL: Duration = Duration::from_secs(2);
const ROUNDS: usize = 12;
const OWNER: &str = "owner:1";
const GUEST: &str = "guest:1";
const BUCKET: &str = "/v1/buckets/watched";
const GROUP: &str = "/v1/buckets/watched/groups/g";
const COLLECTION: &str = "/v1/buckets/watched/collections/c";
const FEED: &str = "/v1/buckets/watched/collections/c/feed";
const SETTINGS: &str = "multiauth.policies = basicauth\n";
/// Heads are not compared while the test lasts.
const NEVER: [(&str, &str); 1] = [("NUAGE_FEED__LOOK_MS", "86400000")];

/// Two processes, and a collection of the owner with one record that the guest may read.
struct Watched {
    processes: [Server; 2],
    database: Arc<Database>,
    owner: Client,
    guest_id: String,
}

impl Watched {
    fn new(variables: &[(&str, &str)]) -> Self {
        let database = Backend::Postgres.database().unwrap();
        let start = || serve_with(Some(Arc::clone(&database)), SETTINGS, variables);
        let processes = [start(), start()];
        let mut owner = processes[0].client();
        let hello = send(&mut owner, Call::get("/v1/"), GUEST);
        let guest_id = hello.json()["user"]["id"].as_str().unwrap().to_owned();
        for path in [BUCKET, COLLECTION] {
            assert_eq!(send(&mut owner, Call::put(path, &json!({})), OWNER).status, 201);
        }
        Self { database, processes, owner, guest_id }
    }

    fn put(&mut self, path: &str, body: &Value) {
        let answer = send(&mut self.owner, Call::put(path, body), OWNER);
        assert!(matches!(answer.status, 200 | 201), "{path}: {answer}");
    }

    fn put_record(&mut self, id: &str, readers: &[&str]) {
        let body = json!({"data": {"n": 1}, "permissions": {"read": readers}});
        self.put(&format!("{COLLECTION}/records/{id}"), &body);
    }

    fn change(&mut self, path: &str, change: &Value) {
        let answer = send(&mut self.owner, Call::patch(path, change), OWNER);
        assert_eq!(answer.status, 200, "{path} {change}: {answer}");
    }

    /// What the guest sees through the other process.
    fn watch(&self) -> Stream {
        Stream::open(self.processes[1].address())
    }

    /// How long after their answers some writes are seen through the other process.
    fn lags(&mut self, rounds: usize) -> Vec<Duration> {
        let guest = self.guest_id.clone();
        self.put_record("first", &[&guest]);
        let stream = self.watch();
        stream.await_line("rest", "");
        let lags = (0..rounds).map(|round| {
            let id = format!("r{round}");
            self.put_record(&id, &[&guest]);
            let answered = Instant::now();
            stream.await_line("change", &id).saturating_duration_since(answered)
        });
        lags.collect()
    }
}

#[test]
fn a_write_in_one_process_reaches_the_watchers_of_another() {
    let mut lags = Watched::new(&NEVER).lags(ROUNDS);
    lags.sort();
    tell("writes in another process are seen after", &lags);
    assert!(lags[lags.len() / 2] < USUAL, "hints do not arrive: {lags:?}");
}

#[test]
fn without_hints_watchers_see_what_another_process_writes() {
    let mut watched = Watched::new(&[]);
    let database = Arc::clone(&watched.database);
    let lags = with_listeners_cut(&database, || watched.lags(ROUNDS / 2));
    tell("without hints, writes in another process are seen after", &lags);
}

#[test]
fn who_loses_a_right_in_one_process_loses_sight_in_another() {
    let mut lags = revocations(&mut Watched::new(&NEVER));
    lags.sort();
    tell("revocations in another process are seen after", &lags);
    assert!(lags[lags.len() / 2] < USUAL, "hints do not arrive: {lags:?}");
}

#[test]
fn without_hints_who_loses_a_right_loses_sight() {
    let mut watched = Watched::new(&[]);
    let database = Arc::clone(&watched.database);
    let lags = with_listeners_cut(&database, || revocations(&mut watched));
    tell("without hints, revocations in another process are seen after", &lags);
}

// Gives and takes each kind of right, and gives how long after it was taken the removal came.
fn revocations(watched: &mut Watched) -> Vec<Duration> {
    let guest = watched.guest_id.clone();
    let record = format!("{COLLECTION}/records/r");
    let readers = |readers: &[&str]| json!({"permissions": {"read": readers}});
    let members = |members: &[&str]| json!({"data": {"members": members}});
    let group = "/buckets/watched/groups/g";
    let mut lags = Vec::new();
    watched.put_record("hidden", &[]);
    watched.put_record("r", &[]);
    watched.put(GROUP, &members(&[]));
    for _ in 0..2 {
        // The readers of a record.
        watched.change(&record, &readers(&[&guest]));
        lags.push(watched.lose(&record, &readers(&[])));
        // The members of a group.
        watched.change(&record, &readers(&[group]));
        watched.change(GROUP, &members(&[&guest]));
        lags.push(watched.lose(GROUP, &members(&[])));
        // The members of a group that is in the group.
        let inner = "/v1/buckets/watched/groups/inner";
        watched.put(inner, &members(&[&guest]));
        watched.change(GROUP, &members(&["/buckets/watched/groups/inner"]));
        lags.push(watched.lose(inner, &members(&[])));
        watched.change(GROUP, &members(&[]));
        watched.change(&record, &readers(&[]));
        // The readers of the collection, and of the bucket.
        for path in [COLLECTION, BUCKET] {
            watched.change(path, &readers(&[&guest]));
            lags.push(watched.lose(path, &readers(&[])));
        }
    }
    lags
}

impl Watched {
    // Takes the only right of the guest, who watches, and gives how long it took to be told.
    fn lose(&mut self, path: &str, taken: &Value) -> Duration {
        let stream = self.watch();
        stream.await_line("change", "r");
        stream.await_line("rest", "");
        self.change(path, taken);
        let answered = Instant::now();
        let lost = stream.await_line("removal", "r");
        // Nothing is left to see.
        stream.await_line("refusal", "");
        let mut client = Client::new(self.processes[1].address());
        let refused = send(&mut client, Call::get(FEED), GUEST);
        assert_eq!(refused.status, 403, "{path}: {refused}");
        lost.saturating_duration_since(answered)
    }
}

/// The feed as lines of JSON, as they come.
struct Stream {
    lines: Receiver<(Instant, Value)>,
    socket: TcpStream,
}

impl Stream {
    fn open(address: SocketAddr) -> Self {
        let call = Call::get(FEED).header("Accept", "application/x-ndjson").login(GUEST);
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(2 * DEADLINE)).unwrap();
        socket.write_all(&call.to_bytes(address)).unwrap();
        let mut from = BufReader::new(socket.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(from.read_line(&mut head).unwrap(), 0, "the answer ends: {head}");
        }
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
        let (told, lines) = channel();
        thread::spawn(move || read_lines(&mut from, &told));
        Self { lines, socket }
    }

    // Waits for a line of this kind about this record, and tells when it came.
    fn await_line(&self, kind: &str, id: &str) -> Instant {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok((came, line)) = self.lines.recv_timeout(left) else {
                panic!("no {kind} {id} came after {seen:?}");
            };
            if line["kind"] == kind && (id.is_empty() || line["data"]["id"] == id) {
                return came;
            }
            let is_end = line["kind"] == "close" || line["kind"] == "refusal";
            seen.push(line);
            assert!(!is_end, "the stream ends before {kind} {id} came: {seen:?}");
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}

// Until the stream ends, or nobody listens any more.
fn read_lines(from: &mut impl BufRead, told: &Sender<(Instant, Value)>) {
    let mut text = Vec::new();
    loop {
        let mut size = String::new();
        if from.read_line(&mut size).unwrap_or(0) == 0 {
            return;
        }
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        if from.read_exact(&mut chunk).is_err() || size == 0 {
            return;
        }
        let came = Instant::now();
        text.extend_from_slice(&chunk[..size]);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            if told.send((came, serde_json::from_slice(&line).unwrap())).is_err() {
                return;
            }
        }
    }
}

fn tell(what: &str, lags: &[Duration]) {
    let words = format!("{what}: {lags:?}\n");
    // There is nobody to tell if that fails.
    let _ = std::io::stderr().write_all(words.as_bytes());
}

fn send(client: &mut Client, call: Call, user: &str) -> Answer {
    let answer = client.send(&call.login(user)).unwrap();
    assert!(!matches!(answer.status, 409 | 429 | 500..), "{answer}");
    answer
}
