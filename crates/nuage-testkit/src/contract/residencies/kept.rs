//! What is known of a collection, written for clearness alone: a list of residencies.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{
    Checksum, DIGEST_MODULUS, FeedRow, Outcome, Principal, Put, ReaderFilter, Readers, Record,
    RecordId, ResidentsQuery, RowEnd, Seq, Signature, SignatureCount, Timestamp, Write, digest,
};

use crate::random::Random;

/// A collection in one moment.
#[derive(Clone, Default, Debug)]
pub(super) struct Kept {
    exists: bool,
    horizon: Seq,
    /// Incarnations that there were before this one.
    earlier: Vec<[u8; 8]>,
    incarnation: Option<[u8; 8]>,
    rows: BTreeMap<RecordId, Row>,
    gone: Vec<Ended>,
    /// Every set of readers since the collection began.
    readers: BTreeMap<Signature, BTreeSet<Principal>>,
    /// Every position that was ever given, in any incarnation.
    positions: Vec<Seq>,
    bodies: BTreeMap<RecordId, Record>,
}

#[derive(Clone, Debug)]
struct Row {
    seq: Seq,
    shown: Timestamp,
    signature: Signature,
    entered: Seq,
    is_live: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Ended {
    seq: Seq,
    id: RecordId,
    signature: Signature,
    entered: Seq,
}

impl Kept {
    /// What became of a write.
    pub(super) fn note(&mut self, write: &Write, outcome: Outcome) {
        self.positions.push(outcome.seq);
        match write {
            Write::Put(Put { path, readers, .. }) => self.put(&path.id, readers, outcome),
            Write::Delete { path, .. } => {
                if let Some(row) = self.rows.get_mut(&path.id).filter(|row| row.is_live) {
                    (row.seq, row.shown, row.is_live) = (outcome.seq, outcome.timestamp, false);
                }
            }
            Write::Erase { path } => {
                if self.rows.remove(&path.id).is_some() {
                    self.horizon = outcome.seq;
                    self.gone.clear();
                }
            }
            Write::Compact { up_to, .. } => self.compact(*up_to),
            Write::Mark { .. } => {}
            Write::DropCollection { .. } => {
                let mut earlier = std::mem::take(&mut self.earlier);
                earlier.extend(self.incarnation);
                let positions = std::mem::take(&mut self.positions);
                *self = Self { earlier, positions, ..Self::default() };
            }
            _ => unreachable!("histories do not write {write:?}"),
        }
    }

    fn put(&mut self, id: &RecordId, readers: &Readers, outcome: Outcome) {
        self.exists = true;
        let (seq, signature) = (outcome.seq, readers.signature());
        self.readers.insert(signature, readers.principals().clone());
        let mut entered = seq;
        if let Some(old) = self.rows.get(id) {
            let left = if old.is_live { seq } else { old.seq };
            if old.is_live && old.signature == signature {
                entered = old.entered;
            } else if left > self.horizon {
                let (signature, entered) = (old.signature, old.entered);
                self.gone.push(Ended { seq: left, id: id.clone(), signature, entered });
            }
        }
        let shown = outcome.timestamp;
        self.rows.insert(id.clone(), Row { seq, shown, signature, entered, is_live: true });
    }

    fn compact(&mut self, up_to: Seq) {
        // Positions only grow, over all incarnations.
        let head = self.positions.iter().max().copied().unwrap_or_default();
        let up_to = up_to.min(head);
        if self.exists {
            self.horizon = up_to.max(self.horizon);
            self.rows.retain(|_, row| row.is_live || row.seq > up_to);
            self.gone.retain(|ended| ended.seq > up_to);
        }
    }

    /// Takes over the records as they were found, whose bodies are asked for later.
    pub(super) fn take_bodies(&mut self, records: Vec<Option<Record>>) {
        let live = records.into_iter().flatten().filter(Record::is_live);
        self.bodies = live.map(|record| (record.id.clone(), record)).collect();
        self.positions.sort();
        self.positions.dedup();
    }

    /// A position that is worth asking for: before, at or after one that was given.
    pub(super) fn some_position(&self, random: &mut Random) -> Seq {
        if self.positions.is_empty() || random.chance(10) {
            return Seq(0);
        }
        Seq(random.pick(&self.positions).0 + random.below(3) as i64 - 1)
    }

    pub(super) fn live(&self) -> u64 {
        self.rows.values().filter(|row| row.is_live).count() as u64
    }

    /// Incarnation, horizon, tombstones and ended residencies; which incarnation it is, is told by
    /// the first who asks.
    pub(super) fn standing(
        &mut self,
        incarnation: Option<[u8; 8]>,
    ) -> Option<([u8; 8], Seq, (u64, u64))> {
        if !self.exists {
            return None;
        }
        if self.incarnation.is_none() {
            self.incarnation = incarnation.filter(|one| !self.earlier.contains(one));
        }
        let tombstones = self.rows.len() as u64 - self.live();
        Some((self.incarnation?, self.horizon, (tombstones, self.gone.len() as u64)))
    }

    pub(super) fn entered(&self, id: &RecordId) -> Seq {
        self.rows.get(id).map_or(Seq(0), |row| row.entered)
    }

    /// The first of what happened after a position, the last position whole. `wants` is given a
    /// signature and whether it is that of a live record.
    pub(super) fn tail(
        &self,
        wants: impl Fn(Signature, bool) -> bool,
        after: Seq,
        limit: usize,
    ) -> Vec<FeedRow> {
        let left = self.gone.iter().map(|ended| FeedRow {
            id: ended.id.clone(),
            seq: ended.seq,
            signature: ended.signature,
            entered: ended.entered,
            fate: RowEnd::Left(self.present(&ended.id).map(|row| row.signature)),
        });
        let rows = self.rows.iter().map(|(id, row)| row.trace(id));
        let mut all: Vec<FeedRow> = left
            .chain(rows)
            .filter(|trace| trace.seq > after)
            .filter(|trace| wants(trace.signature, trace.fate == RowEnd::Live))
            .collect();
        all.sort_by_key(|trace| {
            (trace.seq, !matches!(trace.fate, RowEnd::Left(_)), trace.id.clone())
        });
        let last = all.get(limit - 1).map_or(Seq(i64::MAX), |trace| trace.seq);
        all.retain(|trace| trace.seq <= last);
        all
    }

    pub(super) fn residents(&self, asked: &ResidentsQuery) -> Vec<FeedRow> {
        let mut all = Vec::new();
        for (n, signature) in asked.signatures.iter().enumerate() {
            let mut of_one: Vec<FeedRow> = self
                .rows
                .iter()
                .filter(|(_, row)| row.is_live && row.signature == *signature)
                .filter(|(_, row)| n > 0 || row.seq > asked.after)
                .filter(|(_, row)| asked.up_to.is_none_or(|up_to| row.seq <= up_to))
                .filter(|(_, row)| asked.entered_up_to.is_none_or(|up_to| row.entered <= up_to))
                .map(|(id, row)| row.trace(id))
                .collect();
            of_one.sort_by_key(|trace| trace.seq);
            all.extend(of_one);
        }
        all.truncate(asked.limit);
        all
    }

    pub(super) fn records(&self, ids: &[RecordId], bytes_max: usize) -> Vec<Record> {
        let live: Vec<&Record> = ids.iter().filter_map(|id| self.bodies.get(id)).collect();
        let mut bytes = 0;
        let fitting = live.iter().take_while(|record| {
            bytes += record.body().len();
            bytes <= bytes_max
        });
        let count = fitting.count().max(1);
        live.into_iter().take(count).cloned().collect()
    }

    pub(super) fn sum(&self, whose: ReaderFilter<'_>) -> Checksum {
        let mut sum = Checksum::default();
        for (id, row) in self.rows.iter().filter(|(_, row)| row.is_live) {
            if self.has(row.signature, whose) {
                sum.live += 1;
                sum.digest = (sum.digest + digest(id, row.shown)) % DIGEST_MODULUS;
            }
        }
        sum
    }

    /// Every signature that some residency has must be told, and no other but those that were
    /// there once.
    pub(super) fn assert_counted(
        &self,
        whose: ReaderFilter<'_>,
        found: &[SignatureCount],
        context: &str,
    ) {
        for counted in found {
            let signature = counted.signature;
            assert!(self.readers.contains_key(&signature), "{signature:?} never was, {context}");
            assert!(self.has(signature, whose), "{signature:?} is of others, {context}");
            let live = self.rows.values().filter(|row| row.is_live && row.signature == signature);
            assert_eq!(counted.live, live.count() as u64, "{signature:?}, {context}");
        }
        for signature in self.used().filter(|signature| self.has(*signature, whose)) {
            let is_told = found.iter().any(|counted| counted.signature == signature);
            assert!(is_told, "{signature:?} is missing, {context}");
        }
    }

    /// Who is in a signature; nobody if it is not known, or nothing has it any more.
    pub(super) fn assert_members(&self, signature: Signature, found: &[Principal], context: &str) {
        let members = self.readers.get(&signature).into_iter().flatten();
        let is_told = members.eq(found);
        let may_be_forgotten = found.is_empty() && !self.used().any(|used| used == signature);
        assert!(is_told || may_be_forgotten, "{found:?} are in {signature:?}, {context}");
    }

    /// Every signature that was there since the collection began.
    pub(super) fn ever(&self) -> impl Iterator<Item = Signature> {
        self.readers.keys().copied()
    }

    fn used(&self) -> impl Iterator<Item = Signature> {
        let gone = self.gone.iter().map(|ended| ended.signature);
        self.rows.values().map(|row| row.signature).chain(gone)
    }

    fn has(&self, signature: Signature, whose: ReaderFilter<'_>) -> bool {
        let members = &self.readers[&signature];
        match whose {
            ReaderFilter::All => true,
            ReaderFilter::Of(who) => who.iter().any(|one| members.contains(one)),
        }
    }

    fn present(&self, id: &RecordId) -> Option<&Row> {
        self.rows.get(id).filter(|row| row.is_live)
    }
}

impl Row {
    fn trace(&self, id: &RecordId) -> FeedRow {
        FeedRow {
            id: id.clone(),
            seq: self.seq,
            signature: self.signature,
            entered: self.entered,
            fate: if self.is_live { RowEnd::Live } else { RowEnd::Deleted },
        }
    }
}
