//! What was lost and gained between two views, and how tokens speak of them.

use nuage_model::{GroupPath, NamedGroup};

use super::*;

const BOB: &str = "account:bob";

// As many names, each since the position and with the ordinal that follow from its place.
fn named(count: usize) -> Names {
    let name = |place: usize| NamedGroup {
        group: GroupPath { bucket: "b".into(), group: format!("g{place:03}").as_str().into() },
        since: Seq(100 * place as i64),
        ordinal: 1_000 - place as i64,
    };
    Names::new((0..count).map(name).collect(), |_| true)
}

fn with(places: &[usize]) -> Scope {
    Scope::With(places.to_vec())
}

#[test]
fn views_are_compared_by_what_is_named_and_since_when() {
    let named = named(4);
    let steps = [
        // From, to, since, whether something is lost and gained.
        (Scope::Nothing, Scope::Nothing, 0, (false, false)),
        (Scope::Nothing, with(&[]), 0, (false, true)),
        (Scope::Nothing, Scope::Whole, 0, (false, true)),
        (Scope::Whole, Scope::Whole, 0, (false, false)),
        (Scope::Whole, with(&[0, 1]), 0, (true, false)),
        (with(&[0, 1]), Scope::Whole, 0, (false, true)),
        (with(&[0, 1]), with(&[0, 1]), 900, (false, false)),
        (with(&[0, 1]), with(&[1]), 900, (true, false)),
        (with(&[1]), with(&[1, 2]), 199, (false, false)),
        (with(&[1]), with(&[1, 2]), 200, (false, true)),
        (with(&[0]), with(&[3]), 299, (true, false)),
    ];
    for (from, to, since, (is_lost, is_gained)) in steps {
        assert_eq!(from.has_lost(&to), is_lost, "{from:?}, {to:?}");
        assert_eq!(from.has_gained(&to, &named, Seq(since)), is_gained, "{from:?}, {to:?}");
    }
}

#[test]
fn two_views_see_in_common_what_both_see() {
    let all = [Scope::Nothing, Scope::Whole, with(&[]), with(&[1, 2]), with(&[2, 3])];
    for one in &all {
        assert_eq!(one.meet(one), *one);
        assert_eq!(one.meet(&Scope::Whole), *one);
        assert_eq!(one.meet(&Scope::Nothing), Scope::Nothing);
        for other in &all {
            assert_eq!(one.meet(other), other.meet(one));
        }
    }
    assert_eq!(with(&[1, 2]).meet(&with(&[2, 3])), with(&[2]));
}

#[test]
fn a_few_groups_are_in_the_token_and_many_are_kept() {
    let named = named(ORDINALS_MAX + 1);
    let view = |groups: usize| {
        View::of(Some(&BOB.into()), Scope::With((0..groups).collect()), &named).name(&named)
    };
    for groups in 0..=ORDINALS_MAX {
        let (ViewName::Few(ordinals), None) = view(groups) else { panic!("{groups} are kept") };
        assert!(ordinals.is_sorted());
        assert_eq!(named.of_ordinals(&ordinals), (0..groups).collect::<Vec<_>>());
    }
    let (ViewName::Many(hash), Some(kept)) = view(ORDINALS_MAX + 1) else { panic!("not kept") };
    assert!(is_named(&kept, &hash));
    assert_eq!(named.of_groups(&kept), *named.counted());
}

#[test]
fn what_is_no_name_any_more_is_passed_over() {
    let named = named(3);
    assert_eq!(named.of_ordinals(&[7, 998, 1_000, 1_001]), [0, 2]);
    let groups = ["/buckets/b/groups/g002", "/buckets/c/groups/g001", BOB].map(Principal::from);
    assert_eq!(named.of_groups(&groups), [2]);
}
