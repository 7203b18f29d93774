//! Schemas of collections: what they refuse, what they stamp, and that none runs for ever.

use nuage_engine::{EngineError, Intent, Session, Settings, Validation};
use nuage_model::Limits;
use serde_json::{Value, json};

use crate::houses::{House, change, collection, put, records};

fn validating() -> Settings {
    Settings { validation: Validation::On, ..Settings::default() }
}

async fn try_put(session: &mut Session, body: &Value) -> Result<String, String> {
    let opened = session.open(records().record("r"), Intent::Put).await.unwrap();
    match session.put(&opened, change(&body.to_string())).await {
        Ok((record, _)) => Ok(record.body().to_owned()),
        Err(EngineError::Invalid(invalid)) => Err(invalid.field),
        Err(other) => panic!("{other}"),
    }
}

async fn with_schema(schema: &Value) -> House {
    let house = House::with_collection(validating()).await;
    let mut session = house.session("alice").await;
    put(&mut session, &collection(), &json!({ "schema": schema }).to_string()).await;
    session.commit().await.unwrap();
    house
}

#[tokio::test]
async fn records_are_judged_and_stamped_with_the_time_of_the_schema() {
    let house = with_schema(&json!({
        "type": "object",
        "required": ["title", "id"],
        "properties": { "title": { "type": "string" } },
        "additionalProperties": false,
    }))
    .await;
    let time = house.engine.peek(&collection()).await.unwrap().unwrap().timestamp();
    let mut session = house.session("alice").await;
    assert_eq!(try_put(&mut session, &json!({ "title": 3 })).await.unwrap_err(), "title");
    assert_eq!(try_put(&mut session, &json!({})).await.unwrap_err(), "title");
    let body = try_put(&mut session, &json!({ "title": "a", "schema": 7 })).await.unwrap();
    assert_eq!(body, format!(r#"{{"title":"a","schema":{time}}}"#));
    session.commit().await.unwrap();
    assert_eq!(house.body(&records().record("r")).await.unwrap(), body);
}

#[tokio::test]
async fn a_schema_of_the_same_batch_stamps_with_the_time_it_is_given() {
    let house = House::with_collection(validating()).await;
    let mut session = house.session("alice").await;
    let schema = json!({ "schema": { "type": "object" } }).to_string();
    put(&mut session, &collection(), &schema).await;
    put(&mut session, &records().record("r"), r#"{"nested":{"n":{}}}"#).await;
    session.commit().await.unwrap();
    let time = house.engine.peek(&collection()).await.unwrap().unwrap().timestamp();
    let body = house.body(&records().record("r")).await.unwrap();
    assert_eq!(body, format!(r#"{{"nested":{{"n":{{}}}},"schema":{time}}}"#));
}

#[tokio::test]
async fn what_is_no_schema_is_not_stored() {
    let house = House::with_collection(validating()).await;
    let mut session = house.session("alice").await;
    let mut deep = json!({});
    for _ in 0..Limits::default().schema_depth {
        deep = json!({ "not": deep });
    }
    for schema in [json!({ "type": "nothing" }), json!({ "required": 3 }), json!(3), deep] {
        let opened = session.open(collection(), Intent::Put).await.unwrap();
        let body = json!({ "schema": schema }).to_string();
        let refused = session.put(&opened, change(&body)).await;
        assert!(matches!(refused, Err(EngineError::Invalid(_))), "{body}");
    }
}

/// Stores a schema, and says what is wrong with it.
async fn refused(schema: &Value) -> Option<String> {
    let house = House::with_collection(validating()).await;
    let mut session = house.session("alice").await;
    let opened = session.open(collection(), Intent::Put).await.unwrap();
    match session.put(&opened, change(&json!({ "schema": schema }).to_string())).await {
        Ok(_) => None,
        Err(EngineError::Invalid(invalid)) => {
            assert_eq!(invalid.field, "data.schema");
            Some(invalid.description)
        }
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_set() {
    for schema in [
        json!({ "$ref": "http://127.0.0.1:1/schema.json" }),
        json!({ "$ref": "file:///etc/passwd" }),
        json!({ "$ref": "#/definitions/missing" }),
        json!({ "$schema": "https://example.com/my-schema" }),
        json!({ "pattern": "(" }),
        json!({ "pattern": r"\p{L}{200}" }),
        json!({ "patternProperties": { r"\p{L}{200}": {} } }),
        json!({ "properties": { "a": { "$ref": "#/properties/b/enum/0" }, "b": { "enum": [{}] } } }),
    ] {
        let sentence = refused(&schema).await.expect("it is refused");
        assert!(!sentence.is_empty() && sentence.len() < 700, "{schema}: {sentence}");
    }
    for schema in [
        json!({ "pattern": "^(?=.*[0-9]).{8,100}$" }),
        json!({ "patternProperties": { "^x-": { "type": "string" } } }),
        json!({ "definitions": { "d": { "type": "object" } }, "$ref": "#/definitions/d" }),
        json!({ "$schema": "http://json-schema.org/draft-07/schema#", "type": "object" }),
    ] {
        assert_eq!(refused(&schema).await, None, "{schema}");
    }
}

#[tokio::test]
async fn a_schema_that_would_run_for_ever_costs_only_those_who_use_it() {
    let mut definitions = serde_json::Map::new();
    for n in 0..40 {
        let next = json!({ "$ref": format!("#/definitions/d{}", n + 1) });
        definitions.insert(format!("d{n}"), json!({ "allOf": [next, next] }));
    }
    definitions.insert("d40".to_owned(), json!({ "type": "object" }));
    let schema = json!({ "definitions": definitions, "$ref": "#/definitions/d0" });
    let house = with_schema(&schema).await;
    let mut session = house.session("alice").await;
    assert_eq!(try_put(&mut session, &json!({})).await.unwrap_err(), "schema");
    // What it refuses at once it refuses with its own words.
    assert_eq!(try_put(&mut session, &json!(3)).await.unwrap_err(), "type");
}

#[tokio::test]
async fn a_schema_that_would_compile_for_ever_is_refused() {
    let mut definitions = serde_json::Map::new();
    for n in 0..25 {
        let next = json!({ "$ref": format!("#/$defs/d{}", n + 1) });
        let both = json!({ "allOf": [next, next], "unevaluatedProperties": false });
        definitions.insert(format!("d{n}"), both);
    }
    definitions.insert("d25".to_owned(), json!({ "type": "object" }));
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": definitions,
        "$ref": "#/$defs/d0",
    });
    let sentence = refused(&schema).await.expect("it is refused");
    assert!(sentence.contains("cannot be used"), "{sentence}");
}

#[tokio::test]
async fn a_schema_at_rest_that_does_not_compile_refuses_records_at_once() {
    let house = House::with_collection(Settings::default()).await;
    let mut session = house.session("alice").await;
    let schema = json!({ "schema": { "properties": { "a": { "$ref": "#/missing" } } } });
    put(&mut session, &collection(), &schema.to_string()).await;
    session.commit().await.unwrap();
    let house = house.with_settings(validating());
    for _ in 0..3 {
        let mut session = house.session("alice").await;
        assert_eq!(try_put(&mut session, &json!({})).await.unwrap_err(), "schema");
    }
}
