//! A record that has two signatures at a time, or none, or whose past is forgotten too early.
//!
//! Random histories of puts, deletions, revivals, erasures and drops, applied in batches to the
//! store and one by one to a model; then the tables must say what the model says. A failure
//! names its seed; `NUAGE_SEED` replays it alone, `NUAGE_HISTORIES` sets how many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nuage_model::{
    ApplyError, Batch, Body, CollectionPath, Guard, Placement, Principal, Readers, RecordPath, Seq,
    Signature, Store, Timestamp, Write,
};
use nuage_testkit::random::Random;
use rusqlite::{Connection, params};

use crate::model::{Collection, Residency};
use crate::seeds;

const HISTORIES: u64 = 2_000;
const BATCHES: usize = 12;
const BASE: i64 = 1_000;
const PEOPLE: &[&str] = &["alice", "bob", "carol"];
const IDS: &[&str] = &["a", "b", "c", "d"];

struct History {
    store: Arc<dyn Store>,
    random: Random,
    bucket: String,
    models: BTreeMap<CollectionPath, Collection>,
    now: i64,
    seed: u64,
}

#[tokio::test]
async fn the_tables_tell_what_happened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    let store = crate::open(&path).await;
    let tables = Connection::open(&path).unwrap();
    for (number, seed) in seeds(HISTORIES).enumerate() {
        let bucket = format!("h{number}");
        crate::found(&store, &bucket, &["x", "y"]).await;
        let names = ["x", "y"].map(|name| CollectionPath::new(&*bucket, name));
        let models = names.into_iter().map(|path| (path, Collection::default())).collect();
        let random = Random::new(seed);
        let mut history = History { store: store.clone(), random, bucket, models, now: BASE, seed };
        for _ in 0..BATCHES {
            history.step().await;
        }
        for (path, model) in &history.models {
            assert_same(&tables, path, model, seed);
        }
        // Bring back the parents that were dropped, so that nothing is an orphan.
        crate::found(&store, &history.bucket, &["x", "y"]).await;
    }
    assert_eq!(store.check().await.unwrap(), []);
    store.close().await;
}

impl History {
    async fn step(&mut self) {
        self.now += self.random.below(5) as i64 - 1;
        let models = self.models.clone();
        let mut writes = Vec::new();
        let mut expected = Vec::new();
        for _ in 0..=self.random.below(3) {
            let (write, outcome) = self.write();
            writes.push(write);
            expected.push(outcome);
        }
        let path = self.record();
        let old = models.get(&path.collection).and_then(|model| model.rows.get(path.id.as_str()));
        let live_at = old.filter(|row| !row.dead).map(|row| Seq(row.seq));
        let lie = self.random.chance(10);
        let live_at = if lie { Some(Seq(live_at.map_or(1, |seq| seq.0 + 1))) } else { live_at };
        let guards = vec![Guard { path, live_at }];
        let applied = self.store.apply(Batch { now: Timestamp(self.now), guards, writes }).await;
        match applied {
            Err(ApplyError::Conflict) if lie => self.models = models,
            Ok(outcomes) if !lie => assert_eq!(outcomes, expected),
            other => {
                panic!("seed {}: the guard is wrong: {lie}, and the answer is {other:?}", self.seed)
            }
        }
    }

    fn write(&mut self) -> (Write, nuage_model::Outcome) {
        let now = self.now;
        let path = self.record();
        let collection = path.collection.clone();
        let placement = self.placement();
        let kind = self.random.weighted(&[(55, 0), (25, 1), (6, 2), (5, 3), (2, 4), (1, 5)]);
        let readers = self.readers();
        let model = self.models.get_mut(&collection).expect("both are there");
        let id = path.id.as_str().to_owned();
        match kind {
            0 => {
                let outcome = model.put(&id, readers.signature(), placement, now);
                let body = Body::from("{}".to_owned());
                let permissions = "{}".to_owned();
                (Write::Put { path, body, permissions, readers, placement }, outcome)
            }
            1 => (Write::Delete { path, placement }, model.delete(&id, placement, now)),
            2 => (Write::Erase { path }, model.erase(&id)),
            3 => (Write::Touch { collection }, model.touch(now)),
            4 => {
                model.drop_all();
                (Write::DropCollection { collection }, Default::default())
            }
            _ => {
                self.models.values_mut().for_each(Collection::drop_all);
                (Write::DropBucket { bucket: collection.bucket }, Default::default())
            }
        }
    }

    fn record(&mut self) -> RecordPath {
        let name = *self.random.pick(&["x", "y"]);
        CollectionPath::new(&*self.bucket, name).record(*self.random.pick(IDS))
    }

    fn readers(&mut self) -> Readers {
        let people = (0..self.random.below(3)).map(|_| Principal::from(*self.random.pick(PEOPLE)));
        Readers::new(people.collect::<BTreeSet<_>>())
    }

    fn placement(&mut self) -> Placement {
        if self.random.chance(70) {
            return Placement::Next;
        }
        let far = self.random.weighted(&[(4, 12), (2, 3), (1, 1_100)]);
        let time = self.now + 4 - self.random.below(far) as i64;
        Placement::At(Timestamp(time))
    }
}

fn assert_same(tables: &Connection, path: &CollectionPath, model: &Collection, seed: u64) {
    let context = format!("replay with NUAGE_SEED={seed}, {path}\n{model:#?}");
    assert_eq!(residencies(tables, path), model.residencies(), "{context}");
    let key = params![path.bucket.as_str(), path.name.as_str()];
    let mut select = tables
        .prepare_cached(
            "SELECT id, seq, coalesce(timestamp, seq), dead FROM records
             WHERE bucket = ?1 AND collection = ?2 ORDER BY id",
        )
        .unwrap();
    let rows = select.query_map(key, |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?)));
    let rows: Vec<(String, i64, i64, bool)> = rows.unwrap().map(Result::unwrap).collect();
    let expected = model.rows.iter().map(|(id, r)| (id.clone(), r.seq, r.shown, r.dead));
    assert_eq!(rows, expected.collect::<Vec<_>>(), "{context}");
    let times: BTreeSet<i64> = rows.iter().map(|row| row.2).collect();
    assert_eq!(times.len(), rows.len(), "two records show one time; {context}");

    let mut select = tables
        .prepare_cached(
            "SELECT seq, coalesce(timestamp, seq), gc_seq, live, tombstones, dropped, incarnation
             FROM collections WHERE bucket = ?1 AND collection = ?2",
        )
        .unwrap();
    let row = select.query_row(key, |r| {
        let numbers: [i64; 5] = [r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?];
        Ok((numbers, r.get::<_, bool>(5)?, r.get::<_, [u8; 8]>(6)?))
    });
    let Ok((numbers, dropped, incarnation)) = row else {
        assert!(!model.exists && model.seq == 0, "{context}");
        return;
    };
    assert_eq!((numbers[0], dropped), (model.seq, !model.exists), "{context}");
    if model.exists {
        let tombstones = model.rows.len() as i64 - model.live();
        let expected = [model.seq, model.shown, model.horizon, model.live(), tombstones];
        assert_eq!(numbers, expected, "{context}");
        assert_eq!(i64::from_be_bytes(incarnation), model.incarnation, "{context}");
    }
}

fn residencies(tables: &Connection, path: &CollectionPath) -> Vec<Residency> {
    let mut select = tables
        .prepare_cached(
            "SELECT id, signature, entered, iif(dead, seq, NULL) FROM records
             WHERE bucket = ?1 AND collection = ?2
             UNION ALL
             SELECT id, signature, entered, seq FROM gone WHERE bucket = ?1 AND collection = ?2",
        )
        .unwrap();
    let key = params![path.bucket.as_str(), path.name.as_str()];
    let rows = select.query_map(key, |r| {
        let signature = Signature(r.get(1)?);
        Ok(Residency { id: r.get(0)?, signature, entered: r.get(2)?, left: r.get(3)? })
    });
    let mut rows: Vec<Residency> = rows.unwrap().map(Result::unwrap).collect();
    rows.sort();
    rows
}
