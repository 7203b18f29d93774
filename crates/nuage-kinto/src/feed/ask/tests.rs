#![allow(clippy::unwrap_used)]

use super::*;

fn parse(query: &str) -> Result<Params, Error> {
    Params::parse(Some(query), &Limits::default())
}

fn shape(accept: &str) -> Option<Shape> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, accept.parse().unwrap());
    negotiate(&headers).ok()
}

#[test]
fn nothing_asked_is_the_beginning() {
    let params = Params::parse(None, &Limits::default()).unwrap();
    let expected = Params { token: None, limit: 100, wait: None, min: None, digest: false };
    assert_eq!(params, expected);
    assert_eq!(parse("token=&digest=false").unwrap(), expected);
}

#[test]
fn everything_asked_is_understood() {
    let params = parse("token=a%2Bb&limit=7&wait=3&min=%22120%22&digest=true").unwrap();
    let expected = Params {
        token: Some("a+b".to_owned()),
        limit: 7,
        wait: Some(Duration::from_secs(3)),
        min: Some(120),
        digest: true,
    };
    assert_eq!(params, expected);
    assert_eq!(parse("min=120").unwrap().min, Some(120));
}

#[test]
fn more_than_may_be_is_cut() {
    let limits = Limits { feed_page: 50, feed_wait_ms: 1_500, ..Limits::default() };
    let params = Params::parse(Some("limit=99999999999&wait=600"), &limits).unwrap();
    assert_eq!((params.limit, params.wait), (50, Some(Duration::from_millis(1_500))));
    assert_eq!(Params::parse(None, &limits).unwrap().limit, 50);
}

#[test]
fn anything_else_is_refused() {
    for query in [
        "limit=0",
        "limit=-1",
        "limit=+1",
        "limit=",
        "limit=ten",
        "limit=1.5",
        "limit=99999999999999999999",
        "wait=-1",
        "wait=soon",
        "wait=1e9",
        "wait=",
        "min=",
        "min=\"12",
        "min=-4",
        "digest=yes",
        "digest",
        "_since=12",
        "unknown=1",
        "limit=1&limit=2",
        "token=a&token=a",
    ] {
        assert_eq!(parse(query).unwrap_err().status, 400, "{query}");
    }
    let many: Vec<String> = (0..5_000).map(|n| format!("a{n}=1")).collect();
    let error = parse(&many.join("&")).unwrap_err();
    assert!(error.to_body().len() < 2_000);
}

#[test]
fn the_shape_is_the_one_that_is_liked_best() {
    for (accept, expected) in [
        ("application/json", Some(Shape::Page)),
        ("*/*", Some(Shape::Page)),
        ("application/*", Some(Shape::Page)),
        ("text/event-stream", Some(Shape::Events)),
        ("Text/Event-Stream; charset=utf-8", Some(Shape::Events)),
        ("application/x-ndjson", Some(Shape::Lines)),
        ("application/json;q=0.5, application/x-ndjson", Some(Shape::Lines)),
        ("text/html, */*;q=0.1, text/event-stream;q=0.2", Some(Shape::Events)),
        ("text/event-stream;q=0, */*", Some(Shape::Page)),
        ("text/html", None),
        ("text/event-stream;q=0", None),
    ] {
        assert_eq!(shape(accept), expected, "{accept}");
    }
    assert_eq!(negotiate(&HeaderMap::new()).ok(), Some(Shape::Page));
}
