//! Names of requests, by which a client, a proxy and the log speak of the same one.
//!
//! A sane name from outside is kept. What is not is replaced, never cleaned: it would be logged.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU32, Ordering};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Where the name travels, in requests and responses.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name taken from outside. A UUID and a prefix fit; it is written to every log line.
const NAME_BYTES_MAX: usize = 64;

/// The name of one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestId(pub String);

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Gives names that no other request of this process has, and likely none of another.
pub(crate) struct RequestIds {
    process: u32,
    given: AtomicU32,
}

impl RequestIds {
    /// Starts with a random name for the process.
    pub(crate) fn new() -> Self {
        let random = RandomState::new().build_hasher().finish();
        Self { process: random as u32, given: AtomicU32::new(0) }
    }

    /// The name that the request carries, or a new one; also as a header for the response.
    pub(crate) fn of(&self, headers: &HeaderMap) -> (RequestId, HeaderValue) {
        if let Some(value) = headers.get(X_REQUEST_ID)
            && let Some(name) = sane(value)
        {
            return (RequestId(name.to_owned()), value.clone());
        }
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let both = (u64::from(self.process) << 32) | u64::from(number);
        let mut name = [0; 16];
        for (n, digit) in name.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(both >> (60 - 4 * n)) as usize & 15];
        }
        let text = std::str::from_utf8(&name).expect("hexadecimal digits are ASCII");
        let value = HeaderValue::from_str(text).expect("hexadecimal digits may be in a header");
        (RequestId(text.to_owned()), value)
    }
}

fn sane(value: &HeaderValue) -> Option<&str> {
    let name = value.as_bytes();
    let sane = (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.iter().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'));
    if sane { std::str::from_utf8(name).ok() } else { None }
}

#[cfg(test)]
mod tests;
