#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn read(body: &str) -> Result<Vec<SubRequest>, Error> {
    let mut inherited = HeaderMap::new();
    inherited.insert("if-match", HeaderValue::from_static("\"1\""));
    inherited.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    inherited.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
    parse(body.as_bytes(), &inherited, &Limits::default())
}

fn one(request: &str) -> SubRequest {
    read(&format!("{{\"requests\":[{request}]}}")).unwrap().remove(0)
}

fn body(request: &SubRequest) -> &str {
    std::str::from_utf8(&request.body).unwrap()
}

#[test]
fn requests_as_written() {
    let request = one(r#"{"path":"/buckets/a%20b?x=%20y","method":"PUT","body":{"z": 1.0,"a":2}}"#);
    assert_eq!(request.method, Method::PUT);
    assert_eq!(request.path, "/buckets/a b");
    assert_eq!(request.query.as_deref(), Some("x=%20y"));
    assert_eq!(body(&request), r#"{"z": 1.0,"a":2}"#);
    assert_eq!(request.headers["if-match"], "\"1\"");
    assert!(!request.headers.contains_key(CONTENT_LENGTH));
    assert!(!request.headers.contains_key(CONTENT_TYPE));
    let request = one(r#"{"path":"/","headers":{"If-match":"\"2\"","X-A":"b"},"method":null}"#);
    assert_eq!(request.method, Method::GET);
    assert_eq!(request.headers["if-match"], "\"2\"");
    assert!(request.body.is_empty());
    assert_eq!(read(r#"{"requests":[]}"#).unwrap().len(), 0);
}

#[test]
fn defaults_are_merged_deeply() {
    let requests = read(
        r#"{
        "defaults": {
            "method": "POST", "path": "/buckets", "headers": {"X-A": "1", "X-B": "1"},
            "body": {"data": {"x": 1, "o": {"p": 1, "q": 1}}, "permissions": {"read": ["a"]}}
        },
        "requests": [
            {"body": {"data": {"id": "n", "o": {"q": 2}}}, "headers": {"x-b": "2"}},
            {"path": "/buckets/b", "method": "PUT"}
        ]}"#,
    )
    .unwrap();
    assert_eq!(
        body(&requests[0]),
        r#"{"data":{"id":"n","o":{"q":2,"p":1},"x":1},"permissions":{"read": ["a"]}}"#
    );
    assert_eq!(requests[0].headers["x-a"], "1");
    assert_eq!(requests[0].headers["x-b"], "2");
    assert_eq!((&requests[1].method, requests[1].path.as_str()), (&Method::PUT, "/buckets/b"));
    assert!(body(&requests[1]).starts_with("{\"data\": {\"x\": 1"));
}

#[test]
fn patches_keep_their_type() {
    let patch = r#""path":"/x","method":"PATCH","body":[{"op":"remove","path":"/data/a"}]"#;
    let json_patch = r#""headers":{"content-type":"application/json-patch+json"}"#;
    let request = one(&format!("{{{patch},{json_patch}}}"));
    assert_eq!(request.headers[CONTENT_TYPE], "application/json-patch+json");
    assert!(read(&format!("{{\"requests\":[{{{patch}}}]}}")).is_err());
    let other = r#"{"path":"/x","method":"PATCH","body":{},"headers":{"Content-Type":"text/x"}}"#;
    assert!(!one(other).headers.contains_key(CONTENT_TYPE));
}

#[test]
fn refusals() {
    for (body, wanted) in [
        ("{}", "requests in body: Required"),
        ("", "requests in body: Required"),
        ("[]", "\"[]\" is not a mapping type: Does not implement dict-like functionality."),
        ("{", "Invalid JSON: Parse error at offset 1: Missing a name for object member."),
        (r#"{"requests":"x"}"#, "requests in body: \"x\" is not iterable"),
        (r#"{"requests":[],"foo":1}"#, "Unrecognized keys in mapping: \"{\"foo\":1}\""),
        (
            r#"{"requests":[1]}"#,
            "requests.0 in body: \"1\" is not a mapping type: Does not implement dict-like \
             functionality.",
        ),
        (r#"{"requests":[{}]}"#, "requests.0.path in body: Required"),
        (
            r#"{"requests":[{"path":"x"}]}"#,
            "requests.0.path in body: String does not match expected pattern",
        ),
        (
            r#"{"requests":[{"path":"/","foo":1}]}"#,
            "requests.0 in body: Unrecognized keys in mapping: \"{\"foo\":1}\"",
        ),
        (
            r#"{"requests":[{"path":"/","method":"get"}]}"#,
            "requests.0.method in body: \"get\" is not one of GET, HEAD, DELETE, TRACE, POST, \
             PUT, PATCH",
        ),
        (
            r#"{"requests":[{"path":"/","headers":{"a":1}}]}"#,
            "requests.0.headers in body: {\"a\":1} contains non string value",
        ),
        (
            r#"{"requests":[{"path":"/","headers":{"a":"x\ny"}}]}"#,
            "requests.0.headers in body: \"a\" is not a header",
        ),
        (
            r#"{"requests":[{"path":"/","body":"x"}]}"#,
            "requests.0.body in body: \"x\" is not a mapping type: Does not implement dict-like \
             functionality.",
        ),
        (
            r#"{"requests":[{"path":"/","method":"PUT","body":[1]}]}"#,
            "requests.0.body in body: \"[1]\" is not a mapping type: Does not implement \
             dict-like functionality.",
        ),
        (
            r#"{"requests":[],"defaults":"x"}"#,
            "defaults in body: \"x\" is not a mapping type: Does not implement dict-like \
             functionality.",
        ),
        (r#"{"requests":[{"path":"/%ff"}]}"#, "requests.0.path in body: Invalid URL path."),
    ] {
        let error = read(body).unwrap_err();
        assert_eq!(error.message.as_deref(), Some(wanted), "{body}");
    }
}

#[test]
fn no_batch_in_a_batch() {
    let wanted = "requests in body: Recursive call on /batch endpoint is forbidden.";
    for path in ["/batch", "/v1/batch", "/batch/", "/v1/batch?x", "/b%61tch"] {
        let error = read(&format!("{{\"requests\":[{{\"path\":\"{path}\"}}]}}")).unwrap_err();
        assert_eq!(error.message.as_deref(), Some(wanted), "{path}");
    }
    assert_eq!(one(r#"{"path":"/buckets/batch"}"#).path, "/buckets/batch");
}

#[test]
fn numbers_and_nesting_are_bounded() {
    let many = |n| {
        let requests = vec![r#"{"path":"/"}"#; n].join(",");
        read(&format!("{{\"requests\":[{requests}]}}"))
    };
    assert_eq!(many(25).unwrap().len(), 25);
    let error = many(26).unwrap_err();
    assert_eq!(error.message.as_deref(), Some("Number of requests is limited to 25"));
    let deep = |n: usize| {
        let data = format!("{}1{}", "[".repeat(n), "]".repeat(n));
        read(&format!(
            "{{\"requests\":[{{\"path\":\"/\",\"method\":\"PUT\",\"body\":{{\"data\":{data}}}}}]}}"
        ))
    };
    let long = "x".repeat(2_000_000);
    let repeated = format!(
        "{{\"defaults\":{{\"body\":{{\"data\":\"{long}\"}}}},\"requests\":[{}]}}",
        vec![r#"{"path":"/"}"#; 25].join(",")
    );
    assert_eq!(read(&repeated).unwrap_err().status.as_u16(), 413);
    assert!(deep(64).is_ok());
    assert!(deep(65).is_err());
}

#[test]
fn answers_in_order() {
    let mut fine = Response::new(Bytes::from_static(b"{\"data\":{}}"));
    fine.headers_mut().insert("etag", HeaderValue::from_static("\"5\""));
    fine.headers_mut().insert("next-page", HeaderValue::from_static("x"));
    let mut refused = Response::new(Bytes::new());
    *refused.status_mut() = http::StatusCode::UNAUTHORIZED;
    refused.headers_mut().append("www-authenticate", HeaderValue::from_static("Basic"));
    refused.headers_mut().append("www-authenticate", HeaderValue::from_static("Bearer"));
    let parts =
        vec![("/v1/a".to_owned(), Method::GET, fine), ("/v1/\"".to_owned(), Method::HEAD, refused)];
    let wanted = concat!(
        r#"{"responses":[{"path":"/v1/a","status":200,"headers":{"ETag":"\"5\"","Next-Page":"x","#,
        r#""Content-Length":"11"},"body":{"data":{}}},{"path":"/v1/\"","status":401,"headers":{"#,
        r#""WWW-Authenticate":"Basic, Bearer","Content-Length":"0"},"body":""}]}"#,
    );
    assert_eq!(render(64, parts.into_iter()).into_body(), wanted);
}

proptest! {
    #[test]
    fn never_panics(
        request in "[{}\\[\\]:,\"a-c0-9/%? ]{0,40}",
        defaults in "[{}\\[\\]:,\"a-c0-9]{0,20}",
    ) {
        let _ = read(&format!("{{\"defaults\":{defaults},\"requests\":[{request}]}}"));
        let _ = read(&format!("{{\"requests\":[{{\"path\":\"/{request}\",\"body\":{{}}}}]}}"));
    }
}
