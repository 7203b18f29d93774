#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn keeps_places_texts_and_nesting() {
    let body = r#"{"b":1.0,"o":{"y": [1],"x":{"p":1,"q":2}},"a.b":3,"a":{"b":4}}"#;
    for (fields, wanted) in [
        (&["o", "b"][..], r#"{"b":1.0,"o":{"y": [1],"x":{"p":1,"q":2}}}"#),
        (&["o.x.q", "o.y"], r#"{"o":{"y":[1],"x":{"q":2}}}"#),
        (&["o.x", "o"], r#"{"o":{"y": [1],"x":{"p":1,"q":2}}}"#),
        (&["a.b"], r#"{"a.b":3,"a":{"b":4}}"#),
        (&["o.none", "b.x", "none", ".", ""], r#"{"b":1.0,"o":{}}"#),
        (&["o.x.p.z", "a.none"], r#"{"o":{"x":{"p":1}},"a":{}}"#),
        (&["id", "last_modified"], "{}"),
    ] {
        let fields: Vec<String> = fields.iter().map(|f| (*f).to_owned()).collect();
        assert_eq!(project(body, &fields), wanted, "{fields:?}");
    }
}
