//! Lists and counts, over the store and what the unit of work changed.
//!
//! What is not found in a moment waits for its turn.

use std::borrow::Cow;

use foldhash::{HashMap, HashSet};
use nuage_model::{
    CollectionPath, Field, Filter, Head, Limits, Pace, Page, Query, Record, RecordId, Scope, Seq,
    State, States, StoreError, Test, Timestamp, View,
};
use serde_json::Value;

use crate::access::readers;
use crate::engine::read_permissions;
use crate::{EngineError, OpenedList, Places, Session, Turn, Turns};

/// Most long reads at a time. A store reads with as many connections, unless told otherwise.
const READS_MAX: usize = 4;

/// Turns of those who read much.
pub(crate) fn turns(limits: &Limits) -> Turns {
    // More than there are processors would only keep those waiting who ask for little.
    let turns = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    Turns::new(Places {
        turns: turns.min(READS_MAX),
        waiting_own: limits.waiting_work_own,
        waiting: limits.waiting_work,
    })
}

impl Session {
    /// One page of an opened list. The scope and the collection of the query are those of the
    /// proof. An empty list gets a time here if it never had one. The time of the list is that of what
    /// the caller sees of it.
    pub async fn list(
        &mut self,
        list: &OpenedList,
        query: Query,
    ) -> Result<(Head, Page), EngineError> {
        let query = self.scoped(list, query);
        let page = match self.nothing_new(list, &query).await? {
            Some(empty) => empty,
            None => self.page(&query).await?,
        };
        Ok((self.head_over(list, page.head).await?, page))
    }

    /// The answer to a poll for what is newer than the head, without looking for it: nothing that the
    /// caller sees shows a time beyond that of the head that is shown to them.
    async fn nothing_new(
        &self,
        list: &OpenedList,
        query: &Query,
    ) -> Result<Option<Page>, StoreError> {
        let Some(since) = query.since() else { return Ok(None) };
        if !self.staged_in(&query.collection).is_empty() || self.is_dropped(&query.collection) {
            return Ok(None);
        }
        let head = match list.is_read_whole {
            true => self.engine.store().head(&query.collection).await?,
            false => list.shown,
        };
        let is_behind = head.is_some_and(|head| head.timestamp <= since);
        Ok(is_behind.then(|| Page { head, records: Vec::new(), more: false }))
    }

    /// The head of an opened list.
    pub async fn head(&mut self, list: &OpenedList) -> Result<Head, EngineError> {
        let head = match list.is_read_whole {
            true => self.engine.store().head(&list.collection).await?,
            false => list.shown,
        };
        self.head_over(list, head).await
    }

    /// How many records of an opened list match, whatever the limit and position of the query.
    pub async fn count(
        &mut self,
        list: &OpenedList,
        query: Query,
    ) -> Result<(Head, u64), EngineError> {
        let mut query = self.scoped(list, query);
        query.after = None;
        let (head, count) = self.total(&query).await?;
        Ok((self.head_over(list, head).await?, count))
    }

    /// The head of a list as this unit of work leaves it.
    async fn head_over(
        &mut self,
        list: &OpenedList,
        head: Option<Head>,
    ) -> Result<Head, EngineError> {
        let path = &list.collection;
        if list.is_read_whole {
            return Ok(self.whole_head(path, head));
        }
        let mut head = match (head.filter(|_| !self.is_dropped(path)), self.first_write(path)) {
            (Some(head), _) => head,
            (None, Some(seq)) => Head { seq, timestamp: seq.into(), live: 0 },
            (None, None) => self.whole_head(path, None),
        };
        let query = self.scoped(list, Query::all(path.clone(), 0));
        for record in self.staged_as_shown(path).await? {
            if in_scope(&query, &record)? {
                head.timestamp = head.timestamp.max(record.timestamp());
            }
        }
        Ok(head)
    }

    /// Waits until something that takes long may be read.
    pub(crate) async fn turn(&self) -> Result<Turn, EngineError> {
        Ok(self.engine.reads.wait(&self.requester()).await?)
    }

    /// How many match, without judging.
    pub(crate) async fn total(&self, query: &Query) -> Result<(Option<Head>, u64), EngineError> {
        let staged = self.staged_as_shown(&query.collection).await?;
        let mut count = 0;
        let mut head = None;
        if !self.is_dropped(&query.collection) {
            let stored = without(query, &staged);
            let store = self.engine.store();
            (head, count) = match store.count_at(&stored, Pace::Quick).await? {
                Some(counted) => counted,
                None => {
                    let _turn = self.turn().await?;
                    store.count(&stored).await?
                }
            };
        }
        for record in &staged {
            if query.matches(&View::new(record)) && in_scope(query, record)? {
                count += 1;
            }
        }
        Ok((head, count))
    }

    /// One page, without judging.
    pub(crate) async fn page(&self, query: &Query) -> Result<Page, EngineError> {
        let staged = self.staged_as_shown(&query.collection).await?;
        if self.is_dropped(&query.collection) {
            let empty = Page { head: None, records: Vec::new(), more: false };
            return Ok(merge(query, empty, staged)?);
        }
        let stored = without(query, &staged);
        let store = self.engine.store();
        let page = match store.list_at(&stored, Pace::Quick).await? {
            Some(page) => page,
            None => {
                let _turn = self.turn().await?;
                store.list(&stored).await?
            }
        };
        Ok(if staged.is_empty() { page } else { merge(query, page, staged)? })
    }

    /// Records of a collection that this unit of work changed, with the times that the store will
    /// give them: a chosen one that another record shows becomes the next that is free.
    async fn staged_as_shown(&self, path: &CollectionPath) -> Result<Vec<Record>, StoreError> {
        let mut staged = self.staged_in(path);
        if staged.iter().all(|record| record.chosen.is_none()) {
            return Ok(staged);
        }
        staged.sort_unstable_by_key(|record| record.seq);
        let head = self.engine.store().head(path).await?.filter(|_| !self.is_dropped(path));
        let mut shown = head.map(|head| head.timestamp);
        let mut last = head.map_or(Seq(0), |head| head.seq);
        let own: HashSet<RecordId> = staged.iter().map(|record| record.id.clone()).collect();
        let mut taken = HashSet::default();
        // Where those who wish the same go on.
        let mut free = HashMap::default();
        for record in &mut staged {
            let wished = record.chosen.filter(|time| *time <= last.latest_choice(self.now));
            if let Some(time) = wished.filter(|time| time.0 > last.0) {
                last = Seq(time.0);
                shown = Some(time);
                continue;
            }
            let next = last.next(self.now);
            let head = *shown.get_or_insert(next.into());
            record.chosen = match wished {
                Some(time) if time <= head => {
                    if !free.contains_key(&time) && !self.is_dropped(path) {
                        taken.extend(self.times_from(path, time, &own).await?);
                    }
                    let from = free.get(&time).copied().unwrap_or(time.0);
                    let end = head.0.min(time.0.saturating_add(Seq::TIMES_TRIED));
                    let found = (from..end).find(|time| !taken.contains(time));
                    free.insert(time, found.unwrap_or(end));
                    found.map(Timestamp)
                }
                wished => wished,
            };
            last = next;
            match record.chosen {
                Some(time) => _ = taken.insert(time.0),
                None => shown = Some(next.into()),
            }
        }
        Ok(staged)
    }

    /// The times that records of a collection show, from one on, as far as a store looks for a free
    /// one; some records left out.
    async fn times_from(
        &self,
        path: &CollectionPath,
        from: Timestamp,
        without: &HashSet<RecordId>,
    ) -> Result<Vec<i64>, StoreError> {
        let test = |field, test| Filter { field, test };
        let query = Query {
            states: States::Both,
            filters: vec![
                test(Field::Timestamp, Test::Min(from.0.into())),
                test(Field::Timestamp, Test::Lt(from.0.saturating_add(Seq::TIMES_TRIED).into())),
            ],
            bodies: false,
            ..Query::all(path.clone(), Seq::TIMES_TRIED as usize)
        };
        let page = self.engine.store().list(&query).await?;
        // There may be ten thousand of them: no filter of the store's.
        let others = page.records.iter().filter(|record| !without.contains(&record.id));
        Ok(others.map(|record| record.timestamp().0).collect())
    }

    fn scoped(&self, list: &OpenedList, mut query: Query) -> Query {
        query.scope = list.scope.clone();
        query.collection = list.collection.clone();
        query.limit_bytes = self.page_bytes;
        query
    }
}

/// The query over the store, leaving out what the unit of work knows better.
fn without<'q>(query: &'q Query, staged: &[Record]) -> Cow<'q, Query> {
    if staged.is_empty() {
        return Cow::Borrowed(query);
    }
    let mut query = query.clone();
    let ids = staged.iter().map(|record| Value::from(record.id.as_str())).collect();
    query.filters.push(Filter { field: Field::Id, test: Test::Exclude(ids) });
    Cow::Owned(query)
}

fn merge(query: &Query, mut page: Page, staged: Vec<Record>) -> Result<Page, StoreError> {
    // Between the last record of the store's page and what comes later there may be others.
    let end = page.records.last().filter(|_| page.more);
    let end = end.map(|last| query.position(&View::new(last)));
    for record in staged {
        let shows = {
            let view = View::new(&record);
            let is_later = end
                .as_ref()
                .is_some_and(|end| query.compare_positions(&query.position(&view), end).is_gt());
            !is_later && query.matches(&view)
        };
        if shows && in_scope(query, &record)? {
            page.records.push(record);
        }
    }
    page.records.sort_by_cached_key(|record| Ordered {
        query,
        position: query.position(&View::new(record)),
    });
    let (fitting, _) = query.page(&page.records);
    page.more |= fitting < page.records.len();
    page.records.truncate(fitting);
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
