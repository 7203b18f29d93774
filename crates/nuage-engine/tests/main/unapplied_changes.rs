//! What a unit of work shows of its own changes is what everybody sees once it is applied.

use nuage_engine::{ListIntent, Session, Settings};
use nuage_model::{Bodies, Direction, Field, Filter, Query, Sort, States, Test, View};
use nuage_testkit::random::Random;

use crate::houses::{House, collection, delete, is_conflict, put, records};

const HISTORIES: usize = 60;
const STEPS: usize = 8;

fn seed() -> u64 {
    match std::env::var("NUAGE_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => uuid::Uuid::new_v4().as_u64_pair().0,
    }
}

async fn change_something(random: &mut Random, session: &mut Session) {
    let id = *random.pick(&["a", "b", "c", "d", "e", "f"]);
    let path = records().record(id);
    let exists =
        session.look(&path, Bodies::All).await.unwrap().is_some_and(|record| record.is_live());
    if exists && random.chance(30) {
        delete(session, &path).await;
    } else if random.chance(3) {
        delete(session, &collection()).await;
        put(session, &collection(), "{}").await;
    } else {
        let body = match random.below(3) {
            0 => format!(r#"{{"n":{}}}"#, random.below(3)),
            1 => r#"{"n":null}"#.to_owned(),
            _ => r#"{"other":true}"#.to_owned(),
        };
        put(session, &path, &body).await;
    }
}

fn some_query(random: &mut Random) -> Query {
    let mut query = Query::all(records(), 1 + random.below(7));
    let n = Field::Body(vec!["n".to_owned()]);
    if random.chance(40) {
        let value = random.below(3).into();
        let test = match random.below(4) {
            0 => Test::Eq(value),
            1 => Test::Not(value),
            2 => Test::Gt(value),
            _ => Test::Has(true),
        };
        query.filters.push(Filter { field: n.clone(), test });
    }
    if random.chance(40) {
        let direction =
            if random.chance(50) { Direction::Ascending } else { Direction::Descending };
        query.sort.insert(0, Sort { field: n, direction });
    }
    if random.chance(40) {
        query.states = States::Both;
    }
    query
}

/// Identifiers in order, page by page to the end, and the count.
async fn seen(session: &mut Session, query: &Query) -> (Vec<String>, u64) {
    let list = session.open_list(records(), ListIntent::Read).await.unwrap();
    let mut query = query.clone();
    let (_, count) = session.count(&list, query.clone()).await.unwrap();
    let mut ids = Vec::new();
    loop {
        let (_, page) = session.list(&list, query.clone()).await.unwrap();
        let named = |record: &nuage_model::Record| {
            format!("{} {} {}", record.id, record.is_live(), record.body())
        };
        ids.extend(page.records.iter().map(named));
        match page.records.last().filter(|_| page.more) {
            None => return (ids, count),
            Some(last) => query.after = Some(query.position(&View::new(last))),
        }
    }
}

#[tokio::test]
async fn lists_and_counts_agree_before_and_after_the_commit() {
    let seed = seed();
    eprintln!("NUAGE_SEED={seed}");
    let mut random = Random::new(seed);
    let house = House::with_collection(Settings::default()).await;
    let mut refused_in_vain = 0;
    for history in 0..HISTORIES {
        let mut session = house.session("alice").await;
        for _ in 0..1 + random.below(STEPS) {
            change_something(&mut random, &mut session).await;
        }
        let queries: Vec<_> = (0..6).map(|_| some_query(&mut random)).collect();
        let mut before = Vec::new();
        for query in &queries {
            before.push(seen(&mut session, query).await);
        }
        match session.commit().await {
            // What is remembered of records may have gone with their collection; it is forgotten now.
            refused if is_conflict(&refused) => {
                refused_in_vain += 1;
                continue;
            }
            committed => committed.unwrap(),
        };
        for (query, before) in queries.iter().zip(before) {
            let mut session = house.session("alice").await;
            let after = seen(&mut session, query).await;
            assert_eq!(before, after, "history {history} of seed {seed}: {query:?}");
        }
    }
    assert!(refused_in_vain < HISTORIES / 4, "{refused_in_vain} of {HISTORIES}");
    assert!(house.engine.store().admin().check().await.unwrap().is_empty());
}
