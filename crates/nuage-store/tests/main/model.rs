//! What a collection is, in memory and written for clearness alone: placements, residencies,
//! counters, horizons. The random histories compare the tables with it.

use std::collections::{BTreeMap, BTreeSet};

use nuage_model::{GroupPath, Outcome, Placement, Principal, Readers, Seq, Signature, Timestamp};

use crate::positions::Rule;

/// A record or tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) shown: i64,
    pub(crate) signature: Signature,
    pub(crate) entered: i64,
    pub(crate) dead: bool,
}

/// From `entered` until `left`, or still, a record had a signature.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Residency {
    pub(crate) id: String,
    pub(crate) signature: Signature,
    pub(crate) entered: i64,
    pub(crate) left: Option<i64>,
}

/// One collection, dropped ones included.
#[derive(Clone, Default, Debug)]
pub(crate) struct Collection {
    pub(crate) exists: bool,
    pub(crate) seq: i64,
    pub(crate) shown: i64,
    pub(crate) horizon: i64,
    pub(crate) incarnation: i64,
    pub(crate) rows: BTreeMap<String, Row>,
    pub(crate) ended: Vec<Residency>,
    /// Who is in each signature that may be known.
    pub(crate) readers: BTreeMap<Signature, Readers>,
    /// Groups that signatures name.
    pub(crate) names: BTreeMap<GroupPath, Name>,
    /// How often one came or went.
    pub(crate) named: i64,
    /// The greatest time that each signature shows or showed, by each rule.
    pub(crate) tops: BTreeMap<(Rule, Signature), i64>,
}

/// A group that is named: by how many signatures, since which position, and its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Name {
    pub(crate) signatures: i64,
    pub(crate) since: i64,
    pub(crate) ordinal: i64,
}

impl Collection {
    pub(crate) fn touch(&mut self, now: i64) -> Outcome {
        if !self.exists {
            let seq = now.max(self.seq + 1);
            self.begin(seq);
            self.shown = seq;
        }
        self.head()
    }

    fn begin(&mut self, seq: i64) {
        let named = self.named;
        *self = Self { exists: true, seq, incarnation: seq, named, ..Self::default() };
    }

    pub(crate) fn head(&self) -> Outcome {
        let shown = if self.exists { (self.seq, self.shown) } else { (0, 0) };
        Outcome { seq: Seq(shown.0), timestamp: Timestamp(shown.1) }
    }

    pub(crate) fn drop_all(&mut self) {
        let named = self.named + i64::from(!self.names.is_empty());
        *self = Self { seq: self.seq, exists: false, named, ..Self::default() };
    }

    // A record was written, or removed, that was so before.
    fn show(&mut self, id: &str, old: Option<Row>) {
        let new = self.rows.get(id).cloned();
        for rule in Rule::ALL {
            if let Some(new) = &new {
                let top = self.tops.entry((rule, new.signature)).or_default();
                *top = rule.time(new).max(*top);
            }
            let Some(old) = &old else { continue };
            let is_in_place = new.as_ref().is_some_and(|new| new.signature == old.signature);
            let is_lowered = match rule {
                Rule::HighWater => false,
                Rule::NotLoweredInPlace if is_in_place => false,
                Rule::NotLoweredAtRevival if old.dead => false,
                _ => self.tops.get(&(rule, old.signature)) == Some(&rule.time(old)),
            };
            match rule {
                _ if !is_lowered => {}
                Rule::LoweredToZero => _ = self.tops.insert((rule, old.signature), 0),
                rule => self.lower(rule, old.signature),
            }
        }
    }

    fn lower(&mut self, rule: Rule, signature: Signature) {
        let rows = self.rows.values().filter(|row| row.signature == signature);
        let top = rows.map(|row| rule.time(row)).max().unwrap_or(0).max(0);
        self.tops.insert((rule, signature), top);
    }

    /// The time of a list for these people, which asks for what is newer than some time.
    pub(crate) fn position(&self, rule: Rule, who: &[Principal], since: Option<i64>) -> i64 {
        let sees = |signature: &Signature| {
            who.iter().any(|one| self.readers[signature].principals().contains(one))
        };
        let tops = self.tops.iter().filter(|((of, signature), _)| *of == rule && sees(signature));
        let rows = || self.rows.values().filter(|row| sees(&row.signature));
        let top = match rule {
            Rule::WithoutTombstones => rows().filter(|row| !row.dead).map(|row| row.shown).max(),
            Rule::Head => Some(self.shown),
            _ => tops.map(|(_, top)| *top).max(),
        };
        let first = if rule == Rule::WithoutFirst { 0 } else { self.incarnation };
        let at = top.unwrap_or(0).max(first);
        match since.filter(|since| *since >= self.incarnation) {
            Some(since) if rows().all(|row| row.shown <= since) => match rule {
                Rule::Echo => since,
                Rule::WithoutMin => at,
                _ => at.min(since),
            },
            _ => at,
        }
    }

    // Counts anew, after each write.
    fn count_names(&mut self) {
        let used = self.used();
        self.tops.retain(|(_, signature), _| used.contains(signature));
        let mut signatures: BTreeMap<GroupPath, i64> = BTreeMap::new();
        for signature in self.used() {
            for group in self.readers[&signature].groups() {
                *signatures.entry(group).or_default() += 1;
            }
        }
        for (group, signatures) in &signatures {
            let is_new = !self.names.contains_key(group);
            self.named += i64::from(is_new);
            let new = Name { signatures: 0, since: self.seq, ordinal: self.named };
            self.names.entry(group.clone()).or_insert(new).signatures = *signatures;
        }
        let before = self.names.len();
        self.names.retain(|group, _| signatures.contains_key(group));
        self.named += (before - self.names.len()) as i64;
    }

    pub(crate) fn put(
        &mut self,
        id: &str,
        readers: &Readers,
        placement: Placement,
        now: i64,
    ) -> Outcome {
        let signature = readers.signature();
        let outcome = self.place(id, placement, now);
        let (seq, shown) = (outcome.seq.0, outcome.timestamp.0);
        let mut entered = seq;
        let old = self.rows.remove(id);
        if let Some(old) = &old {
            let left = if old.dead { old.seq } else { seq };
            if !old.dead && old.signature == signature {
                entered = old.entered;
            } else if left > self.horizon {
                self.ended.push(Residency {
                    id: id.to_owned(),
                    signature: old.signature,
                    entered: old.entered,
                    left: Some(left),
                });
            }
        }
        self.rows.insert(id.to_owned(), Row { seq, shown, signature, entered, dead: false });
        self.readers.insert(signature, readers.clone());
        self.show(id, old);
        self.count_names();
        outcome
    }

    pub(crate) fn delete(&mut self, id: &str, placement: Placement, now: i64) -> Outcome {
        if self.rows.get(id).is_none_or(|row| row.dead) {
            return self.head();
        }
        let outcome = self.place(id, placement, now);
        let row = self.rows.get_mut(id).unwrap();
        let old = row.clone();
        (row.seq, row.shown, row.dead) = (outcome.seq.0, outcome.timestamp.0, true);
        self.show(id, Some(old));
        outcome
    }

    pub(crate) fn erase(&mut self, id: &str) -> Outcome {
        if let Some(old) = self.rows.remove(id) {
            self.show(id, Some(old));
            self.horizon = self.seq;
            self.ended.retain(|residency| residency.left > Some(self.horizon));
            self.count_names();
        }
        self.head()
    }

    pub(crate) fn compact(&mut self, up_to: i64) -> Outcome {
        let up_to = up_to.min(self.seq);
        if self.exists {
            self.horizon = up_to.max(self.horizon);
            self.rows.retain(|_, row| !row.dead || row.seq > up_to);
            self.ended.retain(|residency| residency.left > Some(up_to));
            for signature in self.used() {
                self.lower(Rule::LoweredByCompaction, signature);
            }
            self.count_names();
        }
        self.head()
    }

    /// The signatures that something has or had.
    pub(crate) fn used(&self) -> BTreeSet<Signature> {
        self.residencies().iter().map(|residency| residency.signature).collect()
    }

    pub(crate) fn live(&self) -> i64 {
        self.rows.values().filter(|row| !row.dead).count() as i64
    }

    /// Every residency that a feed could still tell of.
    pub(crate) fn residencies(&self) -> Vec<Residency> {
        let present = self.rows.iter().map(|(id, row)| Residency {
            id: id.clone(),
            signature: row.signature,
            entered: row.entered,
            left: row.dead.then_some(row.seq),
        });
        let mut all: Vec<Residency> = present.chain(self.ended.iter().cloned()).collect();
        all.sort();
        all
    }

    fn is_taken(&self, time: i64, id: &str) -> bool {
        self.rows.iter().any(|(other, row)| other != id && row.shown == time)
    }

    fn place(&mut self, id: &str, placement: Placement, now: i64) -> Outcome {
        let wished = match placement {
            Placement::At(time) if time.0 <= self.seq.max(now + Seq::AHEAD_MS) => Some(time.0),
            Placement::Ahead(time)
                if time.0 > self.seq && time.0 <= self.seq.max(now + Seq::AHEAD_MS) =>
            {
                Some(time.0)
            }
            Placement::At(_) | Placement::Ahead(_) | Placement::Next => None,
            Placement::Exact { .. } => unreachable!("histories do not import"),
        };
        let (seq, shown) = match wished {
            Some(time) if time > self.seq => (time, time),
            Some(time) => {
                self.touch(now);
                let seq = now.max(self.seq + 1);
                let free = (time..).find(|time| !self.is_taken(*time, id)).unwrap();
                let in_past = if time <= self.shown { free < self.shown } else { true };
                (seq, if in_past { free } else { seq })
            }
            None => {
                let seq = now.max(self.seq + 1);
                (seq, seq)
            }
        };
        if !self.exists {
            self.begin(seq);
            self.shown = shown;
        }
        self.seq = seq;
        self.shown = self.shown.max(shown);
        Outcome { seq: Seq(seq), timestamp: Timestamp(shown) }
    }
}
