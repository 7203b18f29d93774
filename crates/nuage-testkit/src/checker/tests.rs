//! Histories made by hand: sound ones, and each way to break one.

use crate::checker::{Event, List, Moment, Over, Place, Rule, Shown, Version, What, Write, check};

const ALL: (i64, i64, usize) = (0, i64::MAX, usize::MAX);

/// A record of events, each of which begins after the one before has ended.
#[derive(Default)]
struct Tale(Vec<Event>);

impl Tale {
    fn then(self, what: What) -> Self {
        let called = 10 * (1 + self.0.len() as Moment);
        self.at(called, Some(called + 5), what)
    }

    fn at(mut self, called: Moment, returned: Option<Moment>, what: What) -> Self {
        let by = format!("client {}", self.0.len());
        self.0.push(Event { by, called, returned, what });
        self
    }

    /// The last one is of the same client as the one before.
    fn by_the_same(mut self) -> Self {
        if let [.., before, last] = self.0.as_mut_slice() {
            last.by.clone_from(&before.by);
        }
        self
    }

    /// Which laws it breaks.
    fn breaks(&self) -> Vec<Rule> {
        let mut rules: Vec<Rule> = check(&self.0).iter().map(|fault| fault.rule).collect();
        rules.dedup();
        rules
    }
}

fn place(collection: usize, record: usize) -> Place {
    Place { collection, record }
}

/// Puts a record whose token is its time.
fn put(collection: usize, record: usize, time: i64) -> Write {
    let token = Some(time as u64);
    Write { place: place(collection, record), token, time: Some(time), over: Over::Anything }
}

fn over(write: Write, named: i64) -> Write {
    Write { over: Over::Version(named), ..write }
}

fn deletion(collection: usize, record: usize, time: i64) -> Write {
    Write { token: None, ..put(collection, record, time) }
}

fn unanswered(write: Write) -> Write {
    Write { time: None, ..write }
}

fn wrote(writes: &[Write]) -> What {
    What::Wrote(writes.to_vec())
}

fn read(collection: usize, record: usize, time: Option<i64>) -> What {
    let found = time.map(|time| Version { time, token: time as u64 });
    What::Read { place: place(collection, record), found }
}

/// A list of live records that was shown with their times.
fn list(collection: usize, head: i64, shown: &[(usize, i64)]) -> What {
    window(collection, head, ALL, shown)
}

fn window(
    collection: usize,
    head: i64,
    (since, before, limit): (i64, i64, usize),
    shown: &[(usize, i64)],
) -> What {
    let shown = shown.iter();
    let shown = shown.map(|(record, time)| Shown {
        record: *record,
        time: *time,
        token: (*time > 0).then_some(*time as u64),
    });
    let shown = shown.collect();
    let tombstones = since > 0;
    What::Listed(List { collection, head, since, before, limit, tombstones, shown })
}

fn head(collection: usize, head: i64) -> What {
    What::Headed { collection, head, live: None }
}

fn begin() -> Tale {
    Tale::default().then(wrote(&[put(0, 1, 10)])).then(wrote(&[put(0, 2, 20)]))
}

#[test]
fn a_sound_history_breaks_nothing() {
    let tale = begin()
        .then(list(0, 20, &[(2, 20), (1, 10)]))
        .then(wrote(&[over(put(0, 1, 30), 10)]))
        .then(What::Refused { place: place(0, 1), over: Over::Version(10) })
        .then(window(0, 30, (20, i64::MAX, usize::MAX), &[(1, 30)]))
        .then(window(0, 30, (0, 30, 1), &[(2, 20)]))
        .then(wrote(&[deletion(0, 2, 40), put(1, 1, 35)]))
        .then(read(0, 2, None))
        .then(What::Headed { collection: 0, head: 40, live: Some(1) })
        .then(wrote(&[Write { over: Over::Nothing, ..put(0, 2, 41) }]))
        .then(What::Refused { place: place(0, 2), over: Over::Nothing })
        .then(head(1, 35));
    assert_eq!(tale.breaks(), []);
}

#[test]
fn what_happens_at_the_same_time_may_be_seen_either_way() {
    for shown in [&[(2, 20), (1, 10)][..], &[(2, 20), (1, 25)]] {
        let head = shown.iter().map(|(_, time)| *time).max().expect("it shows something");
        let mut shown = shown.to_vec();
        shown.sort_by_key(|(_, time)| -time);
        let tale = begin()
            .at(100, Some(200), wrote(&[over(put(0, 1, 25), 10)]))
            .at(100, Some(200), list(0, head, &shown))
            .at(100, Some(200), What::Refused { place: place(0, 1), over: Over::Version(10) });
        assert_eq!(tale.breaks(), []);
    }
}

#[test]
fn a_repeated_time() {
    let tale = begin().at(100, Some(200), wrote(&[put(0, 3, 30)]));
    let tale = tale.at(100, Some(200), wrote(&[put(0, 4, 30)]));
    assert_eq!(tale.breaks()[0], Rule::RepeatedTime);
}

#[test]
fn a_time_before_one_that_was_given_already() {
    assert_eq!(begin().then(wrote(&[put(0, 3, 15)])).breaks(), [Rule::TimeOrder]);
    // Other collections have their own times.
    assert_eq!(begin().then(wrote(&[put(1, 3, 15)])).breaks(), []);
    // A time that somebody was only told counts as well.
    let tale = begin()
        .at(90, Some(300), wrote(&[put(0, 4, 40)]))
        .at(100, Some(110), list(0, 40, &[(4, 40), (2, 20), (1, 10)]))
        .at(120, Some(130), wrote(&[put(0, 3, 30)]));
    assert_eq!(tale.breaks()[0], Rule::TimeOrder);
}

#[test]
fn a_later_time_is_visible_before_an_earlier_one() {
    let tale = begin()
        .at(100, Some(200), wrote(&[put(0, 3, 30)]))
        .at(100, Some(200), wrote(&[put(0, 4, 40)]))
        .at(110, Some(120), list(0, 40, &[(4, 40), (2, 20), (1, 10)]));
    assert_eq!(tale.breaks(), [Rule::Incomplete]);
    // A client that polls would never be told of record 3.
    let tale = begin()
        .at(100, Some(200), wrote(&[put(0, 3, 30)]))
        .at(100, Some(200), wrote(&[put(0, 4, 40)]))
        .at(110, Some(120), window(0, 40, (20, i64::MAX, usize::MAX), &[(4, 40)]));
    assert_eq!(tale.breaks(), [Rule::Incomplete]);
    // Who saw time 40 has a right to see time 30, also in another answer.
    let tale = begin()
        .at(100, Some(200), wrote(&[put(0, 3, 30)]))
        .at(100, Some(200), wrote(&[put(0, 4, 40)]))
        .at(110, Some(120), read(0, 4, Some(40)))
        .at(130, Some(140), read(0, 3, None));
    assert_eq!(tale.breaks(), [Rule::Stale]);
}

#[test]
fn an_acknowledged_write_is_not_seen() {
    assert_eq!(begin().then(list(0, 10, &[(1, 10)])).breaks(), [Rule::Stale]);
    assert_eq!(begin().then(head(0, 10)).breaks(), [Rule::Stale]);
    assert_eq!(begin().then(read(0, 2, None)).breaks(), [Rule::Stale]);
    let tale = begin().then(wrote(&[put(0, 1, 30)])).then(read(0, 1, Some(10)));
    assert_eq!(tale.breaks(), [Rule::Stale]);
}

#[test]
fn a_head_goes_back() {
    let tale = begin()
        .at(100, Some(200), wrote(&[put(0, 3, 30)]))
        .at(110, Some(120), head(0, 30))
        .at(130, Some(140), head(0, 20));
    assert_eq!(tale.breaks(), [Rule::Stale]);
}

#[test]
fn a_lost_update() {
    let tale = begin().at(100, Some(200), wrote(&[over(put(0, 1, 30), 10)])).at(
        100,
        Some(200),
        wrote(&[over(put(0, 1, 40), 10)]),
    );
    assert_eq!(tale.breaks(), [Rule::LostUpdate]);
    let tale = begin().then(wrote(&[Write { over: Over::Nothing, ..put(0, 1, 30) }]));
    assert_eq!(tale.breaks(), [Rule::LostUpdate]);
    let tale = begin().at(100, Some(200), wrote(&[deletion(0, 1, 30)])).at(
        100,
        Some(200),
        wrote(&[over(put(0, 1, 40), 10)]),
    );
    assert_eq!(tale.breaks(), [Rule::LostUpdate]);
}

#[test]
fn a_refusal_without_reason() {
    for over in [Over::Version(10), Over::Anything] {
        let tale = begin().then(What::Refused { place: place(0, 1), over });
        assert_eq!(tale.breaks(), [Rule::RefusedForNothing]);
    }
    let tale = begin().then(What::Refused { place: place(0, 9), over: Over::Nothing });
    assert_eq!(tale.breaks(), [Rule::RefusedForNothing]);
}

#[test]
fn half_a_batch_in_one_collection() {
    let tale = begin().at(100, Some(200), wrote(&[put(0, 3, 30), put(0, 4, 31)])).at(
        110,
        Some(120),
        list(0, 30, &[(3, 30), (2, 20), (1, 10)]),
    );
    assert_eq!(tale.breaks(), [Rule::HalfBatch]);
    let tale = begin().at(100, Some(200), wrote(&[put(0, 3, 30), put(0, 4, 32)])).at(
        100,
        Some(200),
        wrote(&[put(0, 5, 31)]),
    );
    assert_eq!(tale.breaks(), [Rule::HalfBatch]);
}

#[test]
fn half_a_batch_in_two_collections() {
    let tale = begin()
        .then(wrote(&[put(1, 1, 12)]))
        .at(100, Some(200), wrote(&[put(0, 3, 30), put(1, 3, 31)]))
        .at(110, Some(120), list(0, 30, &[(3, 30), (2, 20), (1, 10)]))
        .at(130, Some(140), head(1, 12));
    assert_eq!(tale.breaks(), [Rule::Stale]);
}

#[test]
fn half_a_batch_without_answer() {
    let batch = [unanswered(put(0, 3, 30)), unanswered(put(1, 3, 31))];
    let tale = begin().at(100, None, wrote(&batch)).at(200, Some(210), read(0, 3, Some(30))).at(
        220,
        Some(230),
        read(1, 3, None),
    );
    assert_eq!(tale.breaks(), [Rule::HalfBatch]);
    let tale = begin().at(100, None, wrote(&batch)).at(200, Some(210), read(0, 3, Some(30))).at(
        220,
        Some(230),
        read(1, 3, Some(31)),
    );
    assert_eq!(tale.breaks(), []);
}

#[test]
fn parts_of_a_batch_without_answer_may_lie_between_each_other() {
    let sure = [unanswered(put(0, 3, 30)), unanswered(put(0, 4, 32))];
    let seen = list(0, 32, &[(4, 32), (5, 31), (3, 30), (2, 20), (1, 10)]);
    let tale = |maybe: u64| {
        let lost = begin().at(100, None, wrote(&sure));
        let lost = lost.at(maybe, None, wrote(&[unanswered(put(0, 5, 31))])).by_the_same();
        lost.at(200, Some(210), seen.clone())
    };
    assert_eq!(tale(100).breaks(), []);
    // Another request of the same client.
    assert_eq!(tale(101).breaks(), [Rule::HalfBatch]);
}

#[test]
fn a_tombstone_amid_a_batch_without_answer_is_of_that_batch() {
    // Somebody else deleted the same record a moment before, and got no answer either.
    let shown = [(4, 32, Some(32)), (1, 31, None), (3, 30, Some(30)), (2, 20, Some(20))];
    let shown = shown.map(|(record, time, token)| Shown { record, time, token });
    let (before, limit, shown) = (i64::MAX, usize::MAX, shown.to_vec());
    let seen = What::Listed(List {
        collection: 0,
        head: 32,
        since: 1,
        before,
        limit,
        tombstones: true,
        shown,
    });
    let lost = begin().at(90, None, wrote(&[unanswered(deletion(0, 1, 31))]));
    let lost = lost.at(100, None, wrote(&[unanswered(put(0, 3, 30)), unanswered(put(0, 4, 32))]));
    let lost = lost.at(100, None, wrote(&[unanswered(deletion(0, 1, 31))])).by_the_same();
    assert_eq!(lost.at(200, Some(210), seen).breaks(), []);
}

#[test]
fn an_unanswered_write_happened_or_did_not() {
    let lost = wrote(&[unanswered(put(0, 3, 30))]);
    let without = list(0, 20, &[(2, 20), (1, 10)]);
    let with = list(0, 30, &[(3, 30), (2, 20), (1, 10)]);
    let tale = begin().at(100, None, lost.clone()).at(200, Some(210), without.clone());
    assert_eq!(tale.breaks(), []);
    let tale = tale.at(220, Some(230), with.clone());
    assert_eq!(tale.breaks(), []);
    let tale = tale.at(240, Some(250), without);
    assert_eq!(tale.breaks(), [Rule::Stale]);
    let deleted = wrote(&[unanswered(deletion(0, 2, 30))]);
    let tale = begin().at(100, None, deleted).at(200, Some(210), list(0, 30, &[(1, 10)]));
    assert_eq!(tale.breaks(), []);
}

#[test]
fn a_tombstone_is_of_an_unanswered_deletion_that_may_have_made_it() {
    // Of two deletions without answer the first one names the version of 40, which the second one,
    // of whatever was there, came before.
    let lost = |write| wrote(&[unanswered(write)]);
    let tombstones = |since, head, shown: &[i64]| {
        let shown = shown.iter().map(|time| Shown { record: 1, time: *time, token: None });
        let (before, limit, shown) = (i64::MAX, usize::MAX, shown.collect());
        What::Listed(List { collection: 0, head, since, before, limit, tombstones: true, shown })
    };
    let tale = begin()
        .at(100, None, lost(deletion(0, 1, 30)))
        .at(90, Some(120), wrote(&[put(0, 1, 40)]))
        .at(130, None, lost(over(deletion(0, 1, 50), 40)))
        .at(160, Some(170), tombstones(40, 50, &[50]))
        .at(110, Some(115), tombstones(20, 30, &[30]));
    assert_eq!(tale.breaks(), []);
    // One that was asked for later has not made it.
    let late = begin().at(110, Some(115), tombstones(20, 30, &[30])).at(
        200,
        None,
        lost(deletion(0, 1, 30)),
    );
    assert!(late.breaks().contains(&Rule::FromFuture));
    assert_eq!(begin().then(tombstones(20, 30, &[30])).breaks()[0], Rule::Invented);
}

#[test]
fn what_nobody_wrote() {
    assert_eq!(begin().then(read(0, 1, Some(11))).breaks(), [Rule::Invented]);
    assert_eq!(begin().then(head(0, 21)).breaks(), [Rule::Invented]);
    let tombstone = window(0, 20, (5, i64::MAX, usize::MAX), &[(2, 20), (1, 10), (3, -7)]);
    assert_eq!(begin().then(tombstone).breaks()[0], Rule::Invented);
    let early = Tale::default()
        .at(10, Some(20), wrote(&[put(0, 1, 10)]))
        .at(100, Some(110), wrote(&[put(0, 2, 20)]))
        .at(30, Some(40), list(0, 20, &[(2, 20), (1, 10)]));
    assert!(early.breaks().contains(&Rule::FromFuture));
}

#[test]
fn a_list_shows_too_little_or_too_much() {
    assert_eq!(begin().then(list(0, 20, &[(2, 20)])).breaks(), [Rule::Incomplete]);
    let tale = begin().then(wrote(&[deletion(0, 1, 30)]));
    assert_eq!(tale.then(list(0, 30, &[(2, 20), (1, 10)])).breaks(), [Rule::Incomplete]);
    let tale = begin().then(window(0, 20, (0, i64::MAX, 1), &[(1, 10)]));
    assert_eq!(tale.breaks(), [Rule::Incomplete]);
    let tale = begin().then(What::Headed { collection: 0, head: 20, live: Some(1) });
    assert_eq!(tale.breaks(), [Rule::Incomplete]);
}

#[test]
fn a_fault_with_many_consequences_does_not_hide_another() {
    // A write said to have happened at the time of another, which many saw elsewhere.
    let mut tale = begin().then(wrote(&[put(0, 3, 30), Write { time: Some(30), ..put(0, 4, 40) }]));
    for _ in 0..50 {
        tale = tale.then(read(0, 4, Some(40)));
    }
    let broken = tale.breaks();
    assert!(broken.contains(&Rule::Invented), "{broken:?}");
    assert!(broken.contains(&Rule::RepeatedTime), "{broken:?}");
}
