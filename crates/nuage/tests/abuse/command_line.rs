//! What the program does when it is called wrongly, or on a machine that is in a bad state.

mod buckets;
mod outputs;
mod places;
mod secrets;

use std::fs::File;
use std::process::{Command, Output, Stdio};

use nuage_testkit::client::{Answer, Call};
use nuage_testkit::server::{Server, clean_command};

use crate::programs::program;

/// Runs the program to its end, in a folder where it must leave nothing behind.
fn nuage(arguments: &[&str]) -> Output {
    nuage_reading("", arguments)
}

/// The same, with something to read.
fn nuage_reading(input: &str, arguments: &[&str]) -> Output {
    let mut command = clean_command(&program().binary);
    command.args(arguments);
    run_reading(input, command)
}

fn run_reading(input: &str, mut command: Command) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("input");
    std::fs::write(&path, input).unwrap();
    command.stdin(Stdio::from(File::open(path).unwrap())).current_dir(folder.path());
    let output = command.output().unwrap();
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something was left behind");
    output
}

fn said(output: &Output) -> String {
    let both = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// No ending shows the password of these tests.
#[track_caller]
fn assert_end(output: &Output, code: i32, words: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "{said:?} does not say {word:?}");
    }
    assert!(!said.contains("hush") && !said.contains("panicked"), "{said}");
}

fn send(server: &Server, call: Call, login: &str) -> Answer {
    server.client().send(&call.login(login)).unwrap()
}
