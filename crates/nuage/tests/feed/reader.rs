//! A client that reads a stream as it comes.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use flate2::read::GzDecoder;
use nuage_testkit::client::Call;
use serde_json::Value;

use crate::feed::PATIENCE;

/// A stream and the head of its answer.
pub(crate) struct Reader {
    pub(crate) status: u16,
    head: String,
    socket: TcpStream,
    body: BufReader<Box<dyn Read + Send>>,
}

impl Reader {
    /// Sends a request and reads the head of the answer.
    pub(crate) fn open(server: SocketAddr, call: &Call) -> Self {
        let socket = connect(server, call);
        let mut from = BufReader::new(socket.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let read = from.read_line(&mut head).unwrap();
            assert!(read > 0, "no answer: {head}");
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunks = Chunks { from, left: 0, ended: false };
        let pressed = head.to_ascii_lowercase().contains("content-encoding: gzip");
        let body: Box<dyn Read + Send> =
            if pressed { Box::new(GzDecoder::new(chunks)) } else { Box::new(chunks) };
        Self { status, head, socket, body: BufReader::new(body) }
    }

    /// Follows a feed as lines.
    pub(crate) fn lines(server: SocketAddr, path: &str, login: &str) -> Self {
        let call = Call::get(path).login(login).header("Accept", "application/x-ndjson");
        let reader = Self::open(server, &call);
        assert_eq!(reader.status, 200, "{}", reader.head);
        reader
    }

    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The next line of text; `None` at the proper end.
    pub(crate) fn text(&mut self) -> Option<String> {
        let mut line = String::new();
        self.body.read_line(&mut line).unwrap();
        line.strip_suffix('\n').map(str::to_owned)
    }

    /// The next object, signs of life aside.
    pub(crate) fn next(&mut self) -> Option<Value> {
        loop {
            let line: Value = serde_json::from_str(&self.text()?).unwrap();
            if line["kind"] != "heartbeat" {
                return Some(line);
            }
        }
    }

    /// Waits for a sign of life, after which nothing but a new token may be told.
    pub(crate) fn until_heartbeat(&mut self) {
        loop {
            let line: Value = serde_json::from_str(&self.text().unwrap()).unwrap();
            if line["kind"] == "heartbeat" {
                return;
            }
            assert_eq!(line["kind"], "rest", "{line}");
        }
    }

    /// All objects up to the rest, which is the last of them.
    pub(crate) fn until_rest(&mut self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let next = self.next().unwrap_or_else(|| panic!("ended after {all:?}"));
            let is_rest = next["kind"] == "rest";
            all.push(next);
            if is_rest {
                return all;
            }
        }
    }

    /// The next object that is no rest.
    pub(crate) fn news(&mut self) -> Option<Value> {
        loop {
            let next = self.next()?;
            if next["kind"] != "rest" {
                return Some(next);
            }
        }
    }

    /// The next event: its name, its id and its data. A comment has no name.
    pub(crate) fn event(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.text()?;
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("id", id)) => event.id = Some(id.to_owned()),
                Some(("retry", ms)) => event.retry = Some(ms.parse().unwrap()),
                Some(("data", data)) => event.data = serde_json::from_str(data).unwrap(),
                None if line == ":" => {}
                None if line.is_empty() => return Some(event),
                _ => panic!("no line of an event: {line}"),
            }
        }
    }

    /// Goes away without a word.
    pub(crate) fn leave(self) {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
    }
}

/// A server-sent event.
#[derive(Clone, PartialEq, Default, Debug)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) id: Option<String>,
    pub(crate) retry: Option<u64>,
    pub(crate) data: Value,
}

/// A connection that asked.
pub(crate) fn connect(server: SocketAddr, call: &Call) -> TcpStream {
    let mut socket = TcpStream::connect(server).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(&call.to_bytes(server)).unwrap();
    socket
}

/// The body of a chunked answer.
struct Chunks {
    from: BufReader<TcpStream>,
    left: usize,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let mut line = String::new();
            self.from.read_line(&mut line)?;
            if line.trim().is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left = usize::from_str_radix(line.trim(), 16).unwrap();
            self.ended = self.left == 0;
        }
        let wanted = buffer.len().min(self.left);
        if wanted == 0 {
            return Ok(0);
        }
        let read = self.from.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        if self.left == 0 {
            self.from.read_exact(&mut [0; 2])?;
        }
        Ok(read)
    }
}
