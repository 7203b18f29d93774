//! Whether a head is one that RFC 9112 lets a server answer, and how long its body is.

use std::mem::MaybeUninit;

use http::Uri;
use httparse::{Error, Header, Request, Status};

use crate::Refusal;

/// Header lines of one request. hyper reads no more.
const LINES_MAX: usize = 100;

/// How the end of a body is found.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Body {
    /// After so many bytes.
    Length(u64),
    /// It says so itself.
    Chunked,
}

/// Judges a whole head. The limit is for the words of a refusal.
pub(super) fn judge(head: &[u8], head_bytes_max: usize) -> Result<Body, Refusal> {
    let mut lines = [const { MaybeUninit::uninit() }; LINES_MAX];
    let mut request = Request::new(&mut []);
    match request.parse_with_uninit_headers(head, &mut lines) {
        Ok(Status::Complete(_)) => {}
        Err(Error::TooManyHeaders) => {
            return Err(Refusal::HeadTooLarge { limit_bytes: head_bytes_max });
        }
        Ok(Status::Partial) | Err(_) => {
            return Err(malformed("The head of the request is not HTTP/1.1."));
        }
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    if method == "CONNECT" {
        return Err(Refusal::NotImplemented { why: "This is no proxy." });
    }
    check_target(method, target)?;
    let is_1_1 = request.version == Some(1);
    check_host(request.headers, is_1_1)?;
    body(request.headers, is_1_1)
}

fn malformed(why: &'static str) -> Refusal {
    Refusal::Malformed { why }
}

/// RFC 9112, 3.2: a path, an address, or the asterisk of `OPTIONS`.
fn check_target(method: &str, target: &str) -> Result<(), Refusal> {
    let form = match target {
        "*" => method == "OPTIONS",
        _ => target.starts_with('/') || target.contains("://"),
    };
    if form && Uri::try_from(target).is_ok() {
        Ok(())
    } else {
        Err(malformed("The target of the request is not an address."))
    }
}

/// RFC 9112, 3.2: exactly one `Host`, and nothing in it that is not in an authority.
fn check_host(headers: &[Header<'_>], is_1_1: bool) -> Result<(), Refusal> {
    let mut hosts = named(headers, "host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("There is more than one Host."));
    }
    match host {
        None if is_1_1 => Err(malformed("There is no Host.")),
        Some(host) if !host.iter().all(|byte| is_of_host(*byte)) => {
            Err(malformed("The Host is not one."))
        }
        _ => Ok(()),
    }
}

fn is_of_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:[]%".contains(&byte)
}

/// RFC 9112, 6: the one length of the body.
fn body(headers: &[Header<'_>], is_1_1: bool) -> Result<Body, Refusal> {
    let mut lengths = named(headers, "content-length");
    let mut codings = named(headers, "transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some()
        || codings.next().is_some()
        || (length.is_some() && coding.is_some())
    {
        return Err(malformed("The body has more than one length."));
    }
    if let Some(coding) = coding {
        if !is_1_1 {
            return Err(malformed("HTTP/1.0 has no transfer codings."));
        }
        let mut codings = coding.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if !codings.next().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked")) {
            return Err(malformed("The end of the body is not told."));
        }
        return match codings.next() {
            None => Ok(Body::Chunked),
            Some(_) => Err(Refusal::NotImplemented { why: "Bodies are only chunked here." }),
        };
    }
    let Some(length) = length else { return Ok(Body::Length(0)) };
    let digits = std::str::from_utf8(length).ok();
    let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse::<i64>().ok()) {
        Some(length) => Ok(Body::Length(length.unsigned_abs())),
        None => Err(malformed("The length of the body is not a number.")),
    }
}

fn named<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}
