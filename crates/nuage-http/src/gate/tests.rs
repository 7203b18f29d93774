#![allow(clippy::unwrap_used)]

use super::*;

const LIMIT: usize = 256;

/// What passes of these bytes when they come in pieces of this size, and what is refused.
fn pass(sent: &[u8], piece: usize) -> (Vec<u8>, Option<Refusal>) {
    let refused = Arc::default();
    let mut gate = Gate::new(LIMIT, Arc::clone(&refused));
    let mut passed = Vec::new();
    for piece in sent.chunks(piece) {
        gate.push(piece);
        loop {
            let passing = gate.passing();
            let bytes = passing.len().min(7);
            if bytes == 0 {
                break;
            }
            passed.extend_from_slice(&passing[..bytes]);
            gate.passed(bytes);
        }
    }
    (passed, refused.get().map(|refused| refused.why))
}

#[test]
fn what_is_well_formed_passes_unchanged_however_it_is_cut() {
    let sent = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n\
        PUT /a HTTP/1.1\r\nhost:x\r\nContent-Length: 9\r\n\r\n\r\n\r\n\n\n\nGP\
        POST /b HTTP/1.1\r\nHOST: x:80\r\nTransfer-Encoding: Chunked\r\n\r\n\
        3\r\na\nb\r\n0A ;x=\"y\"\r\n0123456789\r\n0\r\nTrailer: z\r\nOther: y\r\n\r\n\
        OPTIONS * HTTP/1.0\r\n\r\n\
        GET http://[::1]:80/x HTTP/1.1\r\nHost:\r\n\r\n";
    for piece in 1..sent.len() {
        let (passed, refused) = pass(sent, piece);
        assert_eq!((passed, refused), (sent.to_vec(), None), "in pieces of {piece}");
    }
}

#[test]
fn empty_lines_before_a_request_are_dropped() {
    let sent = b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for piece in 1..sent.len() {
        assert_eq!(pass(sent, piece).0, &sent[4..]);
    }
}

#[test]
fn what_is_malformed_is_refused_after_what_came_before() {
    let first = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    for wrong in [
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\n\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: me@x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "GET /\r\nHost: x\r\n\r\n",
        "NONSENSE\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\na",
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\na",
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\na",
        "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "PUT / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
    ] {
        for piece in [1, 5, 1000] {
            let (passed, refused) = pass(format!("{first}{wrong}{first}").as_bytes(), piece);
            assert!(matches!(refused, Some(Refusal::Malformed { .. })), "{wrong}: {refused:?}");
            assert_eq!(passed, [first.as_bytes(), INSTEAD].concat(), "{wrong}");
        }
    }
}

#[test]
fn what_is_not_here_and_what_is_too_large_is_refused() {
    let chain = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n";
    for wrong in ["CONNECT x:80 HTTP/1.1\r\nHost: x:80\r\n\r\n", chain] {
        let (passed, refused) = pass(wrong.as_bytes(), 1000);
        assert!(matches!(refused, Some(Refusal::NotImplemented { .. })), "{wrong}");
        assert_eq!(passed, INSTEAD);
    }
    let large = "x".repeat(LIMIT + 1);
    for wrong in [
        format!("GET /{large}"),
        format!("GET / HTTP/1.1\r\nHost: x\r\nA: {large}\r\n\r\n"),
        large.clone(),
    ] {
        for piece in [1, 1000] {
            let refused = pass(wrong.as_bytes(), piece).1;
            assert!(matches!(refused, Some(Refusal::HeadTooLarge { .. })), "{wrong}");
        }
    }
}

#[test]
fn what_could_be_read_of_a_refused_head_is_kept() {
    let head = b"DELETE /v1/x?y HTTP/1.1\r\nOrigin:  https://me \r\nHost: a\r\nHost: b\r\n\r\n";
    let parts = Refused::of(Refusal::Crowded, head).to_parts().1;
    assert_eq!((parts.method.as_str(), parts.uri.path()), ("DELETE", "/v1/x"));
    assert_eq!(parts.headers.get(ORIGIN).unwrap(), "https://me");
    let parts = Refused::of(Refusal::Crowded, b"\0\xff\r\nOrigin: \0\r\n").to_parts().1;
    assert_eq!((parts.method.as_str(), parts.uri.path()), ("GET", "/"));
    assert!(parts.headers.is_empty());
}

#[test]
fn nothing_passes_after_a_body_that_has_no_end() {
    let head = "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for wrong in
        ["x\r\n", "\r\n", "1\na", "1\r\nab", "1\r\na\n0", "0\r\n\n", "ffffffffffffffff\r\n"]
    {
        let mut gate = Gate::new(LIMIT, Arc::default());
        gate.push(format!("{head}{wrong}GET / HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
        loop {
            let bytes = gate.passing().len();
            if bytes == 0 {
                break;
            }
            gate.passed(bytes);
        }
        assert!(gate.is_broken(), "{wrong}");
    }
}
