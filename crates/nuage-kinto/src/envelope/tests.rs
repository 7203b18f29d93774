#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn read(kind: Kind, purpose: Purpose, body: &str) -> Result<Envelope, Error> {
    let limits = Limits::default();
    let path_id = (purpose != Purpose::Create).then_some("x");
    let rules = BodyRules { kind, purpose, path_id, alias: Some("default"), limits: &limits };
    Envelope::parse(body.as_bytes(), &rules)
}

fn message(kind: Kind, purpose: Purpose, body: &str) -> String {
    read(kind, purpose, body).unwrap_err().message.clone().unwrap().into_owned()
}

#[test]
fn data_and_permissions() {
    let permissions = r#"{"read":["a","b","a"],"write":null}"#;
    let data = r#"{"b":1,"id":"r","last_modified":5,"a":2}"#;
    let body = format!("{{\"permissions\":{permissions},\"data\":{data}}}");
    let envelope = read(Kind::Record, Purpose::Create, &body).unwrap();
    assert_eq!(envelope.data.unwrap().to_text(), r#"{"b":1,"a":2}"#);
    assert_eq!(envelope.id.as_deref(), Some("r"));
    assert_eq!(envelope.last_modified, Some(Timestamp(5)));
    let permissions = envelope.permissions.unwrap();
    assert_eq!(permissions["read"].as_ref().unwrap().len(), 2);
    assert_eq!(permissions["write"], None);
}

#[test]
fn nothing_is_an_empty_object() {
    for body in ["", "{}", r#"{"data":null}"#, r#"{"permissions":null}"#] {
        let envelope = read(Kind::Record, Purpose::Replace, body).unwrap();
        assert!(envelope.data.is_none() && envelope.permissions.is_none(), "{body}");
        let envelope = read(Kind::Group, Purpose::Create, body).unwrap();
        assert_eq!(envelope.data.unwrap().to_text(), r#"{"members":[]}"#, "{body}");
    }
}

#[test]
fn refusals() {
    for (body, wanted) in [
        ("{", "Invalid JSON: Parse error at offset 1: Missing a name for object member."),
        ("1", "Should be a JSON object or an array"),
        ("null", "Should be a JSON object or an array"),
        ("[]", "\"[]\" is not a mapping type: Does not implement dict-like functionality."),
        (
            r#"{"data":"x"}"#,
            "data in body: \"x\" is not a mapping type: Does not implement dict-like \
             functionality.",
        ),
        (r#"{"foo":1,"data":"x"}"#, "Unrecognized keys in mapping: \"{\"foo\":1}\""),
        (
            r#"{"permissions":[]}"#,
            "permissions in body: \"[]\" is not a mapping type: Does not implement dict-like \
             functionality.",
        ),
        (
            r#"{"permissions":{"foo":["x"]}}"#,
            "permissions in body: \"foo\" is not one of delete, read, write",
        ),
        (r#"{"permissions":{"read":"x"}}"#, "permissions.read in body: \"x\" is not iterable"),
        (
            r#"{"permissions":{"read":["a",1]}}"#,
            "permissions.read.1 in body: 1 is not a string: {'': ''}",
        ),
        (r#"{"data":{"id":1}}"#, "path: Invalid object id"),
        (r#"{"data":{"id":"a b"}}"#, "path: Invalid object id"),
        (r#"{"data":{"id":null}}"#, "path: Invalid object id"),
    ] {
        assert_eq!(message(Kind::Record, Purpose::Create, body), wanted, "{body}");
    }
    let error = Envelope::parse(
        b"{\"data\":{\"a\":\"\xff\"}}",
        &BodyRules {
            kind: Kind::Record,
            purpose: Purpose::Create,
            path_id: None,
            alias: None,
            limits: &Limits::default(),
        },
    );
    assert!(error.unwrap_err().message.as_deref().unwrap().starts_with("Invalid JSON: "));
}

#[test]
fn nesting_is_counted_from_the_data() {
    let nested = |n: usize| format!("{{\"data\":{}1{}}}", "{\"a\":".repeat(n), "}".repeat(n));
    assert!(read(Kind::Record, Purpose::Create, &nested(64)).is_ok());
    assert!(read(Kind::Record, Purpose::Create, &nested(65)).is_err());
}

#[test]
fn identifier_of_the_path() {
    let other = "Object id does not match existing object";
    for (body, fine) in [
        (r#"{"data":{"id":"x"}}"#, true),
        (r#"{"data":{"id":"default"}}"#, true),
        (r#"{"data":{"id":"y"}}"#, false),
        (r#"{"data":{"id":1}}"#, false),
        (r#"{"data":{"id":null}}"#, false),
    ] {
        match read(Kind::Bucket, Purpose::Replace, body) {
            Ok(envelope) => assert!(fine && envelope.id.as_deref() == Some("x"), "{body}"),
            Err(error) => assert!(!fine && error.message.as_deref() == Some(other), "{body}"),
        }
    }
}

#[test]
fn fields_with_a_meaning() {
    let data =
        |kind, body: &str| read(kind, Purpose::Replace, body).unwrap().data.unwrap().to_text();
    assert_eq!(data(Kind::Group, r#"{"data":{}}"#), r#"{"members":[]}"#);
    let members = r#"{"members":["system.Authenticated","a","a"]}"#;
    assert_eq!(data(Kind::Group, &format!("{{\"data\":{members}}}")), members);
    for (given, kept) in [("1.5", "1"), ("\"12\"", "12"), ("true", "1"), ("-1", "-1")] {
        let body = format!("{{\"data\":{{\"cache_expires\":{given}}}}}");
        assert_eq!(data(Kind::Collection, &body), format!("{{\"cache_expires\":{kept}}}"));
    }
    assert_eq!(data(Kind::Collection, r#"{"data":{"cache_expires":null}}"#), "{}");
    for (kind, body, wanted) in [
        (Kind::Group, r#"{"members":"x"}"#, "data.members in body: \"x\" is not iterable"),
        (Kind::Group, r#"{"members":[1]}"#, "data.members.0 in body: 1 is not a string: {'': ''}"),
        (
            Kind::Group,
            r#"{"members":["a","/buckets/x"]}"#,
            "data.members.1 in body: '/buckets/x' is not a valid user ID.",
        ),
        (
            Kind::Group,
            r#"{"members":["/buckets/b/groups/g","/buckets/b/groups/g/x"]}"#,
            "data.members.1 in body: '/buckets/b/groups/g/x' is not a valid user ID.",
        ),
        (
            Kind::Group,
            r#"{"members":["system.Everyone"]}"#,
            "data.members.0 in body: 'system.Everyone' is not a valid user ID.",
        ),
        (
            Kind::Collection,
            r#"{"cache_expires":"x"}"#,
            "data.cache_expires in body: \"x\" is not a number",
        ),
        (
            Kind::Collection,
            r#"{"schema":null}"#,
            "data.schema in body: \"null\" is not a mapping type: Does not implement dict-like \
             functionality.",
        ),
        (
            Kind::Bucket,
            r#"{"record:schema":1}"#,
            "data.record:schema in body: \"1\" is not a mapping type: Does not implement \
             dict-like functionality.",
        ),
        (Kind::Account, r"{}", "data.password in body: Required"),
        (Kind::Account, r#"{"password":null}"#, "data.password in body: Required"),
        (Kind::Account, r#"{"password":""}"#, "data.password in body: Required"),
        (Kind::Account, r#"{"password":1}"#, "data.password in body: 1 is not a string: {'': ''}"),
    ] {
        let body = format!("{{\"data\":{body}}}");
        assert_eq!(message(kind, Purpose::Replace, &body), wanted, "{body}");
    }
    assert_eq!(message(Kind::Account, Purpose::Replace, "{}"), "data in body: Required");
    let nameless = r#"{"data":{"password":"x"}}"#;
    assert_eq!(message(Kind::Account, Purpose::Create, nameless), "data.id in body: Required");
    assert!(read(Kind::Group, Purpose::Change, r#"{"data":{"members":3}}"#).is_ok());
}

#[test]
fn permissions_by_kind_and_number() {
    let creators = r#"{"permissions":{"record:create":["a"]}}"#;
    assert!(read(Kind::Collection, Purpose::Replace, creators).is_ok());
    assert!(read(Kind::Bucket, Purpose::Replace, creators).is_err());
    let many = |n| {
        let principals: Vec<String> = (0..n).map(|i| format!("\"p{i}\"")).collect();
        format!("{{\"permissions\":{{\"read\":[{}]}}}}", principals.join(","))
    };
    assert!(read(Kind::Record, Purpose::Replace, &many(1_000)).is_ok());
    assert!(read(Kind::Record, Purpose::Replace, &many(1_001)).is_err());
}

proptest! {
    #[test]
    fn never_panics(body in "[{}\\[\\]:,\"a-d0-9 \\\\]{0,40}|\\PC{0,40}") {
        for kind in [Kind::Bucket, Kind::Collection, Kind::Group, Kind::Account, Kind::Record] {
            let _ = read(kind, Purpose::Create, &body);
            let _ = read(kind, Purpose::Change, &format!("{{\"data\":{body}}}"));
            let _ = read(kind, Purpose::Replace, &format!("{{\"permissions\":{body}}}"));
        }
    }
}
