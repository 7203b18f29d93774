//! Somebody sends what nobody foresaw: a 500, a hang, a dead process or memory without end.
//!
//! Random requests through HTTP. A failure shows the smallest one that still fails.

mod inputs;

use std::cell::RefCell;
use std::fmt::Debug;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Call, Client};
use nuage_testkit::server::Server;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::{Value, json};

use crate::hostile_input::inputs::{content_type, json_text, parameter, path, value};
use crate::programs::{number, program, write_settings};

both_databases!(
    query_strings,
    bodies,
    patches,
    growing_patches,
    batches,
    schemas,
    paths_and_methods,
    headers,
    anything_at_all
);

/// On SQLite and on PostgreSQL: what is parsed before is the same.
const CASES: (u64, u64) = (300, 100);
/// Longest time for an answer: the server's own limits are shorter.
const PATIENCE: Duration = Duration::from_secs(15);
/// Memory that a test may cost, beyond that of a server that was used a little: the compiled schemas
/// that are kept may be a megabyte each.
const GROWTH_KIB_MAX: u64 = 192 * 1024;
/// Bodies beyond this may be refused before they are read.
const LARGE_BYTES: usize = 256 * 1024;
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

fn query_strings(backend: Backend) {
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
    attack(
        backend,
        parts.prop_map(|(list, method, query)| {
            let method = if list == LIST { method } else { "GET" };
            Call::new(method, format!("{list}?{}", query.join("&"))).login(USER)
        }),
    );
}

fn bodies(backend: Backend) {
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
    attack(
        backend,
        (select(targets), body, content_type()).prop_map(|((method, path), body, content)| {
            let mut call = Call::new(method, path).login(USER).header("Content-Type", content);
            call.body = Some(body);
            call
        }),
    );
}

fn patches(backend: Backend) {
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
    attack(
        backend,
        (body, content, behavior).prop_map(|(body, content, behavior)| {
            let mut call = Call::new("PATCH", format!("{LIST}/r1")).login(USER);
            call = call.header("Content-Type", content).header("Response-Behavior", behavior);
            call.body = Some(body.into_bytes());
            call
        }),
    );
}

fn growing_patches(backend: Backend) {
    // Each copy doubles the document.
    let doubling: Vec<_> =
        (0..60).map(|_| json!({"op": "copy", "from": "/data", "path": "/data/a"})).collect();
    let mut call = Call::new("PATCH", format!("{LIST}/r1")).login(USER);
    call = call.header("Content-Type", "application/json-patch+json");
    call.body = Some(Value::from(doubling).to_string().into_bytes());
    attack(backend, Just(call).prop_map(|call| call));
}

fn batches(backend: Backend) {
    let known = vec![
        ("GET", LIST),
        ("POST", LIST),
        ("DELETE", "/buckets/hostile/collections/c/records/r4"),
        ("PUT", "/buckets/hostile/collections/c/records/r4?_fields=a"),
        ("PATCH", "/buckets/hostile/collections/c/records/r1"),
        ("GET", "/"),
        ("GET", "/buckets/default/collections/é ü/records/"),
        ("HEAD", "/buckets//hostile"),
        ("PUT", "/buckets/default"),
    ];
    let known = select(known).prop_map(|(method, path)| (method, path.to_owned()));
    let methods = select(vec!["GET", "HEAD", "DELETE", "TRACE", "POST", "PUT", "PATCH"]);
    let odd = (select(vec!["get", "", "OPTIONS", "BREW"]), path());
    let target = prop_oneof![50 => known, 20 => (methods, path()), 1 => odd];
    let request = (target, value(), value(), 0..60_u8)
        .prop_map(|((method, path), headers, body, kind)| match kind {
            0 => json!({"method": method, "path": path, "headers": headers}),
            1 => json!({"method": method, "path": path, "body": body}),
            2 => json!({"path": "/batch", "method": "POST", "body": {"requests": []}}),
            3..20 => json!({"method": method, "path": path}),
            20..30 => json!({"path": path, "headers": {"If-Match": "*", "X": headers.to_string()}}),
            _ => json!({"method": method, "path": path, "body": {"data": body}}),
        })
        .boxed();
    let defaults = prop_oneof![6 => Just(Value::Null), 1 => request.clone(), 1 => value()];
    let batch = (vec(request, 0..27), defaults).prop_map(|(requests, defaults)| match defaults {
        Value::Null => json!({"requests": requests}),
        defaults => json!({"requests": requests, "defaults": defaults}),
    });
    let batch = prop_oneof![20 => batch, 1 => value()];
    attack(backend, batch.prop_map(|batch| Call::post("/v1/batch", &batch).login(USER)));
}

fn schemas(backend: Backend) {
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
    attack(backend, steps);
}

fn paths_and_methods(backend: Backend) {
    let methods = vec!["GET", "PUT", "DELETE", "PATCH", "POST", "OPTIONS", "HEAD", "TRACE", "BREW"];
    attack(
        backend,
        (select(methods), path()).prop_map(|(method, path)| {
            let call = Call::new(method, path).login(USER);
            let preflight = call.method == "OPTIONS";
            if preflight {
                call.header("Origin", "x").header("Access-Control-Request-Method", "PUT")
            } else {
                call
            }
        }),
    );
}

fn headers(backend: Backend) {
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
    attack_raw(
        backend,
        parts.prop_map(|((method, path), headers, known, body)| {
            let mut call = Call::new(method, path);
            if known {
                call = call.login(USER);
            }
            for (name, value) in headers {
                call = call.header(name, value);
            }
            call = call.header("Connection", "close");
            call.body = body.then(|| b"{\"data\":{}}".to_vec());
            call.to_bytes(([127, 0, 0, 1], 80).into())
        }),
        Ending::Wait,
    );
}

fn anything_at_all(backend: Backend) {
    let line =
        "(GET|PUT|[A-Z]{0,9}|[ -~]{0,9}) [ -~]{0,40} (HTTP/1.1|HTTP/[0-9].[0-9]|[ -~]{0,9})\r\n";
    let bytes = prop_oneof![
        vec(any::<u8>(), 0..600),
        (line, vec("[ -~]{0,30}(: )?[ -~]{0,30}(\r\n|\n|\r)", 0..6), vec(any::<u8>(), 0..50))
            .prop_map(|(line, headers, body)| {
                let mut bytes = format!("{line}{}\r\n", headers.concat()).into_bytes();
                bytes.extend(body);
                bytes
            }),
    ];
    attack_raw(backend, bytes, Ending::HalfClosed);
}

// Sends each request to one server and demands an answer that is not a failure of the server.
fn attack(backend: Backend, calls: impl Strategy<Value = Call>) {
    let server = server(backend);
    let client = RefCell::new(server.client().patience(PATIENCE));
    let send = |call: &Call| {
        let mut client = client.borrow_mut();
        let answer = match client.send(call) {
            // It may have hung up on a line that was idle for too long; another one is taken now.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => client.send(call),
            answer => answer,
        };
        let answer = match answer {
            Ok(answer) => answer,
            // Its refusal is lost when the server hangs up on what is too large.
            Err(error) if is_cut(&error) && call.is_larger_than(LARGE_BYTES) => return Ok(()),
            Err(error) => return Err(fail(&error.to_string())),
        };
        let internal = answer.status >= 500 && answer.status != 503;
        // A batch carries the answers in it.
        let inner = answer.json()["responses"].as_array().cloned().unwrap_or_default();
        let internal = internal || inner.iter().any(|one| one["status"].as_u64() >= Some(500));
        if internal { Err(fail(&format!("{call}\n{answer}"))) } else { Ok(()) }
    };
    survive(&server, backend.choose(CASES.0, CASES.1), calls, send);
}

/// What a client does after its last byte.
#[derive(PartialEq, Eq)]
enum Ending {
    HalfClosed,
    Wait,
}

// The same for bytes that may not be a request at all: hanging up is an answer too.
fn attack_raw(backend: Backend, requests: impl Strategy<Value = Vec<u8>>, ending: Ending) {
    let server = server(backend);
    let send = |bytes: &Vec<u8>| {
        let mut stream = TcpStream::connect(server.address()).map_err(|e| fail(&e.to_string()))?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| fail(&e.to_string()))?;
        let _ = stream.write_all(bytes);
        if ending == Ending::HalfClosed {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let mut said = Vec::new();
        let heard = stream.take(1 << 22).read_to_end(&mut said);
        let late = heard.is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        let text = String::from_utf8_lossy(&said);
        // What HTTP has and the server has not is no fault of either.
        let internal = text.starts_with("HTTP/1.1 5") && !text.starts_with("HTTP/1.1 501");
        if late || internal { Err(fail(&text)) } else { Ok(()) }
    };
    survive(&server, backend.choose(CASES.0, CASES.1), requests, send);
}

fn survive<T: Debug>(
    server: &Server,
    cases: u64,
    inputs: impl Strategy<Value = T>,
    send: impl Fn(&T) -> Result<(), TestCaseError>,
) {
    let mut cases = number("NUAGE_CASES").unwrap_or(cases) as u32;
    let config = |cases| Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        ..Config::default()
    };
    let run = |cases| {
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

fn is_cut(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)
}

fn fail(why: &str) -> TestCaseError {
    TestCaseError::fail(why.to_owned())
}

fn server(backend: Backend) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), SETTINGS);
    let data = folder.path().join("data");
    let mut setup = program().on(backend).argument("--kinto-ini").argument(settings);
    // Requests that lack something should not be waited for long.
    for setting in ["limits.header_ms=2000", "limits.body_ms=500"] {
        setup = setup.argument("--set").argument(setting);
    }
    let server = setup.start_on(data, folder);
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
