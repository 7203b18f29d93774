//! The heads of requests, looked at before hyper gets them.
//!
//! Source: RFC 9112. hyper reads more than it should (line ends without CR, requests without
//! `Host`, two lengths), and answers what it cannot read without the door's words and headers. So
//! each head waits here until it is whole, is judged, and only then passed on. In place of one that
//! is refused hyper gets a harmless one, and what was refused is kept beside: the answer then goes out
//! in its turn, worded by the door.
//!
//! Bodies pass. Their lengths are followed, for the next head begins where a body ends.

mod chunks;
mod judge;

use std::sync::{Arc, OnceLock};

use bytes::{Buf, BytesMut};
use http::header::ORIGIN;
use http::{HeaderValue, Method, Uri, request};
use memchr::memchr_iter;

use crate::Refusal;
use crate::gate::chunks::Chunks;
use crate::gate::judge::judge;

/// What hyper reads in place of a head that was refused.
const INSTEAD: &[u8] = b"GET / HTTP/1.1\r\nhost: refused\r\n\r\n";

/// A head that was refused: why, and what the answer needs of it.
#[derive(Debug)]
pub(crate) struct Refused {
    why: Refusal,
    method: Method,
    uri: Uri,
    origin: Option<HeaderValue>,
}

impl Refused {
    /// Why, and a request with what could be read of it.
    pub(crate) fn to_parts(&self) -> (Refusal, request::Parts) {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        if let Some(origin) = &self.origin {
            parts.headers.insert(ORIGIN, origin.clone());
        }
        (self.why, parts)
    }

    /// Reads what can be read of a head that is wrong, or not whole.
    fn of(why: Refusal, head: &[u8]) -> Self {
        let mut lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let mut words = lines.next().unwrap_or_default().split(|byte| *byte == b' ');
        let method = Method::from_bytes(words.next().unwrap_or_default());
        let uri = Uri::try_from(words.next().unwrap_or_default());
        let origin = lines.find_map(|line| {
            let (name, value) = line.split_at_checked(ORIGIN.as_str().len() + 1)?;
            let named = name.eq_ignore_ascii_case(b"origin:");
            named.then(|| HeaderValue::from_bytes(value.trim_ascii()).ok())?
        });
        Self { why, method: method.unwrap_or_default(), uri: uri.unwrap_or_default(), origin }
    }
}

/// What follows the bytes that pass.
enum Next {
    Head,
    Chunks(Chunks),
    /// Nothing any more, for the end of a body cannot be found.
    Broken,
    /// Nothing any more, for a head was refused.
    Refused,
}

/// The gate of one connection.
pub(crate) struct Gate {
    head_bytes_max: usize,
    /// What came and was not passed on.
    held: BytesMut,
    /// So many of its bytes have no line end that was not looked at.
    scanned: usize,
    /// So many bytes pass, also of those that are still to come.
    pass: u64,
    next: Next,
    refused: Arc<OnceLock<Refused>>,
}

impl Gate {
    /// Lets through heads of so many bytes at the most. What is refused is told by `refused`:
    /// whoever is handed a request by hyper must look there at once whether it stands for that.
    pub(crate) fn new(head_bytes_max: usize, refused: Arc<OnceLock<Refused>>) -> Self {
        Self {
            head_bytes_max,
            held: BytesMut::new(),
            scanned: 0,
            pass: 0,
            next: Next::Head,
            refused,
        }
    }

    /// Takes what came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// Whether a head began that is not whole.
    pub(crate) fn has_part(&self) -> bool {
        matches!(self.next, Next::Head) && self.pass == 0 && !self.held.is_empty()
    }

    /// Whether nothing passes any more, since a head was refused.
    pub(crate) fn is_shut(&self) -> bool {
        matches!(self.next, Next::Refused) && self.pass == 0
    }

    /// Whether nothing passes any more, since a body is wrong.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.next, Next::Broken)
    }

    /// The bytes that may pass now. At most one message at a time: a head that is refused must not
    /// be known before those before it were handed over.
    pub(crate) fn passing(&mut self) -> &[u8] {
        while self.pass == 0 && !self.held.is_empty() {
            match &mut self.next {
                Next::Head => match self.head() {
                    Ok(true) => {}
                    Ok(false) => return &[],
                    Err(why) => self.refuse(why),
                },
                Next::Chunks(chunks) => match chunks.follow(&self.held) {
                    Some(bytes) => {
                        self.pass = bytes as u64;
                        if chunks.is_over() {
                            self.next = Next::Head;
                        }
                    }
                    None => self.next = Next::Broken,
                },
                Next::Broken | Next::Refused => self.held.clear(),
            }
        }
        let bytes = usize::try_from(self.pass).unwrap_or(usize::MAX).min(self.held.len());
        &self.held[..bytes]
    }

    /// So many of the passing bytes passed.
    pub(crate) fn passed(&mut self, bytes: usize) {
        self.held.advance(bytes);
        self.pass -= bytes as u64;
        // What held a body is not held on to.
        if self.held.is_empty() && self.held.capacity() > self.head_bytes_max {
            self.held = BytesMut::new();
        }
    }

    /// Judges the head at the beginning of what came; `false` while it is not whole.
    fn head(&mut self) -> Result<bool, Refusal> {
        let too_large = Refusal::HeadTooLarge { limit_bytes: self.head_bytes_max };
        // Empty lines before a request are left over from the one before (RFC 9112, 2.2).
        while self.held.starts_with(b"\r\n") {
            self.held.advance(2);
            self.scanned = self.scanned.saturating_sub(2);
        }
        for at in memchr_iter(b'\n', &self.held[self.scanned..]) {
            let end = self.scanned + at + 1;
            if !self.held[..end].ends_with(b"\r\n") {
                return Err(Refusal::Malformed { why: "A line ends without a carriage return." });
            }
            if self.held[..end].ends_with(b"\r\n\r\n") {
                if end > self.head_bytes_max {
                    return Err(too_large);
                }
                let body = judge(&self.held[..end], self.head_bytes_max)?;
                self.scanned = 0;
                self.pass = end as u64;
                match body {
                    judge::Body::Length(bytes) => self.pass = self.pass.saturating_add(bytes),
                    judge::Body::Chunked => self.next = Next::Chunks(Chunks::default()),
                }
                return Ok(true);
            }
        }
        self.scanned = self.held.len();
        if self.held.len() > self.head_bytes_max { Err(too_large) } else { Ok(false) }
    }

    fn refuse(&mut self, why: Refusal) {
        // Only one is ever refused: nothing passes after it.
        let _ = self.refused.set(Refused::of(why, &self.held));
        self.held = BytesMut::from(INSTEAD);
        self.pass = INSTEAD.len() as u64;
        self.next = Next::Refused;
    }
}

#[cfg(test)]
mod tests;
