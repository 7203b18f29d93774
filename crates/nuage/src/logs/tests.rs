#![allow(clippy::unwrap_used)]

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::Level;

use crate::logs::line::{self, Fields};

fn request() -> Fields {
    let rest = vec![
        ("rid", "r1".into()),
        ("method", "GET".into()),
        ("path", "/v1/\u{1b}[31m\"".into()),
        ("status", 404.into()),
        ("ms", 1.25.into()),
    ];
    Fields { message: String::new(), rest }
}

fn told() -> Fields {
    Fields { message: "listening".to_owned(), rest: vec![("created", true.into())] }
}

#[test]
fn programs_get_one_object_a_line() {
    let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    let text = line::json(now, Level::INFO, "access", &request()).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    let value: Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "ts": "2023-11-14T22:13:20.123Z", "level": "info", "rid": "r1", "method": "GET",
        "path": "/v1/\u{1b}[31m\"", "status": 404, "ms": 1.25, "target": "access",
    });
    assert_eq!(value, expected);
    let text = line::json(now, Level::WARN, "nuage", &told()).unwrap();
    let start = "{\"ts\":\"2023-11-14T22:13:20.123Z\",\"level\":\"warn\",\"msg\":\"listening\",";
    assert!(text.starts_with(start), "{text}");
}

#[test]
fn people_get_aligned_lines_that_cannot_command_the_terminal() {
    let now = Timestamp::from_millisecond(1_700_000_000_123).unwrap();
    let text = line::pretty(now, Level::INFO, &request(), false).unwrap();
    assert_eq!(text, "  22:13:20  GET     404      1.2 ms  /v1/\u{fffd}[31m\"  rid=r1\n");
    let text = line::pretty(now, Level::WARN, &told(), false).unwrap();
    assert_eq!(text, "  22:13:20  WARN   listening  created=true\n");
    let text = line::pretty(now, Level::WARN, &told(), true).unwrap();
    assert!(text.contains("\x1b[33mWARN \x1b[0m"));
}
