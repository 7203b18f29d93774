//! Nobody reads what the program says, or it cannot be written: requests fail or wait, the server
//! does not start or does not stop, or what a command had to say is lost without a word.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nuage_testkit::client::{Call, Client};
use nuage_testkit::server::{clean_command, free_address, wait};
use tempfile::TempDir;

use crate::abuse::eventually;
use crate::programs::program;

const REQUESTS: usize = 50;
const PATIENCE: Duration = Duration::from_secs(20);

/// A server whose outputs are the test's.
struct Loud {
    child: Child,
    client: Client,
    _data: TempDir,
}

impl Loud {
    fn start(set: impl FnOnce(&mut Command)) -> Self {
        let (data, address) = (tempfile::tempdir().unwrap(), free_address());
        let mut command = clean_command(&program().binary);
        command.arg("serve").arg("--listen").arg(address.to_string());
        command.arg("--data").arg(data.path()).stdin(Stdio::null());
        set(&mut command);
        let child = command.spawn().unwrap();
        let mut loud = Self { child, client: Client::new(address).patience(PATIENCE), _data: data };
        assert!(eventually(PATIENCE, || loud.asks("/v1/") == Some(200)), "it does not start");
        loud
    }

    fn asks(&mut self, path: &str) -> Option<u16> {
        self.client.send(&Call::get(path)).ok().map(|answer| answer.status)
    }

    /// Asks for something whose line in the log is long.
    fn ask_at_length(&mut self) {
        assert!(self.asks(&format!("/v1/buckets/{}", "x".repeat(8_000))).is_some());
    }

    fn assert_serves_and_stops(&mut self) {
        for _ in 0..REQUESTS {
            assert_eq!(self.asks("/v1/"), Some(200));
        }
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        assert_eq!(wait(&mut self.child).and_then(|status| status.code()), Some(0));
    }
}

impl Drop for Loud {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn full() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_log_whose_reader_has_gone_ends_no_request() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut loud = Loud::start(|command| {
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
    });
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line).unwrap();
    assert!(line.contains("listening"), "{line}");
    loud.assert_serves_and_stops();
}

#[test]
fn a_log_on_a_full_disk_ends_no_request_and_no_start() {
    for (stdout, stderr) in [(true, true), (false, true), (true, false)] {
        let output = |is_full| if is_full { full().into() } else { Stdio::null() };
        let mut loud = Loud::start(|command| {
            command.stdout(output(stdout)).stderr(output(stderr));
        });
        loud.assert_serves_and_stops();
    }
}

#[test]
fn a_log_that_nobody_reads_holds_up_nobody_and_tells_what_is_missing() {
    let mut loud = Loud::start(|command| {
        command.stdout(Stdio::piped()).stderr(Stdio::null());
    });
    // More than a pipe and the room for lines take.
    for _ in 0..400 {
        loud.ask_at_length();
    }
    let log = Arc::new(Mutex::new(String::new()));
    let mut reader = loud.child.stdout.take().unwrap();
    let read = Arc::clone(&log);
    let reading = std::thread::spawn(move || {
        let mut bytes = [0; 65_536];
        while let Ok(count @ 1..) = reader.read(&mut bytes) {
            read.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    let told = eventually(PATIENCE, || {
        loud.ask_at_length();
        log.lock().unwrap().contains("lines of the log are missing here")
    });
    assert!(told, "nobody is told that lines are missing");
    loud.assert_serves_and_stops();
    reading.join().unwrap();
    for line in log.lock().unwrap().lines() {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}"));
    }
    assert!(log.lock().unwrap().contains("\"stopped\""), "the last line is missing");
}

#[test]
fn a_server_whose_log_nobody_reads_stops() {
    let (_reader, writer) = std::io::pipe().unwrap();
    let mut loud = Loud::start(|command| {
        command.stdout(writer.try_clone().unwrap()).stderr(writer);
    });
    for _ in 0..400 {
        loud.ask_at_length();
    }
    loud.assert_serves_and_stops();
}

#[test]
fn commands_whose_output_is_lost_say_so() {
    let server = program().start();
    let verbs: [&[&str]; 5] =
        [&["config", "show"], &["user", "list"], &["bucket", "list"], &["export"], &["version"]];
    let mut add = server.tool("user");
    add.args(["add", "alice", "--generate"]).stdout(full()).stderr(Stdio::piped());
    let added = add.output().unwrap();
    let said = String::from_utf8_lossy(&added.stderr).into_owned();
    assert!(added.status.code() == Some(1) && said.contains("No space left"), "{said}");
    let bucket = Call::put("/v1/buckets/b", &serde_json::json!({})).login("alice:x");
    assert_eq!(server.client().send(&bucket).unwrap().status, 401);
    for verb in verbs {
        let run = |stdout: Stdio| {
            let mut command = server.tool(verb[0]);
            command.args(&verb[1..]).stdin(Stdio::null()).stdout(stdout);
            command.output().unwrap()
        };
        let lost = run(full().into());
        let said = String::from_utf8_lossy(&lost.stderr).into_owned();
        // A list of nothing says nothing.
        let code = if verb[0] == "bucket" { 0 } else { 1 };
        assert_eq!(lost.status.code(), Some(code), "{verb:?}: {said}");
        assert!(code == 0 || said.contains("No space left"), "{verb:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let closed = run(writer.into());
        let said = String::from_utf8_lossy(&closed.stderr).into_owned();
        assert_eq!(closed.status.code(), Some(code), "{verb:?}: {said}");
        assert!(!said.contains("panicked"), "{verb:?}: {said}");
    }
}
