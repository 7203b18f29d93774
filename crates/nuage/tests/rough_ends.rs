//! The program starts on something wrong, or ends and leaves requests without an answer.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Call, read_answer};
use nuage_testkit::server::{clean_command, free_address, wait};
use serde_json::json;

use crate::programs::{open_server, program};

both_databases!(requests_are_answered_or_sent_back_at_the_end);

fn requests_are_answered_or_sent_back_at_the_end(backend: Backend) {
    let mut server = open_server(backend);
    let body = json!({"data": {"said": "before the end"}}).to_string();
    let mut call = Call::new("PUT", "/v1/buckets/default/collections/c/records/r").login("a:1");
    call.body = Some(body.clone().into_bytes());
    let bytes = call.to_bytes(server.address());
    let head = &bytes[..bytes.len() - 5];
    let streams: Vec<_> = (0..5)
        .map(|_| {
            let mut stream = TcpStream::connect(server.address()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(head).unwrap();
            stream
        })
        .collect();
    // Idle connections are no reason to wait.
    let _idle = TcpStream::connect(server.address()).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    server.signal("TERM");
    // Whoever did not send all is told to come back, and nothing happened.
    for stream in streams {
        let (answer, _) = read_answer(&mut BufReader::new(stream), false).unwrap();
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("Retry-After").is_some(), "{answer}");
    }
    let status = server.ended();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(TcpStream::connect(server.address()).is_err(), "somebody listens after SIGTERM");
    server.start();
    let read = call_get(&server, "/v1/buckets/default/collections/c/records/r");
    assert_eq!(read["code"], 404, "{read}");
}

#[test]
fn a_second_server_does_not_take_the_address_nor_the_data() {
    let server = open_server(Backend::Sqlite);
    let mut second = clean_command(&program().binary);
    second.arg("serve").arg("--listen").arg(server.address().to_string());
    second.arg("--data").arg(server.data().with_extension("second"));
    assert_end(run(second), 5, &[&server.address().port().to_string()]);
    let mut third = clean_command(&program().binary);
    third.arg("serve").arg("--listen").arg(free_address().to_string());
    third.arg("--data").arg(server.data());
    let output = run(third);
    assert!(matches!(output.status.code(), Some(4 | 5)), "{output:?}");
}

#[test]
fn a_newer_file_is_left_alone() {
    let mut server = program().start();
    assert_eq!(server.terminate().code(), Some(0));
    let database = database_in(server.data());
    let mut bytes = std::fs::read(&database).unwrap();
    // The number of the format is in bytes 60 to 63 of an SQLite file.
    bytes[60..64].copy_from_slice(&0x7fff_fff0_u32.to_be_bytes());
    std::fs::write(&database, &bytes).unwrap();
    let mut command = server.command();
    command.stdin(std::process::Stdio::null());
    assert_end(run(command), 4, &["newer"]);
    assert_eq!(std::fs::read(&database).unwrap(), bytes, "a newer file was changed");
    let mut check = clean_command(&program().binary);
    check.arg("check").arg("--data").arg(server.data());
    assert_end(run(check), 4, &["newer"]);
}

#[test]
fn damage_is_found_and_told() {
    let mut server = open_server(Backend::Sqlite);
    let mut client = server.client();
    for n in 0..200 {
        let path = format!("/v1/buckets/default/collections/c/records/r{n}");
        let put = Call::put(path, &json!({"data": {"filler": "x".repeat(300)}})).login("a:1");
        assert_eq!(client.send(&put).unwrap().status, 201);
    }
    assert_eq!(server.terminate().code(), Some(0));
    assert_eq!(server.check().0, Some(0));
    let database = database_in(server.data());
    let mut bytes = std::fs::read(&database).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 4096].fill(0x5a);
    std::fs::write(&database, &bytes).unwrap();
    let (code, words) = server.check();
    assert!(matches!(code, Some(4 | 6)), "{code:?}: {words}");
    assert!(!words.contains("panicked"), "{words}");
}

#[test]
fn wrong_settings_are_named_with_line_and_nearest_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nuage.toml");
    std::fs::write(&path, "[http]\nlisten = \"127.0.0.1:1\"\n\n[limits]\npage_record = 3\n")
        .unwrap();
    let mut command = clean_command(&program().binary);
    command.arg("serve").arg("--config").arg(&path).current_dir(folder.path());
    assert_end(run(command), 3, &["line 5", "page_records"]);
    std::fs::write(&path, "[limits]\nbody_bytes = \"many\"\n").unwrap();
    let mut command = clean_command(&program().binary);
    command.args(["config", "check", "--config"]).arg(&path).current_dir(folder.path());
    assert_end(run(command), 3, &["line 2", "body_bytes"]);
    std::fs::write(&path, "[limits\n").unwrap();
    let mut command = clean_command(&program().binary);
    command.arg("serve").arg("--config").arg(&path).current_dir(folder.path());
    assert_end(run(command), 3, &["line 1"]);
}

#[test]
fn wrong_command_lines_are_usage() {
    for arguments in [&["serv"][..], &["serve", "--no-such-flag"], &["serve", "--listen"]] {
        let mut command = clean_command(&program().binary);
        command.args(arguments);
        assert_end(run(command), 2, &["--help"]);
    }
    let mut command = clean_command(&program().binary);
    command.arg("version");
    assert_end(run(command), 0, &[env!("CARGO_PKG_VERSION")]);
}

// A program that should end by itself is not waited for without end.
fn run(mut command: Command) -> Output {
    let piped = std::process::Stdio::piped;
    let command = command.stdin(std::process::Stdio::null()).stdout(piped()).stderr(piped());
    let mut child = command.spawn().unwrap();
    if wait(&mut child).is_none() {
        child.kill().unwrap();
    }
    child.wait_with_output().unwrap()
}

fn assert_end(output: Output, code: i32, words: &[&str]) {
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{word} is not in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

fn call_get(server: &nuage_testkit::server::Server, path: &str) -> serde_json::Value {
    server.client().send(&Call::get(path).login("a:1")).unwrap().json()
}

fn database_in(data: &std::path::Path) -> std::path::PathBuf {
    data.join("nuage.db")
}
