//! The stream under a connection: lets requests through the gate, notes stalls and progress, and
//! closes so that the last answer arrives.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
#[cfg(target_os = "linux")]
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use crate::gate::Gate;
use crate::watch::{Phase, Watch};

/// How long unread bytes are thrown away after a refusal. A client on a slow line reads the
/// answer within that.
const LINGER_MS: u64 = 2_000;

/// How much is read at a time.
const READ_BYTES: usize = 16 * 1024;

/// How much is thrown away. More would pay for what was refused because it is too much.
const LINGER_BYTES: usize = 32 * 1024 * 1024;

/// How long the other side may leave bytes unacknowledged. Streams send a sign of life now and
/// then: whoever vanished without a word is noticed by this.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// A TCP stream that is watched.
pub(crate) struct Wire {
    stream: TokioIo<TcpStream>,
    gate: Gate,
    watch: Arc<Watch>,
    linger: Arc<AtomicBool>,
    closing: Option<usize>,
}

impl Wire {
    /// Watches a stream. When `linger` is set at the close, unread bytes are thrown away.
    pub(crate) fn new(
        stream: TcpStream,
        gate: Gate,
        watch: Arc<Watch>,
        linger: Arc<AtomicBool>,
    ) -> Self {
        // Where the system knows no such time, its own is longer.
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)) {
            tracing::debug!(%error, "a dead peer will be noticed late");
        }
        Self { stream: TokioIo::new(stream), gate, watch, linger, closing: None }
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
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        loop {
            let passing = wire.gate.passing();
            if !passing.is_empty() {
                let bytes = passing.len().min(buf.remaining());
                buf.put_slice(&passing[..bytes]);
                wire.gate.passed(bytes);
                return Poll::Ready(Ok(()));
            }
            if wire.gate.is_broken() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if wire.gate.is_shut() {
                // The answer to what was refused is the last, and its writing goes on by itself.
                return Poll::Pending;
            }
            if wire.gate.has_part() {
                wire.watch.note_head();
            }
            let mut read = [const { MaybeUninit::uninit() }; READ_BYTES];
            let mut read = ReadBuf::uninit(&mut read);
            ready!(Pin::new(wire.stream.inner_mut()).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            wire.gate.push(read.filled());
        }
    }
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
                let lasts_ms = LINGER_MS.min(self.watch.stall_ms());
                self.watch.enter(Phase::Lingering, self.watch.now_ms(), lasts_ms);
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
