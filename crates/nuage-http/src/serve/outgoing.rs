//! The body of an answer as hyper takes it, and what is told of the answer at its end.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use hyper::body::{Body, Frame, SizeHint};

use crate::body::Stream;
use crate::serve::Link;
use crate::serve::answer::{ACCESS, Known, said};
use crate::shares::Share;

/// How much of an answer is handed to the connection at a time: copying it takes less than a tenth
/// of a millisecond, after which others get their turn.
const SLICE_BYTES: usize = 128 * 1024;

/// A stream ended before its end: the connection goes, and the reader knows.
#[derive(Debug, thiserror::Error)]
#[error("the stream of an answer broke")]
pub(super) struct Broken;

/// What is sent.
pub(super) enum Outgoing {
    /// What is left of all of it.
    Whole(Rest),
    /// What is made while it is sent.
    Stream(Box<Live>),
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.get_mut() {
            Self::Whole(rest) => rest.poll_slice(cx).map(|slice| Some(Ok(Frame::data(slice?)))),
            Self::Stream(live) => live.poll_piece(cx).map(|piece| Some(piece?.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(rest) => rest.bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(rest) => SizeHint::with_exact(rest.bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// What is left of an answer that is there in full.
pub(super) struct Rest {
    bytes: Bytes,
    has_rested: bool,
}

impl Rest {
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, has_rested: true }
    }

    fn poll_slice(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        self.has_rested = !self.has_rested;
        if self.has_rested {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = SLICE_BYTES.min(self.bytes.len());
        Poll::Ready(Some(self.bytes.split_to(count)))
    }
}

/// A stream on its way. While it lives, its connection may be silent for long; it must take what
/// there is to send.
pub(super) struct Live {
    stream: Stream,
    link: Arc<Link>,
    told: Told,
    /// Its share of all streams.
    _share: Option<Share>,
}

impl Live {
    pub(super) fn new(stream: Stream, link: Arc<Link>, told: Told, share: Option<Share>) -> Self {
        link.watch.stream();
        Self { stream, link, told, _share: share }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        match catch_unwind(AssertUnwindSafe(|| self.stream.poll_piece(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(None)) => Poll::Ready(None),
            Ok(Poll::Ready(Some(piece))) => {
                self.told.bytes += piece.len() as u64;
                Poll::Ready(Some(Ok(piece)))
            }
            Err(panic) => {
                let Known { id, uri, .. } = &self.told.known;
                let panic = said(&*panic);
                tracing::error!(rid = %id, path = uri.path(), panic, "a stream panicked");
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.link.watch.wait();
        self.told.tell();
    }
}

/// What the access log is told of an answer, once it is over.
pub(super) struct Told {
    pub(super) known: Known,
    /// When it began; `None` where nobody listens.
    pub(super) started: Option<tokio::time::Instant>,
    pub(super) status: StatusCode,
    pub(super) bytes: u64,
}

impl Told {
    pub(super) fn tell(&self) {
        let Some(started) = self.started else { return };
        tracing::info!(
            target: ACCESS,
            rid = %self.known.id,
            client = %self.known.client.ip(),
            method = %self.known.method,
            path = self.known.uri.path(),
            status = self.status.as_u16(),
            ms = started.elapsed().as_micros() as f64 / 1000.0,
            bytes = self.bytes,
        );
    }
}
