//! A list that says something else when it is found by another way, or in other pages, or when it
//! is too long to be read in one go.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_model::{
    Batch, Bodies, Body, CollectionPath, Direction, Field, Filter, Head, PAGE_BYTES, Permissions,
    Placement, Principal, Put, Query, Readers, Record, Scope, Sort, States, Store, Test, Timestamp,
    View, Write,
};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::random::Random;
use serde_json::Value;

use crate::place::Place;
use crate::seeds;

both_databases!(async every_way_agrees_with_the_model, long_ways_agree_with_the_model);

/// On SQLite and on PostgreSQL.
const HISTORIES: (u64, u64) = (60, 25);
/// Records of a long collection, and questions to it.
const RECORDS: i64 = 2_600;
const QUESTIONS: usize = 25;

async fn every_way_agrees_with_the_model(backend: Backend) {
    let first = Place::new(backend);
    for seed in seeds(backend.choose(HISTORIES.0, HISTORIES.1)) {
        let place = first.another();
        let store = place.open().await;
        nuage_testkit::contract::law::lists_agree_with_the_model(store.clone(), seed).await;
        assert_eq!(store.admin().check().await.unwrap(), []);
        store.close().await;
    }
}

// Longer than any chunk that a database is asked for.
async fn long_ways_agree_with_the_model(backend: Backend) {
    let first = Place::new(backend);
    for seed in seeds(2) {
        let place = first.another();
        let store = place.open().await;
        crate::found(&store, "b", &["x"]).await;
        let path = CollectionPath::new("b", "x");
        let mut random = Random::new(seed);
        fill(&store, &path, &mut random).await;
        let paths: Vec<_> = (0..RECORDS).map(|n| path.record(n.to_string())).collect();
        let records: Vec<Record> =
            store.get(&paths, Bodies::All).await.unwrap().into_iter().flatten().collect();
        assert_eq!(records.len(), paths.len());
        let head = store.head(&path).await.unwrap().unwrap();
        for _ in 0..QUESTIONS {
            let query = question(&path, &records, &mut random);
            let context = format!("seed {seed}: {query:?}");
            let expected = answer(&query, &records);
            let page = store.list(&query).await.unwrap();
            let shown = expected.len().min(query.limit);
            assert_eq!(page.records.len(), shown, "{context}");
            assert!(page.records.iter().eq(&expected[..shown]), "{context}");
            assert_eq!(page.more, expected.len() > shown, "{context}");
            let all = answer(&Query { after: None, ..query.clone() }, &records).len() as u64;
            let at = position(&query, &records).unwrap_or(head.timestamp);
            let head = Head { timestamp: at, ..head };
            assert_eq!(store.count(&query).await.unwrap(), (Some(head), all), "{context}");
            let since = query.since().filter(|_| query.after.is_none() && expected.is_empty());
            let told =
                since.filter(|_| query.scope != Scope::All).map_or(at, |since| since.min(at));
            assert_eq!(page.head, Some(Head { timestamp: told, ..head }), "{context}");
        }
        store.close().await;
    }
}

async fn fill(store: &Arc<dyn Store>, path: &CollectionPath, random: &mut Random) {
    let chosen = random.chance(50);
    let mut writes = Vec::new();
    for n in 0..RECORDS {
        let who = readers(n);
        let mut permissions = Permissions::default();
        who.iter().for_each(|one| permissions.add("write", one.clone()));
        let placement = match random.chance(10) && chosen {
            true => Placement::At(Timestamp(n / 2)),
            false => Placement::Next,
        };
        writes.push(Write::Put(Put {
            path: path.record(n.to_string()),
            body: Body::from(format!("{{\"n\":{}}}", n % 7)),
            permissions: permissions.to_text(),
            readers: Readers::new(who),
            placement,
        }));
        if random.chance(20) {
            let path = path.record(random.below(n as usize + 1).to_string());
            writes.push(Write::Delete { path, placement: Placement::Next });
        }
    }
    for writes in writes.chunks(500) {
        let batch = Batch::new(Timestamp(9_000), writes.to_vec());
        store.apply(batch).await.unwrap();
    }
}

// A record's number tells who may read it.
fn readers(n: i64) -> BTreeSet<Principal> {
    let who = [("alice", 3), ("bob", 4), ("carol", 700)];
    who.iter().filter(|(_, part)| n % part == 0).map(|(one, _)| Principal::from(*one)).collect()
}

fn question(path: &CollectionPath, records: &[Record], random: &mut Random) -> Query {
    let who = match random.below(3) {
        0 => vec![Principal::from("alice")],
        1 => vec![Principal::from("bob"), Principal::from("carol")],
        _ => vec![Principal::from("carol"), Principal::from("dave")],
    };
    let scope = match random.below(4) {
        0 | 1 => Scope::All,
        2 => Scope::Readers(who),
        _ => Scope::Holders("write", who),
    };
    let time = random.pick(records).timestamp().0;
    let number = Field::Body(vec!["n".to_owned()]);
    let filter = match random.below(5) {
        0 | 1 => None,
        2 => Some((Field::Timestamp, Test::Gt(Value::from(time)))),
        3 => Some((number.clone(), Test::Lt(Value::from(6)))),
        _ => Some((Field::Id, Test::Like("1*".to_owned()))),
    };
    let direction = match random.chance(50) {
        true => Direction::Ascending,
        false => Direction::Descending,
    };
    let mut sort = vec![Sort { field: Field::Timestamp, direction }];
    if random.chance(20) {
        sort.insert(0, Sort { field: number, direction: Direction::Ascending });
    }
    let mut query = Query {
        collection: path.clone(),
        scope,
        states: if random.chance(50) { States::Live } else { States::Both },
        filters: filter.map(|(field, test)| Filter { field, test }).into_iter().collect(),
        sort,
        after: None,
        limit: *random.pick(&[1, 400, 999, 1_000, 1_001, 2_000, 10_000]),
        limit_bytes: PAGE_BYTES,
        bodies: true,
    };
    if random.chance(30) {
        query.after = Some(query.position(&View::new(random.pick(records))));
    }
    query
}

// The time of the list for whoever sees part of it: the greatest that they see, and that is later than
// the first one here.
fn position(query: &Query, records: &[Record]) -> Option<Timestamp> {
    let (Scope::Readers(who) | Scope::Holders(_, who)) = &query.scope else { return None };
    let all = Query::all(query.collection.clone(), usize::MAX);
    let seen = Query { scope: Scope::Readers(who.clone()), states: States::Both, ..all };
    answer(&seen, records).iter().map(Record::timestamp).max()
}

fn answer(query: &Query, records: &[Record]) -> Vec<Record> {
    let is_shown = |record: &&Record| {
        let own = || readers(record.id.as_str().parse().unwrap());
        let visible = match &query.scope {
            Scope::All => true,
            Scope::Readers(who) => who.iter().any(|one| own().contains(one)),
            // A tombstone has lost its permissions.
            Scope::Holders(_, who) => record.is_live() && who.iter().any(|one| own().contains(one)),
        };
        visible && query.matches(&View::new(record))
    };
    let mut shown: Vec<Record> = records.iter().filter(is_shown).cloned().collect();
    let place = |record: &Record| query.position(&View::new(record));
    shown.sort_by(|a, b| query.compare_positions(&place(a), &place(b)));
    shown
}
