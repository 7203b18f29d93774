//! The stream under a connection: notes stalls and progress, encodes what clients leave bare in
//! the line of a request, and closes so that the last answer arrives.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::watch::{Phase, Watch};

/// How long unread bytes are thrown away after a refusal. A client on a slow line reads the
/// answer within that.
const LINGER_MS: u64 = 2_000;

/// How much is thrown away. More would pay for what was refused because it is too much.
const LINGER_BYTES: usize = 32 * 1024 * 1024;

/// Size of the piece in which the beginning of a request is read. Nearly all fit into one.
const ARRIVED_BYTES: usize = 4 * 1024;

/// A TCP stream that is watched.
pub(crate) struct Wire {
    stream: TokioIo<TcpStream>,
    watch: Arc<Watch>,
    linger: Arc<AtomicBool>,
    closing: Option<usize>,
    /// Where the beginning of a request is looked at.
    arrived: Box<[u8]>,
    /// What was encoded and did not fit.
    encoded: Vec<u8>,
}

impl Wire {
    /// Watches a stream. When `linger` is set at the close, unread bytes are thrown away.
    pub(crate) fn new(stream: TcpStream, watch: Arc<Watch>, linger: Arc<AtomicBool>) -> Self {
        Self {
            stream: TokioIo::new(stream),
            watch,
            linger,
            closing: None,
            arrived: vec![0; ARRIVED_BYTES].into(),
            encoded: Vec::new(),
        }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Pending => self.watch.note_stall(),
            Poll::Ready(_) => self.watch.note_progress(),
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.encoded.is_empty() {
            if !this.watch.is_waiting() {
                return Pin::new(&mut this.stream).poll_read(cx, buf);
            }
            let room = this.arrived.len().min(buf.remaining());
            let mut read = ReadBuf::new(&mut this.arrived[..room]);
            ready!(Pin::new(this.stream.inner_mut()).poll_read(cx, &mut read))?;
            match encode_line(read.filled()) {
                None => {
                    buf.put_slice(read.filled());
                    return Poll::Ready(Ok(()));
                }
                Some(encoded) => this.encoded = encoded,
            }
        }
        let fits = this.encoded.len().min(buf.remaining());
        buf.put_slice(&this.encoded[..fits]);
        this.encoded.drain(..fits);
        Poll::Ready(Ok(()))
    }
}

/// Percent-encodes the quotes and angle brackets of a query that a person typed (`?_since="12"`):
/// the parser of addresses refuses them. `None` if the bytes do not begin a request, or if there
/// is nothing to encode. A line that arrives in pieces is left to the parser.
fn encode_line(bytes: &[u8]) -> Option<Vec<u8>> {
    let is_bare = |byte: &u8| matches!(byte, b'"' | b'<' | b'>');
    let line = &bytes[..bytes.iter().position(|byte| *byte == b'\n')?];
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    if !line.iter().any(is_bare) || method == 0 || !line[method..].starts_with(b" /") {
        return None;
    }
    let mut encoded = Vec::with_capacity(bytes.len() + 64);
    for byte in line {
        if is_bare(byte) {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.push(*byte);
        }
    }
    encoded.extend_from_slice(&bytes[line.len()..]);
    Some(encoded)
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = match self.closing {
            Some(left) => left,
            None => {
                ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
                if !self.linger.load(Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                self.watch.enter(Phase::Lingering, self.watch.now_ms(), LINGER_MS);
                LINGER_BYTES
            }
        };
        let mut thrown_away = [0; 16 * 1024];
        loop {
            self.closing = Some(left);
            let mut buf = ReadBuf::new(&mut thrown_away);
            ready!(Pin::new(self.stream.inner_mut()).poll_read(cx, &mut buf))?;
            let read_bytes = buf.filled().len();
            if read_bytes == 0 || read_bytes >= left {
                return Poll::Ready(Ok(()));
            }
            left -= read_bytes;
        }
    }
}
