//! JSON Schemas that cannot run for ever, nor compile for ever.
//!
//! References can make a small schema evaluate itself a number of times that is exponential in
//! its size. So a keyword of our own is put into every subschema; it looks at the clock, and
//! unwinds when the time is over, or nobody waits for the verdict any more. It does so when the
//! subschema is compiled, too. Positions that hold data and not schemas (`const`, `enum`) are left
//! as they are, and references into them are refused, for they would escape the clock.
//!
//! The clock is that of the thread: what waits for a processor does not use up its time.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use jsonschema::{Keyword, ValidationError};
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::turns::is_wanted;

/// The keyword; as a name of a property it is one that nobody has.
pub(super) const KEYWORD: &str = "nuage:deadline";
/// Evaluations between two looks at the clock.
const LOOK_EVERY: u32 = 64;
/// Time that a validation may take where requests are answered.
const QUICK_TIME: Duration = Duration::from_millis(1);

thread_local! {
    static DEADLINE: Cell<Option<Duration>> = const { Cell::new(None) };
    static EVALUATIONS: Cell<u32> = const { Cell::new(0) };
    static QUICK: Cell<bool> = const { Cell::new(false) };
}

/// Unwinds out of a validation or a compilation.
struct TimeIsOver;

/// The keyword's evaluation.
pub(super) struct Deadline;

impl<'i> Keyword<'i> for Deadline {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        look();
        Ok(())
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        look();
        true
    }
}

/// Looks at the clock now and then.
fn look() {
    let count = EVALUATIONS.get().wrapping_add(1);
    EVALUATIONS.set(count);
    if count.is_multiple_of(LOOK_EVERY) {
        look_now();
    }
}

/// Looks at the clock.
pub(super) fn look_now() {
    if DEADLINE.get().is_some_and(|deadline| used() >= deadline) || !is_wanted() {
        give_up();
    }
}

/// Says that the time would not be enough.
pub(super) fn give_up() {
    if DEADLINE.get().is_some() {
        resume_unwind(Box::new(TimeIsOver));
    }
}

/// Time that this thread has worked.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}

/// Puts the keyword everywhere. False if a reference would escape it.
pub(super) fn watch(schema: &mut Value) -> bool {
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                let escapes = |reference: &Value| {
                    let text = reference.as_str().unwrap_or_default();
                    ["/const", "/enum"].iter().any(|place| text.contains(place))
                };
                if ["$ref", "$dynamicRef", "$recursiveRef"]
                    .iter()
                    .any(|name| fields.get(*name).is_some_and(escapes))
                {
                    return false;
                }
                fields.insert(KEYWORD.to_owned(), Value::Bool(true));
                let schemas = fields.iter_mut().filter(|(name, value)| {
                    *name != "const" && !(*name == "enum" && value.is_array())
                });
                open.extend(schemas.map(|(_, value)| value));
            }
            _ => {}
        }
    }
    true
}

/// The same where requests are answered: what may take long gives up before it begins.
pub(super) fn quickly<T>(work: impl FnOnce() -> T) -> Option<T> {
    QUICK.set(true);
    let result = within(QUICK_TIME, work);
    QUICK.set(false);
    result
}

/// Whether this runs where requests are answered.
pub(super) fn is_quick() -> bool {
    QUICK.get()
}

/// Runs something that looks at the clock; `None` when the time of a processor is over.
pub(super) fn within<T>(time: Duration, work: impl FnOnce() -> T) -> Option<T> {
    DEADLINE.set(Some(used() + time));
    let result = catch_unwind(AssertUnwindSafe(work));
    DEADLINE.set(None);
    match result {
        Ok(result) => Some(result),
        Err(panic) if panic.is::<TimeIsOver>() => None,
        Err(panic) => resume_unwind(panic),
    }
}
