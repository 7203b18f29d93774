//! What one connection is doing, and until when it may.
//!
//! Every phase of a connection has a deadline. Setting one is a store to memory: the timer behind
//! is armed for the earliest deadline seen and, when it fires, looks whether that still holds. So a
//! connection that answers request after request touches the timer once in many seconds.
//!
//! All of it happens in the one task of the connection, but for [`Watch::dismiss`]; the atomics are
//! there for that, and because the task moves between threads.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::task::Waker;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use nuage_model::Limits;

/// How long after an answer its connection is not closed to make room: it is on its way by then.
const SENT_MS: u64 = 100;

/// What a connection is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Sending the last answer, then waiting for another request.
    Waiting,
    /// Receiving the line and headers of a request, or new and silent.
    Heading,
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
    /// Told to go while it was waiting, to make room. Nothing else follows.
    Leaving,
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
    /// How long it may wait for another request.
    idle_ms: AtomicU64,
    /// How long it may take to send a head, and to take bytes of an answer.
    stall_ms: AtomicU64,
    phase: AtomicU8,
    since_ms: AtomicU64,
    deadline_ms: AtomicU64,
    expired: AtomicBool,
    stalled: AtomicBool,
    waker: AtomicWaker,
}

impl Watch {
    /// A connection whose first head is awaited.
    pub(crate) fn new(started: Instant, limits: &Limits) -> Self {
        let watch = Self {
            started,
            idle_ms: AtomicU64::new(limits.idle_ms),
            stall_ms: AtomicU64::new(limits.header_ms),
            phase: AtomicU8::new(Phase::Heading as u8),
            since_ms: AtomicU64::new(0),
            deadline_ms: AtomicU64::new(0),
            expired: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        };
        watch.enter(Phase::Heading, watch.now_ms(), limits.header_ms);
        watch
    }

    /// The present time.
    pub(crate) fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Begins a phase that may last so long; `false` if the connection was told to go.
    pub(crate) fn enter(&self, phase: Phase, now_ms: u64, lasts_ms: u64) -> bool {
        self.since_ms.store(now_ms, Relaxed);
        self.deadline_ms.store(now_ms.saturating_add(lasts_ms), Relaxed);
        self.expired.store(false, Relaxed);
        if self.phase.swap(phase as u8, SeqCst) == Phase::Leaving as u8 {
            self.phase.store(Phase::Leaving as u8, SeqCst);
            return false;
        }
        true
    }

    /// Begins to wait for the next request.
    pub(crate) fn wait(&self) {
        let stalled = self.stalled.load(Relaxed);
        let lasts_ms = if stalled { self.stall_ms() } else { self.idle_ms.load(Relaxed) };
        self.enter(Phase::Waiting, self.now_ms(), lasts_ms);
    }

    /// Begins to send a stream.
    pub(crate) fn stream(&self) {
        let stalled = self.stalled.load(Relaxed);
        let lasts_ms = if stalled { self.stall_ms() } else { u64::MAX };
        self.enter(Phase::Streaming, self.now_ms(), lasts_ms);
    }

    /// A part of a head came.
    pub(crate) fn note_head(&self) {
        if self.is(Phase::Waiting) {
            self.enter(Phase::Heading, self.now_ms(), self.stall_ms());
        }
    }

    /// From now on only what is under way is finished: nothing is waited for, and what there is to
    /// send must be taken within `stall_ms`.
    pub(crate) fn hurry(&self, stall_ms: u64) {
        self.idle_ms.store(stall_ms, Relaxed);
        self.stall_ms.store(stall_ms, Relaxed);
        let now_ms = self.now_ms();
        match self.phase.load(Relaxed) {
            phase if phase == Phase::Waiting as u8 => self.wait(),
            phase if phase == Phase::Streaming as u8 => self.stream(),
            phase if phase == Phase::Receiving as u8 => self.expire(now_ms),
            phase if phase == Phase::Heading as u8 => self.deadline_ms.store(now_ms, Relaxed),
            _ => {}
        }
    }

    /// Time to take bytes of an answer, in milliseconds.
    pub(crate) fn stall_ms(&self) -> u64 {
        self.stall_ms.load(Relaxed)
    }

    fn is(&self, phase: Phase) -> bool {
        self.phase.load(Relaxed) == phase as u8
    }

    /// Since when it has been waiting for a request, or for the rest of a head; `None` if it is
    /// doing something, or may still be sending an answer.
    pub(crate) fn waiting_since_ms(&self, now_ms: u64) -> Option<u64> {
        let since_ms = self.since_ms.load(Relaxed);
        let waits = self.is(Phase::Waiting) && since_ms.saturating_add(SENT_MS) <= now_ms;
        (waits || self.is(Phase::Heading)).then_some(since_ms)
    }

    /// Tells a connection that waits to go, from another task. `false` if it went on.
    pub(crate) fn dismiss(&self) -> bool {
        let leaving = [Phase::Waiting, Phase::Heading].iter().any(|phase| {
            let to = Phase::Leaving as u8;
            self.phase.compare_exchange(*phase as u8, to, SeqCst, SeqCst).is_ok()
        });
        if leaving {
            self.wake();
        }
        leaving
    }

    /// Whether the connection was told to go.
    pub(crate) fn is_leaving(&self) -> bool {
        self.phase.load(SeqCst) == Phase::Leaving as u8
    }

    /// Has the connection look again.
    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    /// How to have the connection look again.
    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
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

    // The request is told, and answers. If it cannot, because the other side does not even take
    // the previous answer, the connection goes.
    fn expire(&self, now_ms: u64) {
        self.expired.store(true, Relaxed);
        self.deadline_ms.store(now_ms.saturating_add(self.stall_ms()), Relaxed);
    }

    /// The other side takes no more bytes for now. It has to take some in time.
    pub(crate) fn note_stall(&self) {
        let went_on = !self.stalled.swap(true, Relaxed);
        if went_on {
            self.again();
        }
    }

    /// The other side took bytes. After a stall, that gives it time for the next ones: a slow line
    /// may take minutes for a long answer as long as it moves.
    pub(crate) fn note_progress(&self) {
        if self.stalled.load(Relaxed) {
            self.stalled.store(false, Relaxed);
            self.again();
        }
    }

    fn again(&self) {
        if self.is(Phase::Waiting) {
            self.wait();
        } else if self.is(Phase::Streaming) {
            self.stream();
        }
    }

    /// Judges at the given time.
    pub(crate) fn judge(&self, now_ms: u64) -> Verdict {
        if now_ms < self.deadline_ms() {
            return Verdict::Continue;
        }
        let working = self.is(Phase::Receiving) || self.is(Phase::Handling);
        if working && !self.is_expired() {
            self.expire(now_ms);
            return Verdict::Continue;
        }
        Verdict::Close
    }
}
