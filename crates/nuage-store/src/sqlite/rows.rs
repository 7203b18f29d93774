//! Rows of `records`, as the port gives them back.

use nuage_model::{Record, RecordId, Seq, Signature, State, Timestamp};
use rusqlite::Row;

/// The columns that [`record`] reads, in its order.
macro_rules! record_columns {
    () => {
        "id, seq, timestamp, dead, signature, permissions, body"
    };
}
/// The same without the text of the body, for those who only count.
macro_rules! slim_columns {
    () => {
        "id, seq, timestamp, dead, signature, permissions, '{}'"
    };
}
/// The same without the text of a body that lies on pages of its own. Its length is known without
/// reading them.
macro_rules! small_columns {
    () => {
        "id, seq, timestamp, dead, signature, permissions, \
         CASE WHEN octet_length(body) <= 2000 THEN body ELSE '' END"
    };
}
pub(super) use {record_columns, slim_columns, small_columns};

/// Whether the row is a tombstone.
pub(super) fn is_dead(row: &Row<'_>) -> rusqlite::Result<bool> {
    row.get(3)
}

/// Whether the row shows a time of its own.
pub(super) fn is_chosen(row: &Row<'_>) -> rusqlite::Result<bool> {
    Ok(row.get_ref(2)? != rusqlite::types::ValueRef::Null)
}

/// The signature in the row.
pub(super) fn signature(row: &Row<'_>) -> rusqlite::Result<Signature> {
    Ok(Signature(row.get(4)?))
}

/// The record in the row.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let id = RecordId::new(row.get_ref(0)?.as_str()?);
    record_of(id, row)
}

/// The record in the row, its identifier being known.
pub(super) fn record_of(id: RecordId, row: &Row<'_>) -> rusqlite::Result<Record> {
    let chosen: Option<i64> = row.get(2)?;
    let state = if is_dead(row)? {
        State::Tombstone
    } else {
        State::Live { body: row.get(6)?, permissions: row.get(5)?, signature: signature(row)? }
    };
    Ok(Record { id, seq: Seq(row.get(1)?), chosen: chosen.map(Timestamp), state })
}
