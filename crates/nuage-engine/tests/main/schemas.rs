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

#[tokio::test]
async fn a_reference_to_elsewhere_is_refused_and_fetches_nothing() {
    let house = with_schema(&json!({ "$ref": "http://127.0.0.1:1/schema.json" })).await;
    let mut session = house.session("alice").await;
    assert_eq!(try_put(&mut session, &json!({})).await.unwrap_err(), "schema");
}

#[tokio::test]
async fn a_schema_that_would_run_for_ever_is_given_up_and_not_tried_again() {
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
    let before = std::time::Instant::now();
    assert_eq!(try_put(&mut session, &json!({})).await.unwrap_err(), "schema");
    let limit = Limits::default().validation_ms;
    assert!(before.elapsed().as_millis() < u128::from(limit), "tried again");
}
