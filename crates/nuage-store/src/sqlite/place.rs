//! Where a write goes: the next position, and the time that is shown for it.
//!
//! Shown times are unique in a collection and none is greater than its head's; the head's is
//! not greater than its position. Positions only grow, also over incarnations.

use nuage_model::{CollectionPath, Outcome, Placement, RecordPath, Seq, StoreError, Timestamp};
use rusqlite::params;

use crate::sqlite::apply::Transaction;
use crate::sqlite::errors::Fault;
use crate::sqlite::sequence::Sequence;

/// How many times after a taken one are tried before a write simply goes next.
const PROBES_MAX: i64 = 1_000;
/// No position may be greater: readers of JSON keep integers exactly up to here.
const POSITION_MAX: i64 = (1 << 53) - 1;

const TAKEN: &str = "
    SELECT EXISTS (SELECT 1 FROM records INDEXED BY records_seq
            WHERE bucket = ?1 AND collection = ?2 AND seq = ?3 AND timestamp IS NULL
            AND id <> ?4)
        OR EXISTS (SELECT 1 FROM records INDEXED BY records_timestamp
            WHERE bucket = ?1 AND collection = ?2 AND timestamp = ?3 AND id <> ?4)";

/// A position, with the time shown where that differs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) seq: Seq,
    pub(super) chosen: Option<Timestamp>,
}

impl Place {
    fn shown(self) -> Timestamp {
        self.chosen.unwrap_or(self.seq.into())
    }

    /// What the write is told.
    pub(super) fn outcome(self) -> Outcome {
        Outcome { seq: self.seq, timestamp: self.shown() }
    }
}

impl Transaction<'_> {
    /// Finds the place of a write and moves the head there; makes the collection if needed.
    pub(super) fn place(
        &mut self,
        path: &RecordPath,
        placement: Placement,
        now: Timestamp,
    ) -> Result<Place, Fault> {
        let last = self.last(&path.collection)?;
        let place = match placement {
            Placement::Next => Place { seq: last.next(now), chosen: None },
            Placement::At(time) if time.0 > Seq::CHOSEN_MAX => {
                Place { seq: last.next(now), chosen: None }
            }
            Placement::At(time) if time.0 > last.0 => Place { seq: Seq(time.0), chosen: None },
            Placement::At(time) => {
                let shown = self.touch(&path.collection, now)?;
                let chosen = self.free_time(path, time, shown)?;
                Place { seq: self.last(&path.collection)?.next(now), chosen }
            }
            Placement::Exact { seq, chosen } => self.exact(path, last, seq, chosen)?,
        };
        let entry = self.ledger.change(self.connection, &path.collection)?;
        match &mut entry.sequence {
            Some(sequence) if !sequence.dropped => {
                sequence.seq = place.seq;
                sequence.timestamp = sequence.timestamp.max(place.shown());
            }
            none => {
                let begun = Sequence { timestamp: place.shown(), ..Sequence::begin(place.seq) };
                *none = Some(begun);
            }
        }
        Ok(place)
    }

    /// Makes the collection if it is missing, and gives the time that it shows.
    pub(super) fn touch(
        &mut self,
        path: &CollectionPath,
        now: Timestamp,
    ) -> Result<Timestamp, Fault> {
        let last = self.last(path)?;
        let entry = self.ledger.entry(self.connection, path)?;
        if let Some(sequence) = entry.sequence.as_ref().filter(|sequence| !sequence.dropped) {
            return Ok(sequence.timestamp);
        }
        let entry = self.ledger.change(self.connection, path)?;
        let begun = entry.sequence.insert(Sequence::begin(last.next(now)));
        Ok(begun.timestamp)
    }

    // The greatest position that was ever given in a collection of this name.
    fn last(&mut self, path: &CollectionPath) -> Result<Seq, Fault> {
        let entry = self.ledger.entry(self.connection, path)?;
        Ok(entry.sequence.as_ref().map_or(Seq(0), |sequence| sequence.seq))
    }

    // The first time from the one that is wished, that no other record shows; `None` if the
    // write should rather go next.
    fn free_time(
        &self,
        path: &RecordPath,
        wished: Timestamp,
        head: Timestamp,
    ) -> Result<Option<Timestamp>, Fault> {
        if wished > head {
            return Ok(Some(wished));
        }
        let end = head.0.min(wished.0.saturating_add(PROBES_MAX));
        for time in wished.0..end {
            if !self.is_taken(path, time)? {
                return Ok(Some(Timestamp(time)));
            }
        }
        Ok(None)
    }

    fn exact(
        &self,
        path: &RecordPath,
        last: Seq,
        seq: Seq,
        chosen: Option<Timestamp>,
    ) -> Result<Place, Fault> {
        let chosen = chosen.filter(|time| time.0 != seq.0);
        let fits = seq > last
            && seq.0 <= POSITION_MAX
            && chosen.is_none_or(|time| time.0 < seq.0)
            && !chosen.map_or(Ok(false), |time| self.is_taken(path, time.0))?;
        if !fits {
            let why = format!("{path} cannot be placed at {seq}: its collection is at {last}");
            return Err(StoreError::Unsupported(why).into());
        }
        Ok(Place { seq, chosen })
    }

    fn is_taken(&self, path: &RecordPath, time: i64) -> Result<bool, Fault> {
        let mut statement = self.connection.prepare_cached(TAKEN)?;
        let (bucket, name) = (path.collection.bucket.as_str(), path.collection.name.as_str());
        let key = params![bucket, name, time, path.id.as_str()];
        Ok(statement.query_row(key, |row| row.get(0))?)
    }
}
