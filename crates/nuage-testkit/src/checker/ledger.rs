//! All writes of a record, with the times that the answers, or else later lists, tell of them.

use std::collections::{BTreeMap, HashMap};

use crate::checker::{Event, Faults, Moment, Place, Rule, What, Write};

/// A write, and what became of it.
pub(super) struct Written {
    pub(super) write: Write,
    /// Number of its event.
    pub(super) event: usize,
    pub(super) called: Moment,
    pub(super) is_answered: bool,
}

/// All writes.
pub(super) struct Ledger {
    pub(super) writes: Vec<Written>,
    /// The writes of each collection that have a time, in its order.
    pub(super) lines: Vec<Vec<usize>>,
    /// The same for each record.
    chains: HashMap<Place, Vec<usize>>,
    /// Writes of a record whose answer never came, and that nobody saw.
    open: BTreeMap<Place, Vec<usize>>,
}

impl Ledger {
    pub(super) fn of(events: &[Event], faults: &mut Faults) -> Self {
        let mut ledger = Self {
            writes: Vec::new(),
            lines: Vec::new(),
            chains: HashMap::new(),
            open: BTreeMap::new(),
        };
        for (number, event) in events.iter().enumerate() {
            let collections = collections(event).max().map_or(0, |greatest| greatest + 1);
            let lines = ledger.lines.len().max(collections);
            ledger.lines.resize_with(lines, Vec::new);
            let What::Wrote(writes) = &event.what else { continue };
            ledger.writes.extend(writes.iter().map(|write| Written {
                write: *write,
                event: number,
                called: event.called,
                is_answered: event.returned.is_some(),
            }));
        }
        ledger.take_times_from_answers(events, faults);
        ledger.sort(faults);
        ledger
    }

    /// The last write of a record up to this time.
    pub(super) fn last(&self, place: Place, up_to: i64) -> Option<&Written> {
        let chain = self.chain(place);
        let count = chain.partition_point(|write| self.time(*write) <= up_to);
        Some(&self.writes[chain[count.checked_sub(1)?]])
    }

    /// The writes of a record later than this time, in order.
    pub(super) fn later(&self, place: Place, than: i64) -> impl Iterator<Item = &Written> {
        let chain = self.chain(place);
        let count = chain.partition_point(|write| self.time(*write) <= than);
        chain[count..].iter().map(|write| &self.writes[*write])
    }

    /// Whether some write of a record may have happened before this moment without any trace.
    pub(super) fn is_open(&self, place: Place, before: Moment) -> bool {
        let open = self.open.get(&place).into_iter().flatten();
        open.into_iter().any(|write| self.writes[*write].called < before)
    }

    /// The same for any record of a collection.
    pub(super) fn is_any_open(&self, collection: usize, before: Moment) -> bool {
        let first = Place { collection, record: 0 };
        let last = Place { collection, record: usize::MAX };
        self.open.range(first..=last).any(|(place, _)| self.is_open(*place, before))
    }

    /// How many writes of a collection have a time up to this one.
    pub(super) fn count(&self, collection: usize, up_to: i64) -> usize {
        self.lines[collection].partition_point(|write| self.time(*write) <= up_to)
    }

    /// The time of a write that has one.
    pub(super) fn time(&self, write: usize) -> i64 {
        self.writes[write].write.time.expect("only writes with a time are in order of time")
    }

    fn chain(&self, place: Place) -> &[usize] {
        self.chains.get(&place).map_or(&[], Vec::as_slice)
    }

    // Gives times to writes whose answer never came, where somebody saw them; and finds what
    // nobody wrote.
    fn take_times_from_answers(&mut self, events: &[Event], faults: &mut Faults) {
        let mut by_token = HashMap::new();
        let mut deletions = HashMap::new();
        let mut lost_deletions: HashMap<Place, Vec<usize>> = HashMap::new();
        for (number, Written { write, called, .. }) in self.writes.iter().enumerate() {
            match (write.token, write.time) {
                (Some(token), _) => drop(by_token.insert((write.place, token), number)),
                (None, Some(time)) => drop(deletions.insert((write.place, time), number)),
                (None, None) => {
                    let lost = lost_deletions.entry(write.place).or_default();
                    lost.push(number);
                    lost.sort_by_key(|write| {
                        std::cmp::Reverse((self.writes[*write].called, *called))
                    });
                }
            }
        }
        for event in events {
            for (place, time, token) in seen(event) {
                let write = match token {
                    Some(token) => by_token.get(&(place, token)).copied(),
                    None => deletions.get(&(place, time)).copied().or_else(|| {
                        let write = lost_deletions.get_mut(&place)?.pop()?;
                        deletions.insert((place, time), write);
                        Some(write)
                    }),
                };
                let Some(write) = write else {
                    faults.push(Rule::Invented, || {
                        let what = token.map_or("a tombstone".to_owned(), |t| format!("token {t}"));
                        format!("{} was shown {what} as {place} at {time}", event.by)
                    });
                    continue;
                };
                let known = *self.writes[write].write.time.get_or_insert(time);
                if known != time {
                    faults.push(Rule::Invented, || {
                        format!("{} was shown {place} at {time}, not {known}", event.by)
                    });
                }
            }
        }
    }

    fn sort(&mut self, faults: &mut Faults) {
        for (number, Written { write, .. }) in self.writes.iter().enumerate() {
            if write.time.is_some() {
                self.lines[write.place.collection].push(number);
                self.chains.entry(write.place).or_default().push(number);
            } else {
                self.open.entry(write.place).or_default().push(number);
            }
        }
        let writes = &self.writes;
        for order in self.lines.iter_mut().chain(self.chains.values_mut()) {
            order.sort_by_key(|write| writes[*write].write.time);
        }
        for (collection, line) in self.lines.iter().enumerate() {
            for pair in line.windows(2).filter(|pair| self.time(pair[0]) == self.time(pair[1])) {
                faults.push(Rule::RepeatedTime, || {
                    let time = self.time(pair[0]);
                    format!("two writes of collection {collection} got {time}")
                });
            }
        }
    }
}

fn collections(event: &Event) -> impl Iterator<Item = usize> {
    let (writes, one) = match &event.what {
        What::Wrote(writes) => (writes.as_slice(), None),
        What::Refused { place, .. } | What::Read { place, .. } => (&[][..], Some(place.collection)),
        What::Listed(list) => (&[][..], Some(list.collection)),
        What::Headed { collection, .. } => (&[][..], Some(*collection)),
    };
    writes.iter().map(|write| write.place.collection).chain(one)
}

// The versions and tombstones that an answer shows.
pub(super) fn seen(event: &Event) -> Vec<(Place, i64, Option<u64>)> {
    match &event.what {
        What::Read { place, found: Some(version) } => {
            vec![(*place, version.time, Some(version.token))]
        }
        What::Listed(list) => {
            let place = |record| Place { collection: list.collection, record };
            list.shown.iter().map(|shown| (place(shown.record), shown.time, shown.token)).collect()
        }
        _ => Vec::new(),
    }
}
