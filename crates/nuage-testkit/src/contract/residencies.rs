//! The law of moments: whatever happened to a collection, in whatever pieces it is asked for, a
//! moment tells what a list of all residencies, kept by hand, tells of the same moment; also when
//! others have written since.

mod kept;

use std::sync::Arc;

use nuage_model::{
    Bodies, CollectionPath, Placement, Principal, Put, ReaderFilter, Readers, Record, RecordId,
    ResidentsQuery, Seq, Signature, Snapshot, SnapshotRequest, Store, Write,
};

use super::build::{NOW, apply, at, founded, principals};
use crate::random::Random;
use kept::Kept;

const STEPS: usize = 30;
const QUESTIONS: usize = 6;
const PEOPLE: &[&str] = &["alice", "bob", "carol", "/buckets/blog/groups/friends", "erin"];
const IDS: usize = 9;

/// A moment that is held while others write, and what it must go on telling.
type Held<'a> = (Box<dyn Snapshot + 'a>, Kept);

/// Writes a random history into a store of its own, and asks what happened. The seed decides
/// everything.
pub async fn moments_agree_with_the_model(store: Arc<dyn Store>, seed: u64) {
    let mut random = Random::new(seed);
    let posts = founded(&store, "blog", "posts").await;
    let ids = (0..IDS).map(|n| posts.record(format!("r{n}")));
    let ask = SnapshotRequest { paths: ids.collect(), ..SnapshotRequest::of(posts.clone()) };
    let mut kept = Kept::default();
    let mut held: Option<Held<'_>> = None;
    let mut now = NOW;
    for step in 0..STEPS {
        now += random.below(4) as i64;
        let writes: Vec<Write> =
            (0..=random.below(3)).map(|_| write(&posts, &kept, now, &mut random)).collect();
        let outcomes = apply(&store, now, writes.clone()).await;
        for (write, outcome) in writes.iter().zip(outcomes) {
            kept.note(write, outcome);
        }
        let context = format!("replay with NUAGE_SEED={seed}, step {step}, {kept:#?}");
        let (opening, mut moment) = store.snapshot(&ask).await.expect("moments can be read");
        let standing = opening.standing.map(|standing| {
            let counts = (standing.tombstones, standing.gone);
            assert_eq!(standing.head.live, kept.live(), "{context}");
            (standing.incarnation, standing.horizon, counts)
        });
        assert_eq!(standing, kept.standing(standing.map(|it| it.0)), "{context}");
        assert_eq!(
            opening.records,
            store.get(&ask.paths, Bodies::All).await.expect("it reads"),
            "{context}"
        );
        for (path, found) in ask.paths.iter().zip(&opening.records) {
            let entered = found.as_ref().map_or(Seq(0), |record| record.entered);
            assert_eq!(entered, kept.entered(&path.id), "{context}");
        }
        kept.take_bodies(opening.records);
        for _ in 0..QUESTIONS {
            question(&mut *moment, &kept, &mut random, &context).await;
        }
        if let Some((moment, then)) = &mut held {
            question(&mut **moment, then, &mut random, &context).await;
        }
        if random.chance(15) {
            held = Some((moment, kept.clone()));
        } else if random.chance(10) {
            held = None;
        }
    }
}

fn write(posts: &CollectionPath, kept: &Kept, now: i64, random: &mut Random) -> Write {
    let path = posts.record(format!("r{}", random.below(IDS)));
    let placement = match random.chance(10) {
        true => at(now - 30 + random.below(40) as i64),
        false => Placement::Next,
    };
    match random.weighted(&[(60, 0), (25, 1), (3, 2), (6, 3), (2, 4)]) {
        0 => {
            let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(random.below(40)));
            let who = people(random);
            let readers = Readers::new(who.into_iter().collect());
            let permissions = "{}".to_owned();
            Write::Put(Put { path, body: body.into(), permissions, readers, placement })
        }
        1 => Write::Delete { path, placement },
        2 => Write::Erase { path },
        3 => Write::Compact { collection: posts.clone(), up_to: kept.some_position(random) },
        _ => Write::DropCollection { collection: posts.clone() },
    }
}

fn people(random: &mut Random) -> Vec<Principal> {
    (0..random.below(4)).map(|_| Principal::from(*random.pick(PEOPLE))).collect()
}

async fn question(moment: &mut dyn Snapshot, kept: &Kept, random: &mut Random, context: &str) {
    let limit = *random.pick(&[1, 2, 3, 5, 100]);
    let after = kept.some_position(random);
    match random.below(7) {
        0 => {
            let found = moment.tail(after, limit).await.expect("it reads");
            let everything = |_, _| true;
            let expected = kept.tail(everything, after, limit);
            assert_eq!(found, expected, "tail after {after}, limit {limit}, {context}");
        }
        1 | 2 => {
            let (live, ended) = (signatures(kept, random), signatures(kept, random));
            let found = moment.tail_of(&live, &ended, after, limit).await.expect("it reads");
            let wanted =
                |signature, live_one| if live_one { &live } else { &ended }.contains(&signature);
            let expected = kept.tail(wanted, after, limit);
            let context = format!("after {after}, limit {limit}, {context}");
            assert_eq!(found, expected, "tail of {live:?} and {ended:?}, {context}");
        }
        3 => {
            let some = |random: &mut Random| random.chance(50).then(|| kept.some_position(random));
            let after = if random.chance(50) { Seq(0) } else { after };
            let (up_to, entered_up_to) = (some(random), some(random));
            let signatures = signatures(kept, random);
            let asked = ResidentsQuery { signatures, after, up_to, entered_up_to, limit };
            let found = moment.residents(&asked).await.expect("it reads");
            assert_eq!(found, kept.residents(&asked), "{asked:?}, {context}");
        }
        4 => known_signatures(moment, kept, limit, random, context).await,
        5 => bodies(moment, kept, random, context).await,
        _ => {
            let who = people(random);
            let whose = if random.chance(30) { ReaderFilter::All } else { ReaderFilter::Of(&who) };
            let sum = moment.sum(whose).await.expect("it reads");
            assert_eq!(sum, kept.sum(whose), "{whose:?}, {context}");
        }
    }
}

// In order, page by page; and who is in them.
async fn known_signatures(
    moment: &mut dyn Snapshot,
    kept: &Kept,
    limit: usize,
    random: &mut Random,
    context: &str,
) {
    let who = people(random);
    let whose = if random.chance(30) { ReaderFilter::All } else { ReaderFilter::Of(&who) };
    let context = format!("{whose:?} by {limit}, {context}");
    let mut found = Vec::new();
    loop {
        let after = found.last().map(|counted: &nuage_model::SignatureCount| counted.signature);
        let page = moment.signatures(whose, after, limit).await.expect("it reads");
        assert!(page.len() <= limit, "{context}");
        let is_last = page.len() < limit;
        found.extend(page);
        if is_last {
            break;
        }
    }
    assert!(found.is_sorted_by(|a, b| a.signature < b.signature), "{found:?}, {context}");
    kept.assert_counted(whose, &found, &context);
    if let ReaderFilter::Of(who) = whose {
        let first: Vec<_> = found.iter().map(|counted| counted.signature).take(limit).collect();
        assert_eq!(moment.signatures_of(who, limit).await.expect("it reads"), first, "{context}");
    }

    let mut asked = signatures(kept, random);
    asked.push(Signature([random.below(256) as u8; 16]));
    let mut members = moment.principals_of(&asked).await.expect("it reads");
    members.iter_mut().for_each(|who| who.sort());
    assert_eq!(members.len(), asked.len(), "{context}");
    for (signature, members) in asked.iter().zip(members) {
        kept.assert_members(*signature, &members, &context);
    }
}

async fn bodies(moment: &mut dyn Snapshot, kept: &Kept, random: &mut Random, context: &str) {
    let mut ids: Vec<RecordId> = Vec::new();
    for _ in 0..random.below(6) {
        let id = RecordId::from(format!("r{}", random.below(IDS + 1)));
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let bytes_max = random.below(150);
    let found: Vec<Record> = moment.records(&ids, bytes_max).await.expect("it reads");
    let expected = kept.records(&ids, bytes_max);
    assert_eq!(found, expected, "{ids:?} in {bytes_max} bytes, {context}");
}

// Some of those that were ever there, and one that was not.
fn signatures(kept: &Kept, random: &mut Random) -> Vec<Signature> {
    let unknown = Readers::new(principals(&["nobody that was ever there"]).into_iter().collect());
    let all = kept.ever().chain([unknown.signature()]);
    let mut some: Vec<Signature> = all.filter(|_| random.chance(60)).collect();
    for n in (1..some.len()).rev() {
        some.swap(n, random.below(n + 1));
    }
    some
}
