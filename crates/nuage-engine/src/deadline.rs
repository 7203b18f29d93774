//! JSON Schemas that cannot run for ever.
//!
//! References can make a small schema evaluate itself a number of times that is exponential in
//! its size. So a keyword of our own is put into every subschema; it looks at the clock, and
//! unwinds when the time is over. Positions that hold data and not schemas (`const`, `enum`) are
//! left as they are, and references into them are refused, for they would escape the clock.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use jsonschema::{Keyword, ValidationError, ValidationOptions};
use serde_json::Value;

/// The keyword; as a name of a property it is one that nobody has.
const KEYWORD: &str = "nuage:deadline";
/// Evaluations between two looks at the clock.
const LOOK_EVERY: u32 = 64;

thread_local! {
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    static EVALUATIONS: Cell<u32> = const { Cell::new(0) };
}

/// Unwinds out of a validation.
struct TimeIsOver;

struct Deadline;

impl Deadline {
    fn look(&self) {
        let count = EVALUATIONS.get().wrapping_add(1);
        EVALUATIONS.set(count);
        if count.is_multiple_of(LOOK_EVERY)
            && DEADLINE.get().is_some_and(|deadline| Instant::now() >= deadline)
        {
            resume_unwind(Box::new(TimeIsOver));
        }
    }
}

impl<'i> Keyword<'i> for Deadline {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        self.look();
        Ok(())
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        self.look();
        true
    }
}

/// Makes validators know the keyword.
pub(crate) fn watched(options: ValidationOptions<'_>) -> ValidationOptions<'_> {
    options.with_keyword(KEYWORD, |_, _, _| Ok(Box::new(Deadline)))
}

/// Puts the keyword everywhere. False if a reference would escape it.
pub(crate) fn watch(schema: &mut Value) -> bool {
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

/// Runs a validation; `None` when the time is over.
pub(crate) fn within<T>(time: Duration, validate: impl FnOnce() -> T) -> Option<T> {
    DEADLINE.set(Some(Instant::now() + time));
    let result = catch_unwind(AssertUnwindSafe(validate));
    DEADLINE.set(None);
    match result {
        Ok(result) => Some(result),
        Err(panic) if panic.is::<TimeIsOver>() => None,
        Err(panic) => resume_unwind(panic),
    }
}
