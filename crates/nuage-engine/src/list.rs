//! Lists and counts, over the store and what the unit of work changed.

use nuage_model::{
    CollectionPath, Field, Filter, Head, Page, Query, Record, Scope, State, StoreError, Test, View,
};
use serde_json::Value;

use crate::access::readers;
use crate::engine::read_permissions;
use crate::{EngineError, OpenedList, Session};

impl Session {
    /// One page of an opened list. The scope and the collection of the query are those of the
    /// proof. An empty list gets a time here if it never had one.
    pub async fn list(
        &mut self,
        list: &OpenedList,
        query: Query,
    ) -> Result<(Head, Page), EngineError> {
        let query = scoped(list, query);
        let page = match self.nothing_new(&query).await? {
            Some(empty) => empty,
            None => self.page(&query).await?,
        };
        Ok((self.head_over(&list.collection, page.head), page))
    }

    /// The answer to a poll for what is newer than the head, without looking for it: no record
    /// shows a time beyond that of the head.
    async fn nothing_new(&self, query: &Query) -> Result<Option<Page>, StoreError> {
        let since = query.filters.iter().find_map(|filter| match (&filter.field, &filter.test) {
            (Field::Timestamp, Test::Gt(Value::Number(since))) => since.as_i64(),
            _ => None,
        });
        let Some(since) = since else { return Ok(None) };
        if !self.staged_in(&query.collection).is_empty() || self.is_dropped(&query.collection) {
            return Ok(None);
        }
        let head = self.engine.store().head(&query.collection).await?;
        let is_behind = head.is_some_and(|head| head.timestamp.0 <= since);
        Ok(is_behind.then(|| Page { head, records: Vec::new(), more: false }))
    }

    /// The head of an opened list.
    pub async fn head(&mut self, list: &OpenedList) -> Result<Head, EngineError> {
        let head = self.engine.store().head(&list.collection).await?;
        Ok(self.head_over(&list.collection, head))
    }

    /// One page without judging: the caller of this answers for what it shows.
    pub async fn page_unjudged(&self, query: &Query) -> Result<Page, StoreError> {
        self.page(query).await
    }

    /// How many records of an opened list match, whatever the limit and position of the query.
    pub async fn count(
        &mut self,
        list: &OpenedList,
        query: Query,
    ) -> Result<(Head, u64), EngineError> {
        let mut query = scoped(list, query);
        query.after = None;
        let (head, count) = self.total(&query).await?;
        Ok((self.head_over(&list.collection, head), count))
    }

    /// How many match, without judging.
    pub(crate) async fn total(&self, query: &Query) -> Result<(Option<Head>, u64), StoreError> {
        let staged = self.staged_in(&query.collection);
        let mut count = 0;
        let mut head = None;
        if !self.is_dropped(&query.collection) {
            let stored = without(query, &staged);
            (head, count) = self.engine.store().count(&stored).await?;
        }
        for record in &staged {
            if query.matches(&View::new(record)) && in_scope(query, record)? {
                count += 1;
            }
        }
        Ok((head, count))
    }

    /// One page, without judging.
    pub(crate) async fn page(&self, query: &Query) -> Result<Page, StoreError> {
        let staged = self.staged_in(&query.collection);
        if self.is_dropped(&query.collection) {
            let empty = Page { head: None, records: Vec::new(), more: false };
            return merge(query, empty, staged);
        }
        if staged.is_empty() {
            return self.engine.store().list(query).await;
        }
        let page = self.engine.store().list(&without(query, &staged)).await?;
        merge(query, page, staged)
    }
}

fn scoped(list: &OpenedList, mut query: Query) -> Query {
    query.scope = list.scope.clone();
    query.collection = list.collection.clone();
    query
}

/// The query over the store, leaving out what the unit of work knows better.
fn without(query: &Query, staged: &[Record]) -> Query {
    let mut query = query.clone();
    if !staged.is_empty() {
        let ids = staged.iter().map(|record| Value::from(record.id.as_str())).collect();
        query.filters.push(Filter { field: Field::Id, test: Test::Exclude(ids) });
    }
    query
}

fn merge(query: &Query, mut page: Page, staged: Vec<Record>) -> Result<Page, StoreError> {
    for record in staged {
        if query.matches(&View::new(&record)) && in_scope(query, &record)? {
            page.records.push(record);
        }
    }
    page.records.sort_by_cached_key(|record| Ordered {
        query,
        position: query.position(&View::new(record)),
    });
    if page.records.len() > query.limit {
        page.records.truncate(query.limit);
        page.more = true;
    }
    Ok(page)
}

struct Ordered<'a> {
    query: &'a Query,
    position: nuage_model::Position,
}

impl Ord for Ordered<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.query.compare_positions(&self.position, &other.position)
    }
}

impl PartialOrd for Ordered<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ordered<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Ordered<'_> {}

fn in_scope(query: &Query, record: &Record) -> Result<bool, StoreError> {
    let State::Live { .. } = record.state else {
        // A tombstone of this very unit of work: whoever made it may see it.
        return Ok(true);
    };
    Ok(match &query.scope {
        Scope::All => true,
        Scope::Readers(principals) => {
            let readers = readers(query.collection.kind(), &read_permissions(record)?);
            principals.iter().any(|principal| readers.contains(principal))
        }
        Scope::Holders(name, principals) => {
            let permissions = read_permissions(record)?;
            permissions.holders(name).any(|holder| principals.contains(holder))
        }
    })
}
