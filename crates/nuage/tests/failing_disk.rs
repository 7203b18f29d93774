//! The disk is full or fails: what was acknowledged is lost, the answer is not an honest 503, or
//! the server needs a new start although the disk is well again.
//!
//! The disk fails through a library that is loaded into the program (`failing_disk.c`), because
//! filling a real one needs rights that a test does not have.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::history::SETTINGS;
use nuage_testkit::random::Random;
use nuage_testkit::server::{Server, Setup};
use serde_json::json;
use tempfile::TempDir;

use crate::programs::{program, write_settings};

const WRITERS: u64 = 8;
const USER: &str = "disk:1";
const LIST: &str = "/v1/buckets/default/collections/disk/records";
/// Longest time to answer writes again once the disk is well.
const RECOVERY: Duration = Duration::from_secs(10);
/// Numbers of the errors in Linux.
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

#[test]
fn a_full_disk_loses_nothing_and_needs_no_new_start() {
    endure(&[Fault { error: ENOSPC, calls: "write", good: 0 }]);
}

#[test]
fn a_failing_disk_loses_nothing_and_needs_no_new_start() {
    endure(&[
        Fault { error: EIO, calls: "write", good: 0 },
        Fault { error: EIO, calls: "write", good: 3 },
        Fault { error: ENOSPC, calls: "write", good: 10 },
    ]);
}

#[test]
fn a_disk_that_only_lets_read_loses_nothing_and_needs_no_new_start() {
    // As a system makes a disk after it failed: files that are open stay so.
    endure(&[Fault { error: EROFS, calls: "write", good: 0 }]);
}

#[test]
fn unreadable_data_is_told_as_unavailable() {
    endure(&[
        Fault { error: EIO, calls: "read", good: 0 },
        Fault { error: EIO, calls: "read", good: 2 },
        Fault { error: EIO, calls: "both", good: 5 },
    ]);
}

/// How the disk fails.
struct Fault {
    error: i32,
    /// `read`, `write` or `both`.
    calls: &'static str,
    /// Good calls between two that fail.
    good: usize,
}

// Writes and reads all the time, with the faults in turn, each gone after a while.
fn endure(faults: &[Fault]) {
    let (mut server, trigger) = faulty_server();
    let running = AtomicBool::new(true);
    let refused = AtomicUsize::new(0);
    let mut acknowledged = BTreeMap::new();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let (running, refused, address) = (&running, &refused, server.address());
                scope.spawn(move || {
                    let mut writer = Writer::new(address, number);
                    while running.load(Ordering::SeqCst) {
                        writer.write(refused);
                    }
                    writer.acknowledged
                })
            })
            .collect();
        for fault in faults {
            thread::sleep(Duration::from_millis(400));
            let before = refused.load(Ordering::SeqCst);
            set_fault(&trigger, &format!("{} {} {}", fault.error, fault.calls, fault.good));
            thread::sleep(Duration::from_millis(1_200));
            std::fs::remove_file(&trigger).unwrap();
            let met = refused.load(Ordering::SeqCst) > before;
            // What is in memory needs no reading.
            assert!(met || fault.calls == "read", "the disk failed and nobody was told");
            recover(&server);
        }
        running.store(false, Ordering::SeqCst);
        for writer in writers {
            acknowledged.extend(writer.join().unwrap());
        }
    });
    assert!(server.is_alive());
    assert!(acknowledged.len() > 50, "only {} records were written", acknowledged.len());
    inspect(&server, &acknowledged);
    server.kill();
    let (code, words) = server.check();
    assert_eq!(code, Some(0), "{words}");
    server.start();
    inspect(&server, &acknowledged);
}

struct Writer {
    client: Client,
    random: Random,
    number: u64,
    value: u64,
    /// The last acknowledged number of each record, and those that may have come after it.
    acknowledged: BTreeMap<String, Vec<u64>>,
}

impl Writer {
    fn new(address: SocketAddr, number: u64) -> Self {
        Self {
            client: Client::new(address),
            random: Random::new(number),
            number,
            value: 0,
            acknowledged: BTreeMap::new(),
        }
    }

    fn write(&mut self, refused: &AtomicUsize) {
        self.value += 1;
        let path = format!("{LIST}/r{}-{}", self.number, self.random.below(40));
        let body = json!({"data": {"value": self.value, "filler": "x".repeat(500)}});
        let answer = self.send(Call::put(&path, &body));
        match answer.status {
            200 | 201 => {
                self.acknowledged.insert(path.clone(), vec![self.value]);
            }
            503 => {
                refused.fetch_add(1, Ordering::SeqCst);
                // A failed sync may have been a good one after all.
                self.acknowledged.entry(path.clone()).or_insert_with(|| vec![0]).push(self.value);
            }
            status => panic!("{status}: {answer}"),
        }
        let read = self.send(Call::get(&path));
        assert!(matches!(read.status, 200 | 404 | 503), "{read}");
        if read.status != 503 {
            let value = read.json()["data"]["value"].as_u64().unwrap_or(0);
            let known = &self.acknowledged[&path];
            assert!(known.contains(&value), "{path} is {value}, none of {known:?}");
        }
    }

    fn send(&mut self, call: Call) -> Answer {
        let answer = self.client.send(&call.login(USER)).unwrap();
        if answer.status == 503 {
            assert_eq!(answer.json()["errno"], 201, "{answer}");
            let seconds = answer.header("Retry-After").and_then(|s| s.parse::<u64>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "503 without Retry-After");
        }
        answer
    }
}

// Waits until writes and the heartbeat are well again.
fn recover(server: &Server) {
    let mut client = server.client();
    let deadline = Instant::now() + RECOVERY;
    loop {
        let path = format!("{LIST}/recovery");
        let put = client.send(&Call::put(path, &json!({})).login(USER)).unwrap();
        let heartbeat = client.send(&Call::get("/v1/__heartbeat__")).unwrap();
        if matches!(put.status, 200 | 201) && heartbeat.status == 200 {
            return;
        }
        assert!(Instant::now() < deadline, "no recovery: {put}, {heartbeat}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn inspect(server: &Server, acknowledged: &BTreeMap<String, Vec<u64>>) {
    let mut client = server.client();
    for (path, values) in acknowledged {
        let answer = client.send(&Call::get(path).login(USER)).unwrap();
        let value = answer.json()["data"]["value"].as_u64().unwrap_or(0);
        assert!(values.contains(&value), "{path} is {value}, none of {values:?}: {answer}");
    }
}

// A server whose disk fails while the second file is there.
fn faulty_server() -> (Server, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    on_failing_disk(program().argument("--kinto-ini").argument(settings), folder)
}

/// Starts a server whose disk fails as the second file says, while that is there.
pub(crate) fn on_failing_disk(setup: Setup, folder: TempDir) -> (Server, PathBuf) {
    let library = compile(folder.path());
    let (data, trigger) = (folder.path().join("data"), folder.path().join("trigger"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let server = setup
        .variable("LD_PRELOAD", text(&library))
        .variable("FAULT_FOLDER", text(&data))
        .variable("FAULT_TRIGGER", text(&trigger))
        .start_on(data, folder);
    (server, trigger)
}

/// Makes the disk fail from now on.
pub(crate) fn set_fault(trigger: &Path, text: &str) {
    // Renamed into place, so that it is never read half written.
    std::fs::write(trigger.with_extension("new"), text).unwrap();
    std::fs::rename(trigger.with_extension("new"), trigger).unwrap();
}

/// The library that makes disks fail, in this folder.
pub(crate) fn compile(folder: &Path) -> PathBuf {
    let source = folder.join("failing_disk.c");
    let library = folder.join("failing_disk.so");
    std::fs::write(&source, include_str!("failing_disk.c")).unwrap();
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).arg("-ldl");
    let output = command.output().expect("a C compiler is there, as for SQLite");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}
