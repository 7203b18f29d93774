//! Patterns of schemas: how much they take, and how long a text they may be compared with.
//!
//! The time of a comparison is at most proportional to the size of a pattern and the length of the
//! text. Patterns that look around or back are run by trial, where it is a power of the length.
//! A comparison cannot be interrupted, so texts for which it might take long are refused.

use std::sync::Arc;

use jsonschema::{Keyword, PatternOptions, ValidationError, Validator};
use serde_json::{Value, json};

use super::deadline;

/// Trials of one pattern on one text.
pub(super) const BACKTRACKS_MAX: usize = 100_000;
/// Steps by which the size of a compiled pattern is measured: `^[a-z0-9-]{1,36}$`, an IPv6 address,
/// 200 characters of any kind.
pub(super) const SIZES_BYTES: [usize; 3] = [8 * 1024, 64 * 1024, 512 * 1024];
/// What any compiled pattern takes, with the memory in which a few threads compare: measured as
/// 30 KiB when it is compiled.
pub(super) const BYTES: usize = 128 * 1024;
/// Tables that a comparison may fill, for each direction.
const TABLE_BYTES_MAX: usize = 16 * 1024;
/// What a pattern that looks around takes besides: its tables cannot be bounded.
const TRIAL_BYTES: usize = 512 * 1024;
/// Size of a pattern times bytes of text: about half a second at the worst.
pub(super) const COMPARISON_MAX: u64 = 1 << 35;
/// The same where requests are answered: about half a millisecond.
const COMPARISON_QUICK_MAX: u64 = 1 << 26;
/// Bytes of text to the power of the nesting of groups, for what runs by trial.
const TRIALS_MAX: u64 = 1 << 30;
/// The same where requests are answered.
const TRIALS_QUICK_MAX: u64 = 1 << 20;
/// Texts from here on are worth a look at the clock.
const LONG_BYTES: usize = 1024;

/// A compiled pattern that knows how long a text may be.
pub(super) struct Pattern {
    inner: Validator,
    /// Upper estimate of what it takes.
    pub(super) bytes: usize,
    pub(super) cost: Cost,
}

/// How the time of a comparison grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cost {
    /// With the text, times the size.
    Linear(u64),
    /// With this power of the text.
    Power(u32),
}

impl Pattern {
    /// Compiles and measures a pattern.
    ///
    /// # Errors
    ///
    /// A sentence, if it is malformed or too large.
    pub(super) fn measured(text: &str) -> Result<Self, String> {
        let schema = json!({ "pattern": text });
        let groups = text.bytes().filter(|byte| *byte == b'(').count();
        for size in SIZES_BYTES {
            deadline::look_now();
            let options = PatternOptions::regex().size_limit(size).dfa_size_limit(TABLE_BYTES_MAX);
            let built = jsonschema::options().with_pattern_options(options).build(&schema);
            if let Ok(inner) = built {
                // Each place in a pattern keeps where each of its groups began and ended.
                let bytes = BYTES + 4 * size + size / 8 * groups;
                return Ok(Self { inner, bytes, cost: Cost::Linear(size as u64) });
            }
        }
        for size in SIZES_BYTES {
            deadline::look_now();
            let options = PatternOptions::fancy_regex();
            let options = options.size_limit(size).backtrack_limit(BACKTRACKS_MAX);
            let built = jsonschema::options().with_pattern_options(options).build(&schema);
            if let Ok(inner) = built {
                let bytes = BYTES + TRIAL_BYTES + size * (1 + groups);
                return Ok(Self { inner, bytes, cost: Cost::Power(1 + nesting(text)) });
            }
        }
        let shown: String = text.chars().take(80).collect();
        Err(format!("the pattern '{shown}' is malformed or too large"))
    }

    /// Whether a text may be compared with it; leaves the place where it must be quick.
    fn takes(&self, text: &str) -> bool {
        let length = text.len() as u64;
        let (cost, quick_max, max) = match self.cost {
            Cost::Linear(size) => {
                (length.saturating_mul(size), COMPARISON_QUICK_MAX, COMPARISON_MAX)
            }
            Cost::Power(power) => (length.saturating_pow(power), TRIALS_QUICK_MAX, TRIALS_MAX),
        };
        if deadline::is_quick() && cost > quick_max {
            deadline::give_up();
        }
        if text.len() >= LONG_BYTES {
            deadline::look_now();
        }
        cost <= max
    }
}

impl Cost {
    /// Of comparing names of properties, so many bytes of them, with this pattern, whose longest
    /// is so long: none if that might take too long.
    pub(super) fn of_names(self, bytes: usize, longest: usize) -> Option<u64> {
        match self {
            Self::Linear(size) => Some((bytes as u64).saturating_mul(size)),
            Self::Power(power) => {
                let each = (longest as u64).saturating_pow(power);
                let all = (bytes as u64).saturating_mul(each);
                Some(all).filter(|all| *all <= TRIALS_MAX)
            }
        }
    }
}

/// A pattern where a schema has it.
pub(super) struct Place(pub(super) Arc<Pattern>);

impl<'i> Keyword<'i> for Place {
    fn validate(&self, instance: &'i Value) -> Result<(), ValidationError<'i>> {
        match instance.as_str() {
            Some(text) if !self.0.takes(text) => {
                Err(ValidationError::custom("is too long for the pattern of its schema"))
            }
            _ => self.0.inner.validate(instance),
        }
    }

    fn is_valid(&self, instance: &'i Value) -> bool {
        instance.as_str().is_none_or(|text| self.0.takes(text)) && self.0.inner.is_valid(instance)
    }
}

/// How deep groups are nested in a pattern.
fn nesting(pattern: &str) -> u32 {
    let (mut depth, mut deepest, mut in_class) = (0_u32, 0, false);
    let mut bytes = pattern.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'[' => in_class = true,
            b']' => in_class = false,
            b'(' if !in_class => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b')' if !in_class => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests;
