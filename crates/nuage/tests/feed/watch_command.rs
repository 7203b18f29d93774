//! `nuage watch`: what it prints, what it survives, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use nuage_testkit::backend::Backend;
use nuage_testkit::server::{Server, clean_command, wait};
use serde_json::{Value, json};

use crate::feed::{COLLECTION, OWNER, Person, record, server};

/// A running `nuage watch`, killed with the test.
struct Watch {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watch {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    fn until_rest(&mut self) -> Vec<Value> {
        let mut all = vec![self.next()];
        while all.last().unwrap()["kind"] != "rest" {
            all.push(self.next());
        }
        all
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(arguments: &[&str]) -> Command {
    let mut command = clean_command(env!("CARGO_BIN_EXE_nuage").as_ref());
    command.arg("watch").args(arguments);
    command
}

fn url(server: &Server, login: &str) -> String {
    format!("http://{login}@{}{COLLECTION}", server.address())
}

fn ended(arguments: &[&str]) -> (i32, String) {
    let Output { status, stderr, .. } = watch(arguments).stdin(Stdio::null()).output().unwrap();
    (status.code().unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn prints_what_happens_also_after_the_server_was_away() {
    let mut server = server(Backend::Sqlite, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("a", json!({"data": {"n": 1}}));
    let mut watch = Watch::start(watch(&[&url(&server, OWNER)]));
    let first = watch.until_rest();
    assert_eq!((&first[0]["kind"], &first[1]["data"]["n"]), (&json!("reset"), &json!(1)));
    owner.put("b", json!({}));
    assert_eq!(watch.next()["data"]["id"], "b");
    assert_eq!(watch.next()["kind"], "rest");

    server.terminate();
    server.start();
    let mut owner = Person::new(&server, OWNER);
    owner.delete(&record("a"));
    // It goes on after what it had, and is told nothing twice.
    let next = watch.next();
    let removal = json!({"kind": "removal", "data": {"id": "a", "deleted": true}});
    if next["kind"] == "rest" {
        assert_eq!(watch.next(), removal);
    } else {
        assert_eq!(next, removal);
    }

    let pid = watch.child.id().to_string();
    assert!(Command::new("kill").args(["-s", "INT", &pid]).status().unwrap().success());
    assert_eq!(wait(&mut watch.child).unwrap().code(), Some(0));
}

#[test]
fn a_path_is_followed_on_the_server_of_the_settings() {
    let server = server(Backend::Sqlite, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "1\n").unwrap();
    let listen = server.address().to_string();
    let place = ["--listen", &listen, "/buckets/b/collections/c", "--user", "owner"];
    let mut command = watch(&place);
    command.arg("--password-file").arg(&file);
    let mut watch = Watch::start(command);
    assert_eq!(watch.until_rest().len(), 2);
    // A refusal ends it, with a sentence.
    owner.delete(COLLECTION);
    assert_eq!(watch.next()["kind"], "reset");
    let mut last = watch.next();
    while last["kind"] != "refusal" {
        last = watch.next();
    }
    assert_eq!(last["error"]["code"], 404);
    assert_eq!(wait(&mut watch.child).unwrap().code(), Some(1));
}

#[test]
fn what_cannot_be_watched_is_told_in_a_sentence() {
    let mut server = server(Backend::Sqlite, &[]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    let anonymous = format!("http://{}{COLLECTION}", server.address());
    let missing = format!("http://{OWNER}@{}/buckets/b/collections/none", server.address());
    for (arguments, code, words) in [
        (vec![url(&server, "nosy:1")], 1, "refuses (403)"),
        (vec![anonymous.clone()], 1, "wants to know who asks"),
        (vec![missing], 1, "has no /v1/buckets/b/collections/none/feed"),
        (vec!["/buckets/b".to_owned()], 2, "is not a collection"),
        (vec![anonymous.clone(), "--user".to_owned(), "a".to_owned()], 2, "A password is needed"),
        (vec![], 2, "URL-OR-PATH"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (ended, said) = ended(&arguments);
        assert_eq!(ended, code, "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    server.terminate();
    let (code, said) = ended(&[&anonymous]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("does not answer"), "{said}");
}
