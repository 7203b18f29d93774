//! The stream under a connection: notes stalls and progress, and closes so that the last answer
//! arrives.

use std::io;
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

use crate::watch::{Phase, Watch};

/// How long unread bytes are thrown away after a refusal. A client on a slow line reads the
/// answer within that.
const LINGER_MS: u64 = 2_000;

/// How much is thrown away. More would pay for what was refused because it is too much.
const LINGER_BYTES: usize = 32 * 1024 * 1024;

/// How long the other side may leave bytes unacknowledged. Streams send a sign of life now and
/// then: whoever vanished without a word is noticed by this.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(60);

/// A TCP stream that is watched.
pub(crate) struct Wire {
    stream: TokioIo<TcpStream>,
    watch: Arc<Watch>,
    linger: Arc<AtomicBool>,
    closing: Option<usize>,
}

impl Wire {
    /// Watches a stream. When `linger` is set at the close, unread bytes are thrown away.
    pub(crate) fn new(stream: TcpStream, watch: Arc<Watch>, linger: Arc<AtomicBool>) -> Self {
        // Where the system knows no such time, its own is longer.
        #[cfg(target_os = "linux")]
        if let Err(error) = SockRef::from(&stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED)) {
            tracing::debug!(%error, "a dead peer will be noticed late");
        }
        Self { stream: TokioIo::new(stream), watch, linger, closing: None }
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
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
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
