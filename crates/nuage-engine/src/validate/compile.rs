//! From the text of a schema to what judges records, within bounds of size and time.
//!
//! A small schema may compile to gigabytes: patterns with large repetitions, subschemas under long
//! names, references in many scopes. So everything that compiling makes is counted, as upper
//! estimates, while it is made, and it ends when that is too much. Patterns are measured by the
//! library's own limit: the smallest step under which one compiles is its size.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, ValidationOptions, Validator};
use serde_json::{Map, Value, json};

use super::deadline::{self, Deadline};
use super::pattern::{self, COMPARISON_MAX, Cost, Pattern, Place};
use super::sentence::sentence;
use crate::Invalid;

/// What one keyword of a subschema takes besides its place: validator, error and annotations.
const KEYWORD_BYTES: usize = 512;
/// What a value takes that is kept as it is (`enum`, `default`, …), with its copies.
const VALUE_BYTES: usize = 256;
/// Copies of the place of a keyword, which is a path from the schema's root.
const PLACE_COPIES: usize = 3;
/// Longest text that may have `format: regex`.
const REGEX_BYTES_MAX: usize = 4 * 1024;

/// What judges records.
pub(super) struct Compiled {
    pub(super) validator: Validator,
    /// Whether the schema speaks of the identifier, which is no part of a body.
    pub(super) wants_id: bool,
    /// Whether it may evaluate itself many times, or in depth.
    pub(super) has_references: bool,
    /// What its patterns for names of properties cost.
    pub(super) for_names: Vec<Cost>,
}

impl Compiled {
    /// Whether it may be tried where requests are answered.
    pub(super) fn may_be_quick(&self) -> bool {
        !self.has_references && self.for_names.is_empty()
    }

    /// What a body breaks, if anything.
    pub(super) fn judge(&self, instance: &Value) -> Result<(), Invalid> {
        if !self.for_names.is_empty() && !self.can_compare_names(instance) {
            let description = "has too many names for the patterns of its schema".to_owned();
            return Err(Invalid { field: "data".to_owned(), description });
        }
        self.validator.validate(instance).map_err(|error| Invalid {
            field: failing_field(&error),
            description: sentence(&error),
        })
    }

    fn can_compare_names(&self, instance: &Value) -> bool {
        let (mut bytes, mut longest) = (0, 0);
        let mut open = vec![instance];
        while let Some(value) = open.pop() {
            match value {
                Value::Array(items) => open.extend(items),
                Value::Object(fields) => {
                    for (name, value) in fields {
                        bytes += name.len() + 8;
                        longest = longest.max(name.len());
                        open.push(value);
                    }
                }
                _ => {}
            }
        }
        let costs = self.for_names.iter().map(|cost| cost.of_names(bytes, longest));
        costs.sum::<Option<u64>>().is_some_and(|cost| cost <= COMPARISON_MAX)
    }
}

/// The missing property, or the last step of the path that fails, or the rule if that is the whole.
fn failing_field(error: &ValidationError<'_>) -> String {
    if let ValidationErrorKind::Required { property: Value::String(name) } = error.kind() {
        return name.clone();
    }
    let path = error.instance_path().to_string();
    match path.rsplit('/').next() {
        Some(last) if !last.is_empty() => last.to_owned(),
        _ => error.kind().keyword().to_owned(),
    }
}

/// What was made of a schema so far, in bytes.
struct Tally {
    bytes: usize,
    bytes_max: usize,
    patterns: HashMap<String, Arc<Pattern>>,
}

impl Tally {
    /// Ends the compilation when it is too much.
    fn add(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.bytes_max {
            deadline::give_up();
        }
    }
}

/// The verdict on a schema, and the bytes that it takes.
pub(super) fn compile(
    text: &str,
    time: Duration,
    bytes_max: usize,
) -> (Result<Compiled, Invalid>, usize) {
    let invalid = |description: String| Invalid { field: "schema".to_owned(), description };
    let tally = Tally { bytes: text.len(), bytes_max, patterns: HashMap::new() };
    let tally = Arc::new(Mutex::new(tally));
    let built = deadline::within(time, || build(text, &tally));
    let bytes = tally.lock().unwrap_or_else(PoisonError::into_inner).bytes;
    match built {
        Some(Ok(compiled)) => (Ok(compiled), bytes),
        Some(Err(description)) => (Err(invalid(format!("cannot be used: {description}"))), 0),
        None if bytes > bytes_max => {
            (Err(invalid("cannot be used: it is too large when compiled".to_owned())), 0)
        }
        None => {
            let ms = time.as_millis();
            (Err(invalid(format!("cannot be used: it takes more than {ms} ms to compile"))), 0)
        }
    }
}

fn build(text: &str, tally: &Arc<Mutex<Tally>>) -> Result<Compiled, String> {
    let mut schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let wants_id = schema.pointer("/properties/id").is_some();
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| match name.as_str() {
            Some("id") => wants_id,
            Some(name) => name != "last_modified" && name != "schema",
            None => true,
        });
    }
    let has_references = text.contains("ef\"");
    if !deadline::watch(&mut schema) {
        return Err("it refers to the inside of const or enum".to_owned());
    }
    let mut for_names = Vec::new();
    {
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        tally.add(weigh(&schema));
        for name in named_patterns(&schema) {
            let pattern = Pattern::measured(name)?;
            tally.add(pattern.bytes);
            for_names.push(pattern.cost);
        }
    }
    let validator = counted(tally).build(&schema).map_err(|error| sentence(&error))?;
    Ok(Compiled { validator, wants_id, has_references, for_names })
}

/// Options that count what is compiled.
fn counted(tally: &Arc<Mutex<Tally>>) -> ValidationOptions<'static> {
    let subschemas = Arc::clone(tally);
    let patterns = Arc::clone(tally);
    let for_names = PatternOptions::fancy_regex()
        .backtrack_limit(pattern::BACKTRACKS_MAX)
        .size_limit(pattern::SIZES_BYTES[pattern::SIZES_BYTES.len() - 1]);
    jsonschema::options()
        .with_pattern_options(for_names)
        .with_format("regex", |text: &str| text.len() <= REGEX_BYTES_MAX && is_regex(text))
        .with_keyword(deadline::KEYWORD, move |parent: &Map<String, Value>, _, place| {
            deadline::look_now();
            let place = PLACE_COPIES * place.as_str().len();
            let bytes = parent.len() * (KEYWORD_BYTES + place);
            subschemas.lock().unwrap_or_else(PoisonError::into_inner).add(bytes);
            Ok(Box::new(Deadline))
        })
        .with_keyword("pattern", move |_: &Map<String, Value>, value: &Value, _| {
            deadline::look_now();
            let mut tally = patterns.lock().unwrap_or_else(PoisonError::into_inner);
            let text = value.as_str().unwrap_or_default();
            if let Some(known) = tally.patterns.get(text) {
                return Ok(Box::new(Place(Arc::clone(known))));
            }
            let pattern = Arc::new(Pattern::measured(text).map_err(ValidationError::custom)?);
            tally.add(pattern.bytes);
            tally.patterns.insert(text.to_owned(), Arc::clone(&pattern));
            Ok(Box::new(Place(pattern)))
        })
}

fn is_regex(text: &str) -> bool {
    static REGEX: std::sync::LazyLock<Validator> = std::sync::LazyLock::new(|| {
        let schema = json!({ "format": "regex" });
        let options = jsonschema::options().should_validate_formats(true);
        options.build(&schema).expect("this schema is valid")
    });
    REGEX.is_valid(&Value::from(text))
}

/// The names under `patternProperties`, which are patterns.
fn named_patterns(schema: &Value) -> Vec<&str> {
    let mut names = Vec::new();
    let mut open = vec![schema];
    while let Some(value) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items),
            Value::Object(fields) => {
                if let Some(Value::Object(patterns)) = fields.get("patternProperties") {
                    names.extend(patterns.keys().map(String::as_str));
                }
                open.extend(fields.values());
            }
            _ => {}
        }
    }
    names.sort_unstable();
    names.dedup();
    names
}

/// What a schema takes even if each part is compiled once: values that are kept, and places.
fn weigh(schema: &Value) -> usize {
    let mut bytes: usize = 0;
    let mut open = vec![(schema, 0)];
    while let Some((value, place)) = open.pop() {
        bytes = bytes.saturating_add(VALUE_BYTES);
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, place + 8))),
            Value::Object(fields) => {
                let each = KEYWORD_BYTES + PLACE_COPIES * place;
                bytes = bytes.saturating_add(fields.len().saturating_mul(each));
                open.extend(fields.iter().map(|(name, value)| (value, place + name.len() + 1)));
            }
            _ => {}
        }
    }
    bytes
}
