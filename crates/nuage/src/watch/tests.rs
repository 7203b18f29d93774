#![allow(clippy::unwrap_used)]

use serde_json::json;

use super::line::Line;
use super::target::Target;

fn target(text: &str) -> Result<Target, String> {
    Target::parse(text, "0.0.0.0:8888")
}

#[test]
fn a_path_is_one_of_the_server_that_is_configured() {
    let expected = Target {
        tls: false,
        host: "127.0.0.1".to_owned(),
        port: 8888,
        path: "/v1/buckets/b/collections/c/feed".to_owned(),
        login: None,
    };
    for path in [
        "/buckets/b/collections/c",
        "/v1/buckets/b/collections/c/",
        "/v1/buckets/b/collections/c/feed",
    ] {
        assert_eq!(target(path).as_ref(), Ok(&expected), "{path}");
    }
    assert_eq!(Target::parse("/buckets/b/collections/c", "[::]:80").unwrap().place(), "[::1]:80");
}

#[test]
fn a_url_names_server_and_person() {
    let parsed = target("https://ann:p%3A%40@example.org/sub/v1/buckets/b/collections/c").unwrap();
    let expected = Target {
        tls: true,
        host: "example.org".to_owned(),
        port: 443,
        path: "/sub/v1/buckets/b/collections/c/feed".to_owned(),
        login: Some(("ann".to_owned(), Some("p:@".to_owned()))),
    };
    assert_eq!(parsed, expected);
    let parsed = target("http://ann@[::1]:1234/buckets/b/collections/c").unwrap();
    assert_eq!((parsed.place().as_str(), parsed.tls), ("[::1]:1234", false));
    assert_eq!(parsed.login, Some(("ann".to_owned(), None)));
}

#[test]
fn what_is_no_collection_is_refused() {
    for text in [
        "",
        "buckets/b/collections/c",
        "/buckets/b",
        "/buckets/b/collections/c/records",
        "/buckets/b/collections/",
        "/buckets//collections/c",
        "/buckets/b/collections/c?x=1",
        "/buckets/b/collections/c d",
        "ftp://example.org/buckets/b/collections/c",
        "http://example.org",
        "http:///buckets/b/collections/c",
        "http://example.org:99999/buckets/b/collections/c",
        "http://[::1/buckets/b/collections/c",
    ] {
        let why = target(text).unwrap_err();
        assert!(why.ends_with('.'), "{text}: {why}");
    }
}

#[test]
fn lines_are_understood() {
    let change = r#"{"kind":"change","data":{"n":1,"id":"a","last_modified":7}}"#;
    let data = json!({ "n": 1, "id": "a", "last_modified": 7 });
    assert_eq!(Line::parse(change), Line::Change { id: "a".to_owned(), data });
    let refusal = r#"{"kind":"refusal","error":{"code":403,"message":"No."}}"#;
    assert_eq!(Line::parse(refusal), Line::Refusal { message: "No.".to_owned() });
    let end = r#"{"kind":"page","token":"t"}"#;
    assert_eq!(Line::parse(end), Line::End { token: "t".to_owned(), more: true });
    for text in ["nonsense", "{}", r#"{"kind":"news"}"#, "[1]"] {
        assert_eq!(Line::parse(text), Line::Other(text.to_owned()));
    }
}
