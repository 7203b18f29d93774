//! What was known of each collection at each moment, because somebody had been told.
//!
//! Whoever was told of a time knows that everything up to it is there; and if a batch is among
//! that, also what the batch wrote in other collections.

use std::collections::HashMap;

use crate::checker::ledger::{Ledger, Written};
use crate::checker::{Event, Moment, What};

/// For each collection, moments in order with the greatest time that was known by then.
pub(super) struct Floors(Vec<Vec<(Moment, i64)>>);

impl Floors {
    pub(super) fn of(events: &[Event], ledger: &Ledger) -> Self {
        let reaches = reaches(ledger);
        let mut floors = vec![Vec::new(); reaches.len()];
        for event in events {
            let Some(returned) = event.returned else { continue };
            for (collection, time) in told(event) {
                floors[collection].push((returned, time));
                let Some(last) = ledger.count(collection, time).checked_sub(1) else { continue };
                for (other, time) in reaches[collection][last].iter().enumerate() {
                    if *time > 0 {
                        floors[other].push((returned, *time));
                    }
                }
            }
        }
        for floor in &mut floors {
            floor.sort_unstable();
            let mut greatest = 0;
            for (_, time) in floor.iter_mut() {
                greatest = greatest.max(*time);
                *time = greatest;
            }
        }
        Self(floors)
    }

    /// The greatest time of a collection that anybody had been told before this moment.
    pub(super) fn before(&self, collection: usize, moment: Moment) -> i64 {
        let floor = &self.0[collection];
        let count = floor.partition_point(|(returned, _)| *returned < moment);
        count.checked_sub(1).map_or(0, |last| floor[last].1)
    }
}

// For each write of each collection in order, the greatest time in each other collection of the
// batches up to it.
fn reaches(ledger: &Ledger) -> Vec<Vec<Vec<i64>>> {
    let mut batches: HashMap<usize, Vec<(usize, i64)>> = HashMap::new();
    for Written { write, event, .. } in &ledger.writes {
        if let Some(time) = write.time {
            batches.entry(*event).or_default().push((write.place.collection, time));
        }
    }
    let lines = ledger.lines.iter().enumerate().map(|(collection, line)| {
        let mut reached = vec![0; ledger.lines.len()];
        let steps = line.iter().map(|write| {
            for (other, time) in &batches[&ledger.writes[*write].event] {
                if *other != collection {
                    reached[*other] = reached[*other].max(*time);
                }
            }
            reached.clone()
        });
        steps.collect()
    });
    lines.collect()
}

// Times of collections that an answer tells of.
fn told(event: &Event) -> Vec<(usize, i64)> {
    match &event.what {
        What::Wrote(writes) => {
            let timed = writes.iter().filter_map(|write| Some((write.place, write.time?)));
            timed.map(|(place, time)| (place.collection, time)).collect()
        }
        What::Read { place, found: Some(version) } => vec![(place.collection, version.time)],
        What::Listed(list) => vec![(list.collection, list.head)],
        What::Headed { collection, head, .. } => vec![(*collection, *head)],
        What::Read { found: None, .. } | What::Refused { .. } => Vec::new(),
    }
}
