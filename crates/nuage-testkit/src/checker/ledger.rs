//! All writes of a record, with the times that the answers, or else later lists, tell of them.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::checker::floors::Floors;
use crate::checker::{Event, Faults, Moment, Over, Place, Rule, What, Write};

/// When each tombstone of a time and a record was first seen.
type Tombstones = BTreeMap<(i64, Place), Moment>;

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
        let tombstones = ledger.take_times_from_answers(events, faults);
        ledger.sort();
        if !tombstones.is_empty() {
            let floors = Floors::of(events, &ledger);
            ledger.match_lost_deletions(events, tombstones, &floors, faults);
            ledger.sort();
        }
        ledger.find_repeated_times(faults);
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

    /// Everything that was ever asked to be written there, in the order in which it was asked.
    pub(super) fn story(&self, events: &[Event], place: Place) -> String {
        let mut all: Vec<_> = self.writes.iter().filter(|one| one.write.place == place).collect();
        all.sort_by_key(|one| one.called);
        let lines = all.into_iter().map(|one| {
            let event = &events[one.event];
            let Write { token, time, over, .. } = one.write;
            let (by, called, returned) = (&event.by, one.called, event.returned);
            format!("  {by}, {called:?} to {returned:?}: {token:?} over {over:?} at {time:?}")
        });
        let lines: Vec<String> = lines.collect();
        format!("{place}:\n{}", lines.join("\n"))
    }

    fn chain(&self, place: Place) -> &[usize] {
        self.chains.get(&place).map_or(&[], Vec::as_slice)
    }

    // Gives times to writes whose answer never came, where somebody saw them; and finds what
    // nobody wrote. A tombstone does not say who wrote it: returns those of no deletion that was
    // answered.
    fn take_times_from_answers(&mut self, events: &[Event], faults: &mut Faults) -> Tombstones {
        let mut by_token = HashMap::new();
        let mut deletions = HashSet::new();
        for (number, Written { write, .. }) in self.writes.iter().enumerate() {
            match (write.token, write.time) {
                (Some(token), _) => drop(by_token.insert((write.place, token), number)),
                (None, Some(time)) => drop(deletions.insert((write.place, time))),
                (None, None) => {}
            }
        }
        let mut tombstones = Tombstones::new();
        for event in events {
            for (place, time, token) in seen(event) {
                let Some(token) = token else {
                    if !deletions.contains(&(place, time)) {
                        let first = tombstones.entry((time, place)).or_insert(Moment::MAX);
                        *first = event.returned.unwrap_or(Moment::MAX).min(*first);
                    }
                    continue;
                };
                let Some(write) = by_token.get(&(place, token)) else {
                    faults.push(Rule::Invented, || {
                        format!("{} was shown token {token} as {place} at {time}", event.by)
                    });
                    continue;
                };
                let known = *self.writes[*write].write.time.get_or_insert(time);
                if known != time {
                    faults.push(Rule::Invented, || {
                        format!("{} was shown {place} at {time}, not {known}", event.by)
                    });
                }
            }
        }
        tombstones
    }

    // Finds for each tombstone, the first one first, a deletion without answer that may have made
    // it: of the request whose other writes it lies between, since nobody else's may lie there; else
    // of the version that was there, if there is one, else the first of whatever was there.
    fn match_lost_deletions(
        &mut self,
        events: &[Event],
        tombstones: Tombstones,
        floors: &Floors,
        faults: &mut Faults,
    ) {
        for ((time, place), seen) in tombstones {
            let live = self.last(place, time - 1).map(|written| written.write);
            let live = live.filter(|write| write.token.is_some()).and_then(|write| write.time);
            let rank = |number: &usize| {
                let Written { write, called, .. } = &self.writes[*number];
                let is_possible = *called < seen && floors.before(place.collection, *called) < time;
                let fits = match write.over {
                    Over::Version(named) if live == Some(named) => 0,
                    Over::Anything => 1,
                    _ => 2,
                };
                let is_amid = self.is_amid(events, *number, time);
                (!is_possible, !is_amid, fits, *called)
            };
            let open = self.open.get(&place).into_iter().flatten().copied();
            let lost = open.filter(|number| self.writes[*number].write.token.is_none());
            let Some(made) = lost.min_by_key(rank) else {
                faults.push(Rule::Invented, || {
                    format!("nobody made the tombstone of {place} at {time}")
                });
                continue;
            };
            self.writes[made].write.time = Some(time);
            self.open.entry(place).or_default().retain(|number| *number != made);
            let at = self.chain(place).partition_point(|write| self.time(*write) < time);
            self.chains.entry(place).or_default().insert(at, made);
        }
    }

    // Whether this time is between those of other writes of the same request.
    fn is_amid(&self, events: &[Event], number: usize, time: i64) -> bool {
        let request = |written: &Written| {
            (events[written.event].by.as_str(), written.called, written.write.place.collection)
        };
        let of = request(&self.writes[number]);
        let line = &self.lines[of.2];
        let at = line.partition_point(|write| self.time(*write) < time);
        let is_of = |write: &usize| request(&self.writes[*write]) == of;
        line[..at].iter().any(is_of) && line[at..].iter().any(is_of)
    }

    fn sort(&mut self) {
        self.lines.iter_mut().for_each(Vec::clear);
        self.chains.clear();
        self.open.clear();
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
    }

    fn find_repeated_times(&self, faults: &mut Faults) {
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
