//! How far the horizon of a collection may move: past the oldest of what ended.

use futures_util::future::try_join;
use nuage_model::copy::Table;
use nuage_model::{CollectionPath, Seq, Timestamp};

use crate::cells::{self, Cells, Source};
use crate::reads::{Columns, Reads, Scan};
use crate::records::sequence;
use crate::rules::Mark;
use crate::schema::{Index, Range};

/// The position of the last tombstone or ended residency that goes in this step: the oldest, at
/// most `limit` of them, which ended up to `before` or are more than `keep`.
///
/// A position is no less than the time at which it was given. Where positions are ahead of the
/// clock, it was noted when the head was where.
pub(crate) async fn compaction_target<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    before: Timestamp,
    keep: u64,
    limit: usize,
) -> Result<Option<Seq>, R::Fault> {
    let marks = Range::of(Index::Key(Table::Marks), cells::collection(path));
    let marks = reads.scan(Scan::of(vec![marks], usize::MAX), Mark::of_row);
    let (sequence, marks) = try_join(sequence(reads, path), marks).await?;
    let Some(sequence) = sequence else { return Ok(None) };
    let noted = marks.rows.iter().filter(|mark| mark.time <= before).map(|mark| mark.seq).max();
    let before = noted.unwrap_or(Seq(0)).max(Seq(before.0));
    let ended = u64::try_from(sequence.tombstones + sequence.gone).unwrap_or(0);
    let too_many = usize::try_from(ended.saturating_sub(keep)).unwrap_or(usize::MAX);
    let last = if too_many > 0 { i64::MAX } else { before.0 };
    if ended == 0 || last <= sequence.gc_seq.0 {
        return Ok(None);
    }
    let positions = |index: Index, columns: Columns| {
        let all = Range::of(index, cells::collection(path));
        let range = all.between(sequence.gc_seq.0.saturating_add(1), last);
        let seq = move |row: &dyn Source| Cells::of(columns.table, row, 0).seq();
        reads.scan(Scan { columns, ..Scan::of(vec![range], limit) }, seq)
    };
    let (tombstones, gone) = try_join(
        positions(Index::RecordsDead, Columns::of(Table::Records, 3, 4)),
        positions(Index::Key(Table::Gone), Columns::of(Table::Gone, 2, 4)),
    )
    .await?;
    let mut all: Vec<Seq> = tombstones.rows.into_iter().chain(gone.rows).collect();
    all.sort_unstable();
    let goes = all.into_iter().take(limit).enumerate();
    Ok(goes.take_while(|(n, seq)| *seq <= before || *n < too_many).last().map(|(_, seq)| seq))
}
