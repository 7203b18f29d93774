//! Runs: from what a device has in one moment to what its person may see in a later one, in three
//! phases.
//!
//! Source: `docs/feed.md`; access-filtered synchronization, section 6, and views of what is named,
//! section 4. All questions go to one snapshot. Which way the tail is read, by walking or by
//! probing signatures, is decided here and not by a database.

mod tail;

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::HashMap;
use nuage_model::{
    FeedRow, Principal, Record, RecordId, ResidentsQuery, Seq, Signature, Snapshot, StoreError,
};

use crate::Entry;
use crate::feed::mutants::{self, Mutant};
use crate::feed::names::Names;
use crate::feed::token::{Cursor, Phase, Place, Run};
use crate::feed::view::{Scope, View};

/// Signatures asked for at a time.
const SIGNATURES: usize = 256;
/// Signatures among which one that is alive is looked for first.
const SIGNATURES_FIRST: usize = 8;
/// Signatures looked at in one page of the first two phases, whatever is found.
const SIGNATURES_MAX: usize = 8 * SIGNATURES;
/// Runs, for the length of one page.
pub(super) struct Walker<'s> {
    pub(super) snapshot: Box<dyn Snapshot + 's>,
    pub(super) named: Names,
    pub(super) user: Option<Principal>,
    /// What the person may see now, ...
    pub(super) present: Arc<View>,
    /// ... where the head is.
    pub(super) head: Seq,
    /// Rows that the collection has in all.
    pub(super) rows: u64,
    pub(super) limit: usize,
    pub(super) bytes_left: usize,
    /// What is told; nothing where a later entry for the same record took its place.
    entries: Vec<Option<Entry>>,
    told: HashMap<RecordId, usize>,
    /// Whether it matters only that there is something to tell, and whether there is.
    peeks: bool,
    follows: bool,
    readers: HashMap<Signature, Arc<[Principal]>>,
    seen: Vec<Seen>,
}

/// What is known of the signatures that a view sees.
struct Seen {
    scope: Scope,
    /// It was asked for so many.
    asked: usize,
    /// All of them, in order, if they are not more.
    all: Option<Arc<[Signature]>>,
}

/// What a place says with what its views see.
pub(super) type Standing = Place<Arc<View>>;

/// Whether somebody may see anything at all; also if that is hard to find out.
pub(super) async fn sees_any(snapshot: &mut dyn Snapshot, view: &View) -> Result<bool, StoreError> {
    let Some(whose) = view.whose() else { return Ok(false) };
    let (mut after, mut looked_at) = (None, 0);
    while looked_at < SIGNATURES_MAX {
        // One of the first few is alive as a rule.
        let asked = if looked_at == 0 { SIGNATURES_FIRST } else { SIGNATURES };
        let counted = snapshot.signatures(whose, after, asked).await?;
        if counted.iter().any(|counted| counted.live > 0) {
            return Ok(true);
        }
        if counted.len() < asked {
            return Ok(false);
        }
        looked_at += counted.len();
        after = counted.last().map(|counted| counted.signature);
    }
    Ok(true)
}

impl<'s> Walker<'s> {
    pub(super) fn new(
        snapshot: Box<dyn Snapshot + 's>,
        named: Names,
        (user, present): (Option<Principal>, Arc<View>),
        (head, rows): (Seq, u64),
        (limit, bytes_left): (usize, usize),
    ) -> Self {
        Self {
            snapshot,
            named,
            user,
            present,
            head,
            rows,
            limit,
            bytes_left,
            entries: Vec::new(),
            told: HashMap::default(),
            peeks: false,
            follows: false,
            readers: HashMap::default(),
            seen: Vec::new(),
        }
    }

    /// Goes on from a place, as far as a page goes.
    pub(super) async fn page(&mut self, place: Standing) -> Result<Standing, StoreError> {
        let place = self.narrowed(place);
        let place = self.go(place).await?;
        if place.run.is_none() || !self.is_full() {
            return Ok(place);
        }
        // The device is at rest if nothing follows that was not told in this page.
        (self.peeks, self.follows, self.bytes_left) = (true, false, 1);
        let next = self.go(place.clone()).await?;
        Ok(if self.follows { place } else { next })
    }

    /// What was told, in order.
    pub(super) fn entries(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.entries).into_iter().flatten().collect()
    }

    async fn go(&mut self, mut place: Standing) -> Result<Standing, StoreError> {
        loop {
            let Some(run) = place.run.take().or_else(|| self.begin(&place)) else {
                return Ok(self.at_rest(place));
            };
            if self.is_full() {
                return Ok(Place { run: Some(run), ..place });
            }
            let Run { to, keep, phase } = run;
            let (phase, is_over) = match phase {
                Phase::Retract(cursor) => match self.retract(&place, &to, cursor).await? {
                    Some(cursor) => (Phase::Retract(cursor), false),
                    None => {
                        let until = match mutants::is(Mutant::UntilIsBase) {
                            true => place.at,
                            false => self.reached(place.at),
                        };
                        (Phase::Replay { cursor: Cursor::START, until }, true)
                    }
                },
                Phase::Replay { cursor, until } => match self.replay(&place, &to, cursor).await? {
                    Some(cursor) => (Phase::Replay { cursor, until }, false),
                    None => {
                        let is_wrong = mutants::is(Mutant::TailFromEnd);
                        let after = if is_wrong { until } else { place.at };
                        (Phase::Tail { after, until }, true)
                    }
                },
                Phase::Tail { after, until } => match self.tail(&place, &to, after, until).await? {
                    Some(after) => (Phase::Tail { after, until }, false),
                    None => {
                        let is_wrong = mutants::is(Mutant::HeadIsBase);
                        let at = if is_wrong { self.head } else { until };
                        place = self.ended(place, at, (to, keep));
                        continue;
                    }
                },
            };
            place.run = Some(Run { to, keep, phase });
            if !is_over {
                return Ok(place);
            }
        }
    }

    // The moment of the page, as the end of a run from this position.
    fn reached(&self, at: Seq) -> Seq {
        match mutants::is(Mutant::BaseInsideCommit) {
            true => Seq(self.head.0 - (self.head.0 - at.0) / 2),
            false => self.head,
        }
    }

    fn view(&self, scope: Scope) -> Arc<View> {
        if scope == self.present.scope {
            return Arc::clone(&self.present);
        }
        Arc::new(View::of(self.user.as_ref(), scope, &self.named))
    }

    // A run ends with no more than what was visible in its pages.
    fn narrowed(&self, mut place: Standing) -> Standing {
        let Some(run) = &mut place.run else { return place };
        let now = &self.present.scope;
        if let Phase::Retract(cursor) = &mut run.phase {
            if run.to.scope.has_lost(now) && !mutants::is(Mutant::RetractingGoesOn) {
                *cursor = Cursor::START;
            }
            if mutants::is(Mutant::GrowsWhileRetracting) {
                (run.to, run.keep) = (Arc::clone(&self.present), Arc::clone(&self.present));
            } else if !mutants::is(Mutant::FixedWhileRetracting) {
                run.to = self.view(run.to.scope.meet(now));
            }
        }
        if !mutants::is(Mutant::KeepNotNarrowed) {
            run.keep = self.view(run.keep.scope.meet(now));
        }
        if mutants::is(Mutant::MayNarrowed) {
            place.may = self.view(place.may.scope.meet(now));
        }
        place
    }

    // The run that leads from a place at rest to the present, if there is anything to tell.
    fn begin(&self, place: &Standing) -> Option<Run<Arc<View>>> {
        let now = &self.present.scope;
        let until = self.reached(place.at);
        let phase = if place.may.scope.has_lost(now) {
            Phase::Retract(Cursor::START)
        } else if place.sure.scope.has_gained(now, &self.named, place.at) {
            Phase::Replay { cursor: Cursor::START, until }
        } else if place.at < until {
            Phase::Tail { after: place.at, until }
        } else {
            return None;
        };
        Some(Run { to: Arc::clone(&self.present), keep: Arc::clone(&self.present), phase })
    }

    fn ended(&self, from: Standing, at: Seq, (to, keep): (Arc<View>, Arc<View>)) -> Standing {
        let is_same = !from.may.scope.has_lost(&to.scope)
            && !from.sure.scope.has_gained(&to.scope, &self.named, from.at);
        match is_same && mutants::is(Mutant::KeepOldView) {
            true => Place { at, ..from },
            false => Place { at, may: to, sure: keep, run: None },
        }
    }

    fn at_rest(&self, place: Standing) -> Standing {
        if mutants::is(Mutant::KeepOldView) {
            return place;
        }
        let (may, sure) = (Arc::clone(&self.present), Arc::clone(&self.present));
        Place { at: place.at, may, sure, run: None }
    }

    fn room(&self) -> usize {
        match self.peeks {
            true => usize::from(!self.follows),
            false => self.limit.saturating_sub(self.told.len()),
        }
    }

    /// Whether no further entry fits.
    fn is_full(&self) -> bool {
        self.room() == 0 || self.bytes_left == 0
    }

    // What the device may have and the person may not see any more, and was there already in the
    // moment of the base.
    async fn retract(
        &mut self,
        place: &Standing,
        to: &Arc<View>,
        cursor: Cursor,
    ) -> Result<Option<Cursor>, StoreError> {
        let mut asked = ResidentsQuery {
            signatures: Vec::new(),
            after: Seq(0),
            up_to: None,
            entered_up_to: Some(place.at),
            limit: 0,
        };
        if mutants::is(Mutant::RetractBySeq) {
            (asked.up_to, asked.entered_up_to) = (Some(place.at), None);
        } else if mutants::is(Mutant::RetractAllOfLost) {
            asked.entered_up_to = None;
        }
        let (traces, next) = self.by_signature(&[&*place.may], to, cursor, asked).await?;
        for trace in traces {
            self.remove(trace.id);
        }
        Ok(next)
    }

    // What the person may see and the device may not have, though it did not change since.
    async fn replay(
        &mut self,
        place: &Standing,
        to: &Arc<View>,
        cursor: Cursor,
    ) -> Result<Option<Cursor>, StoreError> {
        let asked = ResidentsQuery {
            signatures: Vec::new(),
            after: Seq(0),
            up_to: Some(place.at),
            entered_up_to: None,
            limit: 0,
        };
        let shown = self.shown(to);
        let shown: Vec<&View> = shown.iter().map(|view| &**view).collect();
        let (traces, next) = self.by_signature(&shown, &place.sure, cursor, asked).await?;
        if self.peeks {
            self.follows |= !traces.is_empty();
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

    // What must see a record that is told, the narrower one first.
    fn shown(&self, to: &Arc<View>) -> Vec<Arc<View>> {
        if mutants::is(Mutant::SentWithoutPresent) {
            return vec![Arc::clone(to)];
        }
        if to.scope == self.present.scope || mutants::is(Mutant::SentWithoutRun) {
            return vec![Arc::clone(&self.present)];
        }
        let mut both = vec![Arc::clone(to), Arc::clone(&self.present)];
        both.sort_by_key(|view| view.is_whole());
        both
    }

    // Live records that these views see and another does not, in the order of signatures and then
    // of positions; and where to go on, if there may be more.
    async fn by_signature(
        &mut self,
        seen: &[&View],
        unseen: &View,
        mut cursor: Cursor,
        mut asked: ResidentsQuery,
    ) -> Result<(Vec<FeedRow>, Option<Cursor>), StoreError> {
        let mut found: Vec<FeedRow> = Vec::new();
        let Some(whose) = seen[0].whose().filter(|_| !unseen.is_whole()) else {
            return Ok((found, None));
        };
        // Where the page before ended, views may have been others.
        let is_choosy = unseen.is_choosy() || seen.iter().any(|view| view.is_choosy());
        let mut looked_at = 0;
        while looked_at < SIGNATURES_MAX {
            let counted = self.snapshot.signatures(whose, cursor.signature, SIGNATURES).await?;
            looked_at += counted.len();
            let last = counted.last().map(|counted| counted.signature);
            let is_last = counted.len() < SIGNATURES;
            let living = counted.iter().filter(|counted| counted.live > 0);
            let begun = cursor.signature.filter(|_| cursor.seq.is_some());
            let mut signatures: Vec<Signature> =
                begun.into_iter().chain(living.map(|counted| counted.signature)).collect();
            if is_choosy {
                self.learn(signatures.iter().copied()).await?;
                signatures.retain(|signature| {
                    let readers = self.readers_of(signature);
                    seen.iter().all(|view| view.sees(readers)) && !unseen.sees(readers)
                });
            }
            asked.after = match signatures.first() {
                Some(first) if begun == Some(*first) => cursor.seq.unwrap_or_default(),
                _ => Seq(0),
            };
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
        self.enter(record.id.clone(), Entry::Change(record));
    }

    fn remove(&mut self, id: RecordId) {
        self.enter(id.clone(), Entry::Removal(id));
    }

    // A removal may be followed by the record in one page: what is told last counts.
    fn enter(&mut self, id: RecordId, entry: Entry) {
        self.follows = true;
        if self.peeks {
            return;
        }
        if let Some(before) = self.told.insert(id, self.entries.len()) {
            self.entries[before] = None;
        }
        self.entries.push(Some(entry));
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
