//! What a collection forgets: tombstones and ended residencies up to its horizon, signatures that
//! nothing has any more, and ended residencies that can be told as one.
//!
//! Counters follow. How far the horizon moves is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::copy::{Cell, Table};
use nuage_model::{BucketId, CollectionPath, GroupPath, RecordId, Seq, Signature, Timestamp};

use crate::cells;
use crate::rules::{StoredRow, Transaction};
use crate::schema::{Index, Prune, Range, Rows, Was};

/// The oldest ended residencies of a collection, as many as an erased record makes forgotten at most.
const OLDEST_MAX: usize = 100;

/// An ended residency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    /// Where it ended.
    pub(crate) seq: Seq,
    pub(crate) id: RecordId,
    pub(crate) signature: Signature,
    pub(crate) entered: Seq,
}

/// When the head of a collection was where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub(crate) seq: Seq,
    pub(crate) time: Timestamp,
}

/// So often it is noted where the head is, in the time for which what ended is told.
const MARKS: i64 = 16;
/// More notes than there ever are of one collection.
const MARKS_MAX: usize = 256;

/// The notes of when the head of a collection was where.
pub(super) fn marks(path: &CollectionPath) -> Range {
    let all = Range::of(Index::Key(Table::Marks), cells::collection(path));
    Range { limit: Some(MARKS_MAX), ..all }
}

/// The oldest ended residencies of a collection, as one write forgets them.
pub(super) fn oldest(path: &CollectionPath) -> Range {
    let ended = Range::of(Index::Key(Table::Gone), cells::collection(path));
    Range { limit: Some(OLDEST_MAX), ..ended }
}

/// The tombstones and the ended residencies up to a position.
pub(super) fn compacted(path: &CollectionPath, up_to: Seq) -> [Range; 2] {
    [Index::RecordsDead, Index::Key(Table::Gone)]
        .map(|index| Range::of(index, cells::collection(path)).up_to(up_to.0))
}

/// Views that are forgotten at a time: some ten milliseconds of the writer.
const VIEWS_FORGOTTEN: usize = 5_000;

/// The views of a bucket that are forgotten, the oldest.
pub(super) fn old_views(bucket: &BucketId, before: Timestamp) -> Range {
    let of_bucket = Range::of(Index::ViewsUsed, vec![cells::text(bucket.as_str())]);
    Range { limit: Some(VIEWS_FORGOTTEN), ..of_bucket.up_to(before.0.saturating_sub(1)) }
}

impl<T: Rows> Transaction<'_, T> {
    /// Moves the horizon up to this position, but not beyond the head, and forgets what lies below.
    pub(super) fn compact(&mut self, path: &CollectionPath, up_to: Seq) -> Result<(), T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        let Some(sequence) = entry.sequence.as_ref().filter(|sequence| !sequence.dropped) else {
            return Ok(());
        };
        let [dead, ended] = compacted(path, up_to.min(sequence.seq));
        let up_to = up_to.min(sequence.seq).max(sequence.gc_seq);
        let is_moved = up_to > sequence.gc_seq;
        let (mut tombstones, mut chosen) = (0, 0);
        let mut unused = BTreeSet::new();
        for row in self.tables.range(&dead)? {
            let old = StoredRow::of_row(&row)?;
            self.tables.delete(Table::Records, row.key(Table::Records))?;
            self.ledger.change(&mut self.tables, path)?.hold(old.signature, -1);
            tombstones += 1;
            chosen += i64::from(old.chosen.is_some());
            unused.insert(old.signature);
        }
        let (gone, left) = self.forget(path, &ended)?;
        unused.extend(left);
        if !is_moved && unused.is_empty() {
            return Ok(());
        }
        let entry = self.ledger.change(&mut self.tables, path)?;
        if let Some(sequence) = &mut entry.sequence {
            sequence.gc_seq = up_to;
            sequence.tombstones -= tombstones;
            sequence.chosen -= chosen;
            sequence.gone -= gone;
        }
        self.forget_signatures(path, unused)
    }

    /// Notes when the head is where.
    pub(super) fn mark(
        &mut self,
        path: &CollectionPath,
        now: Timestamp,
        before: Timestamp,
    ) -> Result<(), T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        let Some(sequence) = entry.sequence.as_ref().filter(|sequence| !sequence.dropped) else {
            return Ok(());
        };
        let new = Mark { seq: sequence.seq, time: now };
        let rows = self.tables.range(&marks(path))?;
        let noted = rows.iter().map(|row| Mark::of_row(row)).collect::<Result<Vec<_>, _>>()?;
        // What the clock has not reached yet was noted while it was wrong.
        let (noted, wrong): (Vec<_>, Vec<_>) = noted.into_iter().partition(|mark| mark.time <= now);
        let needed = noted.iter().rposition(|mark| mark.time <= before).unwrap_or(0);
        for mark in wrong.iter().chain(&noted[..needed]) {
            self.tables.delete(Table::Marks, mark.to_row(path).key(Table::Marks))?;
        }
        let apart = now.0.saturating_sub(before.0) / MARKS;
        let is_new = noted
            .last()
            .is_none_or(|last| last.seq < new.seq && last.time.0 <= now.0.saturating_sub(apart));
        if is_new {
            self.tables.put(Table::Marks, new.to_row(path), Was::Unknown)?;
        }
        Ok(())
    }

    /// Forgets ended residencies; tells how many, and which signatures they had.
    pub(super) fn forget(
        &mut self,
        path: &CollectionPath,
        ended: &Range,
    ) -> Result<(i64, BTreeSet<Signature>), T::Fault> {
        let rows = self.tables.range(ended)?;
        let mut signatures = BTreeSet::new();
        for row in &rows {
            self.tables.delete(Table::Gone, row.key(Table::Gone))?;
            let signature = Ended::of_row(row)?.signature;
            self.ledger.change(&mut self.tables, path)?.hold(signature, -1);
            signatures.insert(signature);
        }
        Ok((i64::try_from(rows.len()).unwrap_or(i64::MAX), signatures))
    }

    /// Forgets those of some signatures that nothing has any more.
    pub(super) fn forget_signatures(
        &mut self,
        path: &CollectionPath,
        signatures: BTreeSet<Signature>,
    ) -> Result<(), T::Fault> {
        if signatures.is_empty() {
            return Ok(());
        }
        // What is counted of them first: it decides, and it would make their rows anew.
        self.ledger.write_back(&mut self.tables)?;
        let mut forgotten = Vec::new();
        for signature in signatures {
            let key = cells::signature_of(path, signature);
            let row = self.tables.get(Table::Signatures, &key)?;
            let held = row.as_ref().and_then(|row| row.cell(Table::Signatures, "held"));
            if held == Some(&Cell::Whole(0)) {
                forgotten.push(key);
            }
        }
        let mut named: BTreeMap<GroupPath, i64> = BTreeMap::new();
        for key in forgotten {
            let of = Range::of(Index::SignaturePrincipalsSignature, key.clone());
            for row in self.tables.range(&of)? {
                let principal = row.text(Table::SignaturePrincipals, "principal");
                if let Some(group) = principal.and_then(GroupPath::of_principal) {
                    *named.entry(group).or_default() += 1;
                }
            }
            self.tables.delete(Table::Signatures, &key)?;
            // It may come again with a later write.
            let unless = vec![(Index::Key(Table::Signatures), key.clone())];
            let index = Index::SignaturePrincipalsSignature;
            self.tables.prune(Prune { index, prefix: key, unless })?;
        }
        self.ledger.entry(&mut self.tables, path)?.forget_signatures();
        self.ledger.forget_names(&mut self.tables, path, named)
    }
}
