//! The index of interests, beside a list that is searched.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashSet;
use nuage_model::{BucketId, Principal};
use nuage_testkit::random::Random;

use crate::Interest;
use crate::feed::hub::index::{Index, Key, Waker};

const STEPS: usize = 4_000;

/// What the index should know of one.
struct Known {
    key: Key,
    waker: Arc<Waker>,
    interest: Option<Interest>,
}

impl Known {
    fn counts_as(&self, principal: &str) -> bool {
        self.interest.as_ref().is_some_and(|interest| interest.principals.contains(principal))
    }

    fn is_whole(&self) -> bool {
        self.interest.as_ref().is_none_or(|interest| interest.whole)
    }

    fn is_nameless(&self) -> bool {
        self.interest.as_ref().is_none_or(|interest| interest.principals.is_empty())
    }
}

fn some_principal(random: &mut Random) -> String {
    match random.below(3) {
        0 => "system.Everyone".to_owned(),
        1 => format!("account:{}", random.below(30)),
        _ => format!("/buckets/b{}/groups/g{}", random.below(3), random.below(3)),
    }
}

#[test]
fn those_are_woken_whom_a_search_finds() {
    let seed = crate::feed::hub::tests::seed();
    let mut random = Random::new(seed);
    let (mut index, mut known) = (Index::default(), Vec::<Known>::new());
    for step in 0..STEPS {
        match random.below(10) {
            0 | 1 => {
                let waker = Arc::new(Waker::default());
                known.push(Known { key: index.add(Arc::clone(&waker)), waker, interest: None });
            }
            2 if !known.is_empty() => {
                let gone = known.swap_remove(random.below(known.len()));
                index.remove(gone.key);
            }
            3..=5 if !known.is_empty() => {
                let at = random.below(known.len());
                let count = random.below(5);
                let principals: HashSet<Principal> =
                    (0..count).map(|_| some_principal(&mut random).into()).collect();
                let whole = random.chance(10);
                let buckets: BTreeSet<String> =
                    (0..random.below(3)).map(|_| format!("b{}", random.below(3))).collect();
                let buckets = buckets.iter().map(|bucket| bucket.as_str().into()).collect();
                let principals = Arc::new(principals);
                let interest = Interest { whole, principals, buckets, named: 0 };
                let is_new = index.set_interest(known[at].key, &interest);
                let before = known[at].interest.replace(interest.clone());
                let same = before.is_some_and(|before| {
                    before.whole == whole
                        && before.principals == interest.principals
                        && before.buckets == interest.buckets
                });
                assert_eq!(is_new, !same);
            }
            _ => {
                let principal = some_principal(&mut random);
                let bucket = BucketId::from(format!("b{}", random.below(3)));
                let asked = random.below(4);
                let expected = known.iter().filter(|known| match asked {
                    0 => known.is_whole(),
                    1 => known.is_nameless(),
                    2 => known.counts_as(&principal),
                    _ => known
                        .interest
                        .as_ref()
                        .is_some_and(|interest| interest.buckets.contains(&bucket)),
                });
                let expected: HashSet<Key> = expected.map(|known| known.key).collect();
                let is_woken = match asked {
                    0 => index.wake_whole(),
                    1 => index.wake_nameless(),
                    2 => index.wake_holders(&[principal.into()].into_iter().collect()),
                    _ => index.wake_groups_of(&bucket),
                };
                assert_eq!(is_woken, expected.len() as u64, "step {step} of seed {seed}");
                for known in &known {
                    let woke = known.waker.is_woken();
                    assert_eq!(woke, expected.contains(&known.key), "step {step} of seed {seed}");
                    known.waker.rest();
                }
            }
        }
        assert_eq!(index.is_empty(), known.is_empty());
    }
    for known in known {
        index.remove(known.key);
    }
    assert!(index.is_empty());
    assert_eq!(index.group_buckets().count(), 0, "something is left behind");
    assert_eq!(index.wake_whole() + index.wake_nameless() + index.wake_all(), 0);
}
