//! The least HTTP/1.1 that a load driver needs: one request on the wire, one answer with a
//! content length off it. It does not know what the bytes mean.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const RECEIVE_BYTES: usize = 64 * 1024;
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A kept-alive connection, opened again when the server closes it.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    received: Vec<u8>,
}

/// One answer, valid until the next exchange.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) etag: Option<&'a str>,
    /// Status line and headers.
    pub(crate) head: &'a [u8],
    pub(crate) body: &'a [u8],
}

/// What the head of an answer says that a reader must know.
#[derive(PartialEq, Eq, Debug)]
struct Head {
    status: u16,
    head_bytes: usize,
    body_bytes: usize,
    closes: bool,
    etag: Option<(usize, usize)>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, received: Vec::with_capacity(RECEIVE_BYTES) }
    }

    /// Sends the request and reads its answer. A connection that the server closed while idle is
    /// opened again, once.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        let fresh = self.stream.is_none();
        let mut result = self.attempt(request).await;
        if result.is_err() {
            let nothing_came = self.received.is_empty();
            self.stream = None;
            if !fresh && nothing_came {
                result = self.attempt(request).await;
            }
        }
        let head = result.inspect_err(|_| self.stream = None)?;
        if head.closes {
            self.stream = None;
        }
        let (bytes, rest) = self.received.split_at(head.head_bytes);
        let etag = head.etag.and_then(|(from, to)| str::from_utf8(&bytes[from..to]).ok());
        Ok(Answer { status: head.status, etag, head: bytes, body: &rest[..head.body_bytes] })
    }

    async fn attempt(&mut self, request: &[u8]) -> io::Result<Head> {
        self.received.clear();
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(self.address).await?;
                stream.set_nodelay(true)?;
                none.insert(stream)
            }
        };
        stream.write_all(request).await?;
        loop {
            if let Some(head) = parse_head(&self.received)?
                && self.received.len() >= head.head_bytes + head.body_bytes
            {
                return Ok(head);
            }
            if self.received.len() > ANSWER_BYTES_MAX {
                return Err(io::Error::other("the answer is too long"));
            }
            if stream.read_buf(&mut self.received).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The bytes of a request with this login, `name:password`.
pub(crate) fn request(method: &str, path: &str, login: &str, body: &str) -> Vec<u8> {
    use base64::Engine as _;
    let login = base64::engine::general_purpose::STANDARD.encode(login);
    format!(
        "{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {login}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

// `None` until the empty line is there.
fn parse_head(bytes: &[u8]) -> io::Result<Option<Head>> {
    let mut head = Head { status: 0, head_bytes: 0, body_bytes: 0, closes: false, etag: None };
    let mut length = None;
    let mut from = 0;
    while let Some(line_bytes) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let line = bytes[from..from + line_bytes].strip_suffix(b"\r").unwrap_or(b"");
        if line.is_empty() {
            head.head_bytes = from + line_bytes + 1;
            head.body_bytes = match (head.status, length) {
                (304 | 204, _) => 0,
                (_, Some(length)) => length,
                _ => return Err(io::Error::other("an answer without content length")),
            };
            return Ok(Some(head));
        }
        if from == 0 {
            head.status = number(line.get(9..12).unwrap_or(b""))? as u16;
        } else if let Some(value) = header(line, b"content-length:") {
            length = Some(number(value)?);
        } else if let Some(value) = header(line, b"etag:") {
            let at = from + line.len() - value.len();
            head.etag = Some((at, at + value.len()));
        } else if let Some(value) = header(line, b"connection:") {
            head.closes = value.eq_ignore_ascii_case(b"close");
        }
        from += line_bytes + 1;
    }
    Ok(None)
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> io::Result<usize> {
    str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| io::Error::other("an answer that is not HTTP"))
}

#[cfg(test)]
mod tests;
