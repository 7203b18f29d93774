//! A blocking HTTP/1.1 client with one connection that it keeps.
//!
//! It sends each request once and never again: a test that kills servers must know which answers
//! it did not get. It knows neither redirects nor TLS nor compression, and sends paths as given,
//! so that hostile ones can be tried.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use base64::Engine as _;
use serde_json::Value;

/// Longest wait for a connection, and for each part of an answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Most bytes of an answer that a test should ever see.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Longest line of an answer's head.
const LINE_BYTES_MAX: u64 = 64 * 1024;

/// A request to be sent.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// As sent: `GET`.
    pub method: String,
    /// As sent: `/v1/buckets?_limit=3`.
    pub path: String,
    /// As sent, without `Host` and `Content-Length`.
    pub headers: Vec<(String, String)>,
    /// The body, if there is one.
    pub body: Option<Vec<u8>>,
}

impl Call {
    /// A request without headers and body.
    pub fn new(method: impl Into<String>, path: impl Into<String>) -> Self {
        Self { method: method.into(), path: path.into(), ..Self::default() }
    }

    /// Asks for a path.
    pub fn get(path: impl Into<String>) -> Self {
        Self::new("GET", path)
    }

    /// Puts a JSON value at a path.
    pub fn put(path: impl Into<String>, body: &Value) -> Self {
        Self::new("PUT", path).json(body)
    }

    /// Posts a JSON value to a path.
    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self::new("POST", path).json(body)
    }

    /// Patches with a JSON value.
    pub fn patch(path: impl Into<String>, body: &Value) -> Self {
        Self::new("PATCH", path).json(body)
    }

    /// Deletes a path.
    pub fn delete(path: impl Into<String>) -> Self {
        Self::new("DELETE", path)
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Logs in with HTTP Basic, given `name:password`.
    pub fn login(self, credentials: &str) -> Self {
        let encoded = base64::engine::general_purpose::STANDARD.encode(credentials);
        self.header("Authorization", format!("Basic {encoded}"))
    }

    /// Only while the object is at this timestamp.
    pub fn if_match(self, timestamp: i64) -> Self {
        self.header("If-Match", format!("\"{timestamp}\""))
    }

    /// Gives it a JSON body.
    pub fn json(mut self, body: &Value) -> Self {
        self.body = Some(body.to_string().into_bytes());
        self.header("Content-Type", "application/json")
    }

    /// Whether its body has more bytes than that.
    pub fn is_larger_than(&self, bytes: usize) -> bool {
        self.body.as_ref().is_some_and(|body| body.len() > bytes)
    }

    /// The bytes that go over the wire.
    pub fn to_bytes(&self, host: SocketAddr) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.path);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(self.body.iter().flatten());
        bytes
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in &self.headers {
            write!(f, " [{name}: {value}]")?;
        }
        if let Some(body) = &self.body {
            write!(f, " {}", String::from_utf8_lossy(&body[..body.len().min(2_000)]))?;
        }
        Ok(())
    }
}

/// An answer as received.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names as sent, and values.
    pub headers: Vec<(String, String)>,
    /// The body, decoded from its chunks.
    pub body: Vec<u8>,
}

impl Answer {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut named = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The number in `ETag: "<number>"`.
    pub fn etag(&self) -> Option<i64> {
        self.header("ETag")?.trim_matches('"').parse().ok()
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(2_000)]);
        write!(f, "{} {} {body}", self.status, self.header("ETag").unwrap_or("-"))
    }
}

/// A client of one server.
pub struct Client {
    address: SocketAddr,
    patience: Duration,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// Does not connect yet.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, patience: PATIENCE, connection: None }
    }

    /// Waits at most so long for a connection and for each part of an answer.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Sends a request and waits for its answer. An error means that nobody knows what became of
    /// the request.
    pub fn send(&mut self, call: &Call) -> io::Result<Answer> {
        let mut connection = match self.connection.take().filter(is_open) {
            Some(connection) => connection,
            None => self.connect()?,
        };
        // A server may refuse what is too large before it has read it all.
        let written = connection.get_mut().write_all(&call.to_bytes(self.address));
        match (written, read_answer(&mut connection, call.method == "HEAD")) {
            (Ok(()), Ok((answer, true))) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            (_, Ok((answer, _))) => Ok(answer),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        Ok(BufReader::new(stream))
    }
}

// A connection that the server closed meanwhile is readable, with nothing to read.
fn is_open(connection: &BufReader<TcpStream>) -> bool {
    let stream = connection.get_ref();
    if stream.set_nonblocking(true).is_err() {
        return false;
    }
    let peeked = stream.peek(&mut [0]);
    let waiting = matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    waiting && stream.set_nonblocking(false).is_ok()
}

/// Reads one answer, and tells whether the connection can carry another.
pub fn read_answer(from: &mut impl BufRead, to_head: bool) -> io::Result<(Answer, bool)> {
    let mut line = read_line(from)?;
    let mut reusable = line.starts_with("HTTP/1.1 ");
    let mut status = parse_status(&line)?;
    // Interim answers come before the real one.
    while (100..200).contains(&status) {
        while !read_line(from)?.is_empty() {}
        line = read_line(from)?;
        status = parse_status(&line)?;
    }
    let mut answer = Answer { status, headers: Vec::new(), body: Vec::new() };
    loop {
        let line = read_line(from)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| malformed(&line))?;
        answer.headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let connection = answer.header("Connection").unwrap_or("").to_ascii_lowercase();
    reusable &= !connection.contains("close");
    if to_head || status == 204 || status == 304 {
        return Ok((answer, reusable));
    }
    let chunked = answer.header("Transfer-Encoding").is_some_and(|value| value.contains("chunked"));
    if chunked {
        answer.body = read_chunks(from)?;
    } else if let Some(length) = answer.header("Content-Length") {
        let bytes = length.parse().map_err(|_| malformed(length))?;
        answer.body = read_exactly(from, bytes)?;
    } else {
        reusable = false;
        from.take(ANSWER_BYTES_MAX as u64).read_to_end(&mut answer.body)?;
    }
    Ok((answer, reusable))
}

fn read_chunks(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or("");
        let size = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed(&line))?;
        if size == 0 {
            while !read_line(from)?.is_empty() {}
            return Ok(body);
        }
        body.extend(read_exactly(from, size)?);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(malformed("endless body"));
        }
        read_line(from)?;
    }
}

fn read_exactly(from: &mut impl BufRead, bytes: usize) -> io::Result<Vec<u8>> {
    if bytes > ANSWER_BYTES_MAX {
        return Err(malformed("body too large"));
    }
    let mut body = vec![0; bytes];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn read_line(from: &mut impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    from.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.last() != Some(&b'\n') {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn parse_status(line: &str) -> io::Result<u16> {
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.filter(|_| line.starts_with("HTTP/1.")).ok_or_else(|| malformed(line))
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("malformed answer: {what:?}"))
}
