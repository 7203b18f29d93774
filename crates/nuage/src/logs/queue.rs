//! Lines on their way to the output: bounded, and written by a thread of their own.
//!
//! Whoever logs neither waits for whoever reads nor fails with them: what finds no room, and what
//! cannot be written, is dropped and counted, and told as soon as there is somebody to tell.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

/// Most bytes that wait: some thousand lines, seconds of a busy server. As many again may be on
/// their way out.
const WAITING_BYTES: usize = 1 << 20;

/// The line that tells how many others are missing.
pub(super) type Missing = fn(u64) -> String;

/// Lines that wait, and the thread that writes them.
#[derive(Clone)]
pub(crate) struct Queue(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
    dropped: u64,
}

impl Queue {
    /// Begins to write to there.
    pub(super) fn new(target: impl Write + Send + 'static, missing: Missing) -> Self {
        let queue = Self(Arc::default());
        let shared = Arc::clone(&queue.0);
        let write = move || shared.write(target, missing);
        // Without a thread nothing is written: a server that cannot log serves nevertheless.
        let _ = std::thread::Builder::new().name("log".to_owned()).spawn(write);
        queue
    }

    /// Adds lines, each with its end.
    pub(crate) fn print(&self, lines: &str) {
        self.0.add(lines.as_bytes());
    }

    /// Waits until all is written, but no longer than this.
    pub(crate) fn flush(&self, within: Duration) {
        let busy = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        // Whatever is left then nobody reads.
        let _ = self.0.changed.wait_timeout_while(self.0.lock(), within, busy);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, lines: &[u8]) {
        let mut state = self.lock();
        if state.waiting.len() + lines.len() > WAITING_BYTES {
            state.dropped += count(lines);
            return;
        }
        state.waiting.extend_from_slice(lines);
        self.changed.notify_all();
    }

    fn write(&self, mut target: impl Write, missing: Missing) {
        let mut state = self.lock();
        loop {
            while state.waiting.is_empty() {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let lines = std::mem::take(&mut state.waiting);
            let dropped = std::mem::take(&mut state.dropped);
            state.is_writing = true;
            drop(state);
            let told = if dropped > 0 { missing(dropped) } else { String::new() };
            let written = target.write_all(told.as_bytes());
            let written = written.and_then(|()| target.write_all(&lines));
            let written = written.and_then(|()| target.flush());
            state = self.lock();
            state.is_writing = false;
            if written.is_err() {
                state.dropped += dropped + count(&lines);
            }
            self.changed.notify_all();
        }
    }
}

fn count(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

impl<'a> MakeWriter<'a> for Queue {
    type Writer = Sink<'a>;

    fn make_writer(&'a self) -> Sink<'a> {
        Sink(self)
    }
}

/// Where one event is written, whole and at once.
pub(crate) struct Sink<'a>(&'a Queue);

impl Write for Sink<'_> {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        self.0.0.add(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
