#![allow(clippy::unwrap_used)]

use http::{HeaderMap, HeaderName, HeaderValue};
use nuage_model::Timestamp;

use crate::precondition::{PreconditionError, Preconditions, Tags, etag, http_date};

fn parse(lines: &[(&'static str, &str)]) -> Result<Preconditions, PreconditionError> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    Preconditions::parse(&headers)
}

fn these(states: &[i64]) -> Option<Tags> {
    Some(Tags::These(states.iter().copied().map(Timestamp).collect()))
}

#[test]
fn reads_positions_and_stars() {
    assert!(parse(&[]).unwrap().is_empty());
    let both = parse(&[("if-match", "\"1700000000123\""), ("if-none-match", "*")]).unwrap();
    assert_eq!(both.if_match, these(&[1_700_000_000_123]));
    assert_eq!(both.if_none_match, Some(Tags::Any));
    assert!(both.must_be_new() && !both.knows(Timestamp(1)));
    // Whatever we write ourselves can be sent back.
    for number in [0, 7, -5, i64::MAX, i64::MIN] {
        let tag = etag(Timestamp(number));
        let read = parse(&[("if-none-match", tag.to_str().unwrap())]).unwrap();
        assert!(read.knows(Timestamp(number)), "{number}");
    }
}

#[test]
fn lists_and_weak_tags_compare_as_the_standard_says() {
    // If-None-Match compares weakly, If-Match strongly.
    for (value, weakly, strongly) in [
        ("W/\"12\"", &[12][..], &[][..]),
        ("\"1\", \"2\"", &[1, 2], &[1, 2]),
        ("\"1\",W/\"2\" ,\t\"3\"", &[1, 2, 3], &[1, 3]),
        (", \"1\",, ", &[1], &[1]),
        // Legal, and none of ours.
        ("\"\"", &[], &[]),
        ("\"12-gzip\", \"a,b\"", &[], &[]),
        ("\"+1\", \"007\", \"*\"", &[], &[]),
        ("\"9223372036854775808\"", &[], &[]),
    ] {
        let read = |header| parse(&[(header, value)]);
        assert_eq!(read("if-none-match").unwrap().if_none_match, these(weakly), "{value}");
        assert_eq!(read("if-match").unwrap().if_match, these(strongly), "{value}");
    }
    let lines = parse(&[("if-match", "\"1\""), ("if-match", "\"2\"")]).unwrap();
    assert_eq!(lines.if_match, these(&[1, 2]));
    assert!(!lines.differs(Timestamp(2)) && lines.differs(Timestamp(3)));
    // What never matches is a condition all the same.
    let weak = parse(&[("if-match", "W/\"1\"")]).unwrap();
    assert!(!weak.is_empty() && weak.differs(Timestamp(1)));
}

#[test]
fn refuses_everything_else_and_names_the_header() {
    let others = [
        "",
        ",",
        "\"",
        "123",
        "W/",
        "W/123",
        "w/\"123\"",
        "\"1\" \"2\"",
        "\"1\"2",
        "\"1",
        "**",
        "*, \"1\"",
        "*, *",
        "\"1\", *",
        "\" 12\"",
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
