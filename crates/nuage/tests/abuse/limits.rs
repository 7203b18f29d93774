//! A limit that nothing keeps: what is at it passes, what is beyond is refused, by the door.

use nuage_testkit::backend::Backend;
use nuage_testkit::client::Call;
use nuage_testkit::server::Server;
use serde_json::{Value, json};

use crate::abuse::bounded_with;

const LOGIN: &str = "ann:1";
const COLLECTION: &str = "/v1/buckets/b/collections/c";
const RECORDS: &str = "/v1/buckets/b/collections/c/records";

const SMALL: [&str; 14] = [
    "limits.filter_terms=2",
    "limits.filter_values=2",
    "limits.sort_terms=2",
    "limits.patch_operations=2",
    "limits.schema_bytes=200",
    "limits.schema_depth=4",
    "limits.members=2",
    "limits.principals=2",
    "limits.id_bytes=36",
    "limits.batch_requests=2",
    "limits.json_depth=6",
    "limits.record_bytes=2000",
    "limits.body_bytes=21000",
    "limits.header_bytes=10000",
];

fn server() -> Server {
    let server = bounded_with(Backend::Sqlite, &SMALL).start();
    for path in ["/v1/buckets/b", COLLECTION] {
        assert_eq!(status(&server, Call::put(path, &json!({}))), 201);
    }
    let record = Call::put(format!("{RECORDS}/r"), &json!({"data": {"n": 1}}));
    assert_eq!(status(&server, record), 201);
    server
}

fn status(server: &Server, call: Call) -> u16 {
    server.client().send(&call.login(LOGIN)).unwrap().status
}

/// A text that is one schema, as large as this.
fn schema(bytes: usize) -> Value {
    let empty = json!({"type": "object", "title": ""}).to_string().len();
    json!({"type": "object", "title": "x".repeat(bytes - empty)})
}

/// An object in objects.
fn nested(depth: usize, inner: Value, name: &str) -> Value {
    (0..depth).fold(inner, |inner, _| json!({ name: inner }))
}

#[test]
fn what_is_beyond_a_limit_is_refused_and_what_is_at_it_passes() {
    let server = server();
    let list = |query: &str| Call::get(format!("{RECORDS}?{query}"));
    let put = |path: &str, body: Value| Call::put(path, &body);
    let members = |many: usize| {
        let members: Vec<String> = (0..many).map(|n| format!("m{n}")).collect();
        put("/v1/buckets/b/groups/g", json!({"data": {"members": members}}))
    };
    let principals = |many: usize| {
        let readers: Vec<String> = (0..many).map(|n| format!("p{n}")).collect();
        put("/v1/buckets/b/groups/h", json!({"permissions": {"read": readers}}))
    };
    let patch = |many: usize| {
        let operation = json!({"op": "add", "path": "/data/n", "value": 1});
        let mut call = Call::patch(format!("{RECORDS}/r"), &json!(vec![operation; many]));
        let header = ("Content-Type".to_owned(), "application/json-patch+json".to_owned());
        call.headers.retain(|(name, _)| !name.eq_ignore_ascii_case("content-type"));
        call.headers.push(header);
        call
    };
    let batch = |many: usize| {
        let request = json!({"method": "GET", "path": "/buckets/b"});
        Call::post("/v1/batch", &json!({"requests": vec![request; many]}))
    };
    let with_schema = |schema: Value| put(COLLECTION, json!({"data": {"schema": schema}}));
    let in_schema = |depth| with_schema(nested(depth, json!({}), "items"));
    let record = |data: Value| put(&format!("{RECORDS}/s"), json!({ "data": data }));
    let id = |bytes: usize| put(&format!("{RECORDS}/{}", "i".repeat(bytes)), json!({}));
    let body = |bytes: usize| record(json!({"text": "x".repeat(bytes)}));
    // A small record in a large body.
    let spaced = |bytes: usize| {
        let mut call = body(1);
        call.body.iter_mut().for_each(|body| body.resize(bytes, b' '));
        call
    };
    let head = |bytes: usize| Call::get(COLLECTION).header("X-Filler", "x".repeat(bytes));
    let cases: [(&str, Call, Call, u16); 14] = [
        ("filter_terms", list("a=1&b=2"), list("a=1&b=2&c=3"), 400),
        ("filter_values", list("in_a=1,2"), list("in_a=1,2,3"), 400),
        ("sort_terms", list("_sort=a,b"), list("_sort=a,b,c"), 400),
        ("patch_operations", patch(2), patch(3), 400),
        ("schema_bytes", with_schema(schema(200)), with_schema(schema(201)), 400),
        ("schema_depth", in_schema(3), in_schema(4), 400),
        ("members", members(2), members(3), 400),
        ("principals", principals(1), principals(3), 400),
        ("id_bytes", id(36), id(37), 400),
        ("batch_requests", batch(2), batch(3), 400),
        ("json_depth", record(nested(4, json!(1), "a")), record(nested(9, json!(1), "a")), 400),
        ("record_bytes", body(1_800), body(2_100), 413),
        ("body_bytes", spaced(20_000), spaced(21_100), 413),
        ("header_bytes", head(5_000), head(20_000), 431),
    ];
    for (limit, within, beyond, refusal) in cases {
        let passed = status(&server, within);
        assert!(matches!(passed, 200 | 201), "{limit}: {passed} within the limit");
        assert_eq!(status(&server, beyond), refusal, "{limit}: beyond the limit");
    }
}
