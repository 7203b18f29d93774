//! A store that is not the same after it was copied: a row that is lost, changed or doubled, also
//! when the copy was interrupted.
//!
//! The stores are made by random histories; a failure names its seed, which `NUAGE_SEED` replays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nuage_model::copy::{COPY, Digest, Ground, KEPT, PageSize, Progress, STORE, Step, Table};
use nuage_model::{
    Batch, Body, CollectionPath, GroupPath, Placement, Principal, Put, Readers, RecordPath, Seq,
    Store, StoreError, Timestamp, Write,
};
use nuage_store::copy::{CopyError, Copying, Resume, Watch, digest, finish, meta};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::fault::FaultStore;
use nuage_testkit::random::Random;
use nuage_testkit::tables::readable;

use crate::place::Place;
use crate::seeds;

both_databases!(async
    there_and_back_everything_is_the_same_in_every_row,
    what_was_made_on_one_database_is_the_same_on_the_other,
    a_copy_goes_on_after_an_interruption_at_any_page,
    a_copy_does_not_mix_with_anything_else,
    two_copies_into_one_store_do_not_mix,
    what_is_read_for_a_copy_is_of_one_moment,
    a_page_ends_when_it_is_large_enough,
    a_step_in_the_wrong_place_changes_nothing,
);

/// Pages so small that each table takes several.
const SMALL: PageSize = PageSize { rows: 3, bytes: 400 };
const BATCHES: usize = 60;
const PEOPLE: &[&str] =
    &["account:ann", "account:b\u{e9}a", "system.Everyone", "basicauth:0\\\"'", GROUP];
const GROUP: &str = "/buckets/t\u{fc}/groups/g";
const BODIES: &[&str] = &[
    "{}",
    r#"{"n":1.0,"e":1e400,"long":0.1000000000000000055511151231257827,"minus":-0}"#,
    r#"{ "spaces" : [ 1 ,2 ], "twice":1,"twice":2 }"#,
    r#"{"text":"\u0000\ud800 \\ ' \" $1 ?1 %s","é":"日本語 🌍"}"#,
];

struct Silent;

impl Watch for Silent {
    fn advance(&mut self, _: Table, _: u64) {}
}

/// Whatever a store may hold: records, tombstones, ended residencies, times of their own, dropped
/// collections, groups, directories that outlived their reason.
pub(crate) async fn fill(store: &dyn Store, seed: u64) {
    let mut random = Random::new(seed);
    let mut now = 1_700_000_000_000;
    for bucket in ["one", "t\u{fc}", "Z"] {
        let collections = CollectionPath::collections(bucket.into());
        let mut writes = vec![crate::put(&RecordPath::bucket(bucket.into()))];
        writes.extend(["x", "y"].map(|name| crate::put(&collections.record(name))));
        store.apply(Batch::new(Timestamp(now), writes)).await.unwrap();
    }
    for _ in 0..BATCHES {
        now += random.below(3_000) as i64;
        let writes = (0..=random.below(4)).flat_map(|_| write(&mut random, now)).collect();
        store.apply(Batch::new(Timestamp(now), writes)).await.unwrap();
    }
    let group = GroupPath { bucket: "one".into(), group: "g".into() };
    let members = vec![Principal::from(PEOPLE[0])];
    // Whatever the histories were like, there is something in each table.
    let moved = |readers: Vec<Principal>| {
        Write::Put(Put {
            path: CollectionPath::new("one", "x").record("moved"),
            body: Body::from("{}".to_owned()),
            permissions: "{}".to_owned(),
            readers: Readers::new(readers.into_iter().collect()),
            placement: Placement::Next,
        })
    };
    let writes = vec![
        moved(Vec::new()),
        moved(members.clone()),
        moved(vec![Principal::from(GROUP)]),
        view("one", members.clone()),
        Write::Touch { collection: CollectionPath::groups("one".into()) },
        Write::SetMembers { group, members },
        Write::Mark { collection: CollectionPath::new("one", "x"), before: Timestamp(0) },
    ];
    store.apply(Batch::new(Timestamp(now), writes)).await.unwrap();
}

async fn keep(store: &Arc<dyn Store>, secret: &str) {
    let name = format!("{KEPT}secret");
    let writes = vec![Write::Note { name, was: None, text: secret.to_owned() }];
    let batch = Batch::new(Timestamp(0), writes);
    store.apply(batch).await.unwrap();
}

// Where a group has members, its bucket has groups.
fn write(random: &mut Random, now: i64) -> Vec<Write> {
    let write = one(random, now);
    let touch = match &write {
        Write::SetMembers { group, .. } => {
            Some(Write::Touch { collection: CollectionPath::groups(group.bucket.clone()) })
        }
        _ => None,
    };
    touch.into_iter().chain([write]).collect()
}

fn one(random: &mut Random, now: i64) -> Write {
    let bucket = *random.pick(&["one", "t\u{fc}", "Z"]);
    let collection = CollectionPath::new(bucket, *random.pick(&["x", "y"]));
    let path =
        collection.record(*random.pick(&["a", "b", "B", "\u{e9}", "-", "longer-than-others"]));
    let back = random.below(5_000) as i64;
    let placement = *random.pick(&[Placement::Next, Placement::At(Timestamp(now - back))]);
    let people: Vec<Principal> =
        (0..random.below(3)).map(|_| Principal::from(*random.pick(PEOPLE))).collect();
    let kinds = [
        (60, 0),
        (20, 1),
        (5, 2),
        (5, 3),
        (2, 4),
        (1, 5),
        (7, 6),
        (2, 7),
        (2, 8),
        (9, 9),
        (1, 10),
        (4, 11),
    ];
    match random.weighted(&kinds) {
        0 => Write::Put(Put {
            body: Body::from((*random.pick(BODIES)).to_owned()),
            permissions: r#"{"read":["x"],  "write":["y"]}"#.to_owned(),
            readers: Readers::new(people.into_iter().collect()),
            path,
            placement,
        }),
        1 => Write::Delete { path, placement },
        2 => Write::Erase { path },
        3 => Write::Touch { collection },
        4 => Write::DropCollection { collection },
        5 => Write::DropBucket { bucket: bucket.into() },
        6 => Write::SetMembers {
            group: GroupPath { bucket: bucket.into(), group: (*random.pick(&["g", "h"])).into() },
            members: people,
        },
        7 => Write::Compact { collection, up_to: Seq(now - 10 * back) },
        8 | 9 => view(bucket, people),
        11 => Write::Mark { collection, before: Timestamp(now - back) },
        _ => Write::ForgetViews { bucket: bucket.into(), before: Timestamp(now - back) },
    }
}

fn view(bucket: &str, groups: Vec<Principal>) -> Write {
    let name = [u8::try_from(groups.len()).unwrap(); 16];
    let (bucket, person) = (bucket.into(), Principal::from(PEOPLE[1]));
    Write::KeepView { bucket, person, name, groups }
}

/// A copy that is compared and finished.
async fn moved(from: &Place, to: &Place, what: &str) {
    let (store, to) = (from.open().await, to.open().await);
    from.expect_removed().await;
    let from = store;
    copied(&*from, &*to, Resume::Continue).await.unwrap();
    assert_eq!(digests(&*from).await, digests(&*to).await, "{what}");
    finish(&*to).await.unwrap();
    assert_eq!(findings(&*to).await, findings(&*from).await, "{what}");
    from.close().await;
    to.close().await;
}

async fn copied(from: &dyn Store, to: &dyn Store, resume: Resume) -> Result<(), CopyError> {
    let meta = meta(from).await.map_err(CopyError::Source)?;
    let copying = Copying::begin(from, to, meta, resume).await?.in_pages(SMALL);
    copying.run(&mut Silent).await
}

async fn digests(store: &dyn Store) -> (BTreeMap<Table, Digest>, Digest) {
    (digest(store, &mut Silent).await.unwrap(), Digest::of_meta(&meta(store).await.unwrap()))
}

pub(crate) async fn findings(store: &dyn Store) -> BTreeSet<String> {
    store.admin().check().await.unwrap().into_iter().map(|finding| finding.0).collect()
}

/// All rows, read without the code that copies.
async fn tables(place: &Place) -> BTreeMap<&'static str, Vec<Vec<Option<String>>>> {
    let tables = place.tables().await;
    let mut all = BTreeMap::new();
    let columns = |table: Table| table.columns().iter().map(|column| column.name);
    let columns = |table: Table| columns(table).collect::<Vec<_>>().join(", ");
    let all_columns = Table::ALL.into_iter().map(|table| (table.name(), columns(table)));
    for (name, columns) in all_columns.chain([("meta", "key, value".to_owned())]) {
        let anywhere = CollectionPath::new("", "");
        let sql = format!("SELECT {columns} FROM {}", readable(name));
        let mut rows = tables.read(&sql, &anywhere).await;
        rows.sort();
        // Where the data lies is another place, and nothing that is copied.
        rows.retain(|row| name != "meta" || row[0].as_deref() != Some("lineage"));
        assert!(!rows.is_empty(), "{name} is empty: the histories are too tame");
        all.insert(name, rows);
    }
    all
}

async fn there_and_back_everything_is_the_same_in_every_row(backend: Backend) {
    for seed in seeds(3) {
        let (from, there) = (Place::new(Backend::Sqlite), Place::new(backend));
        let back = Place::new(Backend::Sqlite);
        let store = from.open().await;
        fill(&*store, seed).await;
        keep(&store, "of the source").await;
        store.close().await;
        let store = there.open().await;
        keep(&store, "of the target").await;
        store.close().await;
        moved(&from, &there, &format!("seed {seed}, there")).await;
        moved(&there, &back, &format!("seed {seed}, back")).await;
        assert_eq!(tables(&from).await, tables(&back).await, "seed {seed}");
    }
}

async fn what_was_made_on_one_database_is_the_same_on_the_other(backend: Backend) {
    for seed in seeds(3) {
        let (from, there, back) =
            (Place::new(backend), Place::new(Backend::Sqlite), Place::new(backend));
        let store = from.open().await;
        fill(&*store, seed).await;
        store.close().await;
        moved(&from, &there, &format!("seed {seed}, there")).await;
        moved(&there, &back, &format!("seed {seed}, back")).await;
        assert_eq!(tables(&from).await, tables(&back).await, "seed {seed}");
    }
}

async fn a_copy_goes_on_after_an_interruption_at_any_page(backend: Backend) {
    let places = [Place::new(Backend::Sqlite), Place::new(backend)];
    let from = places[0].open().await;
    fill(&*from, 7).await;
    let mut attempts = 0;
    loop {
        // Enough to ask how far it is and to take one step.
        let to = FaultStore::new(places[1].open().await);
        to.fail_after(2);
        let copied = copied(&*from, &to, Resume::Continue).await;
        to.close().await;
        attempts += 1;
        match copied {
            Ok(()) => break,
            Err(CopyError::Target(StoreError::Unavailable(_))) => {}
            Err(other) => panic!("attempt {attempts}: {other:?}"),
        }
    }
    assert!(attempts > 30, "there were only {attempts} pages");
    let to = places[1].open().await;
    assert_eq!(digests(&*to).await, digests(&*from).await);
    finish(&*to).await.unwrap();
    assert_eq!(findings(&*to).await, findings(&*from).await);
    to.close().await;
    from.close().await;
}

async fn a_copy_does_not_mix_with_anything_else(backend: Backend) {
    let places = [(); 5].map(|()| Place::new(backend));
    let [from, other, full, to, third] = &places;
    let (from, other, full) = (from.open().await, other.open().await, full.open().await);
    let (to, third) = (to.open().await, third.open().await);
    fill(&*from, 1).await;
    fill(&*other, 2).await;
    fill(&*full, 3).await;
    let before = digests(&*full).await;
    for resume in [Resume::Continue, Resume::Restart] {
        let refused = copied(&*from, &*full, resume).await;
        assert!(
            matches!(&refused, Err(CopyError::Target(StoreError::Unsupported(why)))
                if why.contains("empty")),
            "{refused:?}"
        );
    }
    assert_eq!(digests(&*full).await, before);

    copied(&*from, &*to, Resume::Continue).await.unwrap();
    let refused = copied(&*other, &*to, Resume::Continue).await;
    assert!(matches!(refused, Err(CopyError::OtherSource)), "{refused:?}");
    let refused = copied(&*to, &*third, Resume::Continue).await;
    assert!(matches!(refused, Err(CopyError::UnfinishedSource)), "{refused:?}");
    copied(&*other, &*to, Resume::Restart).await.unwrap();
    assert_eq!(digests(&*to).await, digests(&*other).await);
    finish(&*to).await.unwrap();
    assert!(matches!(finish(&*to).await, Err(CopyError::Target(_))));
    assert_eq!(to.admin().unfinished().await.unwrap(), None);
}

async fn two_copies_into_one_store_do_not_mix(backend: Backend) {
    let places = [(); 2].map(|()| Place::new(backend));
    let (from, to) = (places[0].open().await, places[1].open().await);
    fill(&*from, 5).await;
    let meta = meta(&*from).await.unwrap();
    let first = Copying::begin(&*from, &*to, meta.clone(), Resume::Continue).await.unwrap();
    let second = Copying::begin(&*from, &*to, meta, Resume::Continue).await.unwrap();
    first.in_pages(SMALL).run(&mut Silent).await.unwrap();
    let refused = second.in_pages(SMALL).run(&mut Silent).await;
    assert!(matches!(refused, Err(CopyError::Target(StoreError::Unavailable(_)))), "{refused:?}");
    assert_eq!(digests(&*to).await, digests(&*from).await);
}

async fn what_is_read_for_a_copy_is_of_one_moment(backend: Backend) {
    let place = Place::new(backend);
    let from = place.open().await;
    fill(&*from, 11).await;
    let before = digests(&*from).await.0;
    let mut dump = from.admin().dump().await.unwrap();
    crate::apply(&from, vec![crate::put(&RecordPath::account("late"))]).await;
    assert_ne!(digests(&*from).await.0, before);
    for (table, digest) in &before {
        assert_eq!(dump.count(*table).await.unwrap(), digest.rows);
        let (mut rows, mut after) = (0, None);
        loop {
            let size = PageSize { rows: usize::MAX, bytes: usize::MAX };
            let page = dump.page(*table, after.as_deref(), size).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key(*table).to_vec());
            rows += page.len() as u64;
        }
        assert_eq!(rows, digest.rows);
    }
}

async fn a_page_ends_when_it_is_large_enough(backend: Backend) {
    const LARGE: usize = 100_000;
    let place = Place::new(backend);
    let store = place.open().await;
    let path = |n| RecordPath::account(format!("{n:02}"));
    let put = |n| {
        let body = Body::from(format!("{{\"text\":\"{}\"}}", "x".repeat(LARGE)));
        let (permissions, readers) = ("{}".to_owned(), Readers::new(Default::default()));
        Write::Put(Put { path: path(n), body, permissions, readers, placement: Placement::Next })
    };
    crate::apply(&store, (0..40).map(put).collect()).await;
    let mut dump = store.admin().dump().await.unwrap();
    let size = PageSize { rows: 1_000, bytes: 3 * LARGE };
    let (mut pages, mut after) = (Vec::new(), None);
    loop {
        let page = dump.page(Table::Records, after.as_deref(), size).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key(Table::Records).to_vec());
        pages.push(page.len());
    }
    assert_eq!(pages.iter().sum::<usize>(), 40);
    assert!(pages.iter().all(|rows| *rows <= 3), "{pages:?}");
}

#[test]
fn what_postgres_cannot_keep_is_told() {
    nuage_testkit::backend::block_on(async {
        let places = [Backend::Sqlite, Backend::Sqlite, Backend::Postgres].map(Place::new);
        let from = places[0].open().await;
        let path = RecordPath::account("a");
        let readers = Readers::new([Principal::from("a\0b")].into());
        let (body, permissions) = (Body::from("{}".to_owned()), "{}".to_owned());
        let placement = Placement::Next;
        let put = Write::Put(Put { path, body, permissions, readers, placement });
        crate::apply(&from, vec![put]).await;
        copied(&*from, &*places[1].open().await, Resume::Continue).await.unwrap();
        let refused = copied(&*from, &*places[2].open().await, Resume::Continue).await;
        assert!(
            matches!(&refused, Err(CopyError::Target(StoreError::Unsupported(why)))
                if why.contains("NUL")),
            "{refused:?}"
        );
    });
}

async fn a_step_in_the_wrong_place_changes_nothing(backend: Backend) {
    let place = Place::new(backend);
    let to = place.open().await;
    let meta = BTreeMap::from([(STORE.to_owned(), "s".to_owned())]);
    let (here, there) = (Progress::new("s"), Progress::new("t"));
    let restart =
        Step::Begin { ground: Ground::Unfinished, meta: meta.clone(), progress: here.clone() };
    assert!(matches!(to.admin().load(restart).await, Err(StoreError::Unsupported(_))));
    for step in [
        Step::End { before: here.clone() },
        Step::Rows { table: Table::Gone, rows: vec![], before: here.clone(), after: there.clone() },
    ] {
        assert!(matches!(to.admin().load(step).await, Err(StoreError::Unavailable(_))));
    }
    let begin = Step::Begin { ground: Ground::Empty, meta, progress: here.clone() };
    to.admin().load(begin.clone()).await.unwrap();
    assert!(matches!(to.admin().load(begin).await, Err(StoreError::Unsupported(_))));
    let end = Step::End { before: there };
    assert!(matches!(to.admin().load(end).await, Err(StoreError::Unavailable(_))));
    assert_eq!(to.admin().unfinished().await.unwrap(), Some(here));
    to.close().await;
    place.execute(&format!("UPDATE meta SET value = 'nonsense' WHERE key = '{COPY}'"));
    let to = place.open().await;
    assert!(matches!(to.admin().unfinished().await, Err(StoreError::Corrupt(_))));
}
