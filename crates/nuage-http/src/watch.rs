//! What one connection is doing, and until when it may.
//!
//! Every phase of a connection has a deadline. Setting one is a store to memory: the timer behind
//! is armed for the earliest deadline seen and, when it fires, looks whether that still holds. So a
//! connection that answers request after request touches the timer once in many seconds.
//!
//! All of it happens in the one task of the connection; the atomics are there because that task
//! moves between threads.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Sending the last answer, then waiting for the line and headers of a request.
    Waiting,
    /// Receiving the body of a request.
    Receiving,
    /// Handling a request.
    Handling,
    /// Sending an answer that has no end of its own. Silence is no fault then, but what there is
    /// to send must be taken.
    Streaming,
    /// Answered without reading the whole body: what still comes is thrown away for a moment, for
    /// a close with unread bytes would destroy the answer on its way.
    Lingering,
}

/// What to do when the timer fired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing: there is time left, or somebody else will act.
    Continue,
    /// Drop the connection.
    Close,
}

/// Phase and deadline of one connection. Times are milliseconds since the server started.
pub(crate) struct Watch {
    started: Instant,
    idle_ms: u64,
    phase: AtomicU8,
    deadline_ms: AtomicU64,
    expired: AtomicBool,
    stalled: AtomicBool,
}

impl Watch {
    /// A connection that may take `idle_ms` to send its first request, and whenever it waits.
    pub(crate) fn new(started: Instant, idle_ms: u64) -> Self {
        let watch = Self {
            started,
            idle_ms,
            phase: AtomicU8::new(0),
            deadline_ms: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
        };
        watch.enter(Phase::Waiting, watch.now_ms(), idle_ms);
        watch
    }

    /// The present time.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Begins a phase that may last so long.
    pub(crate) fn enter(&self, phase: Phase, now_ms: u64, lasts_ms: u64) {
        self.phase.store(phase as u8, Relaxed);
        self.deadline_ms.store(now_ms.saturating_add(lasts_ms), Relaxed);
        self.expired.store(false, Relaxed);
    }

    /// Begins to wait for the next request.
    pub(crate) fn wait(&self) {
        self.enter(Phase::Waiting, self.now_ms(), self.idle_ms);
    }

    /// Begins to send a stream.
    pub(crate) fn stream(&self) {
        let stalled = self.stalled.load(Relaxed);
        let lasts_ms = if stalled { self.idle_ms } else { u64::MAX };
        self.enter(Phase::Streaming, self.now_ms(), lasts_ms);
    }

    /// When the phase must have ended.
    pub(crate) fn deadline_ms(&self) -> u64 {
        self.deadline_ms.load(Relaxed)
    }

    /// The deadline as the timer understands it.
    pub(crate) fn instant(&self, deadline_ms: u64) -> tokio::time::Instant {
        // Beyond a year a deadline is no deadline, and would overflow what the timer can keep.
        let bounded = Duration::from_millis(deadline_ms.min(self.now_ms() + 31_536_000_000));
        tokio::time::Instant::from_std(self.started + bounded)
    }

    /// Whether the phase of a request ended without its work being done.
    pub(crate) fn is_expired(&self) -> bool {
        self.expired.load(Relaxed)
    }

    /// The other side takes no more bytes for now. Of a stream it has to take some in time.
    pub(crate) fn note_stall(&self) {
        let went_on = !self.stalled.swap(true, Relaxed);
        if went_on && self.phase.load(Relaxed) == Phase::Streaming as u8 {
            self.stream();
        }
    }

    /// The other side took bytes. After a stall, that gives it time for the next ones: a slow line
    /// may take minutes for a long answer as long as it moves.
    pub(crate) fn note_progress(&self) {
        if self.stalled.load(Relaxed) {
            self.stalled.store(false, Relaxed);
            let phase = self.phase.load(Relaxed);
            if phase == Phase::Waiting as u8 {
                self.wait();
            } else if phase == Phase::Streaming as u8 {
                self.stream();
            }
        }
    }

    /// Judges at the given time.
    pub(crate) fn judge(&self, now_ms: u64) -> Verdict {
        if now_ms < self.deadline_ms() {
            return Verdict::Continue;
        }
        let phase = self.phase.load(Relaxed);
        let working = phase == Phase::Receiving as u8 || phase == Phase::Handling as u8;
        if working && !self.is_expired() {
            // The request is told, and answers. If it cannot, because the other side does not
            // even take the previous answer, the connection goes.
            self.expired.store(true, Relaxed);
            self.deadline_ms.store(now_ms.saturating_add(self.idle_ms), Relaxed);
            return Verdict::Continue;
        }
        Verdict::Close
    }
}
