//! What to do when the process may open no more files.
//!
//! One descriptor is kept for that moment: given up, it lets one more connection in, on which
//! health checks are still answered. The log is told once, then at most once a minute.

use std::fs::File;
use std::io;
use std::time::Duration;

use tokio::time::Instant;

/// Pause before the next try, when there is nothing to be given up.
const PAUSE: Duration = Duration::from_millis(50);

/// Least time between two lines of the log.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

/// The descriptor that is kept, and what the log was told.
pub(super) struct Descriptors {
    kept: Option<File>,
    told: Option<Instant>,
    untold: u64,
}

impl Descriptors {
    pub(super) fn new() -> Self {
        Self { kept: open(), told: None, untold: 0 }
    }

    /// Whether the connection that was just accepted took the last descriptor.
    pub(super) fn are_short(&mut self) -> bool {
        if self.kept.is_none() {
            self.kept = open();
        }
        self.kept.is_none()
    }

    /// After a connection could not be accepted, though so many others were closed: completes when
    /// it may be tried again.
    pub(super) async fn ran_out(&mut self, error: &io::Error, closed: usize) {
        self.tell(error, Instant::now());
        // Connections that were told to go need a moment, and then what is kept is not needed.
        if closed > 0 || self.kept.take().is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn tell(&mut self, error: &io::Error, now: Instant) {
        if self.told.is_some_and(|told| now < told + TOLD_AGAIN) {
            self.untold += 1;
            return;
        }
        self.told = Some(now);
        let times = std::mem::take(&mut self.untold) + 1;
        tracing::warn!(
            %error,
            times,
            "a connection could not be accepted; idle ones are closed. If files ran out, raise the \
             number that the process may open (ulimit -n, LimitNOFILE=)"
        );
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
