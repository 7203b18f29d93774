//! Somebody sends what nobody foresaw: a 500, a hang, a dead process or memory without end.
//!
//! Random requests through HTTP. A failure shows the smallest one that still fails.

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nuage_testkit::client::{Call, Client};
use nuage_testkit::server::Server;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::programs::{number, program, write_settings};

const CASES: u64 = 400;
/// Longest time for an answer: the server's own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(15);
/// Memory that a test may cost, beyond that of a server that was used a little.
const GROWTH_KIB_MAX: u64 = 96 * 1024;
const USER: &str = "hostile:1";
const BUCKET: &str = "/v1/buckets/hostile";
const LIST: &str = "/v1/buckets/hostile/collections/c/records";
const SETTINGS: &str = "\
kinto.includes = kinto.plugins.default_bucket kinto.plugins.history kinto.plugins.accounts
kinto.experimental_collection_schema_validation = true
kinto.experimental_permissions_endpoint = true
kinto.account_create_principals = system.Everyone
kinto.userid_hmac_secret = hostile
kinto.default_bucket_hmac_secret = hostile
multiauth.policies = account basicauth
multiauth.policy.account.use = kinto.plugins.accounts.authentication.AccountsAuthenticationPolicy
";

#[test]
fn query_strings() {
    let lists = vec![
        LIST,
        "/v1/buckets",
        "/v1/accounts",
        "/v1/permissions",
        "/v1/buckets/hostile/history",
        "/v1/buckets/hostile/groups",
        "/v1/buckets/hostile/collections/c/records/r1",
        "/v1/buckets/hostile/snapshot/collections/c@1",
    ];
    let parts = (select(lists), select(vec!["GET", "HEAD", "DELETE"]), vec(parameter(), 0..5));
    attack(parts.prop_map(|(list, method, query)| {
        let method = if list == LIST { method } else { "GET" };
        Call::new(method, format!("{list}?{}", query.join("&"))).login(USER)
    }));
}

#[test]
fn bodies() {
    let targets = vec![
        ("PUT", "/v1/buckets/hostile/collections/c/records/r2"),
        ("PATCH", "/v1/buckets/hostile/collections/c/records/r1"),
        ("POST", LIST),
        ("PUT", "/v1/buckets/hostile/groups/g"),
        ("PATCH", "/v1/buckets/hostile/groups/g"),
        ("PUT", "/v1/buckets/other"),
        ("POST", "/v1/buckets"),
        ("PUT", "/v1/accounts/hostile"),
        ("POST", "/v1/accounts"),
        ("POST", "/v1/batch"),
    ];
    let body = prop_oneof![
        4 => json_text(),
        3 => json_text().prop_map(|text| format!("{{\"data\":{text}}}")),
        2 => (json_text(), json_text())
            .prop_map(|(data, permissions)| format!("{{\"data\":{data},\"permissions\":{permissions}}}")),
        1 => (1_usize..100_000).prop_map(|depth| format!("{{\"data\":{}", "[".repeat(depth))),
        1 => (1_usize..30_000)
            .prop_map(|n| format!("{{\"data\":{{{}\"a\":1}}}}", "\"a\":{},".repeat(n))),
    ];
    let body = prop_oneof![8 => body.prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..200)];
    attack((select(targets), body, content_type()).prop_map(|((method, path), body, content)| {
        let mut call = Call::new(method, path).login(USER).header("Content-Type", content);
        call.body = Some(body);
        call
    }));
}

#[test]
fn patches() {
    let merge = json_text().prop_map(|text| format!("{{\"data\":{text},\"permissions\":{{}}}}"));
    let pointer = prop_oneof![
        select(vec![
            "/data",
            "/data/a",
            "/data/l/0",
            "/data/l/-",
            "/data/l/99999999999999999999",
            "",
            "/",
            "/permissions",
            "/permissions/read",
            "/permissions/write/x",
            "/data/~2",
            "/data/~01",
            "/data/id",
            "/data/last_modified",
            "/other",
            "data",
            "/data/a/b/c",
            "/data/l/01",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
    ];
    let names = vec!["add", "remove", "replace", "move", "copy", "test", "hack"];
    let operation = (select(names), pointer.clone(), pointer, value(), 0..4_u8).prop_map(
        |(name, path, from, value, kind)| match kind {
            0 => json!({"op": name, "path": path, "value": value}),
            1 => json!({"op": name, "path": path, "from": from}),
            2 => json!({"op": name, "path": path}),
            _ => json!({"op": name, "path": path, "from": from, "value": value}),
        },
    );
    let operations = vec(operation, 0..6).prop_map(|all| Value::from(all).to_string());
    let content = select(vec!["application/merge-patch+json", "application/json-patch+json"]);
    let behavior = select(vec!["full", "light", "diff", "none"]);
    let body = prop_oneof![operations, merge];
    attack((body, content, behavior).prop_map(|(body, content, behavior)| {
        let mut call = Call::new("PATCH", format!("{LIST}/r1")).login(USER);
        call = call.header("Content-Type", content).header("Response-Behavior", behavior);
        call.body = Some(body.into_bytes());
        call
    }));
}

#[test]
fn growing_patches() {
    // Each copy doubles the document.
    let doubling: Vec<_> =
        (0..60).map(|_| json!({"op": "copy", "from": "/data", "path": "/data/a"})).collect();
    let mut call = Call::new("PATCH", format!("{LIST}/r1")).login(USER);
    call = call.header("Content-Type", "application/json-patch+json");
    call.body = Some(Value::from(doubling).to_string().into_bytes());
    attack(Just(call).prop_map(|call| call));
}

#[test]
fn batches() {
    let request = (
        select(vec![
            "GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "TRACE", "get", "", "OPTIONS",
        ]),
        prop_oneof![
            path(),
            select(vec![LIST, BUCKET, "/batch", "/", "/v1/batch/"]).prop_map(str::to_owned)
        ],
        value(),
        value(),
        0..3_u8,
    )
        .prop_map(|(method, path, headers, body, kind)| match kind {
            0 => json!({"method": method, "path": path, "body": {"data": body}}),
            1 => json!({"method": method, "path": path, "headers": headers, "body": body}),
            _ => json!({"path": path, "headers": {"If-Match": "*", "X": headers.to_string()}}),
        })
        .boxed();
    let batch = (vec(request.clone(), 0..30), prop_oneof![Just(Value::Null), request, value()])
        .prop_map(|(requests, defaults)| match defaults {
            Value::Null => json!({"requests": requests}),
            defaults => json!({"requests": requests, "defaults": defaults}),
        });
    let batch = prop_oneof![6 => batch, 1 => value()];
    attack(batch.prop_map(|batch| Call::post("/v1/batch", &batch).login(USER)));
}

#[test]
fn schemas() {
    let patterns =
        vec!["^(a+)+$", "(", "[", "(?=x)", "(a|a)*b", "\\p{L}{1000}", "x{99999}", "\\1(a)"];
    let schema = prop_oneof![
        value(),
        select(patterns).prop_map(|pattern| json!({"properties": {"a": {"pattern": pattern}}})),
        select(vec!["#", "#/definitions/x", "http://127.0.0.1:1/x", "file:///etc/passwd", "x:y"])
            .prop_map(|target| json!({"$ref": target, "definitions": {"x": {"$ref": "#"}}})),
        (1..200_usize).prop_map(|depth| {
            (0..depth).fold(json!({}), |inner, _| json!({"items": inner, "type": "array"}))
        }),
        (0..12_usize).prop_map(|depth| {
            (0..depth).fold(json!({"type": "string"}), |i, _| json!({"anyOf": [i, i], "not": i}))
        }),
        vec(
            (
                select(vec![
                    "type",
                    "minLength",
                    "required",
                    "items",
                    "$id",
                    "$schema",
                    "format",
                    "const"
                ]),
                value()
            ),
            1..4
        )
        .prop_map(|fields| fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
    ];
    let steps = (schema, value()).prop_map(|(schema, data)| {
        let collection = format!("{BUCKET}/collections/schema");
        let hard = json!({"data": {"a": format!("{}!", "a".repeat(60)), "x": data}});
        let requests = json!([
            {"method": "PUT", "path": collection, "body": {"data": {"schema": schema}}},
            {"method": "POST", "path": format!("{collection}/records"), "body": hard},
        ]);
        Call::post("/v1/batch", &json!({"requests": requests})).login(USER)
    });
    attack(steps);
}

#[test]
fn paths_and_methods() {
    let methods = vec!["GET", "PUT", "DELETE", "PATCH", "POST", "OPTIONS", "HEAD", "TRACE", "BREW"];
    attack((select(methods), path()).prop_map(|(method, path)| {
        let call = Call::new(method, path).login(USER);
        let preflight = call.method == "OPTIONS";
        if preflight {
            call.header("Origin", "x").header("Access-Control-Request-Method", "PUT")
        } else {
            call
        }
    }));
}

#[test]
fn headers() {
    let names = vec![
        "If-Match",
        "If-None-Match",
        "Content-Type",
        "Accept",
        "Authorization",
        "Origin",
        "Host",
        "Response-Behavior",
        "Content-Length",
        "Transfer-Encoding",
        "Expect",
        "Connection",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Request-Id",
        "Access-Control-Request-Headers",
        "Accept-Encoding",
        "Range",
        "Cookie",
        "Upgrade",
        "If-Modified-Since",
    ];
    let value = prop_oneof![
        "[ -~]{0,40}",
        "[\u{80}-\u{2ff}]{0,10}",
        select(vec![
            "*",
            "\"1\"",
            "W/\"1\"",
            "\"99999999999999999999999\"",
            "\"-1\"",
            "\"\"",
            "1",
            "\"1\", \"2\"",
            "Basic",
            "Basic ",
            "Basic Og==",
            "Basic YQ==",
            "Basic !!!",
            "Bearer x",
            "Basic /////w==",
            "100-continue",
            "chunked",
            "-5",
            "close",
            "multipart/form-data; boundary=x",
            "text/*;q=0",
            "application/json;charset=latin-1",
            "application/json-patch+json",
            "example.org:99999",
            "[::1",
        ])
        .prop_map(str::to_owned),
    ];
    let target = select(vec![
        ("GET", LIST),
        ("PUT", BUCKET),
        ("PATCH", BUCKET),
        ("GET", "/v1/"),
        ("POST", LIST),
    ]);
    let parts = (target, vec((select(names), value), 0..4), any::<bool>(), any::<bool>());
    attack_raw(parts.prop_map(|((method, path), headers, known, body)| {
        let mut call = Call::new(method, path);
        if known {
            call = call.login(USER);
        }
        for (name, value) in headers {
            call = call.header(name, value);
        }
        call.body = body.then(|| b"{\"data\":{}}".to_vec());
        call.to_bytes(([127, 0, 0, 1], 80).into())
    }));
}

#[test]
fn anything_at_all() {
    let line =
        "(GET|PUT|[A-Z]{0,9}|[ -~]{0,9}) [ -~]{0,40} (HTTP/1.1|HTTP/[0-9].[0-9]|[ -~]{0,9})\r\n";
    attack_raw(prop_oneof![
        vec(any::<u8>(), 0..600),
        (line, vec("[ -~]{0,30}(: )?[ -~]{0,30}(\r\n|\n|\r)", 0..6), vec(any::<u8>(), 0..50))
            .prop_map(|(line, headers, body)| {
                let mut bytes = format!("{line}{}\r\n", headers.concat()).into_bytes();
                bytes.extend(body);
                bytes
            }),
    ]);
}

// One parameter of a query string, mostly of a known name, mostly well encoded.
fn parameter() -> impl Strategy<Value = String> {
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

fn path() -> impl Strategy<Value = String> {
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

fn content_type() -> impl Strategy<Value = &'static str> {
    select(vec![
        "application/json",
        "application/json; charset=utf-8",
        "application/merge-patch+json",
        "application/json-patch+json",
        "text/plain",
        "",
    ])
}

fn value() -> impl Strategy<Value = Value> {
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
fn json_text() -> impl Strategy<Value = String> {
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

// Sends each request to one server and demands an answer that is not a failure of the server.
fn attack(calls: impl Strategy<Value = Call>) {
    let server = server();
    let client = RefCell::new(server.client().patience(PATIENCE));
    let send = |call: &Call| {
        let answer = client.borrow_mut().send(call).map_err(|error| fail(&format!("{error}")))?;
        let internal = answer.status >= 500 && answer.status != 503;
        // A batch carries the answers in it.
        let inner = answer.json()["responses"].as_array().cloned().unwrap_or_default();
        let internal = internal || inner.iter().any(|one| one["status"].as_u64() >= Some(500));
        if internal { Err(fail(&format!("{call}\n{answer}"))) } else { Ok(()) }
    };
    survive(&server, calls, send);
}

// The same for bytes that may not be a request at all: hanging up is an answer too.
fn attack_raw(requests: impl Strategy<Value = Vec<u8>>) {
    let server = server();
    let send = |bytes: &Vec<u8>| {
        let mut stream = TcpStream::connect(server.address()).map_err(|e| fail(&e.to_string()))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| fail(&e.to_string()))?;
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = Vec::new();
        let heard = stream.take(1 << 22).read_to_end(&mut said);
        let late = heard.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        let text = String::from_utf8_lossy(&said);
        let internal = text.starts_with("HTTP/1.1 500") || text.contains("\"errno\":999");
        if late || internal { Err(fail(&text)) } else { Ok(()) }
    };
    survive(&server, requests, send);
}

fn survive<T: Debug>(
    server: &Server,
    inputs: impl Strategy<Value = T>,
    send: impl Fn(&T) -> Result<(), TestCaseError>,
) {
    let mut cases = number("NUAGE_CASES").unwrap_or(CASES) as u32;
    let config = |cases| Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let mut run = |cases| {
        let outcome = TestRunner::new(config(cases)).run(&inputs, |input| send(&input));
        outcome.unwrap_or_else(|error| panic!("{error}"));
    };
    run(cases / 5);
    cases -= cases / 5;
    let before = server.resident_kib();
    run(cases);
    let after = server.resident_kib();
    assert!(after < before + GROWTH_KIB_MAX, "{before} KiB grew to {after} KiB");
    let mut client = Client::new(server.address());
    assert_eq!(client.send(&Call::get("/v1/__heartbeat__")).unwrap().status, 200);
}

fn fail(why: &str) -> TestCaseError {
    TestCaseError::fail(why.to_owned())
}

fn server() -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let server = program().argument("--kinto-ini").argument(settings).start_on(data, folder);
    let mut client = server.client();
    let record = json!({"data": {"a": 1, "l": [1, 2], "n": {"x": {"y": "z"}}}});
    for (path, body) in [
        (BUCKET.to_owned(), json!({})),
        (format!("{BUCKET}/collections/c"), json!({})),
        (format!("{LIST}/r1"), record.clone()),
        (format!("{LIST}/r2"), json!({"data": {"a": "text"}})),
        (format!("{LIST}/r3"), record),
    ] {
        let answer = client.send(&Call::put(path, &body).login(USER)).unwrap();
        assert_eq!(answer.status, 201, "{answer}");
    }
    server
}
