//! Rows of the tables, as the rules and the port know them.

use nuage_model::{Record, RecordId, Seq, Signature, State, StoreError, Timestamp};
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use crate::postgres::errors::Fault;
use crate::rules::Sequence;

/// One record by its names, given as three expressions.
///
/// Not `bucket = $1 AND collection = $2 AND id = $3`: where the statistics say that a collection
/// has hardly any records, every index that begins with bucket and collection is as good to the
/// planner, and it may go through the whole of a collection that has many. Nothing but the primary
/// key can give the first record from these names on; then it is seen whether it has them.
///
/// The bucket is not compared twice: beside `bucket = $1`, PostgreSQL does not begin where
/// `(bucket, collection, id) >= …` says, but at the first record of the bucket.
macro_rules! one_record {
    ($columns:literal, $bucket:literal, $collection:literal, $id:literal) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM (SELECT bucket, collection, id, seq, timestamp, dead, signature, entered,
                    permissions, body
                FROM records WHERE bucket = ",
            $bucket,
            " AND (collection, id) >= (",
            $collection,
            ", ",
            $id,
            ") ORDER BY bucket, collection, id LIMIT 1) AS first_from_there
            WHERE bucket = ",
            $bucket,
            " AND collection = ",
            $collection,
            " AND id = ",
            $id
        )
    };
}
pub(super) use one_record;

/// A value of the row; what it cannot be is damage.
pub(super) fn value<'r, T: FromSql<'r>>(row: &'r Row, index: usize) -> Result<T, Fault> {
    row.try_get(index)
        .map_err(|error| StoreError::Corrupt(crate::postgres::errors::chain(&error)).into())
}

/// The record in the row; after its identifier come seq, timestamp, dead, signature, permissions
/// and body.
pub(super) fn record(row: &Row) -> Result<Record, Fault> {
    let id: &str = value(row, 0)?;
    record_of(RecordId::from(id), row, 1)
}

/// The record in the row, its identifier being known; the other columns begin at this index.
pub(super) fn record_of(id: RecordId, row: &Row, from: usize) -> Result<Record, Fault> {
    let chosen: Option<i64> = value(row, from + 1)?;
    let state = if value(row, from + 2)? {
        State::Tombstone
    } else {
        State::Live {
            signature: signature(row, from + 3)?,
            permissions: value(row, from + 4)?,
            body: value(row, from + 5)?,
        }
    };
    Ok(Record { id, seq: Seq(value(row, from)?), chosen: chosen.map(Timestamp), state })
}

/// A signature of the row.
pub(super) fn signature(row: &Row, index: usize) -> Result<Signature, Fault> {
    let bytes: &[u8] = value(row, index)?;
    let bytes = bytes
        .try_into()
        .map_err(|_| StoreError::Corrupt(format!("a signature has {} bytes", bytes.len())))?;
    Ok(Signature(bytes))
}

/// The sequence in the row: incarnation, seq, timestamp, gc_seq, live, tombstones, chosen, gone
/// and dropped, from this index on.
pub(super) fn sequence(row: &Row, from: usize) -> Result<Sequence, Fault> {
    let incarnation = incarnation(value(row, from)?)?;
    let seq = Seq(value(row, from + 1)?);
    let timestamp: Option<i64> = value(row, from + 2)?;
    Ok(Sequence {
        incarnation,
        seq,
        timestamp: timestamp.map_or(seq.into(), Timestamp),
        gc_seq: Seq(value(row, from + 3)?),
        live: value(row, from + 4)?,
        tombstones: value(row, from + 5)?,
        chosen: value(row, from + 6)?,
        gone: value(row, from + 7)?,
        dropped: value(row, from + 8)?,
    })
}

/// By which collections of one name differ.
pub(super) fn incarnation(bytes: &[u8]) -> Result<[u8; 8], Fault> {
    bytes.try_into().map_err(|_| {
        StoreError::Corrupt(format!("an incarnation has {} bytes", bytes.len())).into()
    })
}

/// Whether a text can be in the database at all: PostgreSQL keeps no NUL.
pub(super) fn is_storable(text: &str) -> bool {
    !text.contains('\0')
}
