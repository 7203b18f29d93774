//! The notation of transcripts.
//!
//! ```text
//! # What this is about.
//! PUT /buckets/b | bob | If-None-Match: * | {"data": {}}
//! => 201 | ETag: $a | {"data": {"id": "b", "last_modified": "$a"}}
//! ```
//!
//! Paths are under `/v1`, unless they begin with `!`; quotes and spaces in them are encoded. The
//! user is `mat` unless another is named, and nobody for `-`; each has the password `secret`. Bodies begin with a brace or a bracket, or
//! with `=` when they are sent as written. Of the answer: a header has the value, or is absent
//! (`-`) or present (`?`), and several values separated by `~` are all in it; `$name` keeps its
//! value, to be written in later lines, or as `#name` without quotes. Other lines continue the one
//! before. Of the body, objects have at least the members that are
//! named, lists as many items as written; `"?"` is anything, `"-"` is not there. What follows `=` is
//! in it as written, byte by byte.

use std::collections::HashMap;

use nuage_testkit::client::{Answer, Call, Client};
use nuage_testkit::server::Server;
use serde_json::Value;

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// Plays a transcript to its end, or panics at its first answer that differs.
pub(super) fn play(server: &Server, text: &str) {
    let mut player = Player { client: server.client(), kept: HashMap::new(), call: None };
    for line in lines(text) {
        match line.strip_prefix("=>") {
            Some(expected) => player.expect(expected),
            None => player.ask(&line),
        }
    }
    assert!(player.call.is_none(), "a transcript ends with an answer");
}

/// Requests and expectations, each on one line.
fn lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let written = text.lines().map(str::trim);
    for line in written.filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let first = line.split(' ').next().unwrap_or_default();
        match lines.last_mut() {
            Some(last) if first != "=>" && !METHODS.contains(&first) => {
                last.push(' ');
                last.push_str(line);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

struct Player {
    client: Client,
    kept: HashMap<String, String>,
    call: Option<Call>,
}

impl Player {
    fn ask(&mut self, line: &str) {
        assert!(self.call.is_none(), "a request without an answer before {line}");
        let line = self.filled(line);
        let mut parts = line.split(" | ");
        let head = parts.next().unwrap_or_default();
        let (method, path) = head.split_once(' ').unwrap_or((head, ""));
        let path = match path.strip_prefix('!') {
            Some(path) => path.to_owned(),
            None => match path.split_once("/v1/") {
                Some((_, path)) => format!("/v1/{path}"),
                None => format!("/v1{path}"),
            },
        };
        let mut call = Call::new(method, path.replace('"', "%22").replace(' ', "%20"));
        let mut user = "mat";
        for part in parts {
            if part.starts_with(['{', '[', '=']) {
                let raw = part.trim_start_matches('=');
                call.body = Some(raw.as_bytes().to_vec());
                if !call.headers.iter().any(|(name, _)| name == "Content-Type") {
                    call = call.header("Content-Type", "application/json");
                }
            } else if let Some((name, value)) = part.split_once(": ") {
                call = call.header(name, value);
            } else {
                user = part;
            }
        }
        if user != "-" {
            call = call.login(&format!("{user}:secret"));
        }
        self.call = Some(call);
    }

    fn expect(&mut self, line: &str) {
        let call = self.call.take().unwrap_or_else(|| panic!("no request before {line}"));
        let answer = self.client.send(&call).unwrap_or_else(|error| panic!("{call}: {error}"));
        let mut parts = line.trim().split(" | ");
        let status = parts.next().unwrap_or_default();
        let told = || format!("{call}\n=> {line}\ngot {answer}\n{:?}", answer.headers);
        assert_eq!(answer.status.to_string(), status, "{}", told());
        for part in parts {
            if part.starts_with(['{', '[']) || part.starts_with('"') {
                let wanted: Value = serde_json::from_str(part)
                    .unwrap_or_else(|error| panic!("{part} is not JSON: {error}"));
                if let Err(why) = self.has(&wanted, &answer.json(), "body") {
                    panic!("{why}\n{}", told());
                }
            } else if let Some(raw) = part.strip_prefix('=') {
                let body = String::from_utf8_lossy(&answer.body);
                assert!(body.contains(raw), "{raw} is not in it\n{}", told());
            } else {
                self.expect_header(part, &answer, &told());
            }
        }
    }

    fn expect_header(&mut self, part: &str, answer: &Answer, told: &str) {
        let (name, wanted) = part.split_once(": ").unwrap_or((part, "?"));
        let found = answer.header(name);
        match wanted {
            "-" => assert_eq!(found, None, "{name}\n{told}"),
            "?" => assert!(found.is_some(), "{name} is missing\n{told}"),
            wanted => {
                let found = found.unwrap_or_else(|| panic!("{name} is missing\n{told}"));
                if let Some(kept) = wanted.strip_prefix('$').filter(|k| !self.kept.contains_key(*k))
                {
                    self.kept.insert(kept.to_owned(), found.to_owned());
                    return;
                }
                let wanted = self.filled(wanted);
                match wanted.split_once('~') {
                    None => assert_eq!(found, wanted, "{name}\n{told}"),
                    Some(_) => {
                        for piece in wanted.split('~') {
                            assert!(found.contains(piece), "{name} lacks {piece}\n{told}");
                        }
                    }
                }
            }
        }
    }

    /// Writes what was kept in the place of `$name`.
    fn filled(&self, line: &str) -> String {
        let mut filled = line.to_owned();
        for (name, value) in &self.kept {
            filled = filled.replace(&format!("${name}"), value);
            filled = filled.replace(&format!("#{name}"), value.trim_matches('"'));
        }
        filled
    }

    fn has(&self, wanted: &Value, found: &Value, at: &str) -> Result<(), String> {
        match (wanted, found) {
            (Value::Object(wanted), Value::Object(found)) => {
                for (name, wanted) in wanted {
                    let at = format!("{at}.{name}");
                    match found.get(name) {
                        None if wanted == "-" => {}
                        None => return Err(format!("{at} is missing")),
                        Some(_) if wanted == "-" => return Err(format!("{at} is there")),
                        Some(found) => self.has(wanted, found, &at)?,
                    }
                }
                Ok(())
            }
            (Value::Array(wanted), Value::Array(found)) => {
                if wanted.len() != found.len() {
                    return Err(format!("{at} has {} items", found.len()));
                }
                for (n, (wanted, found)) in wanted.iter().zip(found).enumerate() {
                    self.has(wanted, found, &format!("{at}[{n}]"))?;
                }
                Ok(())
            }
            (Value::String(any), _) if any == "?" => Ok(()),
            (Value::String(kept), Value::Number(found)) if kept.starts_with('$') => {
                let kept = self.filled(kept);
                let same = kept.trim_matches('"') == found.to_string();
                same.then_some(()).ok_or_else(|| format!("{at} is {found}, not {kept}"))
            }
            (Value::String(kept), Value::String(found)) if self.filled(kept) == *found => Ok(()),
            (wanted, found) if wanted == found => Ok(()),
            (wanted, found) => Err(format!("{at} is {found}, not {wanted}")),
        }
    }
}
