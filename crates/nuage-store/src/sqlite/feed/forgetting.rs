//! How far the horizon of a collection may move: past the oldest of what ended.

use nuage_model::{CollectionPath, Seq};
use rusqlite::{Connection, Rows, params};

use crate::sqlite::deadline::Deadline;
use crate::sqlite::errors::Fault;
use crate::sqlite::tables;

const TOMBSTONES: &str = "
    SELECT seq FROM records INDEXED BY records_dead
    WHERE bucket = ?1 AND collection = ?2 AND dead = 1 AND seq <= ?3 ORDER BY seq";
const GONE: &str = "
    SELECT seq FROM gone WHERE bucket = ?1 AND collection = ?2 AND seq <= ?3 ORDER BY seq";

/// Every statement that walks, for the test of their plans.
#[cfg(test)]
pub(super) const WALKS: &[&str] = &[TOMBSTONES, GONE];

/// The position of the last tombstone or ended residency that goes in this step: the oldest, at
/// most `limit` of them, which lie up to `before` or are more than `keep`.
pub(in crate::sqlite) fn overdue(
    connection: &Connection,
    path: &CollectionPath,
    before: Seq,
    keep: u64,
    limit: usize,
    deadline: &Deadline,
) -> Result<Option<Seq>, Fault> {
    let sequence = tables::read_sequence(connection, path)?;
    let Some(sequence) = sequence.filter(|sequence| !sequence.dropped) else { return Ok(None) };
    let (bucket, name) = (path.bucket.as_str(), path.name.as_str());
    let ended = u64::try_from(sequence.tombstones + sequence.gone).unwrap_or(0);
    let too_many = ended.saturating_sub(keep);
    let last = if too_many > 0 { Seq(i64::MAX) } else { before };

    let mut tombstones = connection.prepare_cached(TOMBSTONES)?;
    let mut tombstones = tombstones.query(params![bucket, name, last.0])?;
    let mut gone = connection.prepare_cached(GONE)?;
    let mut gone = gone.query(params![bucket, name, last.0])?;
    let (mut tombstone, mut departure) = (next(&mut tombstones)?, next(&mut gone)?);
    let mut goes = None;
    for count in 0..u64::try_from(limit).unwrap_or(u64::MAX) {
        deadline.check()?;
        let Some(seq) = tombstone.into_iter().chain(departure).min() else { break };
        if seq > before && count >= too_many {
            break;
        }
        goes = Some(seq);
        if tombstone == goes {
            tombstone = next(&mut tombstones)?;
        } else {
            departure = next(&mut gone)?;
        }
    }
    Ok(goes)
}

fn next(rows: &mut Rows<'_>) -> Result<Option<Seq>, Fault> {
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?.map(Seq))
}
