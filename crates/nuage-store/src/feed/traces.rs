//! Where residencies began and ended: along the positions, or along the positions of signatures.
//!
//! No text of a record is read here. What is told of one position stays together: ended residencies
//! first, in order of ids, then the record that is there now.

use std::collections::BTreeSet;

use futures_util::future::try_join;
use nuage_model::copy::{Cell, Table};
use nuage_model::{
    CollectionPath, FeedRow, RecordId, ResidentsQuery, RowEnd, Seq, Signature, StoreError,
};

use crate::cells::{self, Source};
use crate::reads::{Columns, Condition, Found, Reads, Scan, Together};
use crate::rules::{Ended, StoredRow};
use crate::schema::{Index, Range};

/// Since when a record has its signature, and whether it is dead.
const ENTERED: usize = 6;
const DEAD: usize = 7;

/// What happened after a position.
pub(crate) async fn tail<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    after: Seq,
    limit: usize,
) -> Result<Vec<FeedRow>, R::Fault> {
    let along = async |after: Seq, rows: usize| {
        let range =
            |index| Range::of(index, cells::collection(path)).after(vec![Cell::Whole(after.0)]);
        let records =
            Scan { columns: Columns::TRACE, ..Scan::of(vec![range(Index::RecordsSeq)], rows) };
        let gone =
            Scan { columns: Columns::GONE, ..Scan::of(vec![range(Index::Key(Table::Gone))], rows) };
        try_join(reads.scan(records, record), reads.scan(gone, past)).await
    };
    let mut traces = Traces::new(after, limit);
    while traces.goes_on() {
        let (records, gone) = along(traces.after, traces.rows()).await?;
        traces.take(records, gone, |_| true);
    }
    present(reads, path, traces.finish()).await
}

/// What happened after a position to what has or had one of these signatures.
pub(crate) async fn tail_of<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    live: &[Signature],
    ended: &[Signature],
    after: Seq,
    limit: usize,
) -> Result<Vec<FeedRow>, R::Fault> {
    // Most signatures are in both lists, and each is looked into once.
    let of_live: BTreeSet<&Signature> = live.iter().collect();
    let of_ended: BTreeSet<&Signature> = ended.iter().collect();
    let all: Vec<&Signature> = of_live.union(&of_ended).copied().collect();
    let along = async |after: Seq, rows: usize| {
        let range = |index, one: &Signature| {
            Range::of(index, cells::signature_of(path, *one)).after(vec![Cell::Whole(after.0)])
        };
        let merged = |index, of: &[&Signature], columns| Scan {
            together: Together::Merged,
            columns,
            ..Scan::of(of.iter().map(|one| range(index, one)).collect(), rows)
        };
        let of_ended: Vec<&Signature> = of_ended.iter().copied().collect();
        let records = merged(Index::RecordsSignature, &all, Columns::TRACE);
        let gone = merged(Index::GoneSignature, &of_ended, Columns::GONE);
        try_join(reads.scan(records, record), reads.scan(gone, past)).await
    };
    let wants = |trace: &FeedRow| match trace.fate {
        RowEnd::Live => of_live.contains(&trace.signature),
        RowEnd::Deleted | RowEnd::Left(_) => of_ended.contains(&trace.signature),
    };
    let mut traces = Traces::new(after, limit);
    while traces.goes_on() {
        let (records, gone) = along(traces.after, traces.rows()).await?;
        traces.take(records, gone, wants);
    }
    present(reads, path, traces.finish()).await
}

/// The live records that have one of some signatures.
pub(crate) async fn residents<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    residents: &ResidentsQuery,
) -> Result<Vec<FeedRow>, R::Fault> {
    let ResidentsQuery { signatures, after, up_to, entered_up_to, limit } = residents;
    let after = std::iter::once(after.0).chain(std::iter::repeat(0));
    let range = |(one, after): (&Signature, i64)| {
        let all = Range::of(Index::RecordsSignature, cells::signature_of(path, *one));
        let after = all.after(vec![Cell::Whole(after)]);
        after.up_to(up_to.map_or(i64::MAX, |seq| seq.0))
    };
    let mut conditions = vec![Condition::Unset(DEAD)];
    conditions.extend(entered_up_to.map(|seq| Condition::AtMost(ENTERED, seq.0)));
    let scan = Scan {
        conditions,
        columns: Columns::TRACE,
        ..Scan::of(signatures.iter().zip(after).map(range).collect(), *limit)
    };
    Ok(reads.scan(scan, record).await?.rows)
}

/// What is found after a position: as many as asked for, and the rest of the last position.
struct Traces {
    after: Seq,
    limit: usize,
    kept: Vec<FeedRow>,
    is_all: bool,
    /// How much more than is wanted is read in one go.
    more: usize,
}

impl Traces {
    fn new(after: Seq, limit: usize) -> Self {
        Self { after, limit: limit.max(1), kept: Vec::new(), is_all: false, more: 1 }
    }

    // Whether further rows are wanted.
    fn goes_on(&self) -> bool {
        !self.is_all && self.kept.len() < self.limit
    }

    fn rows(&self) -> usize {
        (self.limit - self.kept.len()).saturating_add(self.more)
    }

    // Keeps what is wanted of rows after the position, as far as all of them are known.
    fn take(
        &mut self,
        records: Found<FeedRow>,
        gone: Found<FeedRow>,
        wants: impl Fn(&FeedRow) -> bool,
    ) {
        let (own, left) = (records.rows, gone.rows);
        // Several may have ended at the last position of those that came.
        let known = |traces: &[FeedRow], is_all: bool, back: i64| match (traces.last(), is_all) {
            (_, true) | (None, _) => Seq(i64::MAX),
            (Some(last), false) => Seq(last.seq.0.saturating_sub(back)),
        };
        let up_to = known(&own, records.is_all, 0).min(known(&left, gone.is_all, 1));
        self.is_all = records.is_all && gone.is_all;
        for trace in own.into_iter().chain(left) {
            if trace.seq <= up_to && wants(&trace) {
                self.kept.push(trace);
            }
        }
        if !self.is_all {
            // Where nothing is known, more is read.
            if up_to <= self.after {
                self.more = self.more.saturating_mul(2);
            }
            self.after = self.after.max(up_to);
        }
    }

    fn finish(self) -> Vec<FeedRow> {
        let is_own = |trace: &FeedRow| !matches!(trace.fate, RowEnd::Left(_));
        let mut traces = self.kept;
        traces.sort_by(|a, b| (a.seq, is_own(a), &a.id).cmp(&(b.seq, is_own(b), &b.id)));
        if let Some(last) = traces.get(self.limit - 1).map(|last| last.seq) {
            traces.retain(|trace| trace.seq <= last);
        }
        traces
    }
}

// The same, with the signature that a record has now whose residency ended otherwise.
async fn present<R: Reads>(
    reads: &R,
    path: &CollectionPath,
    mut traces: Vec<FeedRow>,
) -> Result<Vec<FeedRow>, R::Fault> {
    let left = |trace: &&mut FeedRow| matches!(trace.fate, RowEnd::Left(_));
    let ids: Vec<RecordId> = traces.iter_mut().filter(left).map(|trace| trace.id.clone()).collect();
    let keys: Vec<Vec<Cell>> = ids.into_iter().map(|id| cells::record(&path.record(id))).collect();
    if keys.is_empty() {
        return Ok(traces);
    }
    let rows = reads.get(&keys, Columns::TRACE, usize::MAX, StoredRow::of_columns).await?;
    for (trace, row) in traces.iter_mut().filter(left).zip(rows) {
        trace.fate = RowEnd::Left(row.filter(|row| !row.dead).map(|row| row.signature));
    }
    Ok(traces)
}

fn record(row: &dyn Source) -> Result<FeedRow, StoreError> {
    let old = StoredRow::of_columns(row)?;
    let fate = if old.dead { RowEnd::Deleted } else { RowEnd::Live };
    let id = StoredRow::id_in_columns(row)?;
    Ok(FeedRow { id, seq: old.seq, signature: old.signature, entered: old.entered, fate })
}

fn past(row: &dyn Source) -> Result<FeedRow, StoreError> {
    let Ended { seq, id, signature, entered } = Ended::of_columns(row)?;
    Ok(FeedRow { id, seq, signature, entered, fate: RowEnd::Left(None) })
}
