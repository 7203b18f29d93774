//! The last phase of a run: what happened after a position.
//!
//! Whether it is read by walking along the positions or by probing signatures is decided here, by
//! counting.

use std::sync::Arc;

use nuage_model::{FeedRow, ReaderFilter, RowEnd, Seq, Signature, StoreError};

use crate::feed::mutants::{self, Mutant};
use crate::feed::run::{Seen, Standing, Walker};
use crate::feed::view::View;

/// Signatures beyond which the tail is walked, whatever they hold.
const PROBES_MAX: usize = 16_384;
/// Signatures that are probed without a look at the tail.
const FEW: usize = 32;
/// Rows of the tail that are walked first where there are more.
const FIRST_ROWS: usize = 64;
/// Signatures that cost about as much to list as one row to walk, with who is in its signature. So many
/// for each row that was walked are asked for: what is done for nothing is no more than what was done.
const SIGNATURES_FOR_ROW: usize = 16;
/// Rows walked at a time, and in one page.
const ROWS: usize = 1_024;
const ROWS_MAX: usize = 4_096;
/// Rows that cost as much as probing one signature.
const ROWS_FOR_PROBE: usize = 4;
/// Rounds of probing in one page.
const ROUNDS_MAX: usize = 8;

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

/// The last phase of a run.
struct Tail {
    /// What the device may have, in this moment.
    at: Seq,
    may: Arc<View>,
    /// What it may have at the end, in that one.
    to: Arc<View>,
    until: Seq,
    /// What must see a record that is told.
    shown: Vec<Arc<View>>,
}

/// How the tail is read.
enum Way {
    Walk(usize),
    Probe { live: Arc<[Signature]>, ended: Arc<[Signature]> },
}

impl Walker<'_> {
    // What happened after a position, up to the moment to which the run goes. `None` when that is
    // reached.
    pub(super) async fn tail(
        &mut self,
        place: &Standing,
        to: &Arc<View>,
        after: Seq,
        until: Seq,
    ) -> Result<Option<Seq>, StoreError> {
        let goes_on = mutants::is(Mutant::TailToHead) || mutants::is(Mutant::HeadIsBase);
        let until = if goes_on { self.head } else { until };
        if after >= until {
            return Ok(None);
        }
        let (may, to, shown) = (Arc::clone(&place.may), Arc::clone(to), self.shown(to));
        let tail = Tail { at: place.at, may, to, shown, until };
        let mut way = self.first_way(&tail).await?;
        let (mut cursor, mut walked, mut rounds) = (after, 0, 0);
        let mut told: Vec<Told> = Vec::new();
        let room = self.room();
        let end = 'page: loop {
            let (mut traces, asked) = match &way {
                Way::Walk(rows) => (self.snapshot.tail(cursor, *rows).await?, *rows),
                Way::Probe { live, ended } => {
                    let asked = (room + 1).saturating_sub(told.len()).max(1);
                    (self.snapshot.tail_of(live, ended, cursor, asked).await?, asked)
                }
            };
            let is_end = traces.len() < asked || traces.last().is_some_and(|last| last.seq > until);
            traces.retain(|trace| trace.seq <= until);
            if self.must_learn(&tail) {
                self.learn(traces.iter().flat_map(signatures_of)).await?;
            }
            for trace in traces {
                if told.len() >= room && trace.seq > cursor {
                    break 'page Some(cursor);
                }
                cursor = trace.seq;
                walked += 1;
                told.extend(self.judge(trace, &tail));
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
                way = self.next_way(&tail, walked).await?;
            }
        };
        self.tell(told, after, end).await
    }

    // A few signatures, no more than entries are wanted, are probed at once; else the nearest rows
    // are looked at, for usually little happened.
    async fn first_way(&mut self, tail: &Tail) -> Result<Way, StoreError> {
        let walk = Way::Walk(FIRST_ROWS.min(2 * self.limit.max(8)));
        if tail.shown[0].is_whole() {
            return Ok(walk);
        }
        Ok(self.probes(tail, FEW.min(self.limit)).await?.unwrap_or(walk))
    }

    // Walking on is right as long as it passes fewer rows than the probes are worth.
    async fn next_way(&mut self, tail: &Tail, walked: usize) -> Result<Way, StoreError> {
        if tail.shown[0].is_whole() {
            return Ok(Way::Walk(ROWS));
        }
        let left = usize::try_from(self.rows).unwrap_or(usize::MAX).saturating_sub(walked);
        let most = PROBES_MAX.min(left).min(walked * SIGNATURES_FOR_ROW);
        Ok(match self.probes(tail, most).await? {
            Some(Way::Probe { live, .. }) if walked < worth(live.len()) => {
                Way::Walk((worth(live.len()) - walked).clamp(FIRST_ROWS, ROWS))
            }
            Some(probe) => probe,
            // There are not so many rows left, or it is asked again after a few.
            None if most == left => Way::Walk(ROWS),
            None => Way::Walk((4 * walked).min(ROWS)),
        })
    }

    // Probing what the two views see, if that is not more than so many signatures each.
    async fn probes(&mut self, tail: &Tail, most: usize) -> Result<Option<Way>, StoreError> {
        let shown = &tail.shown[0];
        let Some(live) = self.all_signatures(shown, most).await? else { return Ok(None) };
        if tail.may.scope == shown.scope {
            return Ok(Some(Way::Probe { ended: Arc::clone(&live), live }));
        }
        let ended = self.all_signatures(&tail.may, most).await?;
        Ok(ended.map(|ended| Way::Probe { live, ended }))
    }

    // All signatures that a view sees, in order, if they are not more than so many.
    async fn all_signatures(
        &mut self,
        view: &View,
        most: usize,
    ) -> Result<Option<Arc<[Signature]>>, StoreError> {
        let Some(whose) = view.whose() else { return Ok(Some(Arc::default())) };
        let known = self.seen.iter().find(|seen| seen.scope == view.scope);
        if let Some(Seen { asked, all, .. }) = known
            && (all.is_some() || *asked >= most)
        {
            return Ok(all.clone().filter(|all| all.len() <= most));
        }
        let one_more = most.saturating_add(1);
        let found = match whose {
            ReaderFilter::Of(principals) => {
                self.snapshot.signatures_of(principals, one_more).await?
            }
            ReaderFilter::All => {
                let counted = self.snapshot.signatures(whose, None, one_more).await?;
                counted.into_iter().map(|counted| counted.signature).collect()
            }
        };
        let all: Option<Arc<[Signature]>> = (found.len() <= most).then(|| found.into());
        self.seen.retain(|seen| seen.scope != view.scope);
        self.seen.push(Seen { scope: view.scope.clone(), asked: most, all: all.clone() });
        Ok(all)
    }

    // All signatures that a view sees, if they are known.
    fn known(&self, view: &View) -> Option<&[Signature]> {
        self.seen.iter().find(|seen| seen.scope == view.scope)?.all.as_deref()
    }

    // Whether it must be asked who is in signatures.
    fn must_learn(&self, tail: &Tail) -> bool {
        let views = tail.shown.iter().chain([&tail.may, &tail.to, &self.present]);
        views.into_iter().any(|view| view.is_choosy() && self.known(view).is_none())
    }

    fn sees(&self, view: &View, signature: &Signature) -> bool {
        match self.known(view).filter(|_| view.is_choosy()) {
            Some(all) => all.binary_search(signature).is_ok(),
            None => view.sees(self.readers_of(signature)),
        }
    }

    // Whether something of the tail is told, and how.
    fn judge(&self, trace: FeedRow, tail: &Tail) -> Option<Told> {
        let is_seen = |view: &View| self.sees(view, &trace.signature);
        if trace.fate == RowEnd::Live {
            return tail.shown.iter().all(|view| is_seen(view)).then_some(Told::Change(trace));
        }
        // A record that the device has at the end of the run is told at its own position. Where that
        // end is past it is not known to be one: the removal is told, and the record after it.
        if let RowEnd::Left(Some(now)) = trace.fate
            && (tail.until == self.head || mutants::is(Mutant::WithheldIfVisible))
            && self.sees(&tail.to, &now)
            && !mutants::is(Mutant::RemovalsOfVisible)
        {
            return None;
        }
        let may = if mutants::is(Mutant::PresentViewOnly) { &self.present } else { &tail.may };
        let in_time = trace.entered <= tail.at || mutants::is(Mutant::NoEntered);
        let was_sent = mutants::is(Mutant::FormerRule) && is_seen(&tail.to);
        (is_seen(may) && in_time || was_sent).then_some(Told::Removal(trace))
    }

    // Reads the bodies, as many as fit, and notes what is told in its order.
    async fn tell(
        &mut self,
        told: Vec<Told>,
        after: Seq,
        end: Option<Seq>,
    ) -> Result<Option<Seq>, StoreError> {
        if self.peeks {
            self.follows |= !told.is_empty();
            return Ok(end);
        }
        let changed = told.iter().filter_map(|told| match told {
            Told::Change(trace) => Some(trace.id.clone()),
            Told::Removal(_) => None,
        });
        let mut records = self.fetch(changed.collect()).await?.into_iter();
        let (mut before, mut last) = (after, after);
        for told in told {
            let seq = told.trace().seq;
            if seq > last {
                (before, last) = (last, seq);
            }
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
        }
        Ok(end)
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
