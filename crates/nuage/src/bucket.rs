//! Buckets from the command line: the operator sees all of them, and may delete any, whatever
//! permissions and groups say, also while a server runs.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nuage_engine::Engine;
use nuage_model::{
    Bodies, BucketId, CollectionPath, Direction, Field, Kind, Permissions, Principal, Query,
    ReaderFilter, Record, RecordPath, Sort, Store, View,
};

use crate::cli::BucketVerb;
use crate::config::Settings;
use crate::data;
use crate::failure::{Exit, Failure};
use crate::logs::printable;
use crate::out::{complain, lost, say};
use crate::server::world;

/// Buckets and collections read at a time.
const PAGE: usize = 1_000;
/// Owners named in a line for a person.
const OWNERS: usize = 3;

/// Performs a verb on buckets.
pub(crate) async fn perform(verb: BucketVerb, settings: &Settings, json: bool) -> Result<()> {
    data::expect_database(&settings.storage)?;
    let store = data::open(&settings.storage).await?;
    let done = match verb {
        BucketVerb::List => list(store.as_ref(), json).await,
        BucketVerb::Delete { name, yes } => delete(&store, settings, &name, yes, json).await,
    };
    store.close().await;
    done
}

/// What is in a bucket.
#[derive(Clone, Copy, Default, Debug)]
struct Size {
    records: u64,
    collections: u64,
    groups: u64,
}

impl Size {
    fn add(&mut self, kind: Kind, live: u64) {
        match kind {
            Kind::Record => self.records += live,
            Kind::Collection => self.collections += live,
            Kind::Group => self.groups += live,
            Kind::Bucket | Kind::Account | Kind::History => {}
        }
    }
}

/// The sizes of all buckets that hold something, or of this one: from the counters of their
/// collections, without looking at a record.
async fn sizes(store: &dyn Store, only: Option<&BucketId>) -> Result<BTreeMap<BucketId, Size>> {
    let mut sizes: BTreeMap<BucketId, Size> = BTreeMap::new();
    let mut after = only.map(|bucket| CollectionPath::new(bucket.as_str(), ""));
    loop {
        let paths = store.collections(ReaderFilter::All, after.as_ref(), PAGE).await?;
        let heads = store.heads(&paths).await?;
        for (path, head) in paths.iter().zip(heads) {
            if only.is_some_and(|bucket| *bucket != path.bucket) {
                return Ok(sizes);
            }
            let live = head.map_or(0, |head| head.live);
            sizes.entry(path.bucket.clone()).or_default().add(path.kind(), live);
        }
        if paths.len() < PAGE {
            return Ok(sizes);
        }
        after = paths.into_iter().next_back();
    }
}

async fn list(store: &dyn Store, json: bool) -> Result<()> {
    let sizes = sizes(store, None).await?;
    let mut query = Query::all(CollectionPath::buckets(), PAGE);
    query.sort = vec![Sort { field: Field::Id, direction: Direction::Ascending }];
    loop {
        let page = store.list(&query).await?;
        for record in &page.records {
            let size = sizes.get(&BucketId::from(record.id.as_str())).copied().unwrap_or_default();
            say(&line(record, size, json)?);
        }
        let more = page.more && lost().is_none();
        let Some(last) = page.records.last().filter(|_| more) else { return Ok(()) };
        query.after = Some(query.position(&View::new(last)));
    }
}

fn line(record: &Record, size: Size, json: bool) -> Result<String> {
    let permissions = Permissions::from_text(&record.permissions())?;
    let owners: Vec<&str> = permissions.holders("write").map(Principal::as_str).collect();
    let Size { records, collections, groups } = size;
    if json {
        return Ok(serde_json::json!({
            "id": record.id.as_str(),
            "records": records,
            "collections": collections,
            "groups": groups,
            "owners": owners,
            "last_modified": record.timestamp().0,
        })
        .to_string());
    }
    let mut shown = owners.iter().take(OWNERS).copied().collect::<Vec<_>>().join(", ");
    if owners.len() > OWNERS {
        shown.push_str(&format!(" and {} more", owners.len() - OWNERS));
    }
    let (id, shown) = (record.id.as_str(), printable(&shown));
    Ok(format!(
        "{id:36}  {records:>9} records  {collections:>6} collections  {groups:>6} groups  {shown}"
    ))
}

async fn delete(
    store: &Arc<dyn Store>,
    settings: &Settings,
    name: &str,
    yes: bool,
    json: bool,
) -> Result<()> {
    let bucket = BucketId::from(name);
    let path = RecordPath::bucket(bucket.clone());
    let found = store.get(std::slice::from_ref(&path), Bodies::All).await?;
    let is_there = found.into_iter().next().flatten().is_some_and(|record| record.is_live());
    let size = sizes(store.as_ref(), Some(&bucket)).await?.get(&bucket).copied();
    if name.is_empty() || (!is_there && size.is_none()) {
        bail!("There is no bucket {name}.");
    }
    let size = size.unwrap_or_default();
    if !yes {
        confirm(name, size)?;
    }
    let engine = Engine::new(Arc::clone(store), settings.engine.clone(), world());
    if !engine.delete_bucket(&bucket).await? {
        bail!("There is no bucket {name} any more.");
    }
    match json {
        true => say(&serde_json::json!({ "id": name, "deleted": true }).to_string()),
        false => complain(&format!("{name} is deleted, with {} records.", size.records)),
    }
    Ok(())
}

fn confirm(name: &str, size: Size) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        let sentence = "There is no terminal to ask on: give --yes to delete the bucket with all \
                        that is in it.";
        return Err(Failure::new(Exit::Usage, sentence).into());
    }
    complain(&format!(
        "{name} holds {} records in {} collections, and {} groups. To delete all of it, type its \
         name:",
        size.records, size.collections, size.groups
    ));
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("no answer could be read")?;
    if line.trim_end_matches(['\r', '\n']) != name {
        bail!("That is not its name. Nothing was deleted.");
    }
    Ok(())
}
