//! Who waits for whom.

use crate::waiting::{GROUP_MAX, HEAVY, Waiting};

/// Everything in the order of its groups, each task as person and number.
fn groups(tasks: &[(u64, usize)], tasks_max: usize) -> Vec<Vec<(u64, usize)>> {
    let mut waiting = Waiting::default();
    for (number, (person, weight)) in tasks.iter().enumerate() {
        waiting.push(*person, *weight, (*person, number));
    }
    let mut groups = Vec::new();
    while !waiting.is_empty() {
        groups.push(waiting.group(tasks_max, |_, _| true));
    }
    assert_eq!(waiting.len(), 0);
    groups
}

#[test]
fn it_goes_round_by_person() {
    let found = groups(&[(1, 1), (1, 1), (1, 1), (2, 1), (3, 1), (3, 1)], 3);
    assert_eq!(found, [[(1, 0), (2, 3), (3, 4)], [(1, 1), (3, 5), (1, 2)]]);
}

#[test]
fn what_is_heavy_goes_alone_and_others_in_between() {
    let heavy = HEAVY + 1;
    let found = groups(&[(1, heavy), (1, heavy), (1, heavy), (2, 1), (3, 1), (2, 1)], 9);
    let expected: [&[(u64, usize)]; 4] =
        [&[(1, 0)], &[(2, 3), (3, 4), (2, 5)], &[(1, 1)], &[(1, 2)]];
    assert_eq!(found, expected);
}

#[test]
fn who_comes_meanwhile_is_before_the_next_heavy_one() {
    let mut waiting = Waiting::default();
    waiting.push(1, HEAVY + 1, 1);
    waiting.push(1, HEAVY + 1, 1);
    assert_eq!(waiting.group(9, |_, _| true), [1]);
    waiting.push(2, 1, 2);
    assert_eq!(waiting.group(9, |_, _| true), [2]);
    assert_eq!(waiting.group(9, |_, _| true), [1]);
}

#[test]
fn groups_are_bounded_by_weight() {
    let half = HEAVY / 2 + 1;
    let fit = GROUP_MAX / half;
    let found = groups(&vec![(1, half); fit + 2], 99);
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), [fit, 2]);
}

#[test]
fn who_may_not_join_keeps_the_turn() {
    let mut waiting = Waiting::default();
    for person in [1, 2, 3] {
        waiting.push(person, 1, person);
    }
    let first = waiting.group(9, |group, task| group.is_empty() || *task != 2);
    assert_eq!(first, [1, 3]);
    waiting.push(4, 1, 4);
    assert_eq!(waiting.group(9, |_, _| true), [2, 4]);
}
