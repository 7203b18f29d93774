//! Where residencies began and ended: along the positions, or along the positions of signatures.
//!
//! Which of the two is decided by the caller, never by SQLite. No text of a record is read here.
//! What is told of one position stays together: ended residencies first, in order of ids, then
//! the record that is there now.

use std::collections::{BTreeMap, HashSet};

use nuage_model::{Fate, RecordId, Residents, Seq, Signature, Trace};
use rusqlite::{OptionalExtension, Row, Rows, params};

use crate::sqlite::errors::Fault;
use crate::sqlite::feed::Look;

const RECORDS_AFTER: &str = "
    SELECT seq, id, signature, entered, dead FROM records INDEXED BY records_seq
    WHERE bucket = ?1 AND collection = ?2 AND seq > ?3 ORDER BY seq";
const GONE_AFTER: &str = "
    SELECT gone.seq, gone.id, gone.signature, gone.entered, records.signature
    FROM gone LEFT JOIN records ON records.bucket = gone.bucket
        AND records.collection = gone.collection AND records.id = gone.id AND records.dead = 0
    WHERE gone.bucket = ?1 AND gone.collection = ?2 AND gone.seq > ?3
    ORDER BY gone.seq, gone.id";
const RECORDS_OF: &str = "
    SELECT seq, id, signature, entered, dead FROM records INDEXED BY records_signature
    WHERE bucket = ?1 AND collection = ?2 AND signature = ?3 AND seq > ?4 AND seq <= ?5
    ORDER BY seq";
const GONE_OF: &str = "
    SELECT seq, id, signature, entered, NULL FROM gone INDEXED BY gone_signature
    WHERE bucket = ?1 AND collection = ?2 AND signature = ?3 AND seq > ?4 AND seq <= ?5
    ORDER BY seq, id";
const PRESENT: &str = "
    SELECT signature FROM records
    WHERE bucket = ?1 AND collection = ?2 AND id = ?3 AND dead = 0";

/// Every statement that walks, for the test of their plans.
#[cfg(test)]
pub(super) const WALKS: &[&str] = &[RECORDS_AFTER, GONE_AFTER, RECORDS_OF, GONE_OF, PRESENT];

/// What happened after a position.
pub(super) fn tail(look: &Look<'_>, after: Seq, limit: usize) -> Result<Vec<Trace>, Fault> {
    let (bucket, name) = look.names();
    let mut records = look.connection.prepare_cached(RECORDS_AFTER)?;
    let mut records = records.query(params![bucket, name, after.0])?;
    let mut gone = look.connection.prepare_cached(GONE_AFTER)?;
    let mut gone = gone.query(params![bucket, name, after.0])?;
    let mut present = next(&mut records, record)?;
    let mut ended = next(&mut gone, ended)?;
    let mut traces: Vec<Trace> = Vec::new();
    loop {
        look.deadline.check()?;
        let is_ended = match (&present, &ended) {
            (Some(present), Some(ended)) => ended.seq <= present.seq,
            (present, _) => present.is_none(),
        };
        let source = if is_ended { &mut ended } else { &mut present };
        let Some(trace) = source.take() else { return Ok(traces) };
        let is_whole = traces.last().is_none_or(|last| last.seq != trace.seq);
        if is_whole && traces.len() >= limit.max(1) {
            return Ok(traces);
        }
        traces.push(trace);
        if is_ended {
            ended = next(&mut gone, self::ended)?;
        } else {
            present = next(&mut records, record)?;
        }
    }
}

/// What happened after a position to what has or had one of these signatures.
pub(super) fn tail_of(
    look: &Look<'_>,
    live: &[Signature],
    ended_in: &[Signature],
    after: Seq,
    limit: usize,
) -> Result<Vec<Trace>, Fault> {
    let (bucket, name) = look.names();
    let mut kept = Kept::new(limit.max(1));
    let mut records = look.connection.prepare_cached(RECORDS_OF)?;
    let (of_live, of_ended): (HashSet<_>, HashSet<_>) =
        (live.iter().collect(), ended_in.iter().collect());
    for signature in of_live.union(&of_ended) {
        look.deadline.check()?;
        let wants = |fate| match fate {
            Fate::Live => of_live.contains(*signature),
            _ => of_ended.contains(*signature),
        };
        let range = params![bucket, name, signature.0, after.0, kept.bound().0];
        let mut rows = records.query(range)?;
        kept.take(look, &mut rows, record, wants)?;
    }
    let mut gone = look.connection.prepare_cached(GONE_OF)?;
    for signature in ended_in {
        look.deadline.check()?;
        let range = params![bucket, name, signature.0, after.0, kept.bound().0];
        let mut rows = gone.query(range)?;
        kept.take(look, &mut rows, ended, |_| true)?;
    }
    let mut traces: Vec<Trace> = kept.traces.into_values().collect();
    for trace in traces.iter_mut().filter(|trace| matches!(trace.fate, Fate::Left(_))) {
        look.deadline.check()?;
        trace.fate = Fate::Left(present(look, &trace.id)?);
    }
    Ok(traces)
}

/// The live records that have one of some signatures.
pub(super) fn residents(look: &Look<'_>, residents: &Residents) -> Result<Vec<Trace>, Fault> {
    let (bucket, name) = look.names();
    let mut statement = look.connection.prepare_cached(RECORDS_OF)?;
    let mut after = residents.after;
    let up_to = residents.up_to.unwrap_or(Seq(i64::MAX));
    let entered_up_to = residents.entered_up_to.unwrap_or(Seq(i64::MAX));
    let mut traces = Vec::new();
    for signature in &residents.signatures {
        look.deadline.check()?;
        let mut rows = statement.query(params![bucket, name, signature.0, after.0, up_to.0])?;
        after = Seq(i64::MIN);
        while let Some(trace) = next(&mut rows, record)? {
            look.deadline.check()?;
            if trace.fate != Fate::Live || trace.entered > entered_up_to {
                continue;
            }
            if traces.len() >= residents.limit {
                return Ok(traces);
            }
            traces.push(trace);
        }
    }
    Ok(traces)
}

fn present(look: &Look<'_>, id: &RecordId) -> Result<Option<Signature>, Fault> {
    let (bucket, name) = look.names();
    let mut statement = look.connection.prepare_cached(PRESENT)?;
    let signature = statement.query_row([bucket, name, id.as_str()], |row| row.get(0));
    Ok(signature.optional()?.map(Signature))
}

/// The first of what was found so far, in the order in which it is told: as many as asked for,
/// and the rest of the last position.
struct Kept {
    limit: usize,
    traces: BTreeMap<Key, Trace>,
}

/// Position, whether it is the record's own, id.
type Key = (Seq, bool, RecordId);

impl Kept {
    fn new(limit: usize) -> Self {
        Self { limit, traces: BTreeMap::new() }
    }

    /// What lies at later positions is not of interest.
    fn bound(&self) -> Seq {
        let worst = self.traces.last_key_value().filter(|_| self.traces.len() >= self.limit);
        worst.map_or(Seq(i64::MAX), |((seq, ..), _)| *seq)
    }

    /// Keeps what is wanted of these rows, which are in order of positions.
    fn take(
        &mut self,
        look: &Look<'_>,
        rows: &mut Rows<'_>,
        trace: impl Fn(&Row<'_>) -> rusqlite::Result<Trace>,
        wants: impl Fn(Fate) -> bool,
    ) -> Result<(), Fault> {
        while let Some(trace) = next(rows, &trace)? {
            look.deadline.check()?;
            if trace.seq > self.bound() {
                return Ok(());
            }
            if wants(trace.fate) {
                self.push(trace);
            }
        }
        Ok(())
    }

    fn push(&mut self, trace: Trace) {
        let is_own = !matches!(trace.fate, Fate::Left(_));
        self.traces.insert((trace.seq, is_own, trace.id.clone()), trace);
        let worst = self.bound();
        let at_worst = self.traces.keys().rev().take_while(|(seq, ..)| *seq == worst).count();
        if self.traces.len() - at_worst >= self.limit {
            for _ in 0..at_worst {
                self.traces.pop_last();
            }
        }
    }
}

fn next(
    rows: &mut Rows<'_>,
    trace: impl Fn(&Row<'_>) -> rusqlite::Result<Trace>,
) -> Result<Option<Trace>, Fault> {
    Ok(rows.next()?.map(trace).transpose()?)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Trace> {
    let dead: bool = row.get(4)?;
    trace(row, if dead { Fate::Deleted } else { Fate::Live })
}

fn ended(row: &Row<'_>) -> rusqlite::Result<Trace> {
    let present: Option<[u8; 16]> = row.get(4)?;
    trace(row, Fate::Left(present.map(Signature)))
}

fn trace(row: &Row<'_>, fate: Fate) -> rusqlite::Result<Trace> {
    Ok(Trace {
        seq: Seq(row.get(0)?),
        id: RecordId::new(row.get_ref(1)?.as_str()?),
        signature: Signature(row.get(2)?),
        entered: Seq(row.get(3)?),
        fate,
    })
}
