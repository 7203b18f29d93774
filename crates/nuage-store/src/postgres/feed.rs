//! What feeds read: moments of the database, and what may be forgotten of it.
//!
//! A moment is one connection inside one transaction that only reads, lent until it is dropped.
//! Whatever is asked of it takes one round trip, the opening included. Nothing here knows who may
//! see what.
//!
//! - `opening`: what decides on that;
//! - `traces`: where residencies began and ended;
//! - `signatures`: who is in which signature, and what is counted of it;
//! - `forgetting`: how far the horizon may move, and whose chore that is.

mod forgetting;
mod opening;
mod signatures;
mod traces;

use std::collections::HashMap;
use std::time::Duration;

use nuage_model::{
    Ask, BucketId, CollectionPath, Counted, Head, Opening, Pending, Principal, Record, RecordId,
    Residents, Seq, Signature, Snapshot, StoreError, Sum, Timestamp, Trace, Whose,
};
use tokio::sync::SemaphorePermit;
use tokio::time::error::Elapsed;

use crate::postgres::errors::Fault;
use crate::postgres::pool::Pool;
use crate::postgres::query::{ANSWER, has_names};
use crate::postgres::reader::{Read, Reader};
use crate::postgres::rows::{self, is_storable};

pub(super) use forgetting::{lease, overdue};

const HEADS: &str = "
    SELECT asked.n, c.seq, c.timestamp, c.live, c.dropped
    FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS asked (bucket, collection, n)
    CROSS JOIN LATERAL (SELECT seq, timestamp, live, dropped FROM collections
        WHERE bucket = asked.bucket AND collection = asked.collection LIMIT 1) AS c";
const VIEW: &str = "
    SELECT groups FROM views WHERE bucket = $1 AND person = $2 AND name = $3";

/// Every statement of feeds, for the test of their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<&'static str> {
    let mut all = vec![HEADS, VIEW];
    all.extend(opening::STATEMENTS);
    all.extend(traces::STATEMENTS);
    all.extend(signatures::STATEMENTS);
    all.extend(forgetting::STATEMENTS);
    all
}

/// The heads of these collections, in that order.
pub(super) async fn heads(
    pool: &Pool,
    collections: &[CollectionPath],
) -> Result<Vec<Option<Head>>, Fault> {
    if collections.is_empty() {
        Ok(Vec::new())
    } else {
        pool.read(&Heads(collections), ANSWER).await
    }
}

/// The groups kept for a person under a name.
pub(super) async fn view(
    pool: &Pool,
    bucket: &BucketId,
    person: &Principal,
    name: [u8; 16],
) -> Result<Option<Vec<Principal>>, Fault> {
    if !is_storable(bucket.as_str()) || !is_storable(person.as_str()) {
        return Ok(None);
    }
    pool.read(&View { bucket, person, name }, ANSWER).await
}

/// A moment that begins now.
pub(super) async fn snapshot<'a>(
    pool: &'a Pool,
    ask: &Ask,
    within: Duration,
) -> Result<(Opening, Moment<'a>), Fault> {
    let slot = pool.slot(within).await?;
    let (reader, opening) = pool.begin_to_read(&opening::Begin(ask), within).await?;
    let collection = ask.collection.clone();
    Ok((opening, Moment { reader: Some(reader), _slot: slot, collection, within }))
}

/// One moment of the database.
pub(super) struct Moment<'p> {
    /// Until the connection is of no more use. It goes back before its slot does, since fields
    /// are dropped in this order.
    reader: Option<Reader<'p>>,
    _slot: SemaphorePermit<'p>,
    collection: CollectionPath,
    /// The time that each question may take.
    within: Duration,
}

/// What a read of a moment has at hand.
struct Look<'l> {
    reader: &'l Reader<'l>,
    bucket: &'l str,
    name: &'l str,
}

impl Moment<'_> {
    fn look(&self) -> Result<Look<'_>, StoreError> {
        let Some(reader) = &self.reader else {
            let why = "the connection of this moment was given up".to_owned();
            return Err(StoreError::Unavailable(why));
        };
        let (bucket, name) = (self.collection.bucket.as_str(), self.collection.name.as_str());
        Ok(Look { reader, bucket, name })
    }

    async fn within<T>(
        &self,
        asked: impl Future<Output = Result<T, Fault>>,
    ) -> Result<Result<T, Fault>, Elapsed> {
        tokio::time::timeout(self.within, asked).await
    }

    // What was asked, and the end of the connection where it is of no more use.
    fn settle<T>(&mut self, asked: Result<Result<T, Fault>, Elapsed>) -> Result<T, StoreError> {
        match asked {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(fault)) => {
                if fault.spoils_connection() {
                    self.reader.take().into_iter().for_each(Reader::discard);
                }
                Err(fault.into())
            }
            Err(_) => {
                self.reader.take().into_iter().for_each(Reader::stop);
                Err(StoreError::TooSlow)
            }
        }
    }
}

impl Snapshot for Moment<'_> {
    fn signatures<'a>(
        &'a mut self,
        whose: Whose<'a>,
        after: Option<Signature>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Counted>, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(signatures::counted(&look, whose, after, limit)).await;
            self.settle(asked)
        })
    }

    fn principals_of<'a>(
        &'a mut self,
        signatures: &'a [Signature],
    ) -> Pending<'a, Result<Vec<Vec<Principal>>, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(signatures::principals_of(&look, signatures)).await;
            self.settle(asked)
        })
    }

    fn residents<'a>(
        &'a mut self,
        residents: &'a Residents,
    ) -> Pending<'a, Result<Vec<Trace>, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(traces::residents(&look, residents)).await;
            self.settle(asked)
        })
    }

    fn tail(&mut self, after: Seq, limit: usize) -> Pending<'_, Result<Vec<Trace>, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(traces::tail(&look, after, limit)).await;
            self.settle(asked)
        })
    }

    fn tail_of<'a>(
        &'a mut self,
        live: &'a [Signature],
        ended: &'a [Signature],
        after: Seq,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Trace>, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(traces::tail_of(&look, live, ended, after, limit)).await;
            self.settle(asked)
        })
    }

    fn records<'a>(
        &'a mut self,
        ids: &'a [RecordId],
        bytes_max: usize,
    ) -> Pending<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(traces::records(&look, ids, bytes_max)).await;
            self.settle(asked)
        })
    }

    fn sum<'a>(&'a mut self, whose: Whose<'a>) -> Pending<'a, Result<Sum, StoreError>> {
        Box::pin(async move {
            let look = self.look()?;
            let asked = self.within(signatures::sum(&look, whose)).await;
            self.settle(asked)
        })
    }
}

struct Heads<'a>(&'a [CollectionPath]);

impl Read for Heads<'_> {
    type Answer = Vec<Option<Head>>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        // One that cannot be asked for has no head either.
        let asked = |path: &CollectionPath| match has_names(path) {
            true => (path.bucket.as_str().to_owned(), path.name.as_str().to_owned()),
            false => Default::default(),
        };
        let (buckets, names): (Vec<String>, Vec<String>) = self.0.iter().map(asked).unzip();
        let statement = reader.prepare_cached(HEADS).await?;
        let mut found: HashMap<i64, Head> = HashMap::new();
        for row in reader.query(&statement, &[&buckets, &names]).await? {
            if let Some(head) = head(&row, 1)? {
                found.insert(rows::value(&row, 0)?, head);
            }
        }
        let numbers = 1..=i64::try_from(self.0.len()).unwrap_or(i64::MAX);
        Ok(numbers.map(|n| found.remove(&n)).collect())
    }
}

// The head in seq, timestamp, live and dropped, from this index on.
fn head(row: &tokio_postgres::Row, from: usize) -> Result<Option<Head>, Fault> {
    let seq = Seq(rows::value(row, from)?);
    let timestamp: Option<i64> = rows::value(row, from + 1)?;
    let live: i64 = rows::value(row, from + 2)?;
    let is_dropped: bool = rows::value(row, from + 3)?;
    let timestamp = timestamp.map_or(seq.into(), Timestamp);
    let head = Head { seq, timestamp, live: u64::try_from(live).unwrap_or(0) };
    Ok((!is_dropped).then_some(head))
}

struct View<'a> {
    bucket: &'a BucketId,
    person: &'a Principal,
    name: [u8; 16],
}

impl Read for View<'_> {
    type Answer = Option<Vec<Principal>>;

    async fn read(&self, reader: &Reader<'_>) -> Result<Self::Answer, Fault> {
        let statement = reader.prepare_cached(VIEW).await?;
        let (bucket, person) = (self.bucket.as_str(), self.person.as_str());
        let row = reader.query_opt(&statement, &[&bucket, &person, &self.name.as_slice()]).await?;
        let Some(row) = row else { return Ok(None) };
        let groups: Vec<String> = serde_json::from_str(rows::value(&row, 0)?).map_err(|error| {
            StoreError::Corrupt(format!("the groups kept for {person} are not a list: {error}"))
        })?;
        Ok(Some(groups.into_iter().map(Principal::from).collect()))
    }
}
