//! The time that a list or a count may take: as long as somebody waits for it, and no longer than
//! the limit.

use std::cell::Cell;
use std::sync::{Arc, Weak};
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
    // Held by who waits; None where that is the walking thread itself.
    waiting: Option<Weak<()>>,
}

impl Deadline {
    /// So many milliseconds from now.
    pub(super) fn after_ms(ms: u64) -> Self {
        let end = Instant::now().checked_add(Duration::from_millis(ms));
        Self { end, steps: Cell::new(0), waiting: None }
    }

    /// Over as well once nobody holds this any more.
    pub(super) fn while_held(self, waiting: &Arc<()>) -> Self {
        Self { waiting: Some(Arc::downgrade(waiting)), ..self }
    }

    /// Called for each row; fails when the time is over, or nobody waits.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.waiting.as_ref().is_some_and(|waiting| waiting.strong_count() == 0) {
            return Err(StoreError::TooSlow.into());
        }
        let steps = self.steps.get().wrapping_add(1);
        self.steps.set(steps);
        let is_over = || self.end.is_some_and(|end| Instant::now() >= end);
        if steps.is_multiple_of(STEPS) && is_over() {
            return Err(StoreError::TooSlow.into());
        }
        Ok(())
    }
}
