//! `/permissions`: on what the caller holds permissions.
//!
//! Source: Kinto fact sheet, section 19. Children of an object are not listed for a permission on
//! the object. Entries are made up for the answer, so they have no times of their own.

use std::collections::BTreeMap;

use http::Method;
use nuage_engine::{Session, permission_names};
use nuage_model::{
    CollectionPath, Field, Kind, Permissions, Principal, Query, Record, RecordPath, Scope, Seq,
    Signature, State, Timestamp, View,
};
use serde_json::{Map, Value};

use crate::Kinto;
use crate::call::Call;
use crate::error::Error;
use crate::querystring::Listing;
use crate::reply::{ListReply, Reply, noun};

impl Kinto {
    pub(crate) async fn permissions(
        &self,
        session: &mut Session,
        call: &Call,
    ) -> Result<Reply, Error> {
        let mut params = self.parse_list(call, Listing::Permissions)?;
        params.filters.retain(|filter| filter.field != Field::Timestamp);
        let mut query = Query {
            sort: params.sort.clone(),
            filters: params.filters.clone(),
            ..Query::all(CollectionPath::buckets(), params.page_records)
        };
        if let Some(text) = &params.token {
            query.after = Some(self.tokens.decode(text, &query.sort)?.position);
        }
        let entries = self.entries(session).await?;
        let total = entries.iter().filter(|entry| query.matches(&View::new(entry))).count();
        let mut records: Vec<_> =
            entries.into_iter().filter(|entry| query.matches(&View::new(entry))).collect();
        records.sort_by(|a, b| {
            let (a, b) = (query.position(&View::new(a)), query.position(&View::new(b)));
            query.compare_positions(&a, &b)
        });
        let more = records.len() > params.page_records;
        records.truncate(params.page_records);
        let last = records.last().filter(|_| more).cloned();
        let is_head = call.method == Method::HEAD;
        Ok(Reply::List(ListReply {
            next_page: last.as_ref().map(|_| self.next_page(call, params.clone(), query, None)),
            last,
            records,
            timestamp: Timestamp(0),
            total: is_head.then_some(total as u64),
            has_counter: is_head,
            fields: params.fields,
            alert: None,
            is_timeless: true,
        }))
    }

    async fn entries(&self, session: &mut Session) -> Result<Vec<Record>, Error> {
        let mut found: BTreeMap<RecordPath, Vec<&'static str>> = BTreeMap::new();
        let caller = session.caller().clone();
        let principals: Vec<Principal> = caller.principals().iter().cloned().collect();
        let store = self.engine.store();
        let collections = store.collections_of(&principals).await;
        for collection in collections.map_err(|e| self.refusal(session, e.into()))? {
            let kind = collection.kind();
            let is_listed = match kind {
                Kind::History => false,
                Kind::Account => self.settings.features.accounts,
                _ => true,
            };
            if !is_listed {
                continue;
            }
            let scope = Scope::Readers(principals.clone());
            self.each(session, &collection, scope, |record| {
                let own = Permissions::from_text(&record.permissions()).unwrap_or_default();
                let held = permission_names(kind)
                    .iter()
                    .copied()
                    .filter(|name| own.grants(name, &|principal| caller.is(principal)));
                let path = collection.record(record.id.clone());
                found.entry(path).or_default().extend(held);
            })
            .await?;
        }
        self.open_by_settings(session, &mut found).await?;
        let mut entries: Vec<_> =
            found.into_iter().map(|(path, names)| entry(&path, &names)).collect();
        entries.extend(root_entry(session));
        Ok(entries)
    }

    /// Every bucket, collection and group, where the operator opens the whole kind to the caller.
    async fn open_by_settings(
        &self,
        session: &Session,
        found: &mut BTreeMap<RecordPath, Vec<&'static str>>,
    ) -> Result<(), Error> {
        let opened = |kind: Kind| {
            let verbs = ["read", "write"].into_iter();
            verbs.filter(|verb| session.granted(kind.as_str(), verb)).collect::<Vec<_>>()
        };
        let kinds = [Kind::Bucket, Kind::Collection, Kind::Group];
        let given: Vec<_> = kinds.map(|kind| (kind, opened(kind))).into();
        if given.iter().all(|(_, names)| names.is_empty()) {
            return Ok(());
        }
        let mut buckets = Vec::new();
        self.each(session, &CollectionPath::buckets(), Scope::All, |record| {
            buckets.push(nuage_model::BucketId::from(record.id.as_str()));
        })
        .await?;
        for (kind, names) in given.iter().filter(|(_, names)| !names.is_empty()) {
            for bucket in &buckets {
                let collection = match kind {
                    Kind::Collection => CollectionPath::collections(bucket.clone()),
                    Kind::Group => CollectionPath::groups(bucket.clone()),
                    _ => {
                        let path = RecordPath::bucket(bucket.clone());
                        found.entry(path).or_default().extend(names);
                        continue;
                    }
                };
                self.each(session, &collection, Scope::All, |record| {
                    let path = collection.record(record.id.clone());
                    found.entry(path).or_default().extend(names);
                })
                .await?;
            }
        }
        Ok(())
    }

    /// Walks a list to its end.
    async fn each(
        &self,
        session: &Session,
        collection: &CollectionPath,
        scope: Scope,
        mut visit: impl FnMut(&Record),
    ) -> Result<(), Error> {
        let mut query = Query::all(collection.clone(), self.page_records());
        query.scope = scope;
        loop {
            let page = session.page_unjudged(&query).await;
            let page = page.map_err(|error| self.refusal(session, error.into()))?;
            page.records.iter().for_each(&mut visit);
            let Some(last) = page.records.last().filter(|_| page.more) else { return Ok(()) };
            query.after = Some(query.position(&View::new(last)));
        }
    }
}

/// What the caller may do at the root.
fn root_entry(session: &Session) -> Option<Record> {
    let mut names = Vec::new();
    if session.granted("bucket", "create") {
        names.push("bucket:create");
    }
    if session.granted("account", "create") {
        names.push("account:create");
    }
    if names.is_empty() {
        return None;
    }
    let mut body = Map::new();
    body.insert("uri".to_owned(), "/".into());
    body.insert("resource_name".to_owned(), "root".into());
    body.insert("permissions".to_owned(), names.into());
    Some(made_up("", &Value::Object(body)))
}

fn entry(path: &RecordPath, held: &[&'static str]) -> Record {
    let kind = path.kind();
    let mut names: Vec<&str> = Vec::new();
    for name in held {
        names.extend(implied(kind, name));
    }
    names.sort_unstable();
    names.dedup();
    let mut body = Map::new();
    body.insert("uri".to_owned(), path.to_string().into());
    body.insert("resource_name".to_owned(), noun(kind).into());
    body.insert("permissions".to_owned(), names.into());
    for part in path.ancestors().chain([path.clone()]) {
        body.insert(format!("{}_id", noun(part.kind())), part.id.as_str().into());
    }
    body.insert("id".to_owned(), path.id.as_str().into());
    made_up(path.id.as_str(), &Value::Object(body))
}

/// What a permission gives on the object itself.
fn implied(kind: Kind, name: &'static str) -> Vec<&'static str> {
    match (kind, name) {
        (Kind::Bucket, "write") => {
            vec!["collection:create", "group:create", "read", "read:attributes", "write"]
        }
        (Kind::Collection, "write") => vec!["read", "read:attributes", "record:create", "write"],
        (_, "write") => vec!["read", "write"],
        (Kind::Bucket | Kind::Collection, name) => vec![name, "read:attributes"],
        (_, name) => vec![name],
    }
}

fn made_up(id: &str, body: &Value) -> Record {
    Record {
        id: id.into(),
        seq: Seq(0),
        chosen: None,
        state: State::Live {
            body: body.to_string(),
            permissions: "{}".to_owned(),
            signature: Signature([0; 16]),
        },
    }
}
