//! Who is in which group, looked at from above.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nuage_model::{
    BucketId, CollectionPath, GroupPath, GroupsStanding, MembershipQuery, Memberships, NamedGroup,
    Pace, SnapshotRequest, Store, Write,
};

use super::build::{NOW, apply, founded, principals, put_for, set};
use crate::random::Random;

const BUCKETS: [&str; 3] = ["blog", "club", "shelf"];
const PERSONS: [&str; 3] = ["alice", "bob", "system.Authenticated"];

fn group(bucket: &str, name: &str) -> GroupPath {
    GroupPath { bucket: bucket.into(), group: name.into() }
}

fn text(group: &GroupPath) -> String {
    group.principal().as_str().to_owned()
}

/// What is asked unless a case says otherwise.
fn query(groups: &[GroupPath], who: &[&str]) -> MembershipQuery {
    let (groups, members) = (groups.to_vec(), principals(who));
    MembershipQuery { groups, members, depth: 7, inner_max: 1_000, ..MembershipQuery::default() }
}

/// The answer of the store, which is that of a moment as well.
async fn ask(store: &Arc<dyn Store>, query: &MembershipQuery) -> Memberships {
    let answer = store.memberships(query, Pace::Patient).await.expect("it answers");
    let mut answer = answer.expect("it waits for the answer");
    answer.inside.sort();
    let begin = SnapshotRequest::of(CollectionPath::new("blog", "posts"));
    let (_, mut moment) = store.snapshot(&begin).await.expect("it answers");
    let mut shown = moment.memberships(query).await.expect("it answers");
    shown.inside.sort();
    assert_eq!(shown, answer, "a moment says the same");
    assert!(answer.direct.is_sorted() && answer.names.is_sorted_by(|a, b| a.group < b.group));
    answer
}

async fn standing(store: &Arc<dyn Store>, bucket: &str) -> GroupsStanding {
    let buckets = vec![BucketId::from("nowhere"), BucketId::from(bucket)];
    let begin = SnapshotRequest::of(CollectionPath::new("blog", "posts"));
    let header = store.standing(&SnapshotRequest { buckets, ..begin }).await.expect("it answers");
    assert_eq!(header.groups[0], GroupsStanding::default());
    let of_answer = ask(store, &query(&[group(bucket, "unknown")], &[])).await.standings;
    assert_eq!(of_answer, [(bucket.into(), header.groups[1])]);
    header.groups[1]
}

pub(super) async fn groups_are_looked_into_from_above(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    founded(&store, "club", "posts").await;
    founded(&store, "evil", "posts").await;
    let [staff, board, all] =
        [("blog", "staff"), ("blog", "board"), ("club", "all")].map(|(b, g)| group(b, g));
    let stranger = group("evil", "everybody");
    let writes = [
        set("blog", "staff", &["alice", &text(&all)]),
        set("blog", "board", &["carol", &text(&staff), &text(&board)]),
        // A circle, over two buckets.
        set("club", "all", &["bob", &text(&staff), &text(&group("blog", "unknown"))]),
        // What is above is of no interest.
        set("evil", "everybody", &["alice", "bob", &text(&staff), &text(&board)]),
    ];
    apply(&store, NOW, writes.concat()).await;
    let pair = |inner: &GroupPath, outer: &GroupPath| (inner.clone(), outer.clone());
    let circle = [pair(&staff, &all), pair(&all, &staff)];
    let unknown = pair(&group("blog", "unknown"), &all);

    let found = ask(&store, &query(std::slice::from_ref(&board), &["alice"])).await;
    let mut expected = circle.to_vec();
    expected.extend([pair(&staff, &board), pair(&board, &board), unknown.clone()]);
    expected.sort();
    assert_eq!((found.inside, found.direct), (expected, vec![staff.clone()]));
    let buckets: Vec<&str> = found.standings.iter().map(|(bucket, _)| bucket.as_str()).collect();
    assert_eq!(buckets, ["blog", "club"]);
    assert_eq!((found.names, found.is_cut), (vec![], false));

    // Level by level; what is as far as asked is not looked into.
    let at = async |depth: usize| {
        let query = MembershipQuery { depth, ..query(std::slice::from_ref(&board), &["bob"]) };
        let found = ask(&store, &query).await;
        (found.inside.len(), found.direct.len())
    };
    assert_eq!([at(0).await, at(1).await, at(2).await], [(0, 0), (2, 0), (3, 1)]);
    assert_eq!([at(3).await, at(9).await], [(5, 1), (5, 1)]);

    // Beside the names of a collection those that are given, and nobody else's.
    let named = put_for(&posts.record("a"), "read", &[&text(&all), "alice", &text(&stranger)]);
    let position = apply(&store, NOW, vec![named]).await[0].seq;
    let whole = MembershipQuery {
        collection: Some(posts),
        ..query(&[board, stranger.clone()], &["carol", "bob", "dave\0"])
    };
    let found = ask(&store, &whole).await;
    let of_names = [(all.clone(), 1), (stranger.clone(), 2)].map(|(group, ordinal)| NamedGroup {
        group,
        since: position,
        ordinal,
    });
    assert_eq!(found.names.len(), 2);
    for named in of_names {
        let as_named = |other: &&NamedGroup| other.group == named.group;
        let found = found.names.iter().find(as_named).expect("it is named");
        assert_eq!(found.since, named.since);
    }
    let direct: Vec<String> = found.direct.iter().map(text).collect();
    let expected = [group("blog", "board"), all, group("evil", "everybody")];
    assert_eq!(direct, expected.map(|group| text(&group)));
    let only = MembershipQuery { only_named: true, depth: 0, ..whole };
    let found = ask(&store, &only).await;
    let names: Vec<String> = found.names.iter().map(|named| text(&named.group)).collect();
    assert_eq!(names, [text(&stranger)]);
    assert_eq!(found.direct, [stranger]);
    let nothing = MembershipQuery::default();
    assert_eq!(ask(&store, &nothing).await, Memberships::default());
}

pub(super) async fn standings_of_groups_move_with_them(store: Arc<dyn Store>) {
    founded(&store, "blog", "posts").await;
    assert_eq!(standing(&store, "blog").await, GroupsStanding::default());
    let mut seen = Vec::new();
    let inner = text(&group("club", "all"));
    let steps: [(Vec<Write>, i64); 6] = [
        (set("blog", "staff", &["alice"]).to_vec(), 0),
        (set("blog", "staff", &["alice", "bob"]).to_vec(), 0),
        (set("blog", "board", &[&inner]).to_vec(), 1),
        (set("blog", "board", &["carol"]).to_vec(), 2),
        (vec![Write::DropBucket { bucket: "blog".into() }], 3),
        (set("blog", "staff", &["bob"]).to_vec(), 3),
    ];
    for (writes, nested) in steps {
        apply(&store, NOW, writes).await;
        let now = standing(&store, "blog").await;
        assert!(!seen.contains(&now), "{now:?} was there before: {seen:?}");
        assert_eq!(now.nested, nested, "{seen:?}");
        seen.push(now);
    }
    assert!(seen[4].dropped && !seen[5].dropped, "{seen:?}");
}

pub(super) async fn more_groups_inside_than_wanted_are_told_as_such(store: Arc<dyn Store>) {
    founded(&store, "blog", "posts").await;
    let name = |n: usize| format!("g{n}");
    let mut writes = Vec::new();
    for n in 1..400 {
        // Each contains the next two.
        let inner = [2 * n, 2 * n + 1].map(|n| text(&group("blog", &name(n))));
        writes.extend(set("blog", &name(n), &[&inner[0], &inner[1]]));
    }
    apply(&store, NOW, writes).await;
    let root = [group("blog", "g1")];
    for (depth, inner_max, is_cut) in
        [(3, 14, false), (3, 13, true), (7, 253, true), (7, 254, false)]
    {
        let query = MembershipQuery { depth, inner_max, ..query(&root, &["alice"]) };
        let found = ask(&store, &query).await;
        assert_eq!(found.is_cut, is_cut, "{depth} {inner_max}");
        let quick = store.memberships(&query, Pace::Quick).await.expect("it answers");
        if let Some(mut quick) = quick {
            quick.inside.sort();
            assert_eq!(quick, found);
        }
    }
    let all: Vec<GroupPath> = (0..1_000).map(|n| group("blog", &name(n))).collect();
    let quick = store.memberships(&query(&all, &["alice"]), Pace::Quick).await;
    assert_eq!(quick.expect("it answers"), None);
}

/// The same as a store finds, found by going through everything.
fn naive(members: &BTreeMap<GroupPath, Vec<String>>, query: &MembershipQuery) -> Memberships {
    let mut found = Memberships::default();
    let mut all: BTreeSet<GroupPath> = query.groups.iter().cloned().collect();
    let mut level = all.clone();
    for _ in 0..query.depth {
        let mut next = BTreeSet::new();
        for outer in &level {
            for member in members.get(outer).into_iter().flatten() {
                let Some(inner) = GroupPath::of_principal(member) else { continue };
                found.inside.push((inner.clone(), outer.clone()));
                if all.insert(inner.clone()) {
                    next.insert(inner);
                }
            }
        }
        level = next;
    }
    found.inside.sort();
    let is_asked = |one: &String| query.members.iter().any(|member| member.as_str() == one);
    let has_one =
        |group: &&GroupPath| members.get(*group).is_some_and(|in_it| in_it.iter().any(is_asked));
    found.direct = all.iter().filter(has_one).cloned().collect();
    found
}

pub(super) async fn random_groups_are_found_as_they_are(store: Arc<dyn Store>) {
    let mut random = Random::new(7);
    for bucket in BUCKETS {
        founded(&store, bucket, "posts").await;
    }
    let all: Vec<GroupPath> = BUCKETS
        .iter()
        .flat_map(|bucket| (0..90).map(move |n| group(bucket, &format!("g{n}"))))
        .collect();
    let mut members: BTreeMap<GroupPath, Vec<String>> = BTreeMap::new();
    for round in 0..6 {
        let mut writes = Vec::new();
        for path in &all {
            if round > 0 && random.below(4) > 0 {
                continue;
            }
            let mut within: BTreeSet<String> = BTreeSet::new();
            for person in PERSONS {
                if random.below(6) == 0 {
                    within.insert(person.to_owned());
                }
            }
            for _ in 0..random.below(3) {
                within.insert(text(&all[random.below(all.len())]));
            }
            let names: Vec<&str> = within.iter().map(String::as_str).collect();
            writes.extend(set(path.bucket.as_str(), path.group.as_str(), &names));
            members.insert(path.clone(), within.into_iter().collect());
        }
        apply(&store, NOW + round, writes).await;
        for _ in 0..8 {
            let count = [1, 3, 40, all.len()][random.below(4)];
            let roots: BTreeSet<GroupPath> =
                (0..count).map(|_| all[random.below(all.len())].clone()).collect();
            let roots: Vec<GroupPath> = roots.into_iter().collect();
            let who = &PERSONS[..random.below(PERSONS.len() + 1)];
            let query = MembershipQuery { depth: random.below(9), ..query(&roots, who) };
            let found = ask(&store, &query).await;
            let Memberships { inside, direct, .. } = naive(&members, &query);
            assert_eq!((found.inside, found.direct), (inside, direct), "round {round}: {query:?}");
            assert!(!found.is_cut);
        }
    }
}
