//! The three phases of a run, from what a device has to what its person may see now.
//!
//! Source: `docs/feed.md`; access-filtered synchronization, sections 4 and 6. All questions go
//! to one snapshot. Which way the tail is read, by walking or by probing signatures, is decided
//! here and not by a database.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::HashMap;
use nuage_model::{
    FeedRow, Principal, Record, RecordId, ResidentsQuery, RowEnd, Seq, Signature, Snapshot,
    StoreError,
};

use crate::Entry;
use crate::feed::mutants::{self, Mutant};
use crate::feed::token::{Cursor, Phase};
use crate::feed::view::View;

/// Signatures asked for at a time.
const SIGNATURES: usize = 256;
/// Signatures looked at in one page of the first two phases, whatever is found.
const SIGNATURES_MAX: usize = 8 * SIGNATURES;
/// Signatures beyond which the tail is walked, whatever they hold.
const PROBES_MAX: usize = 16_384;
/// Signatures that are probed without a look at the tail.
const FEW: usize = 32;
/// Rows of the tail that are walked first where there are more.
const FIRST_ROWS: usize = 128;
/// Rows walked at a time, and in one page.
const ROWS: usize = 1_024;
const ROWS_MAX: usize = 4_096;
/// Rows that cost as much as probing one signature.
const ROWS_FOR_PROBE: usize = 4;
/// Rounds of probing in one page.
const ROUNDS_MAX: usize = 8;

/// A run, for the length of one page.
pub(super) struct Walker<'a, 's> {
    pub(super) snapshot: Box<dyn Snapshot + 's>,
    /// What the device may have, at `at`.
    pub(super) from: &'a View,
    pub(super) at: Seq,
    /// What the person may see now; since the run began, at `begun`.
    pub(super) to: &'a View,
    pub(super) begun: Seq,
    /// Rows that the collection has in all.
    pub(super) rows: u64,
    pub(super) limit: usize,
    pub(super) bytes_left: usize,
    pub(super) entries: Vec<Entry>,
    told: HashSet<RecordId>,
    /// Only whether there is an entry matters, not what is in it: bodies are not read.
    peeks: bool,
    readers: HashMap<Signature, Arc<[Principal]>>,
}

/// What is told, before bodies are read.
enum Told {
    Change(FeedRow),
    Removal(FeedRow),
}

impl Told {
    fn trace(&self) -> &FeedRow {
        match self {
            Self::Change(trace) | Self::Removal(trace) => trace,
        }
    }
}

/// How the tail is read.
enum Way {
    Walk(usize),
    Probe { live: Vec<Signature>, ended: Vec<Signature> },
}

/// Whether somebody may see anything at all; also if that is hard to find out.
pub(super) async fn sees_any(snapshot: &mut dyn Snapshot, view: &View) -> Result<bool, StoreError> {
    let Some(whose) = view.whose() else { return Ok(false) };
    let (mut after, mut looked_at) = (None, 0);
    while looked_at < SIGNATURES_MAX {
        let counted = snapshot.signatures(whose, after, SIGNATURES).await?;
        if counted.iter().any(|counted| counted.live > 0) {
            return Ok(true);
        }
        if counted.len() < SIGNATURES {
            return Ok(false);
        }
        looked_at += counted.len();
        after = counted.last().map(|counted| counted.signature);
    }
    Ok(true)
}

impl<'a, 's> Walker<'a, 's> {
    pub(super) fn new(
        snapshot: Box<dyn Snapshot + 's>,
        (from, at): (&'a View, Seq),
        (to, begun): (&'a View, Seq),
        rows: u64,
        (limit, bytes_left): (usize, usize),
    ) -> Self {
        Self {
            snapshot,
            from,
            at,
            to,
            begun,
            rows,
            limit,
            bytes_left,
            entries: Vec::new(),
            told: HashSet::new(),
            peeks: false,
            readers: HashMap::default(),
        }
    }

    /// Goes on from this phase. `None` when all is told.
    pub(super) async fn go(&mut self, phase: Phase) -> Result<Option<Phase>, StoreError> {
        let mut phase = phase;
        loop {
            phase = match phase {
                Phase::Retract(cursor) => match self.retract(cursor).await? {
                    Some(cursor) => return Ok(Some(Phase::Retract(cursor))),
                    None => Phase::Replay(Cursor::START),
                },
                Phase::Replay(cursor) => match self.replay(cursor).await? {
                    Some(cursor) => return Ok(Some(Phase::Replay(cursor))),
                    None if mutants::is(Mutant::TailFromT0) => Phase::Tail(self.begun),
                    None => Phase::Tail(self.at),
                },
                Phase::Tail(cursor) => return Ok(self.tail(cursor).await?.map(Phase::Tail)),
            };
            if self.is_full() {
                return Ok(Some(phase));
            }
        }
    }

    /// Where a page that is full goes on: from this phase, or nowhere if nothing follows that was
    /// not told in it.
    pub(super) async fn what_follows(&mut self, phase: Phase) -> Result<Option<Phase>, StoreError> {
        let told = self.entries.len();
        (self.limit, self.bytes_left, self.peeks) = (told + 1, 1, true);
        let next = self.go(phase.clone()).await?;
        let follows = self.entries.len() > told;
        self.entries.truncate(told);
        Ok(if follows { Some(phase) } else { next })
    }

    fn room(&self) -> usize {
        self.limit.saturating_sub(self.entries.len())
    }

    /// Whether no further entry fits.
    pub(super) fn is_full(&self) -> bool {
        self.room() == 0 || self.bytes_left == 0
    }

    // What the device may have and the person may not see any more, and was there already when
    // the device was at rest.
    async fn retract(&mut self, cursor: Cursor) -> Result<Option<Cursor>, StoreError> {
        let mut asked = ResidentsQuery {
            signatures: Vec::new(),
            after: Seq(0),
            up_to: None,
            entered_up_to: Some(self.at),
            limit: 0,
        };
        if mutants::is(Mutant::RetractBySeq) {
            (asked.up_to, asked.entered_up_to) = (Some(self.at), None);
        } else if mutants::is(Mutant::RetractAllOfLost) {
            asked.entered_up_to = None;
        }
        let (from, to) = (self.from, self.to);
        let (traces, next) = self.by_signature(from, to, cursor, asked).await?;
        for trace in traces {
            self.remove(trace.id);
        }
        Ok(next)
    }

    // What the person may see and the device has not, though it did not change since.
    async fn replay(&mut self, cursor: Cursor) -> Result<Option<Cursor>, StoreError> {
        let asked = ResidentsQuery {
            signatures: Vec::new(),
            after: Seq(0),
            up_to: Some(self.at),
            entered_up_to: None,
            limit: 0,
        };
        let (from, to) = (self.from, self.to);
        let (traces, next) = self.by_signature(to, from, cursor, asked).await?;
        if self.peeks {
            traces.into_iter().for_each(|trace| self.remove(trace.id));
            return Ok(next);
        }
        let records = self.fetch(traces.iter().map(|trace| trace.id.clone()).collect()).await?;
        let next = match traces.get(records.len()) {
            None => next,
            // Bodies that do not fit come with the next page.
            Some(_) => {
                let last = &traces[records.len() - 1];
                Some(Cursor { signature: Some(last.signature), seq: Some(last.seq) })
            }
        };
        for record in records {
            self.change(record);
        }
        Ok(next)
    }

    // Live records that one view sees and another does not, in the order of signatures and then
    // of positions; and where to go on, if there may be more.
    async fn by_signature(
        &mut self,
        seen: &View,
        unseen: &View,
        mut cursor: Cursor,
        mut asked: ResidentsQuery,
    ) -> Result<(Vec<FeedRow>, Option<Cursor>), StoreError> {
        let mut found: Vec<FeedRow> = Vec::new();
        let Some(whose) = seen.whose().filter(|_| unseen.name != crate::feed::ViewName::Whole)
        else {
            return Ok((found, None));
        };
        let mut looked_at = 0;
        while looked_at < SIGNATURES_MAX {
            let counted = self.snapshot.signatures(whose, cursor.signature, SIGNATURES).await?;
            looked_at += counted.len();
            let last = counted.last().map(|counted| counted.signature);
            let is_last = counted.len() < SIGNATURES;
            let living = counted.iter().filter(|counted| counted.live > 0);
            let mut signatures: Vec<Signature> = living.map(|counted| counted.signature).collect();
            if unseen.is_choosy() {
                self.learn(signatures.iter().copied()).await?;
                signatures.retain(|signature| !unseen.sees(self.readers_of(signature)));
            }
            asked.after = Seq(0);
            if let Cursor { signature: Some(present), seq: Some(seq) } = cursor {
                signatures.insert(0, present);
                asked.after = seq;
            }
            asked.limit = self.room().saturating_sub(found.len());
            asked.signatures = signatures;
            if !asked.signatures.is_empty() {
                let traces = self.snapshot.residents(&asked).await?;
                let is_full = traces.len() >= asked.limit;
                found.extend(traces);
                if is_full {
                    let last = found.last().expect("a limit is at least one");
                    let next = Cursor { signature: Some(last.signature), seq: Some(last.seq) };
                    return Ok((found, Some(next)));
                }
            }
            if is_last {
                return Ok((found, None));
            }
            cursor = Cursor { signature: last, seq: None };
        }
        Ok((found, Some(cursor)))
    }

    // What happened after a position. `None` when the head is reached.
    async fn tail(&mut self, after: Seq) -> Result<Option<Seq>, StoreError> {
        let mut way = self.first_way().await?;
        let (mut cursor, mut walked, mut rounds) = (after, 0, 0);
        let mut told: Vec<Told> = Vec::new();
        let room = self.room();
        let end = 'page: loop {
            let (traces, asked) = match &way {
                Way::Walk(rows) => (self.snapshot.tail(cursor, *rows).await?, *rows),
                Way::Probe { live, ended } => {
                    let asked = room - told.len() + 1;
                    (self.snapshot.tail_of(live, ended, cursor, asked).await?, asked)
                }
            };
            if self.from.is_choosy() || self.to.is_choosy() {
                self.learn(traces.iter().flat_map(signatures_of)).await?;
            }
            let is_end = traces.len() < asked;
            for trace in traces {
                if told.len() >= room && trace.seq > cursor {
                    break 'page Some(cursor);
                }
                cursor = trace.seq;
                walked += 1;
                told.extend(self.judge(trace));
            }
            if is_end {
                break None;
            }
            if let Way::Probe { .. } = way {
                rounds += 1;
                if rounds == ROUNDS_MAX {
                    break Some(cursor);
                }
            } else if walked >= ROWS_MAX {
                break Some(cursor);
            } else {
                way = self.next_way(walked).await?;
            }
        };
        self.tell(told, after, end).await
    }

    // A few signatures, no more than entries are wanted, are probed at once; else the nearest rows
    // are looked at, for usually little happened.
    async fn first_way(&mut self) -> Result<Way, StoreError> {
        let walk = Way::Walk(FIRST_ROWS.min(2 * self.limit.max(8)));
        if self.to.name == crate::feed::ViewName::Whole {
            return Ok(walk);
        }
        Ok(self.probes(FEW.min(self.limit)).await?.unwrap_or(walk))
    }

    // Walking on is right as long as it passes fewer rows than the probes are worth.
    async fn next_way(&mut self, walked: usize) -> Result<Way, StoreError> {
        if self.to.name == crate::feed::ViewName::Whole {
            return Ok(Way::Walk(ROWS));
        }
        let left = usize::try_from(self.rows).unwrap_or(usize::MAX).saturating_sub(walked);
        Ok(match self.probes(PROBES_MAX.min(left)).await? {
            Some(Way::Probe { live, .. }) if walked < worth(live.len()) => {
                Way::Walk((worth(live.len()) - walked).clamp(FIRST_ROWS, ROWS))
            }
            Some(probe) => probe,
            None => Way::Walk(ROWS),
        })
    }

    // Probing what the two views see, if that is not more than so many signatures each.
    async fn probes(&mut self, most: usize) -> Result<Option<Way>, StoreError> {
        let Some(live) = self.all_signatures(self.to, most).await? else { return Ok(None) };
        let mut ended = live.clone();
        if self.from.name != self.to.name {
            let Some(lost) = self.all_signatures(self.from, most).await? else { return Ok(None) };
            ended.extend(lost);
            ended.sort_unstable();
            ended.dedup();
        }
        Ok(Some(Way::Probe { live, ended }))
    }

    // All signatures that a view sees, if they are not more than so many.
    async fn all_signatures(
        &mut self,
        view: &View,
        most: usize,
    ) -> Result<Option<Vec<Signature>>, StoreError> {
        let Some(whose) = view.whose() else { return Ok(Some(Vec::new())) };
        let counted = self.snapshot.signatures(whose, None, most + 1).await?;
        let signatures = counted.iter().map(|counted| counted.signature);
        Ok((counted.len() <= most).then(|| signatures.collect()))
    }

    // Whether something of the tail is told, and how.
    fn judge(&self, trace: FeedRow) -> Option<Told> {
        let was_seen = |view: &View| view.sees(self.readers_of(&trace.signature));
        if trace.fate == RowEnd::Live {
            return was_seen(self.to).then_some(Told::Change(trace));
        }
        if let RowEnd::Left(Some(now)) = trace.fate
            && self.to.sees(self.readers_of(&now))
            && !mutants::is(Mutant::RemovalsOfVisible)
        {
            return None;
        }
        let from = if mutants::is(Mutant::PresentViewOnly) { self.to } else { self.from };
        let in_time = trace.entered <= self.at || mutants::is(Mutant::NoEntered);
        let was_held = was_seen(from) && in_time;
        let in_run = trace.seq > self.begun || mutants::is(Mutant::T0RuleWithoutT0);
        let was_sent = was_seen(self.to) && in_run && !mutants::is(Mutant::NoT0Rule);
        (was_held || was_sent).then_some(Told::Removal(trace))
    }

    // Reads the bodies, as many as fit, and notes what is told in its order.
    async fn tell(
        &mut self,
        told: Vec<Told>,
        after: Seq,
        end: Option<Seq>,
    ) -> Result<Option<Seq>, StoreError> {
        if self.peeks {
            told.into_iter().for_each(|told| self.remove(told.trace().id.clone()));
            return Ok(end);
        }
        let changed = told.iter().filter_map(|told| match told {
            Told::Change(trace) => Some(trace.id.clone()),
            Told::Removal(_) => None,
        });
        let mut records = self.fetch(changed.collect()).await?.into_iter();
        let mut before = after;
        for told in told {
            let seq = told.trace().seq;
            match told {
                Told::Removal(trace) => self.remove(trace.id),
                Told::Change(_) => match records.next() {
                    Some(record) => self.change(record),
                    None => {
                        self.bytes_left = 0;
                        return Ok(Some(before));
                    }
                },
            }
            before = seq;
        }
        Ok(end)
    }

    async fn fetch(&mut self, ids: Vec<RecordId>) -> Result<Vec<Record>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.snapshot.records(&ids, self.bytes_left.max(1)).await?;
        if records.is_empty() {
            let why = format!("{} is listed and cannot be read", ids[0]);
            return Err(StoreError::Corrupt(why));
        }
        let bytes: usize = records.iter().map(|record| record.body().len()).sum();
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        Ok(records)
    }

    fn change(&mut self, record: Record) {
        if self.told.insert(record.id.clone()) || mutants::is(Mutant::RemovalsOfVisible) {
            self.entries.push(Entry::Change(record));
        }
    }

    fn remove(&mut self, id: RecordId) {
        if self.told.insert(id.clone()) || mutants::is(Mutant::RemovalsOfVisible) {
            self.entries.push(Entry::Removal(id));
        }
    }

    // Who is in these signatures: names of sets, so that what is known once stays true.
    async fn learn(
        &mut self,
        signatures: impl Iterator<Item = Signature>,
    ) -> Result<(), StoreError> {
        let unknown: HashSet<Signature> =
            signatures.filter(|signature| !self.readers.contains_key(signature)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let unknown: Vec<Signature> = unknown.into_iter().collect();
        let readers = self.snapshot.principals_of(&unknown).await?;
        self.readers.extend(unknown.into_iter().zip(readers.into_iter().map(Arc::from)));
        Ok(())
    }

    fn readers_of(&self, signature: &Signature) -> &[Principal] {
        self.readers.get(signature).map_or(&[], |readers| readers)
    }
}

// How many rows may be walked instead of probing so many signatures: each is looked for twice, and
// costs more than a row.
fn worth(signatures: usize) -> usize {
    signatures.saturating_mul(ROWS_FOR_PROBE).min(ROWS_MAX / 2)
}

fn signatures_of(trace: &FeedRow) -> impl Iterator<Item = Signature> {
    let now = match trace.fate {
        RowEnd::Left(now) => now,
        RowEnd::Live | RowEnd::Deleted => None,
    };
    std::iter::once(trace.signature).chain(now)
}
