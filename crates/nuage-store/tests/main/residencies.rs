//! A record that has two signatures at a time, or none, or whose past is forgotten too early.
//!
//! Random histories of puts, deletions, revivals, erasures, drops, moves of the horizon and joins
//! of ended residencies, applied in batches to the store and one by one to a model; then the tables
//! must say what the model says. After each batch, every sum and counter must be what it sums up
//! or counts. A failure
//! names its seed; `NUAGE_SEED` replays it alone, `NUAGE_HISTORIES` sets how many there are.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nuage_model::{
    ApplyError, Batch, Body, CollectionPath, DIGEST_MODULUS, Guard, Placement, Principal, Put,
    Readers, RecordMeta, RecordPath, Seq, Signature, Store, Timestamp, Write, digest,
};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::random::Random;

use crate::model::{Collection, Residency};
use crate::place::{Place, Tables, hexadecimal};
use crate::positions::{self, Rule};
use crate::seeds;

both_databases!(async the_tables_tell_what_happened);

/// On SQLite and on PostgreSQL, where each batch takes some hundred times as long.
const HISTORIES: (u64, u64) = (2_000, 200);
const BATCHES: usize = 12;
const BASE: i64 = 1_000;
const PEOPLE: &[&str] =
    &["alice", "/buckets/a/groups/staff", "/buckets/b/groups/staff", "/buckets/b/groups/"];
const IDS: &[&str] = &["a", "b", "c", "d"];

struct History {
    store: Arc<dyn Store>,
    random: Random,
    bucket: String,
    models: BTreeMap<CollectionPath, Collection>,
    now: i64,
    seed: u64,
    /// Where the horizon was moved last.
    compacted: Option<CollectionPath>,
    /// Rules of the time of a list that this history tells from the right one.
    told_apart: BTreeSet<Rule>,
}

async fn the_tables_tell_what_happened(backend: Backend) {
    let place = Place::new(backend);
    let store = place.open().await;
    let tables = place.tables().await;
    let count = backend.choose(HISTORIES.0, HISTORIES.1);
    let mut told_apart: BTreeMap<Rule, usize> = BTreeMap::new();
    for (number, seed) in seeds(count).enumerate() {
        let bucket = format!("h{number}");
        crate::found(&store, &bucket, &["x", "y"]).await;
        let names = ["x", "y"].map(|name| CollectionPath::new(&*bucket, name));
        let models = names.into_iter().map(|path| (path, Collection::default())).collect();
        let random = Random::new(seed);
        let mut history = History {
            store: store.clone(),
            random,
            bucket,
            models,
            now: BASE,
            seed,
            compacted: None,
            told_apart: BTreeSet::new(),
        };
        for _ in 0..BATCHES {
            history.step().await;
            history.look().await;
            assert_counted(&tables, &history.bucket, seed).await;
            for (path, model) in &history.models {
                assert_named(&tables, path, model, seed).await;
            }
        }
        for (path, model) in &history.models {
            assert_same(&tables, path, model, seed).await;
        }
        for rule in &history.told_apart {
            *told_apart.entry(*rule).or_default() += 1;
        }
        // Bring back the parents that were dropped, so that nothing is an orphan.
        crate::found(&store, &history.bucket, &["x", "y"]).await;
    }
    assert_eq!(store.admin().check().await.unwrap(), []);
    store.close().await;
    // Some rules show in one history of a hundred.
    if backend == Backend::Sqlite && std::env::var_os("NUAGE_SEED").is_none() {
        let wrong = Rule::ALL.into_iter().filter(|rule| *rule != Rule::Right);
        let missed: Vec<Rule> = wrong.filter(|rule| !told_apart.contains_key(rule)).collect();
        assert_eq!(missed, [], "no history tells these rules from the right one: {told_apart:?}");
    }
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
        let found = live_at.map(|seq| {
            // Nobody says more of it than its position.
            let (signature, entered) = (Signature([0; 16]), Seq(0));
            RecordMeta { seq, chosen: None, signature, entered, dead: false }
        });
        let guards = vec![Guard { path, found }];
        let applied =
            self.store.apply(Batch { guards, ..Batch::new(Timestamp(self.now), writes) }).await;
        match applied {
            Err(ApplyError::Conflict) if lie => self.models = models,
            Ok(outcomes) if !lie => assert_eq!(outcomes, expected),
            other => {
                panic!("seed {}: the guard is wrong: {lie}, and the answer is {other:?}", self.seed)
            }
        }
    }

    async fn look(&mut self) {
        let compacted = self.compacted.take();
        for _ in 0..if compacted.is_some() { 8 } else { 1 } {
            let at = self.random.below(self.models.len());
            let path = compacted.as_ref().or_else(|| self.models.keys().nth(at));
            let one = path.and_then(|path| self.models.get_key_value(path)).expect("it is there");
            let wrong = positions::look(&self.store, one, PEOPLE, &mut self.random).await;
            let (path, model) = one;
            let context = || format!("replay with NUAGE_SEED={}, {path}\n{model:#?}", self.seed);
            assert!(!wrong.contains(&Rule::Right), "the time of a list is wrong; {}", context());
            self.told_apart.extend(wrong);
        }
    }

    fn write(&mut self) -> (Write, nuage_model::Outcome) {
        let now = self.now;
        let path = self.record();
        let collection = path.collection.clone();
        let placement = self.placement();
        let kind =
            self.random.weighted(&[(55, 0), (25, 1), (6, 2), (5, 3), (2, 4), (8, 5), (1, 6)]);
        let readers = self.readers();
        let back = self.random.below(8) as i64;
        let model = self.models.get_mut(&collection).expect("both are there");
        let id = path.id.as_str().to_owned();
        match kind {
            0 => {
                let outcome = model.put(&id, &readers, placement, now);
                let body = Body::from("{}".to_owned());
                let permissions = "{}".to_owned();
                (Write::Put(Put { path, body, permissions, readers, placement }), outcome)
            }
            1 => (Write::Delete { path, placement }, model.delete(&id, placement, now)),
            2 => (Write::Erase { path }, model.erase(&id)),
            3 => (Write::Touch { collection }, model.touch(now)),
            4 => {
                model.drop_all();
                (Write::DropCollection { collection }, Default::default())
            }
            5 => {
                let up_to = model.seq + 1 - back;
                self.compacted = Some(collection.clone());
                (Write::Compact { collection, up_to: Seq(up_to) }, model.compact(up_to))
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
        // Often the same, so that several records have one signature.
        if self.random.chance(40) {
            return Readers::new(BTreeSet::from([Principal::from(PEOPLE[0])]));
        }
        let people = (0..self.random.below(3)).map(|_| Principal::from(*self.random.pick(PEOPLE)));
        Readers::new(people.collect::<BTreeSet<_>>())
    }

    fn placement(&mut self) -> Placement {
        if self.random.chance(70) {
            return Placement::Next;
        }
        let far = self.random.weighted(&[(4, 12), (2, 3), (1, 1_100)]);
        let time = self.now + 4 - self.random.below(far) as i64;
        match self.random.chance(30) {
            true => Placement::Ahead(Timestamp(time)),
            false => Placement::At(Timestamp(time)),
        }
    }
}

async fn assert_same(tables: &Tables, path: &CollectionPath, model: &Collection, seed: u64) {
    let context = format!("replay with NUAGE_SEED={seed}, {path}\n{model:#?}");
    let expected = model.residencies().into_iter().map(|residency| {
        let Residency { id, signature, entered, left } = residency;
        vec![Some(id), Some(hexadecimal(&signature.0)), text(entered), left.and_then(text)]
    });
    let mut expected: Vec<_> = expected.collect();
    expected.sort();
    let mut residencies = tables.read(RESIDENCIES, path).await;
    residencies.sort();
    assert_eq!(residencies, expected, "{context}");

    let rows = tables.read(ROWS, path).await;
    let expected = model.rows.iter().map(|(id, row)| {
        vec![Some(id.clone()), text(row.seq), text(row.shown), text(i64::from(row.dead))]
    });
    assert_eq!(rows, expected.collect::<Vec<_>>(), "{context}");
    let times: BTreeSet<_> = rows.iter().map(|row| &row[2]).collect();
    assert_eq!(times.len(), rows.len(), "two records show one time; {context}");

    let known = tables.read(SIGNATURES, path).await;
    let known: BTreeSet<_> = known.into_iter().collect();
    let expected = model.used().into_iter().map(|signature| {
        let top = model.tops[&(Rule::Right, signature)];
        vec![Some(hexadecimal(&signature.0)), text(top)]
    });
    assert_eq!(known, expected.collect(), "{context}");

    let found = tables.read(COLLECTION, path).await;
    let Some(found) = found.first() else {
        assert!(!model.exists && model.seq == 0, "{context}");
        return;
    };
    assert_eq!(found[..2], [text(model.seq), text(i64::from(!model.exists))], "{context}");
    if model.exists {
        let tombstones = model.rows.len() as i64 - model.live();
        let gone = model.ended.len() as i64;
        let expected = [model.shown, model.horizon, model.live(), tombstones, gone].map(text);
        assert_eq!(found[2..7], expected, "{context}");
        let incarnation = hexadecimal(&model.incarnation.to_be_bytes());
        assert_eq!(found[7].as_deref(), Some(&*incarnation), "{context}");
    }
}

async fn assert_named(tables: &Tables, path: &CollectionPath, model: &Collection, seed: u64) {
    let context = format!("replay with NUAGE_SEED={seed}, {path}\n{model:#?}");
    let expected = model.names.iter().map(|(group, name)| {
        let [bucket, group] = [group.bucket.as_str(), group.group.as_str()].map(str::to_owned);
        let numbers = [name.signatures, name.since, name.ordinal].map(text);
        [Some(bucket), Some(group)].into_iter().chain(numbers).collect()
    });
    let expected: Vec<Vec<Option<String>>> = expected.collect();
    assert_eq!(tables.read(NAMES, path).await, expected, "{context}");
    let counted = tables
        .read(
            "SELECT names, named FROM collections WHERE bucket = $bucket
        AND collection = $collection",
            path,
        )
        .await;
    let expected = [model.names.len() as i64, model.named];
    let found = counted.first().map_or([text(0), text(0)], |row| [row[0].clone(), row[1].clone()]);
    assert_eq!(found, expected.map(text), "{context}");
}

// What is counted in the tables of a bucket is counted anew.
async fn assert_counted(tables: &Tables, bucket: &str, seed: u64) {
    let context = format!("replay with NUAGE_SEED={seed}");
    let anywhere = CollectionPath::new(bucket, "");
    let number = |cell: &Option<String>| cell.as_deref().unwrap().parse::<i64>().unwrap();
    let mut sums: BTreeMap<(String, String), (i64, u64)> = BTreeMap::new();
    for row in tables.read(RESIDENTS, &anywhere).await {
        let [Some(collection), Some(signature), Some(id), shown] = &row[..] else {
            panic!("{row:?}, {context}")
        };
        let (live, sum) = sums.entry((collection.clone(), signature.clone())).or_default();
        let more = digest(&id.as_str().into(), Timestamp(number(shown)));
        (*live, *sum) = (*live + 1, (*sum + more) % DIGEST_MODULUS);
    }
    for row in tables.read(SUMS, &anywhere).await {
        let key = (row[0].clone().unwrap(), row[1].clone().unwrap());
        let (live, sum) = sums.remove(&key).unwrap_or_default();
        assert_eq!((number(&row[2]), number(&row[3]) as u64), (live, sum), "{key:?}, {context}");
    }
    assert!(sums.is_empty(), "nobody knows {sums:?}, {context}");
    for row in tables.read(COUNTERS, &anywhere).await {
        assert_eq!(row[1..5], row[5..], "{row:?}, {context}");
    }
}

const RESIDENTS: &str = "
    SELECT collection, signature, id, coalesce(timestamp, seq) FROM named_records
    WHERE bucket = $bucket AND NOT dead";

const SUMS: &str = "
    SELECT collection, signature, live, digest FROM named_signatures WHERE bucket = $bucket";

const COUNTERS: &str = "
    SELECT c.collection, c.live, c.tombstones, c.chosen, c.gone,
        count(CASE WHEN NOT r.dead THEN 1 END), count(CASE WHEN r.dead THEN 1 END),
        count(r.timestamp), (SELECT count(*) FROM named_gone g
            WHERE g.bucket = $bucket AND g.collection = c.collection)
    FROM collections c
    LEFT JOIN (SELECT collection, dead, timestamp FROM named_records WHERE bucket = $bucket) r
    ON r.collection = c.collection
    WHERE c.bucket = $bucket
    GROUP BY c.bucket, c.collection, c.live, c.tombstones, c.chosen, c.gone";

const NAMES: &str = "
    SELECT grp_bucket, grp, signatures, since, ordinal FROM named_names
    WHERE bucket = $bucket AND collection = $collection ORDER BY grp_bucket, grp";

const SIGNATURES: &str = "
    SELECT signature, top FROM named_signatures WHERE bucket = $bucket AND collection = $collection";

const ROWS: &str = "
    SELECT id, seq, coalesce(timestamp, seq), CASE WHEN dead THEN 1 ELSE 0 END
    FROM named_records WHERE bucket = $bucket AND collection = $collection ORDER BY id";

const COLLECTION: &str = "
    SELECT seq, CASE WHEN dropped THEN 1 ELSE 0 END, coalesce(timestamp, seq), gc_seq, live,
        tombstones, gone, incarnation
    FROM collections WHERE bucket = $bucket AND collection = $collection";

const RESIDENCIES: &str = "
    SELECT id, signature, entered, CASE WHEN dead THEN seq END FROM named_records
    WHERE bucket = $bucket AND collection = $collection
    UNION ALL
    SELECT id, signature, entered, seq FROM named_gone
    WHERE bucket = $bucket AND collection = $collection";

fn text(number: i64) -> Option<String> {
    Some(number.to_string())
}
