//! What feeds read of one moment of a database. Nothing here knows who may see what.
//!
//! - `opening`: what decides on that;
//! - `traces`: where residencies began and ended;
//! - `signatures`: who is in which signature, and what is counted of it;
//! - `horizon`: how far the horizon may move;
//! - `moment`: all of that, as the port wants it.

mod horizon;
mod moment;
mod opening;
mod signatures;
mod traces;

use nuage_model::copy::{Cell, Table};
use nuage_model::{CollectionPath, Principal, Record, RecordId, StoreError};

use crate::cells::{self, Cells, Source};
use crate::reads::{Columns, Reads};

pub(crate) use horizon::compaction_target;
pub(crate) use moment::{Hold, Moment};
pub(crate) use opening::open;
pub(crate) use signatures::{counted, principals_of, signatures_of, sum};
pub(crate) use traces::{residents, tail, tail_of};

/// The body of a tombstone.
const NO_BODY: usize = "{}".len();

/// These live records, as many as fit, and at least one.
pub(crate) async fn records<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    ids: &[RecordId],
    bytes_max: usize,
) -> Result<Vec<Record>, R::Fault> {
    let keys: Vec<Vec<Cell>> =
        ids.iter().map(|id| cells::record(&path.record(id.clone()))).collect();
    let (mut left, mut records, mut filled) = (keys.as_slice(), Vec::new(), 0_usize);
    while records.is_empty() && !left.is_empty() {
        let bytes = bytes_max.saturating_add(left.len().saturating_mul(NO_BODY));
        let record = |row: &dyn Source| cells::record_of(row, Columns::RECORD);
        let found = reads.get(left, Columns::RECORD, bytes, record).await?;
        left = &left[found.len().clamp(1, left.len())..];
        for record in found.into_iter().flatten() {
            if !record.is_live() {
                continue;
            }
            filled = filled.saturating_add(record.body().len());
            if filled > bytes_max && !records.is_empty() {
                return Ok(records);
            }
            records.push(record);
        }
    }
    Ok(records)
}

/// The groups kept for a person under a name, where the feed of this collection is read.
pub(crate) async fn view<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    person: &Principal,
    name: [u8; 16],
) -> Result<Option<Vec<Principal>>, R::Fault> {
    let key = vec![
        cells::text(path.bucket.as_str()),
        cells::text(person.as_str()),
        Cell::Bytes(name.to_vec()),
    ];
    let columns = Columns::of(Table::Views, 3, 4);
    let text = |row: &dyn Source| Cells::from(columns, row, 3).text().map(str::to_owned);
    let found = reads.get(&[key], columns, usize::MAX, text).await?;
    let Some(text) = found.into_iter().flatten().next() else { return Ok(None) };
    let groups: Vec<String> = serde_json::from_str(&text).map_err(|error| {
        StoreError::Corrupt(format!("the groups kept for {person} are not a list: {error}"))
    })?;
    Ok(Some(groups.into_iter().map(Principal::from).collect()))
}
