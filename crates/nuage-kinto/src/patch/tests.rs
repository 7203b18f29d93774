#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const BEFORE: &str = r#"{"a":1.0,"o":{"y":[1,2],"x":1},"big":12345678901234567890123}"#;

fn permissions(text: &str) -> Permissions {
    Permissions::from_text(text).unwrap()
}

fn apply(kind: Kind, format: Format, before: &str, body: &str) -> Result<Patched, Error> {
    let limits = Limits::default();
    let rules = BodyRules {
        kind,
        purpose: Purpose::Change,
        path_id: Some("p"),
        alias: None,
        limits: &limits,
    };
    let data = Object::parse(before, 64).unwrap();
    let permissions = permissions(r#"{"read":["bob"],"write":["mat"]}"#);
    let current =
        Current { id: "p", timestamp: Timestamp(5), data: &data, permissions: &permissions };
    Patch::parse(format, body.as_bytes(), &rules)?.apply(&current, kind, &limits)
}

fn data(format: Format, body: &str) -> String {
    apply(Kind::Record, format, BEFORE, body).unwrap().data.to_text()
}

fn holders(format: Format, body: &str) -> String {
    apply(Kind::Record, format, BEFORE, body).unwrap().permissions.to_text()
}

fn message(kind: Kind, format: Format, body: &str) -> String {
    let error = apply(kind, format, BEFORE, body).unwrap_err();
    assert_eq!(error.status.as_u16(), 400);
    error.message.clone().unwrap().into_owned()
}

#[test]
fn members_replace_members() {
    assert_eq!(
        data(Format::Members, r#"{"data":{"o":{"z":null},"new":null,"id":"p"}}"#),
        r#"{"a":1.0,"o":{"z":null},"big":12345678901234567890123,"new":null}"#
    );
    assert_eq!(
        holders(Format::Members, r#"{"permissions":{"read":[],"write":null}}"#),
        r#"{"write":["mat"]}"#
    );
    for body in ["", "{}", r#"{"data":null}"#] {
        let wanted = "Provide at least one of data or permissions";
        assert_eq!(message(Kind::Record, Format::Members, body), wanted);
    }
    let patched =
        apply(Kind::Record, Format::Members, BEFORE, r#"{"data":{"last_modified":9,"a":2}}"#);
    let patched = patched.unwrap();
    assert_eq!(patched.last_modified, Some(Timestamp(9)));
    assert!(patched.sends("a") && !patched.sends("o"));
}

#[test]
fn merging_goes_deep() {
    let nested = r#"{"x":null,"n":{"d":null,"e":1e2}}"#;
    let body = format!("{{\"data\":{{\"a\":null,\"o\":{nested},\"new\":{{\"p\":null,\"q\":1}}}}}}");
    assert_eq!(
        data(Format::Merge, &body),
        r#"{"o":{"y":[1,2],"n":{"e":1e2}},"big":12345678901234567890123,"new":{"q":1}}"#
    );
    assert_eq!(
        data(Format::Merge, r#"{"data":{"a":{"b":1},"id":null}}"#),
        r#"{"a":{"b":1},"o":{"y":[1,2],"x":1},"big":12345678901234567890123}"#
    );
    assert_eq!(
        holders(Format::Merge, r#"{"permissions":{"read":null,"zap":null}}"#),
        r#"{"write":["mat"]}"#
    );
    let other = r#"{"data":{"id":"q"}}"#;
    let wanted = "Object id does not match existing object";
    assert_eq!(message(Kind::Record, Format::Merge, other), wanted);
}

#[test]
fn operations_on_data() {
    for (operations, wanted) in [
        (json!([]), BEFORE),
        (
            json!([{"op": "add", "path": "/data/b", "value": 1}]),
            r#"{"a":1.0,"o":{"y":[1,2],"x":1},"big":12345678901234567890123,"b":1}"#,
        ),
        (
            json!([
                {"op": "move", "from": "/data/o/y", "path": "/data/y"},
                {"op": "remove", "path": "/data/o"},
                {"op": "copy", "from": "/data/a", "path": "/data/c"},
                {"op": "test", "path": "/data/y/1", "value": 2},
            ]),
            r#"{"a":1.0,"big":12345678901234567890123,"c":1.0,"y":[1,2]}"#,
        ),
        (json!([{"op": "replace", "path": "/data", "value": {"new": 1}}]), r#"{"new":1}"#),
        (json!([{"op": "add", "path": "/other", "value": 1}]), BEFORE),
        (json!([{"op": "remove", "path": "/data/id"}]), BEFORE),
    ] {
        assert_eq!(data(Format::Operations, &operations.to_string()), wanted, "{operations}");
    }
    let operations = r#"[{"op":"replace","path":"/data/last_modified","value":9}]"#;
    let patched = apply(Kind::Record, Format::Operations, BEFORE, operations).unwrap();
    assert_eq!(patched.last_modified, Some(Timestamp(9)));
}

#[test]
fn operations_on_permissions() {
    for (operations, wanted) in [
        (json!([{"op": "add", "path": "/permissions/read/alice"}]), r#"["alice","bob"]"#),
        (
            json!([{"op": "add", "path": "/permissions/read/~1buckets~1b~1groups~1g", "value": 3}]),
            r#"["/buckets/b/groups/g","bob"]"#,
        ),
        (json!([{"op": "replace", "path": "/permissions/read", "value": ["x"]}]), r#"["x"]"#),
        (json!([{"op": "replace", "path": "/permissions/read", "value": {"k": 1}}]), r#"["k"]"#),
        (json!([{"op": "test", "path": "/permissions/read/bob"}]), r#"["bob"]"#),
    ] {
        let wanted = format!("{{\"read\":{wanted},\"write\":[\"mat\"]}}");
        assert_eq!(holders(Format::Operations, &operations.to_string()), wanted);
    }
    let remove = r#"[{"op":"remove","path":"/permissions/read/bob"}]"#;
    assert_eq!(holders(Format::Operations, remove), r#"{"write":["mat"]}"#);
}

#[test]
fn operations_that_fail() {
    for (operations, wanted) in [
        (json!({}), "\"{}\" is not iterable"),
        (json!(["x"]), "0 in body: \"x\" is not a mapping type"),
        (json!([{"op": "add"}]), "0.path in body: Required"),
        (json!([{"op": "remove", "path": ""}]), "0.path in body: Required"),
        (json!([{"op": "zap", "path": "/data"}]), "0.op in body: \"zap\" is not one of test, add"),
        (json!([{"op": "remove", "path": "x"}]), "0.path in body: String does not match"),
        (json!([{"op": "remove", "path": "/x", "zap": 1}]), "0 in body: Unrecognized keys"),
    ] {
        let message = message(Kind::Record, Format::Operations, &operations.to_string());
        assert!(message.starts_with(wanted), "{message}");
    }
    for operation in [
        json!({"op": "test", "path": "/data/a", "value": 3}),
        json!({"op": "remove", "path": "/data/none"}),
        json!({"op": "remove", "path": "/permissions/read/nobody"}),
        json!({"op": "add", "path": "/data/b"}),
        json!({"op": "add", "path": "/data/none/b", "value": 1}),
        json!({"op": "copy", "path": "/data/b"}),
        json!({"op": "add", "path": "/data/a~2", "value": 1}),
        json!({"op": "remove", "path": "/data"}),
        json!({"op": "remove", "path": "/permissions"}),
        json!({"op": "replace", "path": "/data", "value": 3}),
        json!({"op": "replace", "path": "/permissions", "value": 3}),
        json!({"op": "replace", "path": "/permissions/read", "value": 3}),
        json!({"op": "add", "path": "/permissions/zap", "value": ["x"]}),
        json!({"op": "add", "path": "/permissions/zap/alice"}),
    ] {
        let message = message(Kind::Record, Format::Operations, &json!([operation]).to_string());
        assert!(message.starts_with("body: JSON Patch operation failed: "), "{message}");
    }
    let other = r#"[{"op":"replace","path":"/data/id","value":"q"}]"#;
    let wanted = "Object id does not match existing object";
    assert_eq!(message(Kind::Record, Format::Operations, other), wanted);
}

#[test]
fn growth_is_bounded() {
    let double = |n| json!({"op": "copy", "from": "/data", "path": format!("/data/d{n}")});
    let doubles: Vec<Value> = (0..60).map(double).collect();
    message(Kind::Record, Format::Operations, &json!(doubles).to_string());
    let deep = |path: &str| json!({"op": "add", "path": path, "value": {"a": {}}});
    let deeper: Vec<Value> = (1..40).map(|n| deep(&format!("/data{}", "/a".repeat(n)))).collect();
    assert!(apply(Kind::Record, Format::Operations, "{}", &json!(deeper).to_string()).is_ok());
    let deeper: Vec<Value> = (1..99).map(|n| deep(&format!("/data{}", "/a".repeat(n)))).collect();
    message(Kind::Record, Format::Operations, &json!(deeper).to_string());
    let many = vec![json!({"op": "test", "path": "/data/a", "value": 1.0}); 1_001];
    message(Kind::Record, Format::Operations, &json!(many).to_string());
}

#[test]
fn the_result_is_judged() {
    for (kind, body, wanted) in [
        (Kind::Group, r#"{"members":null}"#, "members in body: \"null\" is not iterable"),
        (Kind::Group, r#"{"members":[1]}"#, "members.0 in body: 1 is not a string: {'': ''}"),
        (Kind::Account, r#"{"password":1}"#, "password in body: 1 is not a string: {'': ''}"),
    ] {
        let body = format!("{{\"data\":{body}}}");
        assert_eq!(message(kind, Format::Members, &body), wanted);
    }
    let body = r#"{"data":{"password":null}}"#;
    assert_eq!(message(Kind::Account, Format::Merge, body), "password in body: Required");
}

#[test]
fn answers_may_be_short() {
    let before = Object::parse(r#"{"a":1,"o":{"x":1}}"#, 64).unwrap();
    let shown = |format, body: &str, behavior| {
        let patched = apply(Kind::Record, format, &before.to_text(), body).unwrap();
        patched.shown(behavior, &before, &patched.data, Timestamp(7))
    };
    let (light, diff) = (ResponseBehavior::Light, ResponseBehavior::Diff);
    for (body, light_wanted, diff_wanted) in [
        (r#"{"data":{"a":2,"z":1}}"#, r#"{"a":2,"z":1}"#, "{}"),
        (r#"{"data":{"a":1.0}}"#, "{}", "{}"),
        (
            r#"{"data":{"a":2,"last_modified":5}}"#,
            r#"{"a":2,"last_modified":7}"#,
            r#"{"last_modified":7}"#,
        ),
        (r#"{"data":{"last_modified":7}}"#, r#"{"last_modified":7}"#, "{}"),
        (r#"{"data":{"id":"p"}}"#, "{}", "{}"),
        (r#"{"permissions":{"read":["x"]}}"#, "{}", "{}"),
    ] {
        assert_eq!(shown(Format::Members, body, light), light_wanted);
        assert_eq!(shown(Format::Members, body, diff), diff_wanted);
    }
    let body = r#"{"data":{"a":null,"o":{"y":2}}}"#;
    assert_eq!(shown(Format::Merge, body, light), r#"{"o":{"x":1,"y":2}}"#);
    let body = r#"[{"op":"add","path":"/data/b","value":1},{"op":"remove","path":"/data/a"}]"#;
    assert_eq!(shown(Format::Operations, body, light), r#"{"b":1,"last_modified":7}"#);
    assert_eq!(shown(Format::Operations, body, diff), r#"{"last_modified":7}"#);
    assert_eq!(ResponseBehavior::parse(Some(b"light")).unwrap(), light);
    let message = ResponseBehavior::parse(Some(b"x")).unwrap_err().message.clone().unwrap();
    assert_eq!(message, "Response-Behavior in header: \"x\" is not one of full, light, diff");
}

proptest! {
    #[test]
    fn merge_agrees_with_the_rfc(a in json_text(), b in json_text()) {
        let body = format!("{{\"data\":{{\"k\":{b}}}}}");
        let before = format!("{{\"k\":{a},\"z\":0}}");
        let patched = apply(Kind::Record, Format::Merge, &before, &body).unwrap();
        let mut wanted: Value = serde_json::from_str(&before).unwrap();
        json_patch::merge(&mut wanted, &serde_json::from_str::<Value>(&body).unwrap()["data"]);
        prop_assert_eq!(patched.data.to_value(), wanted);
    }

    #[test]
    fn never_panics(
        body in "[{}\\[\\]:,\"a-d0-9/~]{0,60}",
        path in "(/data|/permissions|/)[/a-d0-9~-]{0,6}",
    ) {
        for format in [Format::Members, Format::Merge, Format::Operations] {
            let _ = apply(Kind::Record, format, BEFORE, &body);
        }
        for op in ["test", "add", "remove", "replace", "move", "copy"] {
            let operation = json!([{"op": op, "path": path, "from": "/data/o", "value": {"a": 1}}]);
            let _ = apply(Kind::Record, Format::Operations, BEFORE, &operation.to_string());
        }
    }
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("null".to_owned()), (0..9_u8).prop_map(|n| n.to_string())];
    leaf.prop_recursive(4, 24, 4, |inner| {
        proptest::collection::btree_map("[a-c]", inner, 0..4).prop_map(|members| {
            let members: Vec<String> =
                members.iter().map(|(name, raw)| format!("\"{name}\":{raw}")).collect();
            format!("{{{}}}", members.join(","))
        })
    })
}
