//! What feeds read: moments of the file, and what may be forgotten of it.
//!
//! A moment is one reader inside one transaction, lent until it is dropped. Its reads are bounded
//! and run on the calling thread; nothing here knows who may see what.
//!
//! - `groups`: the groups of a person, and the groups of those;
//! - `signatures`: who is in which signature, and how many records have it;
//! - `traces`: where residencies began and ended;
//! - `forgetting`: how far the horizon may move.

mod forgetting;
mod groups;
mod signatures;
#[cfg(test)]
mod tests;
mod traces;

use std::future::ready;

use nuage_model::{
    Ask, Bodies, BucketId, CollectionPath, Counted, Opening, Pending, Principal, Record, RecordId,
    Residents, Seq, Signature, Snapshot, Standing, StoreError, Sum, Trace, Whose,
};
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::OwnedSemaphorePermit;

use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::readers::Reader;
use crate::sqlite::{scan, tables};

pub(super) use forgetting::overdue;

const EPOCH: &str = "SELECT value FROM meta WHERE key = 'store'";
const ENTERED: &str = "
    SELECT entered FROM records WHERE bucket = ?1 AND collection = ?2 AND id = ?3";
const VIEW: &str = "SELECT groups FROM views WHERE bucket = ?1 AND person = ?2 AND name = ?3";

/// One moment of the file.
pub(super) struct Moment<'a> {
    // Goes back before its slot does, since fields are dropped in this order.
    reader: Reader<'a>,
    _slot: OwnedSemaphorePermit,
    collection: CollectionPath,
    list_ms: u64,
}

impl<'a> Moment<'a> {
    /// The moment that begins with this, read by a reader whose transaction is open.
    pub(super) fn open(
        mut reader: Reader<'a>,
        slot: OwnedSemaphorePermit,
        ask: &Ask,
        list_ms: u64,
    ) -> Result<(Opening, Self), Fault> {
        let deadline = Deadline::after_ms(list_ms);
        let opening = reader.read(|connection| opening(connection, ask, &deadline))?;
        let collection = ask.collection.clone();
        Ok((opening, Self { reader, _slot: slot, collection, list_ms }))
    }

    fn read<'r, T: Send + 'r>(
        &mut self,
        read: impl FnOnce(&Look<'_>) -> Result<T, Fault>,
    ) -> Pending<'r, Result<T, StoreError>> {
        let deadline = Deadline::after_ms(self.list_ms);
        let collection = &self.collection;
        let answer = self
            .reader
            .read(|connection| read(&Look { connection, collection, deadline: &deadline }));
        Box::pin(ready(answer.map_err(StoreError::from)))
    }
}

/// What a read of a moment has at hand.
struct Look<'a> {
    connection: &'a Connection,
    collection: &'a CollectionPath,
    deadline: &'a Deadline,
}

impl Look<'_> {
    fn names(&self) -> (&str, &str) {
        (self.collection.bucket.as_str(), self.collection.name.as_str())
    }
}

impl Snapshot for Moment<'_> {
    fn signatures<'a>(
        &'a mut self,
        whose: Whose<'a>,
        after: Option<Signature>,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Counted>, StoreError>> {
        self.read(|look| signatures::counted(look, whose, after, limit))
    }

    fn principals_of<'a>(
        &'a mut self,
        signatures: &'a [Signature],
    ) -> Pending<'a, Result<Vec<Vec<Principal>>, StoreError>> {
        self.read(|look| signatures::principals_of(look, signatures))
    }

    fn residents<'a>(
        &'a mut self,
        residents: &'a Residents,
    ) -> Pending<'a, Result<Vec<Trace>, StoreError>> {
        self.read(|look| traces::residents(look, residents))
    }

    fn tail(&mut self, after: Seq, limit: usize) -> Pending<'_, Result<Vec<Trace>, StoreError>> {
        self.read(|look| traces::tail(look, after, limit))
    }

    fn tail_of<'a>(
        &'a mut self,
        live: &'a [Signature],
        ended: &'a [Signature],
        after: Seq,
        limit: usize,
    ) -> Pending<'a, Result<Vec<Trace>, StoreError>> {
        self.read(|look| traces::tail_of(look, live, ended, after, limit))
    }

    fn records<'a>(
        &'a mut self,
        ids: &'a [RecordId],
        bytes_max: usize,
    ) -> Pending<'a, Result<Vec<Record>, StoreError>> {
        self.read(|look| records(look, ids, bytes_max))
    }

    fn sum<'a>(&'a mut self, whose: Whose<'a>) -> Pending<'a, Result<Sum, StoreError>> {
        self.read(|look| signatures::sum(look, whose))
    }
}

fn opening(connection: &Connection, ask: &Ask, deadline: &Deadline) -> Result<Opening, Fault> {
    let mut opening = Opening {
        epoch: connection.prepare_cached(EPOCH)?.query_row([], |row| row.get(0))?,
        standing: standing(connection, &ask.collection)?,
        groups: groups::closure(connection, &ask.members, ask.groups_max, deadline)?,
        records: Vec::with_capacity(ask.paths.len()),
        entered: Vec::with_capacity(ask.paths.len()),
    };
    for path in &ask.paths {
        deadline.check()?;
        let mut entered = connection.prepare_cached(ENTERED)?;
        let entered = entered.query_row(tables::key(path), |row| row.get(0)).optional()?;
        opening.entered.push(Seq(entered.unwrap_or(0)));
        opening.records.push(scan::get(connection, path, Bodies::All)?);
    }
    Ok(opening)
}

fn standing(connection: &Connection, path: &CollectionPath) -> Result<Option<Standing>, Fault> {
    let Some(sequence) = tables::read_sequence(connection, path)? else { return Ok(None) };
    let Some(head) = sequence.head() else { return Ok(None) };
    Ok(Some(Standing {
        incarnation: sequence.incarnation,
        head,
        horizon: sequence.gc_seq,
        tombstones: u64::try_from(sequence.tombstones).unwrap_or(0),
        gone: u64::try_from(sequence.gone).unwrap_or(0),
    }))
}

fn records(look: &Look<'_>, ids: &[RecordId], bytes_max: usize) -> Result<Vec<Record>, Fault> {
    let mut records = Vec::new();
    let mut bytes = 0_usize;
    for id in ids {
        look.deadline.check()?;
        let path = look.collection.record(id.clone());
        let Some(record) = scan::get(look.connection, &path, Bodies::All)?.filter(Record::is_live)
        else {
            continue;
        };
        bytes = bytes.saturating_add(record.body().len());
        if bytes > bytes_max && !records.is_empty() {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

/// The groups kept for a person under a name.
pub(super) fn view(
    connection: &Connection,
    bucket: &BucketId,
    person: &Principal,
    name: [u8; 16],
) -> Result<Option<Vec<Principal>>, Fault> {
    let mut statement = connection.prepare_cached(VIEW)?;
    let key = (bucket.as_str(), person.as_str(), name);
    let text: Option<String> = statement.query_row(key, |row| row.get(0)).optional()?;
    let Some(text) = text else { return Ok(None) };
    let groups: Vec<String> = serde_json::from_str(&text).map_err(|error| {
        StoreError::Corrupt(format!("the groups kept for {person} are not a list: {error}"))
    })?;
    Ok(Some(groups.into_iter().map(Principal::from).collect()))
}
