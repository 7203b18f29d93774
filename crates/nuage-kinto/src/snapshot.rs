//! The records of a collection as they were at a time.
//!
//! Source: Kinto fact sheet, section 16. What changed since is put back from the history; history
//! that was purged or trimmed is missing.

use std::collections::HashMap;
use std::fmt::Write as _;

use http::StatusCode;
use nuage_engine::{EngineError, ListIntent, Session};
use nuage_model::{CollectionPath, Field, Filter, Query, RecordId, States, Test, Timestamp};
use serde_json::Value;

use crate::Kinto;
use crate::error::{Error, Invalid, Location};
use crate::object::{Ending, splice};
use crate::reply::Reply;

impl Kinto {
    pub(crate) async fn snapshot(
        &self,
        session: &mut Session,
        collection: &CollectionPath,
        at: &str,
    ) -> Result<Reply, Error> {
        self.check_place(collection)?;
        let at_time = at.parse::<i64>().ok().filter(|at| *at >= 0).map(Timestamp);
        let judged = session.may_read_past(collection).await;
        if !judged.map_err(|error| self.refusal(session, error.into()))? {
            return Err(self.refusal(session, EngineError::Forbidden));
        }
        let Some(at) = at_time else {
            return Err(Error::invalid_one(Invalid::named(
                Location::Path,
                "timestamp",
                format!("Invalid timestamp '{at}'"),
            )));
        };
        let texts = match session.open_list(collection.clone(), ListIntent::Read).await {
            Ok(list) => self.records_at(session, &list, at).await?,
            Err(EngineError::UnknownParent(_)) => Vec::new(),
            Err(error) => return Err(self.refusal(session, error)),
        };
        let mut body = String::from("{\"data\":[");
        for (n, (_, text)) in texts.iter().enumerate() {
            let _ = write!(body, "{}{text}", if n == 0 { "" } else { "," });
        }
        body.push_str("]}");
        Ok(Reply::json(StatusCode::OK, body))
    }

    /// Times and texts of the records, newest first.
    async fn records_at(
        &self,
        session: &mut Session,
        list: &nuage_engine::OpenedList,
        at: Timestamp,
    ) -> Result<Vec<(i64, String)>, Error> {
        let mut found = Vec::new();
        let mut changed: HashMap<RecordId, Option<(i64, String)>> = HashMap::new();
        let mut query = Query::all(list.collection().clone(), self.page_records());
        query.states = States::Both;
        loop {
            let page = session.list(list, query.clone()).await;
            let (_, page) = page.map_err(|error| self.refusal(session, error))?;
            for record in &page.records {
                if record.timestamp() > at {
                    changed.insert(record.id.clone(), None);
                } else if record.is_live() {
                    let mut text = String::new();
                    let id = record.id.as_str();
                    splice(&mut text, record.body(), id, record.timestamp(), Ending::Live);
                    found.push((record.timestamp().0, text));
                }
            }
            let Some(last) = page.records.last().filter(|_| page.more) else { break };
            query.after = Some(query.position(&nuage_model::View::new(last)));
        }
        if !changed.is_empty() {
            self.put_back(session, list.collection(), at, &mut changed).await?;
            found.extend(changed.into_values().flatten());
        }
        found.sort_by_key(|(time, _)| std::cmp::Reverse(*time));
        Ok(found)
    }

    /// Looks up the last entry before the time for each record that changed after it.
    async fn put_back(
        &self,
        session: &mut Session,
        collection: &CollectionPath,
        at: Timestamp,
        changed: &mut HashMap<RecordId, Option<(i64, String)>>,
    ) -> Result<(), Error> {
        let history = CollectionPath::history(collection.bucket.clone());
        let is = |field: &str, value: Value| Filter {
            field: Field::Body(field.split('.').map(str::to_owned).collect()),
            test: Test::Eq(value),
        };
        let mut query = Query::all(history, self.page_records());
        query.filters.push(is("resource_name", "record".into()));
        query.filters.push(is("collection_id", collection.name.as_str().into()));
        query.filters.push(Filter {
            field: Field::Body(["target", "data", "last_modified"].map(str::to_owned).to_vec()),
            test: Test::Max(at.0.into()),
        });
        loop {
            let page = session.page_unjudged(&query).await;
            let page = page.map_err(|error| self.refusal(session, error.into()))?;
            for entry in &page.records {
                let Ok(entry) = serde_json::from_str::<Value>(entry.body()) else { continue };
                let Some(id) = entry["record_id"].as_str() else { continue };
                // Newest first: the first entry met is the one that held at the time.
                if let Some(place @ None) = changed.get_mut(&RecordId::from(id)) {
                    let data = &entry["target"]["data"];
                    let time = data["last_modified"].as_i64().unwrap_or_default();
                    *place = Some((time, data.to_string()));
                }
            }
            let Some(last) = page.records.last().filter(|_| page.more) else { break };
            query.after = Some(query.position(&nuage_model::View::new(last)));
        }
        for place in changed.values_mut() {
            if place.as_ref().is_some_and(|(_, text)| is_tombstone(text)) {
                *place = None;
            }
        }
        Ok(())
    }

    pub(crate) fn page_records(&self) -> usize {
        self.engine.settings().limits.page_records
    }
}

fn is_tombstone(text: &str) -> bool {
    let data: Value = serde_json::from_str(text).unwrap_or_default();
    data["deleted"] == Value::Bool(true) && data.as_object().is_some_and(|data| data.len() == 3)
}
