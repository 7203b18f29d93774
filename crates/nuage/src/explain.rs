//! `nuage explain`: who may do what with an object, and why, read from the data itself.
//!
//! The operator is told everything; over HTTP those who may change an object are told what they
//! may know.

use std::sync::Arc;

use anyhow::{Result, bail};
use nuage_engine::{Attempts, Engine, EngineError, Explanation};
use nuage_model::{BucketId, CollectionPath, Principal, RecordPath, Store};

use crate::cli::ExplainArguments;
use crate::config::Settings;
use crate::data;
use crate::failure::{Exit, Failure};
use crate::out::say;
use crate::server::world;

/// Explains one object for one principal.
pub(crate) async fn perform(
    arguments: &ExplainArguments,
    settings: &Settings,
    json: bool,
) -> Result<()> {
    let Some(path) = parse(&arguments.path) else {
        let sentence = format!(
            "{} is not the path of an object, such as /buckets/blog or \
             /buckets/blog/collections/posts/records/1.",
            arguments.path
        );
        return Err(Failure::new(Exit::Usage, sentence).into());
    };
    data::expect_database(&settings.storage)?;
    let store = data::open(&settings.storage).await?;
    let explained = explain(&store, settings, path, &arguments.principal).await;
    store.close().await;
    let explanation = explained?;
    match json {
        true => say(&explanation.to_json().to_string()),
        false => explanation.sentences().for_each(|sentence| say(&sentence)),
    }
    Ok(())
}

async fn explain(
    store: &Arc<dyn Store>,
    settings: &Settings,
    path: RecordPath,
    principal: &str,
) -> Result<Explanation> {
    let engine = Engine::new(Arc::clone(store), settings.engine.clone(), world());
    let mut session = engine.session(None, &Attempts::default()).await;
    match session.explain_unjudged(path, &Principal::from(principal)).await {
        Ok(explanation) => Ok(explanation),
        Err(EngineError::Unknown(path) | EngineError::UnknownParent(path)) => {
            bail!("There is no {path}.")
        }
        Err(error) => Err(error.into()),
    }
}

/// The object that a path names, with or without the version of the protocol.
fn parse(path: &str) -> Option<RecordPath> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let steps: Vec<&str> = path.strip_prefix('/')?.split('/').collect();
    if steps.iter().any(|step| step.is_empty()) {
        return None;
    }
    let in_bucket = |bucket: &str| BucketId::from(bucket);
    match steps.as_slice() {
        ["accounts", id] => Some(RecordPath::account(*id)),
        ["buckets", bucket] => Some(RecordPath::bucket(in_bucket(bucket))),
        ["buckets", bucket, "groups", id] => {
            Some(CollectionPath::groups(in_bucket(bucket)).record(*id))
        }
        ["buckets", bucket, "collections", id] => {
            Some(CollectionPath::collections(in_bucket(bucket)).record(*id))
        }
        ["buckets", bucket, "collections", name, "records", id] => {
            Some(CollectionPath::new(*bucket, *name).record(*id))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
