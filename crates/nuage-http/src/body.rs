//! The body of an answer: here in full, or made while it is sent.
//!
//! A stream is made by a future that hands over piece after piece. It is polled only when the
//! connection has room for another piece, so a reader that is slow slows the making, and what is
//! held for it is one piece and what the maker keeps. This module does not know what is in them.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Piece by piece.
    Stream(Stream),
}

impl Body {
    /// A body that this work makes. When the work ends, so does the answer; when it panics, the
    /// connection is cut, so that no reader takes what it got for all there is.
    ///
    /// The work is dropped when the client goes away. No time limit holds for it, but the reader
    /// must go on reading.
    pub fn stream<W, F>(work: F) -> Self
    where
        F: FnOnce(Pieces) -> W,
        W: Future<Output = ()> + Send + 'static,
    {
        let slot = Arc::new(Slot::default());
        let work = work(Pieces { slot: Arc::clone(&slot) });
        Self::Stream(Stream { work: Some(Box::pin(work)), slot })
    }
}

impl Default for Body {
    fn default() -> Self {
        Self::Whole(Bytes::new())
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::Whole(bytes.into())
    }
}

/// One piece on its way from the work to the connection.
#[derive(Default)]
struct Slot(Mutex<Option<Bytes>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Bytes>> {
        // No piece is ever half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the pieces of a stream.
pub struct Pieces {
    slot: Arc<Slot>,
}

impl Pieces {
    /// Hands over a piece, and completes when the connection asks for another. To be awaited by
    /// the work itself, not in a task of its own.
    pub async fn send(&mut self, piece: Bytes) {
        if piece.is_empty() {
            return;
        }
        *self.slot.lock() = Some(piece);
        // Whoever takes the piece polls the work next: nobody has to be woken.
        poll_fn(|_| if self.slot.lock().is_some() { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

/// A body that is made while it is sent.
pub struct Stream {
    work: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    slot: Arc<Slot>,
}

impl Stream {
    /// The next piece; `None` at the end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let Some(work) = &mut self.work else { return Poll::Ready(None) };
        let ended = work.as_mut().poll(cx).is_ready();
        if ended {
            self.work = None;
        }
        match self.slot.lock().take() {
            Some(piece) => Poll::Ready(Some(piece)),
            None if ended => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}
