use std::sync::Arc;

use nuage_engine::Interest;
use nuage_model::{Record, Seq, Signature, State};
use serde_json::{Value, json};

use super::*;

fn change(id: &str, seq: i64, body: &str) -> Entry {
    let signature = Signature([0; 16]);
    let state = State::Live { body: body.to_owned(), permissions: "{}".to_owned() };
    let (seq, entered) = (Seq(seq), Seq(seq));
    Entry::Change(Record { id: id.into(), seq, chosen: None, signature, entered, state })
}

fn a_page(entries: Vec<Entry>) -> FeedPage {
    FeedPage {
        reset: false,
        entries,
        token: "to\"ken".to_owned(),
        more: true,
        continues: false,
        head: Seq(9),
        sum: Some(Checksum { live: 2, digest: 77 }),
        interest: Interest {
            whole: true,
            principals: Arc::default(),
            named: 0,
            buckets: Arc::default(),
        },
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_page_is_one_object() {
    let entries = vec![change("a", 7, r#"{"n":1e3}"#), Entry::Removal("b\"".into())];
    let expected = json!({
        "data": [{ "n": 1e3, "id": "a", "last_modified": 7 }, { "id": "b\"", "deleted": true }],
        "token": "to\"ken", "more": true, "reset": false, "digest": { "count": 2, "sum": 77 },
    });
    assert_eq!(parse(&page(a_page(entries))), expected);
    let nothing = FeedPage { reset: true, more: false, sum: None, ..a_page(Vec::new()) };
    let expected = json!({ "data": [], "token": "to\"ken", "more": false, "reset": true });
    assert_eq!(parse(&page(nothing)), expected);
}

#[test]
fn an_event_is_a_line_whatever_the_body_was_written_on() {
    let entry = change("a", 7, "{\"n\":[1,\r\n2],\n\"s\":\"x\\ny\"}");
    let mut text = "before\n".to_owned();
    Shape::Events.push_entry(&mut text, &entry);
    let event = text.strip_prefix("before\n").and_then(|text| text.strip_suffix("\n\n"));
    let lines: Vec<&str> =
        event.map(|event| event.split(['\n', '\r']).collect()).unwrap_or_default();
    assert_eq!(lines.len(), 2, "{text}");
    assert_eq!(lines[0], "event: change");
    let data = parse(lines[1].strip_prefix("data: ").unwrap_or_default());
    assert_eq!(data, json!({ "n": [1, 2], "s": "x\ny", "id": "a", "last_modified": 7 }));
    let mut line = String::new();
    Shape::Lines.push_entry(&mut line, &entry);
    assert_eq!(line.matches(['\n', '\r']).count(), 1, "{line}");
    assert_eq!(parse(&line), json!({ "kind": "change", "data": data }));
}

#[test]
fn ends_of_pages_carry_the_token() {
    let end =
        End { more: false, token: "t".to_owned(), sum: Some(Checksum { live: 1, digest: 5 }) };
    let mut text = String::new();
    Shape::Events.push_end(&mut text, &end);
    let data = r#"{"token":"t","digest":{"count":1,"sum":5}}"#;
    assert_eq!(text, format!("event: rest\nid: t\ndata: {data}\n\n"));
    let mut line = String::new();
    Shape::Lines.push_end(&mut line, &End { more: true, sum: None, ..end });
    assert_eq!(line, "{\"kind\":\"page\",\"token\":\"t\"}\n");
}

#[test]
fn the_other_events() {
    let mut text = String::new();
    for shape in [Shape::Events, Shape::Lines] {
        shape.push_reset(&mut text);
        shape.push_heartbeat(&mut text);
        shape.push_refusal(&mut text, "{\"code\":403}");
        shape.push_close(&mut text, 3_000);
    }
    let expected = "event: reset\ndata: {}\n\n:\n\n\
        event: refusal\ndata: {\"code\":403}\n\n\
        event: close\nretry: 3000\ndata: {\"retry_ms\":3000}\n\n\
        {\"kind\":\"reset\"}\n{\"kind\":\"heartbeat\"}\n\
        {\"kind\":\"refusal\",\"error\":{\"code\":403}}\n{\"kind\":\"close\",\"retry_ms\":3000}\n";
    assert_eq!(text, expected);
}
