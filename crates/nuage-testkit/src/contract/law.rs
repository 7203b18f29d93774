//! The law of lists: whatever is asked, by whatever way it is found, in pages of whatever size,
//! the answer is what the evaluator of the model says of every record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nuage_model::{
    Bodies, CollectionPath, Direction, Field, Filter, Head, PAGE_BYTES, Permissions, Placement,
    Principal, Put, Query, Readers, Record, RecordId, RecordPath, Scope, Sort, States, Store, Test,
    Timestamp, View, Write,
};
use serde_json::{Value, json};

use super::build::{NOW, apply, at, first, founded, head};
use crate::random::Random;

const QUERIES: usize = 40;
const PEOPLE: &[&str] = &["alice", "bob", "carol", "dave", "system.Everyone"];

/// Fills a store of its own with random records and asks it random questions. The seed decides
/// everything.
pub async fn lists_agree_with_the_model(store: Arc<dyn Store>, seed: u64) {
    let mut random = Random::new(seed);
    let posts = founded(&store, "blog", "posts").await;
    let readers = fill(&store, &posts, &mut random).await;
    let paths: Vec<_> = (0..60).map(|n| posts.record(format!("r{n}"))).collect();
    let records = store.get(&paths, Bodies::All).await.expect("it reads");
    let records: Vec<Record> = records.into_iter().flatten().collect();
    let Some(whole) = head(&store, &posts).await else { return };
    let first = first(&store, &posts).await;
    for _ in 0..QUERIES {
        let query = question(&posts, &records, &mut random);
        let expected = answer(&query, &records, &readers);
        let context = format!("seed {seed}: {query:?}");
        let at = position(&query.scope, &records, &readers).unwrap_or(whole.timestamp).max(first);
        let (found, shown) = pages(&store, &query).await;
        assert_eq!(found, expected, "{context}");
        let since = query.since().filter(|since| query.scope != Scope::All && *since >= first);
        let since = since.filter(|_| query.after.is_none());
        let told = since.filter(|_| found.is_empty()).map_or(at, |since| since.min(at));
        assert_eq!(shown, Some(Head { timestamp: told, ..whole }), "{context}");
        let all = Query { after: None, ..query.clone() };
        let (head, counted) = store.count(&query).await.expect("it counts");
        assert_eq!(counted, answer(&all, &records, &readers).len() as u64, "{context}");
        assert_eq!(head, Some(Head { timestamp: at, ..whole }), "{context}");
    }
}

/// Whom each record's last permissions let read: a tombstone keeps its readers.
type ReadersOf = BTreeMap<RecordId, BTreeSet<Principal>>;

async fn fill(store: &Arc<dyn Store>, posts: &CollectionPath, random: &mut Random) -> ReadersOf {
    let mut readers = ReadersOf::new();
    let mut now = NOW;
    let chosen = if random.chance(50) { 15 } else { 0 };
    let several = random.chance(50);
    for _ in 0..random.below(150) {
        now += random.below(4) as i64;
        let path = posts.record(format!("r{}", random.below(60)));
        let placement = if random.chance(chosen) {
            at(now - 20 + random.below(25) as i64)
        } else {
            Placement::Next
        };
        let write = if random.chance(20) {
            Write::Delete { path, placement }
        } else {
            put(path, placement, several, random)
        };
        if let Write::Put(Put { path, readers: who, .. }) = &write {
            readers.insert(path.id.clone(), who.principals().clone());
        }
        apply(store, now, vec![write]).await;
    }
    readers
}

fn put(path: RecordPath, placement: Placement, several: bool, random: &mut Random) -> Write {
    let mut permissions = Permissions::default();
    let mut readers = BTreeSet::new();
    let few = if several { 4 } else { 2 };
    for _ in 0..random.below(few) {
        let who = Principal::from(*random.pick(PEOPLE));
        let name = *random.pick(&["read", "write"]);
        permissions.add(name, who.clone());
        readers.insert(who);
    }
    let mut body = json!({ "n": value(random), "deep": { "m": value(random) } });
    if random.chance(30) {
        body["deleted"] = value(random);
    }
    if random.chance(30) {
        body.as_object_mut().expect("it is an object").remove("n");
    }
    Write::Put(Put {
        path,
        body: body.to_string().into(),
        permissions: permissions.to_text(),
        readers: Readers::new(readers),
        placement,
    })
}

fn value(random: &mut Random) -> Value {
    match random.below(9) {
        0 => Value::Null,
        1 => json!(random.below(2) == 0),
        2 => json!(random.below(4) as f64 / 2.0),
        3 | 4 => json!(random.below(4)),
        5 => json!(*random.pick(&["", "a", "Ab", "b*c", "r1"])),
        6 => json!([random.below(3), "a"]),
        7 => json!({ "x": random.below(2) }),
        _ => json!(-(random.below(4) as i64)),
    }
}

fn question(posts: &CollectionPath, records: &[Record], random: &mut Random) -> Query {
    let people = |random: &mut Random| {
        (0..random.below(3)).map(|_| Principal::from(*random.pick(PEOPLE))).collect()
    };
    let scope = match random.below(4) {
        0 | 1 => Scope::All,
        2 => Scope::Readers(people(random)),
        _ => Scope::Holders("write", people(random)),
    };
    let filters = match random.below(4) {
        0 => 0,
        1 | 2 => 1,
        _ => 2,
    };
    let filters = (0..filters).map(|_| filter(records, random)).collect();
    let mut query = Query {
        collection: posts.clone(),
        scope,
        states: if random.chance(50) { States::Live } else { States::Both },
        filters,
        sort: order(random),
        after: None,
        limit: random.below(12) + 1,
        limit_bytes: *random.pick(&[1, 400, PAGE_BYTES]),
        bodies: true,
    };
    if random.chance(30) && !records.is_empty() {
        query.after = Some(query.position(&View::new(random.pick(records))));
    }
    query
}

fn filter(records: &[Record], random: &mut Random) -> Filter {
    let field = field(random);
    let operand = |random: &mut Random| match &field {
        Field::Id => json!(format!("r{}", random.below(60))),
        Field::Timestamp if random.chance(90) && !records.is_empty() => {
            json!(random.pick(records).timestamp().0 + random.below(3) as i64 - 1)
        }
        _ => value(random),
    };
    let operands = |random: &mut Random| (0..random.below(6)).map(|_| operand(random)).collect();
    let test = match random.below(12) {
        0 => Test::Eq(operand(random)),
        1 => Test::Not(operand(random)),
        2 => Test::Gt(operand(random)),
        3 => Test::Min(operand(random)),
        4 => Test::Lt(operand(random)),
        5 => Test::Max(operand(random)),
        6 | 7 => Test::In(operands(random)),
        8 => Test::Exclude(operands(random)),
        9 => Test::Like((*random.pick(&["a*", "*b", "r1*", "*", "r1"])).to_owned()),
        10 => Test::Has(random.chance(50)),
        _ => Test::Contains(operands(random)),
    };
    Filter { field, test }
}

fn field(random: &mut Random) -> Field {
    match random.below(8) {
        0 | 1 => Field::Id,
        2..=4 => Field::Timestamp,
        5 => Field::Deleted,
        6 => Field::Body(vec!["n".to_owned()]),
        _ => Field::Body(vec!["deep".to_owned(), "m".to_owned()]),
    }
}

fn order(random: &mut Random) -> Vec<Sort> {
    let direction = |random: &mut Random| {
        if random.chance(50) { Direction::Ascending } else { Direction::Descending }
    };
    let mut order = Vec::new();
    for _ in 0..random.below(3) {
        order.push(Sort { field: field(random), direction: direction(random) });
    }
    // Complete: it ends with a field that differs in every record.
    order.push(Sort { field: Field::Timestamp, direction: direction(random) });
    order
}

fn answer(query: &Query, records: &[Record], readers: &ReadersOf) -> Vec<Record> {
    let shown = |record: &&Record| {
        let visible = match &query.scope {
            Scope::All => true,
            Scope::Readers(who) => who.iter().any(|one| readers[&record.id].contains(one)),
            Scope::Holders(permission, who) => {
                let own = Permissions::from_text(&record.permissions()).expect("we wrote it");
                who.iter().any(|one| own.holders(permission).any(|holder| holder == one))
            }
        };
        visible && query.matches(&View::new(record))
    };
    let mut shown: Vec<Record> = records.iter().filter(shown).cloned().collect();
    shown.sort_by(|a, b| {
        let (a, b) = (query.position(&View::new(a)), query.position(&View::new(b)));
        query.compare_positions(&a, &b)
    });
    shown
}

// The greatest time that is shown by what somebody sees, tombstones included; none for whoever sees
// all, and where there is nothing, the beginning of time.
fn position(scope: &Scope, records: &[Record], readers: &ReadersOf) -> Option<Timestamp> {
    let (Scope::Readers(who) | Scope::Holders(_, who)) = scope else { return None };
    let seen = |record: &&Record| who.iter().any(|one| readers[&record.id].contains(one));
    let shown = records.iter().filter(seen).map(Record::timestamp).max();
    Some(shown.unwrap_or(Timestamp(0)))
}

/// The records of all pages, and the head that the last one shows.
async fn pages(store: &Arc<dyn Store>, query: &Query) -> (Vec<Record>, Option<Head>) {
    let mut records = Vec::new();
    let mut query = query.clone();
    loop {
        let page = store.list(&query).await.expect("it lists");
        assert!(page.records.len() <= query.limit, "a page is too long: {query:?}");
        let Some(last) = page.records.last() else {
            assert!(!page.more, "an empty page says that others follow: {query:?}");
            return (records, page.head);
        };
        query.after = Some(query.position(&View::new(last)));
        records.extend(page.records);
        if !page.more {
            return (records, page.head);
        }
    }
}
