//! JSON Schemas of buckets and collections.
//!
//! Source: Kinto fact sheet, section 13. A schema comes from a client and is hostile: it cannot
//! fetch anything, what it compiles to is bounded in bytes and time before it is stored
//! (`compile`), its patterns may be compared with so much text only (`pattern`), and it may run
//! only so long (`deadline`). Compiling, and validation that is not over at once, wait for a turn
//! of whoever asks for them.

mod compile;
mod deadline;
mod kept;
mod pattern;
mod sentence;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use nuage_model::{Body, Kind, Limits, RecordPath, Slot};
use serde_json::Value;
use serde_json::value::RawValue;

use self::compile::{Compiled, compile};
use self::deadline::{quickly, within};
use self::kept::{Digest, Kept, Known};
use self::sentence::sentence;
use crate::engine::Parent;
use crate::{Crowded, EngineError, Invalid, Requester, Session, Turns, Validation};

/// Time of a processor that a schema may take to compile. Two hundred patterns take 100 ms.
const COMPILATION: Duration = Duration::from_millis(500);
/// Larger bodies are not validated where requests are answered: to read one alone takes a
/// millisecond.
const QUICK_BYTES_MAX: usize = 64 * 1024;

/// Keys of a bucket whose values are schemas.
const BUCKET_SCHEMAS: [&str; 3] = ["record:schema", "collection:schema", "group:schema"];

/// What schemas may take, and those that are compiled.
pub(crate) struct Schemas {
    size_bytes_max: usize,
    depth_max: usize,
    compiled_bytes_max: usize,
    time: Duration,
    kept: Kept,
}

/// The schemas that a bucket or a collection holds.
#[derive(Debug, Default)]
pub(crate) struct ParentSchemas(HashMap<String, Schema>);

/// A schema as JSON text.
#[derive(Debug)]
struct Schema {
    text: Box<RawValue>,
    digest: Digest,
}

impl Schema {
    fn new(text: Box<RawValue>) -> Self {
        let digest = *blake3::hash(text.get().as_bytes()).as_bytes();
        Self { text, digest }
    }

    /// Whether it asks for anything.
    fn is_some(text: &RawValue) -> bool {
        text.get().starts_with('{') && text.get() != "{}"
    }
}

impl ParentSchemas {
    pub(crate) fn of(body: &str) -> Self {
        if !body.contains("schema\"") {
            return Self::default();
        }
        let keys: HashMap<String, Box<RawValue>> = serde_json::from_str(body).unwrap_or_default();
        let schemas = keys.into_iter().filter(|(key, value)| {
            (key == "schema" || BUCKET_SCHEMAS.contains(&key.as_str())) && Schema::is_some(value)
        });
        Self(schemas.map(|(key, text)| (key, Schema::new(text))).collect())
    }

    fn get(&self, key: &str) -> Option<&Schema> {
        self.0.get(key)
    }
}

impl Schemas {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            size_bytes_max: limits.schema_bytes,
            depth_max: limits.schema_depth,
            compiled_bytes_max: limits.schema_compiled_bytes,
            time: Duration::from_millis(limits.validation_ms),
            kept: Kept::new(limits.schemas_compiled_bytes),
        }
    }

    /// The schema, compiled in the requester's turn if it is not known.
    async fn known(
        &self,
        schema: &Schema,
        turns: &Turns,
        requester: &Requester,
    ) -> Result<Known, Crowded> {
        let entry = self.kept.entry(&schema.digest);
        let compiled = entry.get_or_try_init(|| async {
            let (text, bytes_max) = (schema.text.clone(), self.compiled_bytes_max);
            let work = move || compile(text.get(), COMPILATION, bytes_max);
            let (verdict, bytes) = turns.run(requester, work).await?;
            self.kept.weigh(&schema.digest, bytes);
            Ok(Arc::new(verdict))
        });
        compiled.await.cloned()
    }
}

/// Whether a client may store this as a schema, before it is compiled.
fn check_form(text: &str, depth_max: usize) -> Result<(), String> {
    let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if depth(&schema) > depth_max {
        return Err(format!("is nested deeper than {depth_max}"));
    }
    jsonschema::draft7::meta::validate(&schema).map_err(|error| sentence(&error))
}

/// A body to be judged.
struct Case {
    body: String,
    id: String,
    schemas: Vec<Known>,
    /// Whose time the body is stamped with.
    stamped_by: Option<Arc<Parent>>,
}

impl Case {
    /// Whether it may be tried where requests are answered.
    fn may_be_quick(&self) -> bool {
        let is_quick = |known: &Known| known.as_ref().as_ref().is_ok_and(Compiled::may_be_quick);
        self.body.len() <= QUICK_BYTES_MAX && self.schemas.iter().all(is_quick)
    }

    /// The body as it will be stored, if it satisfies all schemas.
    fn judge(&self) -> Result<Body, Invalid> {
        let mut instance: Value = serde_json::from_str(&self.body).map_err(|error| Invalid {
            field: "data".to_owned(),
            description: error.to_string(),
        })?;
        if let Value::Object(fields) = &mut instance {
            fields.remove("schema");
        }
        for known in &self.schemas {
            let compiled = known.as_ref().as_ref().map_err(Clone::clone)?;
            if compiled.wants_id
                && let Value::Object(fields) = &mut instance
            {
                let own = fields.insert("id".to_owned(), Value::from(self.id.as_str()));
                compiled.judge(&instance)?;
                if let Value::Object(fields) = &mut instance {
                    match own {
                        Some(own) => fields.insert("id".to_owned(), own),
                        None => fields.remove("id"),
                    };
                }
            } else {
                compiled.judge(&instance)?;
            }
        }
        Ok(match &self.stamped_by {
            Some(parent) => stamped(&self.body, parent),
            None => self.body.clone().into(),
        })
    }
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
        let kind = path.kind();
        if matches!(kind, Kind::Bucket | Kind::Collection) && body.contains("schema\"") {
            self.check_schemas(kind, &body).await?;
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
        let (engine, requester) = (&self.engine, self.requester());
        let mut schemas = Vec::new();
        for schema in own.map(|(_, schema)| schema).into_iter().chain(bucket) {
            let known = engine.schemas.known(schema, engine.turns(), &requester).await?;
            if let Err(invalid) = known.as_ref() {
                return Err(EngineError::Invalid(invalid.clone()));
            }
            schemas.push(known);
        }
        let stamped_by = own.map(|(parent, _)| Arc::clone(parent));
        let case = Case { body, id: path.id.as_str().to_owned(), schemas, stamped_by };
        if case.may_be_quick()
            && let Some(verdict) = quickly(|| case.judge())
        {
            return verdict.map_err(EngineError::Invalid);
        }
        let time = engine.schemas.time;
        let work = move || within(time, || case.judge());
        let verdict = engine.turns().run(&requester, work).await?;
        let too_long = || Invalid {
            field: "schema".to_owned(),
            description: format!("validation took longer than {} ms", time.as_millis()),
        };
        verdict.unwrap_or_else(|| Err(too_long())).map_err(EngineError::Invalid)
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

    /// Whether the schemas in the body of a bucket or a collection may be stored: they have the
    /// form of schemas, and compile.
    async fn check_schemas(&self, kind: Kind, body: &str) -> Result<(), EngineError> {
        let mut keys: HashMap<String, Box<RawValue>> =
            serde_json::from_str(body).unwrap_or_default();
        let names: &[&str] = if kind == Kind::Collection { &["schema"] } else { &BUCKET_SCHEMAS };
        let (engine, requester) = (&self.engine, self.requester());
        for name in names {
            let invalid = |description: String| {
                EngineError::Invalid(Invalid { field: format!("data.{name}"), description })
            };
            let Some(text) = keys.remove(*name) else { continue };
            let (bytes_max, depth_max) = (engine.schemas.size_bytes_max, engine.schemas.depth_max);
            if text.get().len() > bytes_max {
                return Err(invalid(format!("is longer than {bytes_max} bytes")));
            }
            let shown = text.clone();
            let form = move || check_form(shown.get(), depth_max);
            engine.turns().run(&requester, form).await?.map_err(invalid)?;
            if engine.settings().validation == Validation::Off || !Schema::is_some(&text) {
                continue;
            }
            let schema = Schema::new(text);
            let known = engine.schemas.known(&schema, engine.turns(), &requester).await?;
            if let Err(refused) = known.as_ref() {
                return Err(invalid(refused.description.clone()));
            }
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
