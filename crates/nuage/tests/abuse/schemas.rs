//! Schemas that are small to send and large to compile.

use nuage_testkit::backend::Backend;
use nuage_testkit::client::Call;
use serde_json::{Map, Value, json};

use super::slow_work::{assert_others_go_on, make_collection, send};
use super::{assert_peak, bounded_with};

const COLLECTION: &str = "/v1/buckets/m/collections/c";

/// A schema with so many properties, each with a pattern of its own.
fn patterns(count: usize, pattern: impl Fn(usize) -> String) -> Value {
    let each = |n| (format!("p{n}"), json!({ "pattern": pattern(n) }));
    json!({ "properties": (0..count).map(each).collect::<Map<_, _>>() })
}

fn large_schemas() -> Vec<Value> {
    let reference = |n: usize| json!({ "$ref": format!("#/$defs/d{n}") });
    let mut fan = Map::new();
    for n in 0..30 {
        let next = reference(n + 1);
        fan.insert(format!("d{n}"), json!({ "allOf": [next, next], "unevaluatedProperties": {} }));
    }
    fan.insert("d30".to_owned(), json!({ "type": "object" }));
    let many: Map<String, Value> = (0..3_000).map(|n| (n.to_string(), json!({}))).collect();
    vec![
        patterns(50, |n| format!(r"\p{{L}}{{200}}q{n}")),
        patterns(6_500, |n| format!(r"\w{{400}}{n}")),
        json!({ "patternProperties": { r"^\p{L}{300}$": {} } }),
        json!({ "propertyNames": { "pattern": "((a{100}){100}){100}" } }),
        json!({ "pattern": "(?=((a{100}){100}){100})b" }),
        json!({ "properties": { "n".repeat(20_000): { "properties": many } } }),
        json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$defs": fan,
            "$ref": "#/$defs/d0",
        }),
    ]
}

#[test]
fn a_small_schema_that_compiles_to_gigabytes_is_refused_when_it_is_set() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    make_collection(&server, "mallory:m", "m");
    let mut client = server.client();
    for schema in large_schemas() {
        let calls = [
            Call::put(COLLECTION, &json!({ "data": { "schema": schema } })),
            Call::patch("/v1/buckets/m", &json!({ "data": { "record:schema": schema } })),
        ];
        for call in calls {
            let answer = client.send(&call.login("mallory:m")).unwrap();
            assert_eq!(answer.status, 400, "{answer:?}");
            let message = answer.json()["message"].as_str().unwrap().to_owned();
            assert!(message.contains("cannot be used"), "{message}");
        }
    }
    let record = Call::put(format!("{COLLECTION}/records/r"), &json!({ "data": { "p0": "q" } }));
    assert_eq!(send(&mut client, "mallory:m", record), 201);
    assert_peak(&server, 300);
}

#[test]
fn a_schema_that_cannot_work_is_refused_when_it_is_set() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    make_collection(&server, "alice:a", "m");
    let mut client = server.client();
    for schema in [
        json!({ "$ref": "#/definitions/missing" }),
        json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "$schema": "https://example.com/no-schema" }),
    ] {
        for name in ["record:schema", "collection:schema", "group:schema"] {
            let call = Call::put("/v1/buckets/m", &json!({ "data": { name: schema } }));
            assert_eq!(send(&mut client, "alice:a", call), 400, "{name} {schema}");
        }
        let call = Call::put(COLLECTION, &json!({ "data": { "schema": schema } }));
        assert_eq!(send(&mut client, "alice:a", call), 400, "{schema}");
    }
}

#[test]
fn more_schemas_than_are_kept_all_go_on_working() {
    let kept = ["limits.schemas_compiled_bytes=2000000"];
    let server = bounded_with(Backend::Sqlite, &kept).start();
    make_collection(&server, "alice:a", "m");
    let mut client = server.client();
    let path = |n: usize| format!("/v1/buckets/m/collections/c{n}");
    for round in 0..2 {
        for n in 0..12 {
            if round == 0 {
                let schema = patterns(5, |pattern| format!("^[a-z]+{n}-{pattern}$"));
                let call = Call::put(path(n), &json!({ "data": { "schema": schema } }));
                assert_eq!(send(&mut client, "alice:a", call), 201);
            }
            for (value, expected) in [(format!("ab{n}-0"), [201, 200]), (n.to_string(), [400; 2])] {
                let record = format!("{}/records/r", path(n));
                let call = Call::put(record, &json!({ "data": { "p0": value } }));
                assert_eq!(send(&mut client, "alice:a", call), expected[round], "{value}");
            }
        }
    }
    assert_peak(&server, 300);
}

#[test]
fn a_text_that_a_pattern_would_take_long_for_is_refused() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    make_collection(&server, "alice:a", "m");
    let mut client = server.client();
    let schema = json!({ "properties": {
        "trial": { "pattern": "^((?!foo).)*$" },
        "long": { "pattern": "^.{1,200}$" },
        "plain": { "pattern": "^[a-z]+$" },
    } });
    let call = Call::put(COLLECTION, &json!({ "data": { "schema": schema } }));
    assert_eq!(send(&mut client, "alice:a", call), 200);
    for (name, length, expected) in [
        ("trial", 1_000, 201),
        ("trial", 10_000, 400),
        ("long", 200, 200),
        ("long", 100_000, 400),
        ("plain", 1_000_000, 200),
    ] {
        let call = json!({ "data": { name: "a".repeat(length) } });
        let call = Call::put(format!("{COLLECTION}/records/r"), &call);
        assert_eq!(send(&mut client, "alice:a", call), expected, "{name} {length}");
    }
}

mod in_time {
    use super::*;

    #[test]
    fn others_go_on_while_somebody_has_schemas_compiled() {
        let server = bounded_with(Backend::Sqlite, &[]).start();
        make_collection(&server, "mallory:m", "m");
        assert_others_go_on(&server, 4, |client, round| {
            let schema = patterns(60, |n| format!(r"[ab]*a[ab]{{12}}{n}-{round}"));
            let call = Call::put(COLLECTION, &json!({ "data": { "schema": schema } }));
            let status = send(client, "mallory:m", call);
            assert!(matches!(status, 200 | 400 | 503), "{status}");
        });
    }

    #[test]
    fn others_go_on_while_somebody_has_records_validated() {
        let server = bounded_with(Backend::Sqlite, &["limits.validation_ms=100"]).start();
        make_collection(&server, "mallory:m", "m");
        let mut definitions = Map::new();
        for n in 0..40 {
            let next = json!({ "$ref": format!("#/definitions/d{}", n + 1) });
            definitions.insert(format!("d{n}"), json!({ "allOf": [next, next] }));
        }
        definitions.insert("d40".to_owned(), json!({ "type": "object" }));
        let schema = json!({ "definitions": definitions, "$ref": "#/definitions/d0" });
        let call = Call::put(COLLECTION, &json!({ "data": { "schema": schema } }));
        assert_eq!(send(&mut server.client(), "mallory:m", call), 200);
        assert_others_go_on(&server, 4, |client, round| {
            let record = format!("{COLLECTION}/records/r{round}");
            let status = send(client, "mallory:m", Call::put(record, &json!({ "data": {} })));
            assert!(matches!(status, 400 | 503), "{status}");
        });
    }
}
