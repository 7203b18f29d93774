#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;
use crate::EndOfService;

fn names(method: Method, path: &str) -> BTreeSet<&'static str> {
    exposed(&method, path).to_str().unwrap().split(", ").collect()
}

fn finished(settings: &Settings, origin: Option<&'static str>) -> HeaderMap {
    let mut asked = HeaderMap::new();
    asked.extend(origin.map(|origin| (ORIGIN, HeaderValue::from_static(origin))));
    let mut response = Response::new(());
    let asked = Asked::of(&Method::GET, "/v1/", &asked);
    Headers::new(settings).finish(&asked, &mut response);
    response.headers().clone()
}

#[test]
fn only_what_is_read_and_leads_nowhere_is_kept_from_caches() {
    for (method, status, kept) in [
        (Method::GET, 200, true),
        (Method::HEAD, 404, true),
        (Method::GET, 304, true),
        (Method::GET, 307, false),
        (Method::PUT, 200, false),
        (Method::POST, 404, false),
    ] {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        let asked = Asked::of(&method, "/v1/", &HeaderMap::new());
        Headers::new(&Settings::default()).finish(&asked, &mut response);
        assert_eq!(response.headers().contains_key(CACHE_CONTROL), kept, "{method} {status}");
        assert_eq!(response.headers()[VARY], "Accept-Encoding, Origin");
    }
}

#[test]
fn scripts_may_read_what_there_is() {
    let least: BTreeSet<&str> =
        ["Backoff", "Retry-After", "Alert", "Content-Length", "Content-Type"].into();
    let object: BTreeSet<&str> =
        ["ETag", "Last-Modified", "Cache-Control", "Expires", "Pragma"].into();
    let object: BTreeSet<&str> = &least | &object;
    let list: BTreeSet<&str> = &object | &["Next-Page"].into();
    let count: BTreeSet<&str> = &list | &["Total-Objects", "Total-Records"].into();
    for (method, path, wanted) in [
        (Method::GET, "/v1/", &least),
        (Method::POST, "/v1/buckets", &least),
        (Method::PUT, "/v1/unknown", &least),
        (Method::GET, "/buckets", &least),
        (Method::GET, "/v1/buckets", &list),
        (Method::HEAD, "/v1/buckets", &count),
        (Method::GET, "/v1/buckets/b", &object),
        (Method::GET, "/v1/buckets/b/collections/c/records", &list),
        (Method::GET, "/v1/buckets/b/collections/c/records/r", &object),
        (Method::GET, "/v1/buckets/b/history", &list),
        (Method::GET, "/v1/accounts/a", &object),
        (Method::HEAD, "/v1/permissions", &count),
    ] {
        assert_eq!(names(method.clone(), path), *wanted, "{method} {path}");
    }
}

#[test]
fn every_answer_is_safe_for_browsers() {
    let headers = finished(&Settings::default(), None);
    assert_eq!(headers[X_CONTENT_TYPE_OPTIONS], "nosniff");
    let policy = headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
    for part in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
        assert!(policy.contains(part));
    }
    assert!(!headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    assert!(!headers.contains_key(ALERT));
}

#[test]
fn origins() {
    let all = finished(&Settings::default(), Some("https://a.example"));
    assert_eq!(all[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
    let listed =
        Settings { cors_origins: vec!["https://a.example".to_owned()], ..Settings::default() };
    let known = finished(&listed, Some("https://a.example"));
    assert_eq!(known[ACCESS_CONTROL_ALLOW_ORIGIN], "https://a.example");
    let unknown = finished(&listed, Some("https://b.example"));
    assert!(!unknown.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    // Also where nobody says where it comes from.
    for told in [&all, &known, &unknown, &finished(&listed, None)] {
        assert!(told[VARY].to_str().unwrap().contains("Origin"));
    }
}

#[test]
fn preflights() {
    let headers = Headers::new(&Settings::default());
    let mut asked = HeaderMap::new();
    assert_eq!(headers.preflight(&asked, None).unwrap_err().status.as_u16(), 400);
    asked.insert(ORIGIN, HeaderValue::from_static("https://a.example"));
    assert!(headers.preflight(&asked, None).is_err());
    asked.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
    asked.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static("X-Own"));
    let answer = headers.preflight(&asked, Some("GET, PUT")).unwrap();
    assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (200, &b"null"[..]));
    assert_eq!(answer.headers()[ACCESS_CONTROL_ALLOW_METHODS], "GET, PUT");
    assert_eq!(answer.headers()[ACCESS_CONTROL_MAX_AGE], "3600");
    let allowed = answer.headers()[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap();
    assert!(allowed.contains("X-Own") && allowed.contains("Retry-After"));
}

#[test]
fn lifetimes_in_caches() {
    let told = |lifetime| {
        let mut headers = HeaderMap::new();
        Headers::new(&Settings::default()).cache(lifetime, Timestamp(0), &mut headers);
        headers
    };
    assert_eq!(told(60)[CACHE_CONTROL], "max-age=60");
    assert_eq!(told(60)[VARY], "Authorization");
    assert_eq!(told(60)[EXPIRES], "Thu, 01 Jan 1970 00:01:00 GMT");
    assert_eq!(told(0)[CACHE_CONTROL], "max-age=0, must-revalidate, no-cache, no-store");
    assert_eq!(told(0)[PRAGMA], "no-cache");
    assert!(told(u64::MAX).contains_key(EXPIRES));
}

#[test]
fn load_and_end() {
    let settings = Settings {
        backoff_s: Some(10),
        eos: Some(EndOfService {
            text: "2030-01-01".to_owned(),
            at_ms: 1_893_456_000_000,
            message: Some("Goodbye".to_owned()),
            url: None,
        }),
        ..Settings::default()
    };
    let headers = finished(&settings, None);
    assert_eq!(headers[BACKOFF], "10");
    let alert: serde_json::Value = serde_json::from_slice(headers[ALERT].as_bytes()).unwrap();
    assert_eq!(alert, json!({"code": "soft-eol", "message": "Goodbye", "url": null}));
    let share = Headers::new(&Settings { backoff_percentage: Some(25), ..settings });
    let asked = (0..100).filter(|_| share.is_chosen()).count();
    assert_eq!(asked, 25);
    let to: serde_json::Value = serde_json::from_slice(share.to_alert().as_bytes()).unwrap();
    assert_eq!(to["code"], "soft-eol");
}
