#![allow(clippy::unwrap_used)]

use crate::wire::{Head, parse_head};

#[test]
fn a_head_is_read_once_it_is_whole() {
    let text = "HTTP/1.1 201 Created\r\neTag: \"17\"\r\nContent-Length: 5\r\n\r\nhello";
    let whole = text.len() - "hello".len();
    for end in 0..whole {
        assert!(parse_head(&text.as_bytes()[..end]).unwrap().is_none(), "{end}");
    }
    let head = parse_head(text.as_bytes()).unwrap().unwrap();
    let (from, to) = head.etag.unwrap();
    assert_eq!(&text[from..to], "\"17\"");
    assert_eq!(
        head,
        Head { status: 201, head_bytes: whole, body_bytes: 5, closes: false, etag: head.etag }
    );
}

#[test]
fn an_answer_that_is_not_modified_has_no_body() {
    let text = "HTTP/1.1 304 Not Modified\r\nConnection: close\r\nContent-Length: 9\r\n\r\n";
    let head = parse_head(text.as_bytes()).unwrap().unwrap();
    assert_eq!((head.status, head.body_bytes, head.closes), (304, 0, true));
}

#[test]
fn an_answer_of_unknown_length_is_refused() {
    assert!(parse_head(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    assert!(parse_head(b"nonsense\r\n\r\n").is_err());
}
