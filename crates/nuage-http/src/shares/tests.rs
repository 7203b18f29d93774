#![allow(clippy::unwrap_used)]

use super::*;

fn address(n: u8) -> Holder {
    Holder::Address(Network::of([1, 2, 3, n].into()))
}

fn take_all(shares: &Arc<Shares>, holder: Holder) -> (Share, usize) {
    let mut share = Share::of(shares, holder);
    let mut taken = 0;
    while share.grow(1) {
        taken += 1;
    }
    (share, taken)
}

#[test]
fn whoever_takes_all_leaves_as_much_for_others() {
    let shares = Shares::new(1000, 400);
    let (first, taken) = take_all(&shares, address(1));
    assert_eq!(taken, 200);
    let (_second, taken) = take_all(&shares, address(2));
    assert_eq!(taken, 100);
    // Those who are known have what is left of all, not of a part.
    let (_person, taken) = take_all(&shares, Holder::Person(1));
    assert_eq!(taken, 350);
    assert!(Share::of(&shares, address(3)).grow(50));
    assert!(!Share::of(&shares, address(3)).grow(101));
    drop(first);
    assert!(Share::of(&shares, address(3)).grow(150));
}

#[test]
fn what_is_given_back_leaves_no_trace() {
    let shares = Shares::new(100, 100);
    for n in 0..50 {
        drop(take_all(&shares, address(n)));
        drop(take_all(&shares, Holder::Person(n.into())));
    }
    let held = shares.lock();
    assert_eq!((held.all, held.unknown, held.by.len()), (0, 0, 0));
}
