//! Strategies for what a client should not send: names and values mostly of a known kind, so that
//! they reach what lies behind the first check.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use serde_json::{Value, json};

// One parameter of a query string, mostly of a known name, mostly well encoded.
pub(super) fn parameter() -> impl Strategy<Value = String> {
    let names = vec![
        "_since",
        "_before",
        "_to",
        "_sort",
        "_limit",
        "_token",
        "_fields",
        "last_modified",
        "id",
        "deleted",
        "gt_last_modified",
        "in_last_modified",
        "exclude_id",
        "in_id",
        "like_id",
        "min_a",
        "max_a.b",
        "lt_a",
        "gt_n.x.y",
        "has_a",
        "not_a",
        "contains_l",
        "contains_any_l",
        "like_a",
        "in_a",
        "exclude_a",
        "eq_a",
        "_expected",
        "_",
        "",
        "a",
        "in_",
        "like_",
        ".",
        "a..b",
        "gt_id",
        "has_id",
        "contains_id",
        "%00",
        "%ff",
    ];
    let tokens = vec![
        json!({"last_object": {}, "offset": 1, "nonce": "x"}).to_string(),
        json!({"last_object": {"last_modified": "x"}, "offset": -1, "nonce": 5}).to_string(),
        json!({"last_object": {"last_modified": 1e300, "a": [[]]}, "offset": 1, "nonce": ""})
            .to_string(),
        "[]".to_owned(),
        "".to_owned(),
    ];
    let value = prop_oneof![
        4 => json_text(),
        2 => select(vec![
            "0", "-1", "1e999", "99999999999999999999999999", "\"1\"", "null", "true", "*", "%", "_", "a,b",
            ",", ",,,", "-a,b,-c", "+-a", "\"\\ud800\"", "\"\\u0000\"", "[1,", "NaN", "9223372036854775807",
            "-9223372036854775808", "18446744073709551616", "1.5", "[[[[[[[[]]]]]]]]",
        ])
        .prop_map(str::to_owned),
        1 => "\\PC{0,30}",
        1 => (1..5_000_usize).prop_map(|n| "[".repeat(n)),
        1 => (1..3_000_usize).prop_map(|n| "a,".repeat(n)),
        1 => (1..200_usize).prop_map(|n| format!("{}b", "*a".repeat(n))),
        1 => select(tokens).prop_map(|token| {
            use base64::Engine as _;
            base64::engine::general_purpose::STANDARD.encode(token)
        }),
    ];
    let encoded = value.prop_map(|value| {
        percent_encoding::utf8_percent_encode(&value, percent_encoding::NON_ALPHANUMERIC)
            .to_string()
    });
    let value = prop_oneof![9 => encoded, 1 => "[!-~]{0,20}"];
    let name = prop_oneof![12 => select(names).prop_map(str::to_owned), 1 => "[!-~]{0,12}"];
    (name, value, 0..20_u8).prop_map(|(name, value, kind)| match kind {
        0 => name,
        1 => format!("{name}={value}={value}"),
        _ => format!("{name}={value}"),
    })
}

pub(super) fn path() -> impl Strategy<Value = String> {
    let known = vec![
        "v1",
        "v2",
        "v0",
        "buckets",
        "default",
        "hostile",
        "collections",
        "c",
        "records",
        "r1",
        "groups",
        "history",
        "snapshot",
        "accounts",
        "permissions",
        "batch",
        "__flush__",
        "__api__",
        "__heartbeat__",
        "__user_data__",
        "contribute.json",
        "",
        ".",
        "..",
        "%2e%2e",
        "%2F",
        "%00",
        "%ff",
        "%",
        "%zz",
        "%0d%0aX:y",
        "c@1",
        "c@",
        "@",
        "%F0%9F%92%A9",
        "-",
        "_",
        "a%20b",
        "schema",
    ];
    let segment = prop_oneof![
        12 => select(known).prop_map(str::to_owned),
        1 => "[!-~]{0,12}",
        1 => (500..20_000_usize).prop_map(|n| "a".repeat(n)),
    ];
    (any::<bool>(), vec(segment, 0..8)).prop_map(|(prefixed, segments)| {
        format!("{}/{}", if prefixed { "/v1" } else { "" }, segments.join("/"))
    })
}

pub(super) fn content_type() -> impl Strategy<Value = &'static str> {
    let patches = vec!["application/merge-patch+json", "application/json-patch+json"];
    prop_oneof![
        20 => Just("application/json"),
        2 => select(patches),
        1 => select(vec!["application/json; charset=utf-8", "text/plain", ""]),
    ]
}

pub(super) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        select(vec!["", "a", "system.Everyone", "/buckets/hostile/groups/g", "\u{0}", "object"])
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        select(vec![
            "id",
            "last_modified",
            "data",
            "permissions",
            "members",
            "schema",
            "deleted",
            "read",
            "write",
            "password",
            "cache_expires",
            "type",
            "a",
            "l",
            "record:schema",
            "collection:create",
            "a.b",
            "",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..5).prop_map(Value::from),
            vec((key.clone(), inner), 0..5).prop_map(|fields| fields.into_iter().collect()),
        ]
    })
}

// JSON, and what is nearly so.
pub(super) fn json_text() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => value().prop_map(|value| value.to_string()),
        1 => select(vec![
            "1e999", "-1e-999", "123456789012345678901234567890", "0.1e1000000", "\"\\ud800\"",
            "\"\\udc00\\ud800\"", "\"\\u0000\"", "{\"a\":1,\"a\":2}", "{\"id\":1,\"id\":\"x\"}", "-0", "01",
            "{\"last_modified\":-9223372036854775808}", "{\"last_modified\":9223372036854775807}",
            "{\"last_modified\":9007199254740991}", "{\"last_modified\":1e300}", "{\"last_modified\":-1}",
            "nul", "[1,]", "{\"a\"}", "\u{feff}{}", "{\"members\":[1]}", "{\"members\":null}",
            "{\"schema\":[]}", "\"\\x\"", "{\"deleted\":true}", "{\"__proto__\":{}}",
        ])
        .prop_map(str::to_owned),
        1 => (1..3_000_usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        1 => (1..3_000_usize).prop_map(|n| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n))),
        1 => (value(), any::<proptest::sample::Index>()).prop_map(|(value, at)| {
            let text = value.to_string();
            let at = at.index(text.len() + 1);
            text.chars().take(at).collect()
        }),
    ]
}
