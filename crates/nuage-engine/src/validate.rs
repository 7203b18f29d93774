//! JSON Schemas of buckets and collections.
//!
//! Source: Kinto fact sheet, section 13. A schema comes from a client and is hostile: it cannot
//! fetch anything, its size and depth are bounded, its patterns may backtrack only so much, and
//! it may run only so long. One that ran longer is not tried again until this process restarts.

mod sentence;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, ValidationError, Validator};
use nuage_model::{Body, Kind, Limits, RecordPath, Slot};
use serde_json::Value;
use serde_json::value::RawValue;

use self::sentence::sentence;
use crate::deadline::{watch, watched, within};
use crate::engine::Parent;
use crate::{EngineError, Invalid, Session, Validation};

/// Compiled schemas kept: one written to be large takes more than a megabyte. A store has few, and
/// they are recompiled when forgotten.
const COMPILED_MAX: usize = 128;
/// Backtracking steps of one pattern on one string.
const BACKTRACKS_MAX: usize = 100_000;

/// Keys of a bucket whose values are schemas.
const BUCKET_SCHEMAS: [&str; 3] = ["record:schema", "collection:schema", "group:schema"];

/// Compiled schemas by their text.
pub(crate) struct Schemas {
    size_bytes_max: usize,
    depth_max: usize,
    time: Duration,
    compiled: Mutex<HashMap<String, Arc<Result<Compiled, Invalid>>>>,
}

struct Compiled {
    validator: Validator,
    wants_id: bool,
    has_references: bool,
}

/// The schemas that a bucket or a collection holds, as JSON text.
#[derive(Debug, Default)]
pub(crate) struct ParentSchemas(HashMap<String, Box<RawValue>>);

impl ParentSchemas {
    pub(crate) fn of(body: &str) -> Self {
        if !body.contains("schema\"") {
            return Self::default();
        }
        let mut keys: HashMap<String, Box<RawValue>> =
            serde_json::from_str(body).unwrap_or_default();
        keys.retain(|key, value| {
            (key == "schema" || BUCKET_SCHEMAS.contains(&key.as_str()))
                && value.get().starts_with('{')
                && value.get() != "{}"
        });
        Self(keys)
    }

    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|schema| schema.get())
    }
}

impl Schemas {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            size_bytes_max: limits.schema_bytes,
            depth_max: limits.schema_depth,
            time: Duration::from_millis(limits.validation_ms),
            compiled: Mutex::default(),
        }
    }

    /// Whether a client may store this as a schema.
    fn check_form(&self, field: &str, schema: &Value, text: &str) -> Result<(), Invalid> {
        let invalid = |description: String| Invalid { field: format!("data.{field}"), description };
        if text.len() > self.size_bytes_max {
            return Err(invalid(format!("is longer than {} bytes", self.size_bytes_max)));
        }
        if depth(schema) > self.depth_max {
            return Err(invalid(format!("is nested deeper than {}", self.depth_max)));
        }
        jsonschema::draft7::meta::validate(schema).map_err(|error| invalid(sentence(&error)))
    }

    fn compiled(&self, text: &str) -> Arc<Result<Compiled, Invalid>> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(text) {
            return Arc::clone(known);
        }
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        let entry = Arc::new(compile(text));
        compiled.insert(text.to_owned(), Arc::clone(&entry));
        entry
    }

    fn give_up(&self, text: &str) -> Invalid {
        let invalid = Invalid {
            field: "schema".to_owned(),
            description: format!("validation took longer than {} ms", self.time.as_millis()),
        };
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        compiled.insert(text.to_owned(), Arc::new(Err(invalid.clone())));
        invalid
    }

    async fn validate(&self, text: &str, id: &str, instance: &Value) -> Result<(), Invalid> {
        let entry = self.compiled(text);
        let compiled = entry.as_ref().as_ref().map_err(Clone::clone)?;
        let mut instance = instance.clone();
        if compiled.wants_id
            && let Value::Object(fields) = &mut instance
        {
            fields.insert("id".to_owned(), Value::from(id));
        }
        let time = self.time;
        if !compiled.has_references {
            let verdict = within(time, || compiled.judge(&instance));
            return verdict.unwrap_or_else(|| Err(self.give_up(text)));
        }
        // This may use all the time it has: not where requests are answered.
        let work = {
            let entry = Arc::clone(&entry);
            move || match entry.as_ref() {
                Ok(compiled) => within(time, || compiled.judge(&instance)),
                Err(invalid) => Some(Err(invalid.clone())),
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Some(verdict)) => verdict,
            Ok(None) | Err(_) => Err(self.give_up(text)),
        }
    }
}

impl Compiled {
    fn judge(&self, instance: &Value) -> Result<(), Invalid> {
        self.validator.validate(instance).map_err(|error| Invalid {
            field: failing_field(&error),
            description: sentence(&error),
        })
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

fn compile(text: &str) -> Result<Compiled, Invalid> {
    let invalid = |description: String| Invalid { field: "schema".to_owned(), description };
    let mut schema: Value =
        serde_json::from_str(text).map_err(|error| invalid(error.to_string()))?;
    let wants_id = schema.pointer("/properties/id").is_some();
    if let Some(Value::Array(required)) = schema.get_mut("required") {
        required.retain(|name| match name.as_str() {
            Some("id") => wants_id,
            Some(name) => name != "last_modified" && name != "schema",
            None => true,
        });
    }
    let has_references = text.contains("ef\"");
    if !watch(&mut schema) {
        return Err(invalid("refers to the inside of const or enum".to_owned()));
    }
    let patterns = PatternOptions::fancy_regex().backtrack_limit(BACKTRACKS_MAX);
    let validator = watched(jsonschema::options().with_pattern_options(patterns))
        .build(&schema)
        .map_err(|error| invalid(sentence(&error)))?;
    Ok(Compiled { validator, wants_id, has_references })
}

/// Nesting of arrays and objects, counted without recursion.
fn depth(value: &Value) -> usize {
    let mut deepest = 0;
    let mut open = vec![(value, 1)];
    while let Some((value, depth)) = open.pop() {
        match value {
            Value::Array(items) => open.extend(items.iter().map(|item| (item, depth + 1))),
            Value::Object(fields) => open.extend(fields.values().map(|item| (item, depth + 1))),
            _ => continue,
        }
        deepest = deepest.max(depth);
    }
    deepest
}

impl Session {
    /// The body as it will be stored, once the schemas above it are satisfied.
    pub(crate) async fn validated(
        &self,
        path: &RecordPath,
        body: String,
        parents: &[(RecordPath, Arc<Parent>)],
    ) -> Result<Body, EngineError> {
        let schemas = &self.engine.schemas;
        let kind = path.kind();
        if matches!(kind, Kind::Bucket | Kind::Collection) && body.contains("schema\"") {
            self.check_forms(kind, &body)?;
        }
        if self.engine.settings().validation == Validation::Off {
            return Ok(body.into());
        }
        let key = match kind {
            Kind::Record => "record:schema",
            Kind::Collection => "collection:schema",
            Kind::Group => "group:schema",
            Kind::Bucket | Kind::Account | Kind::History => return Ok(body.into()),
        };
        let nearest = parents.first().map(|(_, parent)| parent);
        let own = nearest
            .filter(|_| kind == Kind::Record)
            .and_then(|parent| parent.schemas().get("schema").map(|schema| (parent, schema)));
        let bucket = parents.last().and_then(|(_, parent)| parent.schemas().get(key));
        if own.is_none() && bucket.is_none() {
            return Ok(body.into());
        }
        let mut instance: Value = serde_json::from_str(&body).map_err(|error| {
            EngineError::Invalid(Invalid {
                field: "data".to_owned(),
                description: error.to_string(),
            })
        })?;
        if let Value::Object(fields) = &mut instance {
            fields.remove("schema");
        }
        let texts = own.map(|(_, schema)| schema).into_iter().chain(bucket);
        for text in texts {
            let verdict = schemas.validate(text, path.id.as_str(), &instance).await;
            verdict.map_err(EngineError::Invalid)?;
        }
        Ok(match own {
            Some((parent, _)) => stamped(&body, parent),
            None => body.into(),
        })
    }

    /// Whether records of this collection are stamped with the time of its schema.
    pub async fn is_validated(
        &mut self,
        collection: &nuage_model::CollectionPath,
    ) -> Result<bool, nuage_model::StoreError> {
        if self.engine.settings().validation == Validation::Off {
            return Ok(false);
        }
        let Some(owner) = collection.owner() else { return Ok(false) };
        let parent = self.parent(&owner).await?;
        Ok(parent.is_some_and(|parent| parent.schemas().get("schema").is_some()))
    }

    fn check_forms(&self, kind: Kind, body: &str) -> Result<(), EngineError> {
        let keys: HashMap<String, Box<RawValue>> = serde_json::from_str(body).unwrap_or_default();
        let names: &[&str] = if kind == Kind::Collection { &["schema"] } else { &BUCKET_SCHEMAS };
        for name in names {
            let Some(text) = keys.get(*name) else { continue };
            let schema: Value = serde_json::from_str(text.get()).unwrap_or_default();
            self.engine
                .schemas
                .check_form(name, &schema, text.get())
                .map_err(EngineError::Invalid)?;
        }
        Ok(())
    }
}

/// The body with the time of the schema that it satisfies.
fn stamped(body: &str, parent: &Parent) -> Body {
    let mut text = String::with_capacity(body.len() + 32);
    text.push('{');
    let fields: serde_json::Map<String, Value>;
    let kept: &str = if body.contains("\"schema\"") {
        fields = serde_json::from_str(body).unwrap_or_default();
        let mut rest = String::new();
        for (name, value) in fields.iter().filter(|(name, _)| *name != "schema") {
            rest.push_str(&format!("{}:{value},", Value::from(name.as_str())));
        }
        text.push_str(&rest);
        ""
    } else {
        body.trim_start().trim_start_matches('{').trim_end().trim_end_matches('}').trim()
    };
    if !kept.is_empty() {
        // Only the outermost brace is gone: an object's last value may end with one of its own.
        text.push_str(&body.trim()[1..body.trim().len() - 1]);
        text.push(',');
    }
    text.push_str("\"schema\":");
    let slot = match parent.record.seq.write_index() {
        Some(write) => Some(Slot { at: text.len(), write }),
        None => {
            text.push_str(&parent.record.timestamp().to_string());
            None
        }
    };
    text.push('}');
    Body::with_slots(text, slot.into_iter().collect())
}
