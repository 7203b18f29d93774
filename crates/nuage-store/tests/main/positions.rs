//! A list that shows whoever sees part of it a time that tells of the rest, or by which they miss
//! something.
//!
//! The random histories compare each list with the rule, and must tell wrong rules from it.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_model::{
    Body, CollectionPath, Field, Filter, Placement, Principal, Put, Query, Readers, Scope, States,
    Store, Test, Timestamp, Write,
};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::random::Random;

use crate::model::{Collection, Row};
use crate::place::Place;

both_databases!(async many_leave_at_once, very_many_times_were_chosen);

const PEOPLE: [&str; 1] = ["alice"];

// More than are looked at for the greatest that is left.
async fn many_leave_at_once(backend: Backend) {
    let place = Place::new(backend);
    let store = place.open().await;
    crate::found(&store, "b", &["x"]).await;
    let path = CollectionPath::new("b", "x");
    let put = |n: usize, who: &[&str]| put(&path, n, who, Placement::Next);
    let all = crate::apply(&store, (0..1_200).map(|n| put(n, &PEOPLE)).collect()).await;
    assert_eq!(shown(&store, &path).await, all[1_199].timestamp);
    for left in [1_199, 1_000, 150, 3] {
        crate::apply(&store, (left..1_200).map(|n| put(n, &[])).collect()).await;
        assert_eq!(shown(&store, &path).await, all[left - 1].timestamp, "{left}");
    }
    crate::apply(&store, (0..3).map(|n| put(n, &[])).collect()).await;
    assert_eq!(shown(&store, &path).await, all[0].timestamp, "the first time of the collection");
    assert_eq!(store.admin().check().await.unwrap(), []);
    store.close().await;
}

// It is never less than what is shown, or somebody would miss something.
async fn very_many_times_were_chosen(backend: Backend) {
    let place = Place::new(backend);
    let store = place.open().await;
    crate::found(&store, "b", &["x"]).await;
    let path = CollectionPath::new("b", "x");
    let put = |n: usize, who: &[&str]| {
        put(&path, n, who, Placement::At(Timestamp(100 + i64::try_from(n).unwrap())))
    };
    let all = crate::apply(&store, (0..300).map(|n| put(n, &PEOPLE)).collect()).await;
    crate::apply(&store, vec![put(299, &[])]).await;
    let at = shown(&store, &path).await;
    assert!(at >= all[298].timestamp, "{at:?}");
    let newer = Filter { field: Field::Timestamp, test: Test::Gt(at.0.into()) };
    let query = Query { filters: vec![newer], ..of_people(&path) };
    assert_eq!(store.list(&query).await.unwrap().records, []);
    assert_eq!(store.admin().check().await.unwrap(), []);
    store.close().await;
}

fn put(path: &CollectionPath, n: usize, who: &[&str], placement: Placement) -> Write {
    Write::Put(Put {
        path: path.record(format!("r{n}")),
        body: Body::from("{}".to_owned()),
        permissions: "{}".to_owned(),
        readers: Readers::new(who.iter().map(|one| Principal::from(*one)).collect()),
        placement,
    })
}

fn of_people(path: &CollectionPath) -> Query {
    let people = PEOPLE.map(Principal::from).to_vec();
    Query { scope: Scope::Readers(people), states: States::Both, ..Query::all(path.clone(), 1) }
}

async fn shown(store: &Arc<dyn Store>, path: &CollectionPath) -> Timestamp {
    store.list(&of_people(path)).await.unwrap().head.unwrap().timestamp
}

/// How the time of a list comes about for those who see part of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Rule {
    /// As it is.
    Right,
    /// It is that of the whole collection.
    Head,
    /// It never goes back.
    HighWater,
    /// Positions count, and not the times that are shown.
    ByPosition,
    /// What is deleted does not count.
    WithoutTombstones,
    /// Where the greatest goes, nothing is left.
    LoweredToZero,
    /// Who makes a deleted record again takes nothing away.
    NotLoweredAtRevival,
    /// An earlier time in the same signature takes nothing away.
    NotLoweredInPlace,
    /// What is forgotten by age does not count any more.
    LoweredByCompaction,
    /// Without anything to see, there is no time.
    WithoutFirst,
    /// Who is told nothing new is told the time that they said.
    Echo,
    /// Who is told nothing new is told the time all the same.
    WithoutMin,
}

impl Rule {
    pub(crate) const ALL: [Self; 12] = [
        Self::Right,
        Self::Head,
        Self::HighWater,
        Self::ByPosition,
        Self::WithoutTombstones,
        Self::LoweredToZero,
        Self::NotLoweredAtRevival,
        Self::NotLoweredInPlace,
        Self::LoweredByCompaction,
        Self::WithoutFirst,
        Self::Echo,
        Self::WithoutMin,
    ];

    /// What a row counts for.
    pub(crate) fn time(self, row: &Row) -> i64 {
        if self == Self::ByPosition { row.seq } else { row.shown }
    }
}

/// Asks for a list as somebody, and says which rules it does not follow.
pub(crate) async fn look(
    store: &Arc<dyn Store>,
    (path, model): (&CollectionPath, &Collection),
    people: &[&str],
    random: &mut Random,
) -> BTreeSet<Rule> {
    // Those whom a signature names, or anybody.
    let named: Vec<_> = model.used().into_iter().collect();
    let who: Vec<Principal> = match named.is_empty() || random.chance(30) {
        true => (0..random.below(3)).map(|_| Principal::from(*random.pick(people))).collect(),
        false => model.readers[random.pick(&named)].principals().iter().cloned().collect(),
    };
    let mut query = Query {
        scope: Scope::Readers(who.clone()),
        states: States::Both,
        ..Query::all(path.clone(), 10)
    };
    // What was told last, or about the head.
    let newest = model.position(Rule::LoweredByCompaction, &who, None);
    let since = random.chance(60).then(|| match random.chance(60) {
        true => newest,
        false => model.shown + 4 - random.below(12) as i64,
    });
    let newer = since.map(|since| Filter { field: Field::Timestamp, test: Test::Gt(since.into()) });
    query.filters.extend(newer);
    let page = store.list(&query).await.unwrap();
    let shown = page.head.map_or(Timestamp(0), |head| head.timestamp).0;
    Rule::ALL.into_iter().filter(|rule| model.position(*rule, &who, since) != shown).collect()
}
