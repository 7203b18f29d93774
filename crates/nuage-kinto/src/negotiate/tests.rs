#![allow(clippy::unwrap_used)]

use super::*;

fn headers(name: http::HeaderName, value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_static(value));
    headers
}

#[test]
fn clients_take_json() {
    assert!(accept(&HeaderMap::new()).is_ok());
    for (value, fine) in [
        ("application/json", true),
        ("Application/JSON; charset=utf-8", true),
        ("application/*", true),
        ("*/*", true),
        ("text/html, */*;q=0.8", true),
        ("", true),
        ("text/html", false),
        ("text/html, application/json;q=0", false),
        ("application/xml", false),
    ] {
        match accept(&headers(ACCEPT, value)) {
            Ok(()) => assert!(fine, "{value}"),
            Err(error) => {
                assert!(!fine, "{value}");
                let wanted = "Accept header should be one of ['application/json']";
                assert_eq!(error.status.as_u16(), 406);
                assert_eq!(error.message.as_deref(), Some(wanted));
            }
        }
    }
}

#[test]
fn bodies_are_json() {
    for (method, value, fine) in [
        (Method::PUT, "application/json", true),
        (Method::POST, "application/json; charset=utf-8", true),
        (Method::PUT, "application/merge-patch+json", false),
        (Method::PATCH, "Application/Merge-Patch+json", true),
        (Method::PATCH, "application/json-patch+json", true),
        (Method::PATCH, "text/plain", false),
        (Method::POST, "multipart/form-data; boundary=x", false),
        (Method::GET, "text/plain", true),
        (Method::DELETE, "text/plain", true),
    ] {
        let checked = content_type(&method, &headers(CONTENT_TYPE, value));
        assert_eq!(checked.is_ok(), fine, "{method} {value}");
    }
    assert!(content_type(&Method::PUT, &HeaderMap::new()).is_ok());
    let error = content_type(&Method::PATCH, &headers(CONTENT_TYPE, "text/plain"));
    let error = error.unwrap_err();
    assert_eq!(error.status.as_u16(), 415);
    assert_eq!(
        error.message.as_deref(),
        Some(
            "Content-Type header should be one of ['application/json', \
             'application/json-patch+json', 'application/merge-patch+json']"
        )
    );
}

#[test]
fn patches_have_three_notations() {
    for (value, wanted) in [
        ("application/json", Format::Members),
        ("application/merge-patch+json;x=y", Format::Merge),
        ("APPLICATION/JSON-PATCH+JSON", Format::Operations),
        ("text/plain", Format::Members),
    ] {
        assert_eq!(format(&headers(CONTENT_TYPE, value)), wanted, "{value}");
    }
}
