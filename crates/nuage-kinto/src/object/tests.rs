#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::json;

use super::*;

fn parse(text: &str) -> Object {
    Object::parse(text, 64).unwrap()
}

#[test]
fn keeps_order_and_digits() {
    let object =
        parse(" { \"b\" : 1.0e0 , \"a\":{ \"z\":1,\"y\":2 }, \"\\u00e9\" : \"\\u00e9\" } ");
    assert_eq!(object.to_text(), "{\"b\":1.0e0,\"a\":{ \"z\":1,\"y\":2 },\"\u{e9}\":\"\\u00e9\"}");
    assert_eq!(object.get("\u{e9}"), Some("\"\\u00e9\""));
    assert_eq!(object.keys().collect::<Vec<_>>(), ["b", "a", "\u{e9}"]);
}

#[test]
fn last_value_in_first_place() {
    assert_eq!(parse(r#"{"a":1,"b":2,"a":3,"\u0061":4}"#).to_text(), r#"{"a":4,"b":2}"#);
    let many: Vec<String> = (0..200).map(|n| format!("\"k{}\":{n}", n % 50)).collect();
    let object = parse(&format!("{{{}}}", many.join(",")));
    assert_eq!((object.keys().count(), object.get("k0")), (50, Some("150")));
}

#[test]
fn members_come_and_go() {
    let mut object = parse(r#"{"a":1,"b":2}"#);
    object.set("a", "[]");
    object.set("q\"", "null");
    assert_eq!(object.remove("b").as_deref(), Some("2"));
    assert_eq!(object.remove("b"), None);
    assert_eq!(object.to_text(), r#"{"a":[],"q\"":null}"#);
    object.merge(&parse(r#"{"c":1,"a":true}"#));
    assert_eq!(object.to_text(), r#"{"a":true,"q\"":null,"c":1}"#);
    assert_eq!(object.to_value(), json!({"a": true, "q\"": null, "c": 1}));
}

#[test]
fn refuses_what_is_no_object() {
    assert_eq!(Object::parse("[1]", 64).unwrap_err(), JsonError::NotObject);
    assert_eq!(Object::parse("null", 64).unwrap_err(), JsonError::NotObject);
    assert!(matches!(Object::parse("{", 64), Err(JsonError::Syntax { offset: 1, .. })));
    assert!(matches!(Object::parse(r#"{"a":[[]]}"#, 2), Err(JsonError::TooDeep { .. })));
}

#[test]
fn splices_without_parsing() {
    let text = |body, ending| {
        let mut out = String::new();
        splice(&mut out, body, "x", Timestamp(7), ending);
        out
    };
    assert_eq!(text("{\"a\":1}", Ending::Live), r#"{"a":1,"id":"x","last_modified":7}"#);
    assert_eq!(text("{ }", Ending::Live), r#"{"id":"x","last_modified":7}"#);
    let tombstone = r#"{"id":"x","last_modified":7,"deleted":true}"#;
    assert_eq!(text("{}", Ending::Tombstone), tombstone);
}

proptest! {
    #[test]
    fn says_the_same_as_the_other_reader(
        members in proptest::collection::vec(("[a-d\"\\\\\u{e9}]{0,2}", 0..9_i32), 0..40)
    ) {
        let members: Vec<String> =
            members.iter().map(|(k, v)| format!("{}:{v}", Value::from(k.as_str()))).collect();
        let text = format!("{{{}}}", members.join(" , "));
        let object = parse(&text);
        prop_assert_eq!(object.to_value(), serde_json::from_str::<Value>(&text).unwrap());
        let again = serde_json::from_str::<Value>(&object.to_text()).unwrap();
        prop_assert_eq!(again, object.to_value());
    }
}

// Texts with all that may be taken for the end of a value.
fn values() -> impl Strategy<Value = Value> {
    let text = || "[]\\[{}\",:\\\\ a\u{e9}\n]{0,6}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map(text(), inner, 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_was_checked_is_read_alike(value in values(), is_wide in any::<bool>()) {
        let text = match is_wide {
            true => serde_json::to_string_pretty(&value).unwrap(),
            false => value.to_string(),
        };
        let known = Object::of_checked(&text);
        prop_assert_eq!(known.is_some(), value.is_object());
        if let Some(known) = known {
            let parsed = parse(&text);
            prop_assert!(known.iter().eq(parsed.iter()));
            prop_assert_eq!(known.to_value(), value);
        } else {
            let items = items_of(&text).map(|items| items.into_iter().map(value_of).collect());
            prop_assert_eq!(items, value.as_array().cloned());
        }
    }

    // Only what was checked is read so; whatever else is given does no harm.
    #[test]
    fn what_was_not_checked_does_no_harm(text in "[\\[{}\\]\",:\\\\ 1a\u{e9}]{0,12}") {
        let _ = (Object::of_checked(&text), items_of(&text));
    }
}
