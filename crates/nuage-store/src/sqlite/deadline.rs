//! The time that a list or a count may take.

use std::cell::Cell;
use std::time::{Duration, Instant};

use nuage_model::StoreError;

use crate::sqlite::errors::Fault;

/// Rows between two looks at the clock.
const STEPS: u32 = 64;

/// A moment after which a walk must stop.
pub(super) struct Deadline {
    // None where the clock cannot say that late.
    end: Option<Instant>,
    steps: Cell<u32>,
}

impl Deadline {
    /// So many milliseconds from now.
    pub(super) fn after_ms(ms: u64) -> Self {
        Self { end: Instant::now().checked_add(Duration::from_millis(ms)), steps: Cell::new(0) }
    }

    /// Called for each row; fails when the time is over.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        let is_over = || self.end.is_some_and(|end| Instant::now() >= end);
        if steps.is_multiple_of(STEPS) && is_over() {
            return Err(StoreError::TooSlow.into());
        }
        Ok(())
    }
}
