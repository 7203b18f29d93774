//! Where a write goes: the next position, and the time that is shown for it.
//!
//! Shown times are unique in a collection and none is greater than its head's; the head's is
//! not greater than its position. Positions only grow, also over incarnations.

use nuage_model::{CollectionPath, Outcome, Placement, RecordPath, Seq, StoreError, Timestamp};

use crate::cells;
use crate::rules::{CollectionRow, StoredRow, Transaction};
use crate::schema::{Index, Range, Rows};

/// No position may be greater: readers of JSON keep integers exactly up to here.
const POSITION_MAX: i64 = (1 << 53) - 1;

/// A position, with the time shown where that differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct AssignedPosition {
    pub(crate) seq: Seq,
    pub(crate) chosen: Option<Timestamp>,
}

impl AssignedPosition {
    /// The time shown.
    pub(crate) fn shown(self) -> Timestamp {
        self.chosen.unwrap_or(self.seq.into())
    }

    /// What the write is told.
    pub(crate) fn outcome(self) -> Outcome {
        Outcome { seq: self.seq, timestamp: self.shown() }
    }
}

impl<T: Rows> Transaction<'_, T> {
    /// Finds the place of a write and moves the head there; makes the collection if needed.
    pub(crate) fn place(
        &mut self,
        path: &RecordPath,
        placement: Placement,
        now: Timestamp,
    ) -> Result<AssignedPosition, T::Fault> {
        let last = self.last(&path.collection)?;
        let place = match placement {
            Placement::Next => AssignedPosition { seq: last.next(now), chosen: None },
            // What is too far ahead is no choice: the answer tells the time that was given.
            Placement::At(time) | Placement::Ahead(time) if time > last.latest_choice(now) => {
                AssignedPosition { seq: last.next(now), chosen: None }
            }
            Placement::At(time) | Placement::Ahead(time) if time.0 > last.0 => {
                AssignedPosition { seq: Seq(time.0), chosen: None }
            }
            Placement::Ahead(_) => AssignedPosition { seq: last.next(now), chosen: None },
            Placement::At(time) => {
                let shown = self.touch(&path.collection, now)?;
                let chosen = self.free_time(path, time, shown)?;
                AssignedPosition { seq: self.last(&path.collection)?.next(now), chosen }
            }
            Placement::Exact { seq, chosen } => self.exact(path, last, seq, chosen)?,
        };
        let entry = self.ledger.change(&mut self.tables, &path.collection)?;
        match &mut entry.sequence {
            Some(sequence) if !sequence.dropped => {
                sequence.seq = place.seq;
                sequence.timestamp = sequence.timestamp.max(place.shown());
            }
            none => {
                let begun = CollectionRow::begin_after(none.as_ref(), place.seq);
                *none = Some(CollectionRow { timestamp: place.shown(), ..begun });
            }
        }
        Ok(place)
    }

    /// Makes the collection if it is missing, and gives the time that it shows.
    pub(crate) fn touch(
        &mut self,
        path: &CollectionPath,
        now: Timestamp,
    ) -> Result<Timestamp, T::Fault> {
        let last = self.last(path)?;
        let entry = self.ledger.entry(&mut self.tables, path)?;
        if let Some(sequence) = entry.sequence.as_ref().filter(|sequence| !sequence.dropped) {
            return Ok(sequence.timestamp);
        }
        let entry = self.ledger.change(&mut self.tables, path)?;
        let begun = CollectionRow::begin_after(entry.sequence.as_ref(), last.next(now));
        Ok(entry.sequence.insert(begun).timestamp)
    }

    // The greatest position that was ever given in a collection of this name.
    fn last(&mut self, path: &CollectionPath) -> Result<Seq, T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        Ok(entry.sequence.as_ref().map_or(Seq(0), |sequence| sequence.seq))
    }

    // The first time from the one that is wished, that no other record shows; `None` if the
    // write should rather go next.
    fn free_time(
        &mut self,
        path: &RecordPath,
        wished: Timestamp,
        head: Timestamp,
    ) -> Result<Option<Timestamp>, T::Fault> {
        if wished > head {
            return Ok(Some(wished));
        }
        let end = head.0.min(wished.0.saturating_add(Seq::TIMES_TRIED));
        for time in wished.0..end {
            if !self.is_taken(path, time)? {
                return Ok(Some(Timestamp(time)));
            }
        }
        Ok(None)
    }

    // Whether another record of the collection shows this time.
    fn is_taken(&mut self, path: &RecordPath, time: i64) -> Result<bool, T::Fault> {
        for shown in shown(&path.collection, time, time) {
            let is_by_position = shown.index == Index::RecordsSeq;
            for row in self.tables.range(&shown)? {
                let is_shown = !is_by_position || StoredRow::of_row(&row)?.chosen.is_none();
                if is_shown && StoredRow::id_of(&row)? != path.id {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn exact(
        &mut self,
        path: &RecordPath,
        last: Seq,
        seq: Seq,
        chosen: Option<Timestamp>,
    ) -> Result<AssignedPosition, T::Fault> {
        let chosen = chosen.filter(|time| time.0 != seq.0);
        let fits = seq > last
            && seq.0 <= POSITION_MAX
            && chosen.is_none_or(|time| time.0 < seq.0)
            && !chosen.map_or(Ok(false), |time| self.is_taken(path, time.0))?;
        if !fits {
            let why = format!("{path} cannot be placed at {seq}: its collection is at {last}");
            return Err(StoreError::Unsupported(why).into());
        }
        Ok(AssignedPosition { seq, chosen })
    }
}

/// Where the records are found that show a time between these.
pub(super) fn shown(path: &CollectionPath, low: i64, high: i64) -> [Range; 2] {
    [Index::RecordsSeq, Index::RecordsTimestamp]
        .map(|index| Range::of(index, cells::collection(path)).between(low, high))
}
