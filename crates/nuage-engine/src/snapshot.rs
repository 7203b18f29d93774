//! The records of a collection as they were at a time.
//!
//! One rule says what is told: a record that did not change since is shown to whoever may read it
//! now; what a record was before its last change is shown to whoever may read the collection now,
//! by permissions, and the entry of the history that tells of it. So a snapshot shows nothing that
//! the collection and the history do not show. History that was removed is missing.
//!
//! Pages go first through what did not change since, newest first, then through what changed, the
//! earliest change first. So a record that changes while the pages are read is not missed; at
//! worst it is told again, as it was.
//!
//! Source: Kinto, <https://docs.kinto-storage.org/en/stable/api/1.x/history.html>.

use std::collections::BTreeMap;

use foldhash::HashMap;
use nuage_model::{
    CollectionPath, Direction, Field, Filter, Query, Record, RecordId, Sort, States, Test,
    Timestamp, View,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{EngineError, ListIntent, OpenedList, Session};

/// Entries of the history that are read in one turn.
const HISTORY_ROWS: usize = 500;
/// Bytes of them.
const HISTORY_BYTES: usize = 512 * 1024;

/// Proof that the caller may read a collection as it was.
#[derive(Debug)]
pub struct OpenedPast {
    /// `None` where there is no such collection now.
    now: Option<OpenedList>,
    /// `None` where the caller sees nothing of the history.
    history: Option<OpenedList>,
}

/// What a record was.
#[derive(Clone, Debug)]
pub enum Past {
    /// What it is.
    Same(Record),
    /// Something else.
    Other {
        /// The time of that.
        timestamp: Timestamp,
        /// One JSON object as text, with identifier and time.
        text: String,
    },
}

impl Past {
    /// The time of the record as it was.
    pub fn timestamp(&self) -> Timestamp {
        match self {
            Self::Same(record) => record.timestamp(),
            Self::Other { timestamp, .. } => *timestamp,
        }
    }
}

/// One page of a snapshot.
#[derive(Clone, Debug, Default)]
pub struct PastPage {
    /// In no order.
    pub records: Vec<Past>,
    /// Where the next page begins, if there is one.
    pub next: Option<Timestamp>,
}

impl Session {
    /// Judges whether the caller may read a collection as it was.
    pub async fn open_past(
        &mut self,
        collection: &CollectionPath,
    ) -> Result<OpenedPast, EngineError> {
        if !self.may_read_past(collection).await? {
            return Err(EngineError::Forbidden);
        }
        let now = match self.open_list(collection.clone(), ListIntent::Read).await {
            Err(EngineError::UnknownParent(_)) => None,
            opened => Some(opened?),
        };
        let history = CollectionPath::history(collection.bucket.clone());
        let history = match self.open_list(history, ListIntent::Read).await {
            Err(EngineError::UnknownParent(_) | EngineError::Forbidden) => None,
            opened => Some(opened?),
        };
        Ok(OpenedPast { now, history })
    }

    /// One page of a collection as it was at a time, after the place where another one ended.
    pub async fn past(
        &mut self,
        opened: &OpenedPast,
        at: Timestamp,
        after: Option<Timestamp>,
        limit: usize,
    ) -> Result<PastPage, EngineError> {
        let Some(list) = &opened.now else { return Ok(PastPage::default()) };
        let mut page = PastPage::default();
        let mut bytes = 0;
        if after.is_none_or(|after| after <= at) {
            let query = by_time(list, Test::Max(at.0.into()), Direction::Descending, after, limit);
            let (_, same) = self.list(list, query).await?;
            let last = same.records.last().map(Record::timestamp).or(after);
            bytes = same.records.iter().map(Query::cost).sum();
            page.records.extend(same.records.into_iter().map(Past::Same));
            let is_full = page.records.len() >= limit || bytes >= self.page_bytes;
            if same.more || is_full {
                page.next = last;
                return Ok(page);
            }
        }
        let since = after.map_or(at, |after| after.max(at));
        let mut query = by_time(
            list,
            Test::Gt(since.0.into()),
            Direction::Ascending,
            None,
            limit - page.records.len(),
        );
        query.states = States::Both;
        query.bodies = false;
        let (_, changed) = self.list(list, query).await?;
        if changed.records.is_empty() {
            return Ok(page);
        }
        let mut search = Search::new(list.collection(), at, &changed.records);
        search.bytes_max = self.page_bytes.saturating_sub(bytes);
        self.search(opened, &mut search).await?;
        let is_whole = search.end == changed.records.len();
        let last = changed.records.get(search.end.saturating_sub(1)).map(Record::timestamp);
        page.next = last.filter(|_| changed.more || !is_whole);
        page.records.extend(search.found.into_values().flatten());
        Ok(page)
    }

    /// Goes through the history, newest first, a piece in each turn.
    async fn search(
        &mut self,
        opened: &OpenedPast,
        search: &mut Search<'_>,
    ) -> Result<(), EngineError> {
        let Some(history) = &opened.history else { return Ok(()) };
        let mut query = Query::all(history.collection.clone(), HISTORY_ROWS);
        query.scope = history.scope.clone();
        query.limit_bytes = HISTORY_BYTES;
        loop {
            let turn = self.turn().await?;
            let page = self.engine.store().list(&query).await?;
            let is_done = page.records.iter().any(|entry| search.meet(entry.body()));
            drop(turn);
            match page.records.last().filter(|_| page.more && !is_done) {
                Some(last) => query.after = Some(query.position(&View::new(last))),
                None => return Ok(()),
            }
        }
    }
}

fn by_time(
    list: &OpenedList,
    test: Test,
    direction: Direction,
    after: Option<Timestamp>,
    limit: usize,
) -> Query {
    let mut query = Query::all(list.collection.clone(), limit);
    query.filters.push(Filter { field: Field::Timestamp, test });
    query.sort = vec![Sort { field: Field::Timestamp, direction }];
    query.after = after.map(|after| vec![Some(after.0.into())]);
    query
}

/// What is read of an entry of the history.
#[derive(Deserialize)]
struct Entry<'a> {
    action: &'a str,
    resource_name: &'a str,
    collection_id: String,
    record_id: Option<String>,
    #[serde(borrow)]
    target: Target<'a>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Time {
    last_modified: i64,
}

/// A search in the history for what some records were.
struct Search<'a> {
    collection: &'a CollectionPath,
    at: Timestamp,
    /// Those that no entry told of yet, by their number.
    wanted: HashMap<RecordId, usize>,
    /// What was found; `None` where there was no record.
    found: BTreeMap<usize, Option<Past>>,
    bytes: usize,
    bytes_max: usize,
    /// Those from here on are left to the next page.
    end: usize,
}

impl<'a> Search<'a> {
    fn new(collection: &'a CollectionPath, at: Timestamp, changed: &[Record]) -> Self {
        let wanted = changed.iter().enumerate().map(|(n, record)| (record.id.clone(), n));
        Self {
            collection,
            at,
            wanted: wanted.collect(),
            found: BTreeMap::new(),
            bytes: 0,
            bytes_max: usize::MAX,
            end: changed.len(),
        }
    }

    /// Takes the next older entry. Whether the search is over.
    fn meet(&mut self, entry: &str) -> bool {
        // Entries about buckets and groups have no collection.
        let Ok(entry) = serde_json::from_str::<Entry<'_>>(entry) else { return false };
        let Ok(Time { last_modified }) = serde_json::from_str(entry.target.data.get()) else {
            return false;
        };
        let is_later = last_modified > self.at.0;
        if is_later || entry.collection_id != self.collection.name.as_str() {
            return false;
        }
        let Some(id) = entry.record_id else {
            // What is older was in another collection of this name.
            return entry.resource_name == "collection" && entry.action != "update";
        };
        let Some(n) = self.wanted.remove(&RecordId::from(id)) else { return false };
        let past = (entry.action != "delete").then(|| Past::Other {
            timestamp: Timestamp(last_modified),
            text: entry.target.data.get().to_owned(),
        });
        self.keep(n, past);
        self.wanted.is_empty()
    }

    /// Keeps as many, from the first, as there is room for: one at least.
    fn keep(&mut self, n: usize, past: Option<Past>) {
        self.bytes += cost(past.as_ref());
        self.found.insert(n, past);
        while self.bytes > self.bytes_max
            && self.found.len() > 1
            && let Some((last, past)) = self.found.pop_last()
        {
            self.end = last;
            self.bytes -= cost(past.as_ref());
            self.wanted.retain(|_, n| *n < last);
        }
    }
}

fn cost(past: Option<&Past>) -> usize {
    match past {
        Some(Past::Other { text, .. }) => text.len(),
        _ => 0,
    }
}
