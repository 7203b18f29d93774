//! What a collection forgets: tombstones and ended residencies up to its horizon, signatures that
//! nothing has any more, and ended residencies that can be told as one.
//!
//! Counters follow. How far the horizon moves is decided elsewhere.

use foldhash::HashMap;
use nuage_model::{CollectionPath, RecordId, Seq, Signature};

use crate::rules::{Tables, Transaction};

/// The oldest ended residencies of a collection, as many as one write joins: a fraction of a
/// second of work.
pub(crate) const MERGED_MAX: usize = 16_384;

/// An ended residency.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ended {
    /// Where it ended.
    pub(crate) seq: Seq,
    pub(crate) id: RecordId,
    pub(crate) signature: Signature,
    pub(crate) entered: Seq,
}

/// What was removed with the move of a horizon.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Removed {
    /// Tombstones.
    pub(crate) tombstones: i64,
    /// Those of them that showed a time of their own.
    pub(crate) chosen: i64,
    /// Ended residencies.
    pub(crate) gone: i64,
}

impl<T: Tables> Transaction<'_, T> {
    /// Moves the horizon up to this position, but not beyond the head.
    pub(super) fn compact(&mut self, path: &CollectionPath, up_to: Seq) -> Result<(), T::Fault> {
        let entry = self.ledger.entry(&mut self.tables, path)?;
        let Some(sequence) = &entry.sequence else { return Ok(()) };
        let up_to = up_to.min(sequence.seq);
        if sequence.dropped || up_to <= sequence.gc_seq {
            return Ok(());
        }
        let removed = self.tables.compact(path, up_to)?;
        let entry = self.ledger.change(&mut self.tables, path)?;
        if let Some(sequence) = &mut entry.sequence {
            sequence.gc_seq = up_to;
            sequence.tombstones -= removed.tombstones;
            sequence.chosen -= removed.chosen;
            sequence.gone -= removed.gone;
        }
        // Which signatures have no live record is told by the tables alone.
        self.ledger.write_back(&mut self.tables)?;
        self.tables.forget_signatures(path)?;
        self.ledger.entry(&mut self.tables, path)?.forget_signatures();
        Ok(())
    }

    /// Joins the ended residencies of each record in one signature: the last stays, and begins
    /// where the first did.
    pub(super) fn merge(&mut self, path: &CollectionPath) -> Result<(), T::Fault> {
        let ended = self.tables.ended(path, MERGED_MAX)?;
        let mut last: HashMap<(&RecordId, Signature), (&Ended, Seq)> = HashMap::default();
        let mut joined = 0;
        for one in ended.iter().rev() {
            let (_, begun) = last.entry((&one.id, one.signature)).or_insert((one, one.entered));
            *begun = one.entered.min(*begun);
        }
        for one in &ended {
            let Some((kept, begun)) = last.get(&(&one.id, one.signature)) else { continue };
            if kept.seq != one.seq {
                self.tables.forget_ended(path, one)?;
                joined += 1;
            } else if *begun != one.entered {
                self.tables.prolong_ended(path, one, *begun)?;
            }
        }
        if joined > 0 {
            let entry = self.ledger.change(&mut self.tables, path)?;
            if let Some(sequence) = &mut entry.sequence {
                sequence.gone -= joined;
            }
        }
        Ok(())
    }
}
