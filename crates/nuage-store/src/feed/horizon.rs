//! How far the horizon of a collection may move: past the oldest of what ended.

use futures_util::future::try_join;
use nuage_model::copy::Table;
use nuage_model::{CollectionPath, Seq};

use crate::cells::{self, Cells};
use crate::reads::{Columns, Reads, Scan};
use crate::records::sequence;
use crate::schema::{Index, Range};

/// The position of the last tombstone or ended residency that goes in this step: the oldest, at
/// most `limit` of them, which lie up to `before` or are more than `keep`.
pub(crate) async fn overdue<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    before: Seq,
    keep: u64,
    limit: usize,
) -> Result<Option<Seq>, R::Fault> {
    let Some(sequence) = reads.begin(sequence(reads, path)).await? else { return Ok(None) };
    let ended = u64::try_from(sequence.tombstones + sequence.gone).unwrap_or(0);
    let too_many = usize::try_from(ended.saturating_sub(keep)).unwrap_or(usize::MAX);
    let last = if too_many > 0 { i64::MAX } else { before.0 };
    if ended == 0 || last <= sequence.gc_seq.0 {
        return Ok(None);
    }
    let positions = |index: Index, columns| {
        let all = Range::of(index, cells::collection(path));
        let range = all.between(sequence.gc_seq.0.saturating_add(1), last);
        reads.scan(Scan { columns, ..Scan::of(vec![range], limit) })
    };
    let (tombstones, gone) = try_join(
        positions(Index::RecordsDead, Columns::of(Table::Records, 3, 4)),
        positions(Index::Key(Table::Gone), Columns::of(Table::Gone, 2, 4)),
    )
    .await?;
    let mut all = Vec::with_capacity(tombstones.rows.len() + gone.rows.len());
    for row in tombstones.rows.iter().chain(&gone.rows) {
        all.push(Cells::of(Table::Records, row, 0).seq()?);
    }
    all.sort_unstable();
    let goes = all.into_iter().take(limit).enumerate();
    Ok(goes.take_while(|(n, seq)| *seq <= before || *n < too_many).last().map(|(_, seq)| seq))
}
