#![allow(clippy::unwrap_used)]

use super::*;

fn body(error: &Error) -> String {
    String::from_utf8(error.to_body().to_vec()).unwrap()
}

#[test]
fn says_what_clients_of_kinto_compare() {
    let basic = HeaderValue::from_static("Basic realm=\"Realm\"");
    for (error, wanted) in [
        (
            Error::unauthorized(&[basic]),
            concat!(
                r#"{"code":401,"errno":104,"error":"Unauthorized""#,
                r#","message":"Please authenticate yourself to use this endpoint."}"#
            ),
        ),
        (
            Error::forbidden(),
            concat!(
                r#"{"code":403,"errno":121,"error":"Forbidden""#,
                r#","message":"This user cannot access this resource."}"#
            ),
        ),
        (
            Error::unknown_route(),
            concat!(
                r#"{"code":404,"errno":111,"error":"Not Found""#,
                r#","message":"The resource you are looking for could not be found."}"#
            ),
        ),
        (
            Error::unknown_object("x", "record"),
            concat!(
                r#"{"code":404,"errno":110,"error":"Not Found""#,
                r#","details":{"id":"x","resource_name":"record"}}"#
            ),
        ),
        (
            Error::unknown_parent("c", "collection"),
            concat!(
                r#"{"code":404,"errno":111,"error":"Not Found""#,
                r#","details":{"id":"c","resource_name":"collection"}}"#
            ),
        ),
        (
            Error::api_version(),
            concat!(
                r#"{"code":404,"errno":116,"error":"Not Found""#,
                r#","message":"The requested API version is not available on this server."}"#
            ),
        ),
        (
            Error::method_not_allowed("GET"),
            concat!(
                r#"{"code":405,"errno":115,"error":"Method Not Allowed""#,
                r#","message":"Method not allowed on this endpoint."}"#
            ),
        ),
        (
            Error::decommissioned(HeaderValue::from_static("{}")),
            concat!(
                r#"{"code":410,"errno":202,"error":"Gone""#,
                r#","message":"The service you are trying to connect no longer exists at this"#,
                r#" location."}"#
            ),
        ),
        (
            Error::precondition_failed(Some(r#"{"id":"x"}"#.to_owned())),
            concat!(
                r#"{"code":412,"errno":114,"error":"Precondition Failed""#,
                r#","message":"Resource was modified meanwhile","details":{"existing":{"id":"x"}}}"#
            ),
        ),
        (
            Error::internal("https://example.org/"),
            concat!(
                r#"{"code":500,"errno":999,"error":"Internal Server Error""#,
                r#","message":"A programmatic error occurred, developers have been informed.""#,
                r#","info":"https://example.org/"}"#
            ),
        ),
        (
            Error::unavailable(3),
            concat!(
                r#"{"code":503,"errno":201,"error":"Service Unavailable""#,
                r#","message":"Service temporary unavailable due to overloading or maintenance,"#,
                r#" please retry later."}"#
            ),
        ),
        (
            Error::invalid_id(),
            concat!(
                r#"{"code":400,"errno":107,"error":"Invalid parameters""#,
                r#","message":"path: Invalid object id","details":[{"location":"path","name":null"#,
                r#","description":"Invalid object id"}]}"#
            ),
        ),
        (
            Error::bad_path(),
            r#"{"code":400,"errno":107,"error":"Bad Request","message":"Invalid URL path."}"#,
        ),
    ] {
        assert_eq!(body(&error), wanted);
    }
}

#[test]
fn sorts_by_name_and_speaks_of_the_first() {
    let error = Error::invalid(vec![
        Invalid::body("permissions.read", "\"x\" is not iterable"),
        Invalid::body("data.a", "Required"),
    ]);
    assert_eq!(error.message.as_deref(), Some("data.a in body: Required"));
    let error = Error::invalid_one(Invalid::body("data", "Provide at least one of data or ..."));
    assert_eq!(error.message.as_deref(), Some("Provide at least one of data or ..."));
    let error = Error::json(&JsonError::NotObject);
    assert_eq!(error.message.as_deref(), Some("Should be a JSON object"));
    assert!(body(&error).ends_with(r#"{"location":"body","name":"","description":"Required"}]}"#));
}

#[test]
fn headers_come_with_the_answer() {
    let basic = HeaderValue::from_static("Basic realm=\"Realm\"");
    let response = Error::unauthorized(&[basic.clone(), basic]).to_response();
    assert_eq!(response.headers().get_all(WWW_AUTHENTICATE).iter().count(), 2);
    assert_eq!(Error::unavailable(3).to_response().headers()[RETRY_AFTER], "3");
    assert_eq!(Error::method_not_allowed("GET, HEAD").to_response().headers()[ALLOW], "GET, HEAD");
}
