//! The laws, each over the whole record.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::checker::floors::Floors;
use crate::checker::ledger::{Ledger, Written, seen};
use crate::checker::{Event, Faults, List, Moment, Over, Place, Rule, Shown, What};

/// Writes come after all that was known before, and over what they name.
pub(super) fn judge_writes(ledger: &Ledger, floors: &Floors, faults: &mut Faults) {
    for written in &ledger.writes {
        let (write, place) = (&written.write, written.write.place);
        let Some(time) = write.time else { continue };
        let floor = floors.before(place.collection, written.called);
        if time <= floor {
            faults.push(Rule::TimeOrder, || {
                format!("{place} was written at {time} when {floor} was known already")
            });
        }
        let before = ledger.last(place, time - 1).map(|written| written.write);
        let live = before.filter(|before| before.token.is_some());
        let holds = match write.over {
            Over::Anything => true,
            Over::Nothing => live.is_none() || ledger.is_open(place, Moment::MAX),
            Over::Version(named) => live.is_some_and(|live| live.time == Some(named)),
        };
        if !holds {
            faults.push(Rule::LostUpdate, || {
                let was = before.map(|before| (before.time, before.token));
                format!("{place} was replaced at {time} over {:?}, and was {was:?}", write.over)
            });
        }
    }
}

/// The writes of a batch lie side by side in each collection, no head falls between them, and of
/// a batch without answer all was written if anything was.
pub(super) fn judge_batches(events: &[Event], ledger: &Ledger, faults: &mut Faults) {
    let mut heads: Vec<Vec<i64>> = vec![Vec::new(); ledger.lines.len()];
    for event in events {
        if let Some((collection, head)) = head_of(event) {
            heads[collection].push(head);
        }
    }
    heads.iter_mut().for_each(|heads| heads.sort_unstable());
    for batch in ledger.writes.chunk_by(|one, other| one.event == other.event) {
        let mut spans: BTreeMap<usize, Vec<i64>> = BTreeMap::new();
        for written in batch {
            let times = spans.entry(written.write.place.collection).or_default();
            times.extend(written.write.time);
        }
        for (collection, times) in &spans {
            let Some((first, last)) = times.iter().min().zip(times.iter().max()) else { continue };
            let inside = ledger.count(*collection, *last) - ledger.count(*collection, *first - 1);
            // What may have been refused of a request without answer was noted apart from the rest.
            let also = ledger.writes.iter().filter(|other| {
                let [one, other_event] = [&events[batch[0].event], &events[other.event]];
                !batch[0].is_answered
                    && !other.is_answered
                    && other.event != batch[0].event
                    && other.write.place.collection == *collection
                    && other.write.time.is_some_and(|time| (*first..=*last).contains(&time))
                    && (&one.by, one.called) == (&other_event.by, other_event.called)
            });
            if inside != times.len() && inside != times.len() + also.count() {
                faults.push(Rule::HalfBatch, || {
                    let answered = if batch[0].is_answered { "answered" } else { "unanswered" };
                    format!(
                        "others wrote between {first} and {last} of collection {collection}, amid \
                         an {answered} batch"
                    )
                });
            }
            let next = heads[*collection].partition_point(|head| head < first);
            if let Some(head) = heads[*collection].get(next).filter(|head| *head < last) {
                faults.push(Rule::HalfBatch, || {
                    format!("head {head} of collection {collection} is amid {first} to {last}")
                });
            }
        }
        if !batch[0].is_answered {
            judge_unanswered(events, ledger, batch, faults);
        }
    }
}

// If a part was seen, the others are there for whoever looks later, unless replaced.
fn judge_unanswered(events: &[Event], ledger: &Ledger, batch: &[Written], faults: &mut Faults) {
    let traces =
        batch.iter().filter_map(|written| Some((written.write.place, written.write.time?)));
    let traces: Vec<(Place, i64)> = traces.collect();
    // Whoever saw all of it, or nothing, tells of no half: most are of one write.
    if traces.is_empty() || traces.len() == batch.len() {
        return;
    }
    let told = events.iter().filter(|event| {
        seen(event).iter().any(|(place, time, _)| traces.contains(&(*place, *time)))
    });
    let Some(told) = told.filter_map(|event| event.returned).min() else { return };
    // A deletion leaves no trace for whoever reads a single record.
    let missing = batch.iter().filter(|written| written.write.time.is_none());
    for missing in missing.filter(|missing| missing.write.token.is_some()) {
        let place = missing.write.place;
        let looks = events.iter().filter(|event| event.called > told && covers(event, place));
        let Some(look) = looks.filter_map(|event| event.returned).min() else { continue };
        let mut others = ledger.writes.iter().filter(|written| written.event != missing.event);
        let is_replaced = others.any(|other| {
            let is_over = events[other.event].returned.is_some_and(|end| end < missing.called);
            other.write.place == place && other.called < look && !is_over
        });
        let again = batch.iter().filter(|written| written.write.place == place).count() > 1;
        if !is_replaced && !again {
            faults.push(Rule::HalfBatch, || {
                format!("{place} was not written with the rest of a batch that got no answer")
            });
        }
    }
}

/// An answer holds all that was known before it was asked for, and nothing that was asked for
/// after it.
pub(super) fn judge_answers(
    events: &[Event],
    ledger: &Ledger,
    floors: &Floors,
    faults: &mut Faults,
) {
    let latest_calls: Vec<Vec<Moment>> =
        ledger.lines.iter().map(|line| calls(ledger, line)).collect();
    for event in events {
        let Some(returned) = event.returned else { continue };
        let by = &event.by;
        if let Some((collection, head)) = head_of(event) {
            let floor = floors.before(collection, event.called);
            if head < floor {
                faults.push(Rule::Stale, || {
                    format!("{by} was told head {head} of collection {collection} after {floor}")
                });
            }
            let count = ledger.count(collection, head);
            let last = count.checked_sub(1).map(|last| ledger.time(ledger.lines[collection][last]));
            if last != Some(head) && !ledger.is_any_open(collection, returned) {
                faults.push(Rule::Invented, || {
                    format!("{by} was told head {head} of collection {collection}: {last:?} is")
                });
            }
            if count.checked_sub(1).is_some_and(|last| latest_calls[collection][last] > returned) {
                faults.push(Rule::FromFuture, || {
                    format!("{by} was told head {head} of collection {collection} too early")
                });
            }
        }
        match &event.what {
            What::Read { place, found } => {
                let floor = floors.before(place.collection, event.called);
                judge_read(event, *place, found.map(|version| version.time), floor, ledger, faults);
            }
            What::Refused { place, over } => {
                let floor = floors.before(place.collection, event.called);
                if !may_refuse(ledger, *place, *over, floor, returned) {
                    faults.push(Rule::RefusedForNothing, || {
                        format!("{by} was refused to replace {place} over {over:?}")
                    });
                }
            }
            What::Wrote(_) | What::Listed(_) | What::Headed { .. } => {}
        }
    }
}

fn judge_read(
    event: &Event,
    place: Place,
    found: Option<i64>,
    floor: i64,
    ledger: &Ledger,
    faults: &mut Faults,
) {
    let known = ledger.last(place, floor);
    let returned = event.returned.unwrap_or(Moment::MAX);
    let known_time = known.and_then(|written| written.write.time);
    let is_current = match found {
        Some(time) => known_time.is_none_or(|known| known <= time),
        None => {
            let mut later = ledger.later(place, floor);
            known.is_none_or(|known| known.write.token.is_none())
                || later.any(|later| later.write.token.is_none() && later.called < returned)
                || ledger.is_open(place, returned)
        }
    };
    if !is_current {
        faults.push(Rule::Stale, || {
            format!("{} was shown {place} at {found:?} when {known_time:?} was known", event.by)
        });
    }
    let shown = found.and_then(|time| ledger.last(place, time));
    if shown.is_some_and(|shown| shown.called > returned) {
        faults.push(Rule::FromFuture, || format!("{} was shown {place} too early", event.by));
    }
}

// Whether the condition did not hold at some moment of the request.
fn may_refuse(ledger: &Ledger, place: Place, over: Over, floor: i64, returned: Moment) -> bool {
    if ledger.is_open(place, returned) {
        return true;
    }
    match over {
        Over::Anything => false,
        Over::Nothing => {
            let known = ledger.last(place, floor);
            known.is_some_and(|known| known.write.token.is_some())
                || ledger
                    .later(place, floor)
                    .any(|later| later.write.token.is_some() && later.called < returned)
        }
        Over::Version(named) => ledger.later(place, named).any(|later| later.called < returned),
    }
}

/// A list shows exactly what was written up to its head, and a count counts that.
pub(super) fn judge_lists(events: &[Event], ledger: &Ledger, faults: &mut Faults) {
    let mut by_head: Vec<Vec<(i64, &Event)>> = vec![Vec::new(); ledger.lines.len()];
    for event in events {
        if let Some((collection, head)) = head_of(event) {
            by_head[collection].push((head, event));
        }
    }
    for (collection, mut answers) in by_head.into_iter().enumerate() {
        answers.sort_by_key(|(head, _)| *head);
        let mut state = State::default();
        let mut line = ledger.lines[collection].iter().peekable();
        for (head, event) in answers {
            while let Some(write) = line.next_if(|write| ledger.time(**write) <= head) {
                state.take(&ledger.writes[*write]);
            }
            match &event.what {
                What::Listed(list) => {
                    judge_list(events, event, list, (&state, ledger), faults);
                }
                What::Headed { live: Some(live), .. }
                    if *live != state.live && !ledger.is_any_open(collection, Moment::MAX) =>
                {
                    faults.push(Rule::Incomplete, || {
                        let (by, is) = (&event.by, state.live);
                        format!("{by} counted {live} in collection {collection} at {head}: {is}")
                    });
                }
                _ => {}
            }
        }
    }
}

fn judge_list(
    events: &[Event],
    event: &Event,
    list: &List,
    (state, ledger): (&State, &Ledger),
    faults: &mut Faults,
) {
    let returned = event.returned.unwrap_or(Moment::MAX);
    let may_differ = |shown: &&Shown| {
        let place = Place { collection: list.collection, record: shown.record };
        ledger.is_open(place, returned)
    };
    let mut due = state.list(list);
    if due == list.shown {
        return;
    }
    // What was perhaps deleted without a trace may be missing, and make room for more.
    let hidden: Vec<Shown> =
        due.iter().filter(may_differ).filter(|due| !list.shown.contains(due)).copied().collect();
    if !hidden.is_empty() {
        due = state.list(&List { limit: list.limit.saturating_add(hidden.len()), ..list.clone() });
        due.retain(|due| !hidden.contains(due));
        due.truncate(list.limit);
    }
    if due == list.shown || (!hidden.is_empty() && list.limit <= list.shown.len()) {
        return;
    }
    faults.push(Rule::Incomplete, || {
        let missing: Vec<_> = due.iter().filter(|due| !list.shown.contains(due)).collect();
        let extra: Vec<_> = list.shown.iter().filter(|shown| !due.contains(shown)).collect();
        let differing = missing.iter().copied().chain(extra.iter().copied());
        let places =
            differing.map(|shown| Place { collection: list.collection, record: shown.record });
        let stories: BTreeSet<String> = places.map(|place| ledger.story(events, place)).collect();
        format!(
            "{} was shown collection {} at head {}, after {}, before {}, at most {}, from {:?} to \
             {:?}: missing {missing:?}, too much {extra:?}\n{}",
            event.by,
            list.collection,
            list.head,
            list.since,
            list.before,
            list.limit,
            event.called,
            event.returned,
            Vec::from_iter(stories).join("\n")
        )
    });
}

/// A collection as it was at one head.
#[derive(Default)]
struct State {
    by_record: HashMap<usize, Shown>,
    by_time: BTreeMap<i64, Shown>,
    live: usize,
}

impl State {
    fn take(&mut self, written: &Written) {
        let Some(time) = written.write.time else { return };
        let (record, token) = (written.write.place.record, written.write.token);
        let shown = Shown { record, time, token };
        if let Some(earlier) = self.by_record.insert(record, shown) {
            self.by_time.remove(&earlier.time);
            self.live -= usize::from(earlier.token.is_some());
        }
        self.by_time.insert(time, shown);
        self.live += usize::from(token.is_some());
    }

    fn list(&self, list: &List) -> Vec<Shown> {
        if list.before <= list.since.saturating_add(1) {
            return Vec::new();
        }
        let range = self.by_time.range(list.since.saturating_add(1)..list.before).rev();
        let asked = range.map(|(_, shown)| *shown);
        let asked = asked.filter(|shown| list.tombstones || shown.token.is_some());
        asked.take(list.limit).collect()
    }
}

fn head_of(event: &Event) -> Option<(usize, i64)> {
    match &event.what {
        What::Listed(list) => Some((list.collection, list.head)),
        What::Headed { collection, head, .. } => Some((*collection, *head)),
        What::Wrote(_) | What::Refused { .. } | What::Read { .. } => None,
    }
}

// For each write of a collection in order, the last moment at which one up to it was asked for.
fn calls(ledger: &Ledger, line: &[usize]) -> Vec<Moment> {
    let calls = line.iter().scan(0, |latest, write| {
        *latest = ledger.writes[*write].called.max(*latest);
        Some(*latest)
    });
    calls.collect()
}

// Whether an answer would show a record if it were there.
fn covers(event: &Event, place: Place) -> bool {
    match &event.what {
        What::Read { place: read, .. } => *read == place,
        What::Listed(list) => {
            list.collection == place.collection
                && list.since == 0
                && list.before == i64::MAX
                && list.limit == usize::MAX
        }
        _ => false,
    }
}
