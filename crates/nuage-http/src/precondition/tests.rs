#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderName, HeaderValue};
use nuage_model::Timestamp;

use crate::precondition::{PreconditionError, Preconditions, Tag, etag, http_date};

fn parse(lines: &[(&'static str, &str)]) -> Result<Preconditions, PreconditionError> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    Preconditions::parse(&headers)
}

#[test]
fn reads_positions_and_stars() {
    assert!(parse(&[]).unwrap().is_empty());
    let both = parse(&[("if-match", "\"1700000000123\""), ("if-none-match", "*")]).unwrap();
    assert_eq!(both.if_match, Some(Tag::Is(Timestamp(1_700_000_000_123))));
    assert_eq!(both.if_none_match, Some(Tag::Any));
    let zero = parse(&[("if-none-match", "\"0\"")]).unwrap();
    assert_eq!(zero.if_none_match, Some(Tag::Is(Timestamp(0))));
}

#[test]
fn refuses_everything_else_and_names_the_header() {
    let others = [
        "",
        "\"",
        "\"\"",
        "123",
        "\"*\"",
        "W/\"123\"",
        "\"1\", \"2\"",
        "\"-1\"",
        "\"12a\"",
        "\" 12\"",
        "\"9223372036854775808\"",
        "**",
    ];
    for value in others {
        let error = parse(&[("if-match", value)]).unwrap_err();
        assert_eq!(error.header, "If-Match", "{value}");
        let error = parse(&[("if-none-match", value)]).unwrap_err();
        assert_eq!(error.header, "If-None-Match", "{value}");
    }
    parse(&[("if-match", "*"), ("if-match", "*")]).unwrap_err();
}

#[test]
fn tags_are_quoted_numbers() {
    for (number, text) in [
        (0, "\"0\""),
        (7, "\"7\""),
        (1_700_000_000_123, "\"1700000000123\""),
        (-5, "\"-5\""),
        (i64::MAX, "\"9223372036854775807\""),
        (i64::MIN, "\"-9223372036854775808\""),
    ] {
        assert_eq!(etag(Timestamp(number)), text);
    }
}

#[test]
fn dates_are_fixed_length() {
    for (number, text) in [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777_999, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_251_199_000, "Thu, 29 Feb 2024 23:59:59 GMT"),
        (1_709_251_200_000, "Fri, 01 Mar 2024 00:00:00 GMT"),
        (4_107_542_400_000, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (-1, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ] {
        assert_eq!(http_date(Timestamp(number)), text);
    }
}
