//! Which groups the signatures of a collection name, since when, and what counts their changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::random::new_epoch;
use nuage_model::copy::{Cell, PageSize, Row, Table};
use nuage_model::{
    ApplyError, Batch, BucketId, CollectionPath, GroupPath, MembershipQuery, NamedGroup, Pace,
    RecordPath, Seq, SnapshotRequest, Store, Timestamp, Write,
};

use super::build::{NOW, apply, delete, founded, put_for, set};

const STAFF: &str = "/buckets/blog/groups/staff";
const BOARD: &str = "/buckets/blog/groups/board";
const GUESTS: &str = "/buckets/other/groups/guests";

/// By the principals of the groups: how many signatures, since when, which number.
type Names = BTreeMap<String, [i64; 3]>;

async fn rows(store: &Arc<dyn Store>, table: Table) -> Vec<Row> {
    let mut dump = store.admin().dump().await.expect("it can be copied");
    let size = PageSize { rows: usize::MAX, bytes: usize::MAX };
    let (mut rows, mut after): (Vec<Row>, Option<Vec<Cell>>) = (Vec::new(), None);
    loop {
        let page = dump.page(table, after.as_deref(), size).await.expect("it can be copied");
        let Some(last) = page.last() else { return rows };
        after = Some(last.key(table).to_vec());
        rows.extend(page);
    }
}

async fn rows_of(store: &Arc<dyn Store>, table: Table, path: &CollectionPath) -> Vec<Row> {
    let mut rows = rows(store, table).await;
    rows.retain(|row| {
        row.text(table, "bucket") == Some(path.bucket.as_str())
            && row.text(table, "collection") == Some(&path.stored_name())
    });
    rows
}

fn numbers<const N: usize>(table: Table, row: &Row, columns: [&str; N]) -> [i64; N] {
    columns.map(|column| match row.cell(table, column) {
        Some(Cell::Whole(number)) => *number,
        other => panic!("{column} is {other:?}"),
    })
}

async fn names(store: &Arc<dyn Store>, path: &CollectionPath) -> Names {
    let table = Table::Names;
    let named = rows_of(store, table, path).await.into_iter().map(|row| {
        let [bucket, group] =
            ["grp_bucket", "grp"].map(|column| row.text(table, column).expect("a text").to_owned());
        let group = GroupPath { bucket: BucketId::from(&*bucket), group: (&*group).into() };
        let numbers = numbers(table, &row, ["signatures", "since", "ordinal"]);
        (group.principal().as_str().to_owned(), numbers)
    });
    let named: Names = named.collect();
    assert_eq!(shown(store, path).await, without_counts(&named), "what a moment shows");
    named
}

/// What is said of the names of a collection: since when, which number.
async fn shown(store: &Arc<dyn Store>, path: &CollectionPath) -> BTreeMap<String, [i64; 2]> {
    let query = MembershipQuery { collection: Some(path.clone()), ..MembershipQuery::default() };
    let found = store.memberships(&query, Pace::Patient).await.expect("it answers");
    let names = found.expect("it waits").names;
    let header = store.standing(&SnapshotRequest::of(path.clone())).await.expect("it answers");
    let count = header.standing.map_or(0, |standing| standing.names);
    assert_eq!(names.len() as u64, count, "as many as are counted");
    let shown = names.into_iter().map(|NamedGroup { group, since, ordinal }| {
        (group.principal().as_str().to_owned(), [since.0, ordinal])
    });
    shown.collect()
}

fn without_counts(names: &Names) -> BTreeMap<String, [i64; 2]> {
    names.iter().map(|(group, [_, since, ordinal])| (group.clone(), [*since, *ordinal])).collect()
}

/// Of a collection: how many names, how often one came or went, and the same of groups in groups.
async fn counted(store: &Arc<dyn Store>, path: &CollectionPath) -> [i64; 3] {
    let rows = rows_of(store, Table::Collections, path).await;
    let columns = ["names", "named", "nested"];
    rows.first().map_or([0; 3], |row| numbers(Table::Collections, row, columns))
}

fn named<const N: usize>(expected: [(&str, [i64; 3]); N]) -> Names {
    expected.map(|(group, numbers)| (group.to_owned(), numbers)).into()
}

fn compact(path: &CollectionPath, up_to: i64) -> Write {
    Write::Compact { collection: path.clone(), up_to: Seq(up_to) }
}

pub(super) async fn a_name_stays_while_anything_has_a_signature_of_it(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let [a, b, c] = ["a", "b", "c"].map(|id| posts.record(id));
    let only = |numbers| named([(STAFF, numbers)]);
    let steps: [(Vec<Write>, Names, [i64; 3]); 10] = [
        (vec![put_for(&c, "read", &["alice"])], Names::new(), [0, 0, 0]),
        (vec![put_for(&a, "read", &[STAFF])], only([1, NOW + 1, 1]), [1, 1, 0]),
        // The same signature, and another one.
        (vec![put_for(&b, "read", &[STAFF])], only([1, NOW + 1, 1]), [1, 1, 0]),
        (vec![put_for(&c, "write", &["alice", STAFF])], only([2, NOW + 1, 1]), [1, 1, 0]),
        // A tombstone and ended residencies have them still.
        (vec![delete(&a), put_for(&b, "read", &[])], only([2, NOW + 1, 1]), [1, 1, 0]),
        (vec![put_for(&c, "read", &["alice"])], only([2, NOW + 1, 1]), [1, 1, 0]),
        // Up to before that, with everything that had the first signature; then with the other.
        (vec![compact(&posts, NOW + 5)], only([1, NOW + 1, 1]), [1, 1, 0]),
        (vec![compact(&posts, i64::MAX)], Names::new(), [0, 2, 0]),
        (vec![put_for(&a, "read", &[STAFF])], only([1, NOW + 7, 3]), [1, 3, 0]),
        (vec![Write::Erase { path: a.clone() }], Names::new(), [0, 4, 0]),
    ];
    for (number, (writes, expected, counters)) in steps.into_iter().enumerate() {
        apply(&store, NOW, writes).await;
        assert_eq!(names(&store, &posts).await, expected, "step {number}");
        assert_eq!(counted(&store, &posts).await, counters, "step {number}");
        assert_eq!(store.admin().check().await.expect("it reads"), [], "step {number}");
    }
}

pub(super) async fn names_of_one_batch_come_and_go_in_order(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let [a, b] = ["a", "b"].map(|id| posts.record(id));
    let writes = vec![
        put_for(&a, "read", &[STAFF]),
        put_for(&b, "read", &[BOARD]),
        delete(&a),
        compact(&posts, i64::MAX),
        put_for(&a, "read", &[BOARD, GUESTS]),
        put_for(&b, "read", &[STAFF]),
        delete(&b),
        compact(&posts, i64::MAX),
        put_for(&b, "read", &[STAFF, GUESTS]),
    ];
    apply(&store, NOW, writes).await;
    let expected = [(BOARD, [1, NOW + 1, 2]), (GUESTS, [2, NOW + 3, 4]), (STAFF, [1, NOW + 6, 7])];
    assert_eq!(names(&store, &posts).await, named(expected));
    assert_eq!(counted(&store, &posts).await, [3, 7, 0]);
    let writes = vec![delete(&a), delete(&b), compact(&posts, i64::MAX)];
    apply(&store, NOW, writes).await;
    assert_eq!(counted(&store, &posts).await, [0, 10, 0]);
}

/// Its old signature goes with the tombstone, which the horizon has passed.
pub(super) async fn what_comes_back_from_behind_the_horizon_is_counted(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let [a, b] = ["a", "b"].map(|id| posts.record(id));
    let writes = vec![put_for(&a, "read", &[STAFF, GUESTS]), delete(&a), put_for(&b, "read", &[])];
    apply(&store, NOW, writes).await;
    apply(&store, NOW, vec![Write::Erase { path: b }]).await;
    assert_eq!(counted(&store, &posts).await, [2, 2, 0]);
    apply(&store, NOW, vec![put_for(&a, "read", &[GUESTS, BOARD])]).await;
    let expected = [(BOARD, [1, NOW + 3, 3]), (GUESTS, [1, NOW, 2])];
    assert_eq!(names(&store, &posts).await, named(expected));
    assert_eq!(counted(&store, &posts).await, [2, 4, 0]);
    // It is not known any more, and must be made known again.
    apply(&store, NOW, vec![put_for(&a, "read", &[STAFF, GUESTS])]).await;
    let expected = [(BOARD, [1, NOW + 3, 3]), (GUESTS, [2, NOW, 2]), (STAFF, [1, NOW + 4, 5])];
    assert_eq!(names(&store, &posts).await, named(expected));
}

pub(super) async fn names_end_with_their_collection_and_are_counted_on(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let others = founded(&store, "blog", "others").await;
    let shared = |path: &CollectionPath, who| put_for(&path.record("a"), "read", who);
    let writes = vec![shared(&posts, &[STAFF, GUESTS]), shared(&others, &[STAFF])];
    apply(&store, NOW, writes).await;
    let drop = Write::DropCollection { collection: posts.clone() };
    apply(&store, NOW, vec![drop.clone()]).await;
    assert_eq!(names(&store, &posts).await, Names::new());
    assert_eq!(counted(&store, &posts).await, [0, 3, 0]);
    assert_eq!(counted(&store, &others).await, [1, 1, 0]);
    // Nothing is named there now.
    apply(&store, NOW, vec![drop.clone()]).await;
    assert_eq!(counted(&store, &posts).await, [0, 3, 0]);
    apply(&store, NOW, vec![drop, shared(&posts, &[GUESTS])]).await;
    assert_eq!(names(&store, &posts).await, named([(GUESTS, [1, NOW + 1, 4])]));
    assert_eq!(counted(&store, &posts).await, [1, 4, 0]);
    // The same begins in one batch with its end.
    let writes = vec![
        shared(&posts, &[BOARD]),
        Write::DropBucket { bucket: "blog".into() },
        delete(&RecordPath::bucket("blog".into())),
    ];
    apply(&store, NOW, writes).await;
    assert!(rows(&store, Table::Names).await.is_empty());
    assert_eq!(counted(&store, &posts).await, [0, 6, 0]);
    assert_eq!(counted(&store, &others).await, [0, 2, 0]);
    founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![shared(&posts, &[BOARD])]).await;
    assert_eq!(names(&store, &posts).await, named([(BOARD, [1, NOW + 3, 7])]));
    let flush = Write::Flush { epoch: new_epoch() };
    apply(&store, NOW, vec![flush, shared(&CollectionPath::buckets(), &[STAFF])]).await;
    assert_eq!(counted(&store, &posts).await, [0; 3]);
    let names = names(&store, &CollectionPath::buckets()).await;
    assert_eq!(names, named([(STAFF, [1, NOW, 1])]));
}

pub(super) async fn a_signature_names_each_of_its_groups_and_nothing_else(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let many: Vec<String> = (0..100).map(|n| format!("/buckets/b{n:02}/groups/g{n:02}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let others = [
        "account:alice",
        "system.Everyone",
        "/buckets/blog",
        "/buckets/blog/groups/",
        "/buckets//groups/staff",
        "/buckets/blog/groups/staff/more",
        "/buckets/blog/collections/staff",
        "/BUCKETS/blog/groups/staff",
        "/buckets/groups/GROUPS/staff",
        "buckets/blog/groups/staff",
    ];
    let all = [&many[..], &others].concat();
    apply(&store, NOW, vec![put_for(&posts.record("a"), "read", &all)]).await;
    let found = names(&store, &posts).await;
    let expected = many.iter().zip(1..).map(|(group, n)| ((*group).to_owned(), [1, NOW, n]));
    assert_eq!(found, expected.collect());
    apply(&store, NOW, vec![put_for(&posts.record("a"), "read", &others)]).await;
    apply(&store, NOW, vec![put_for(&posts.record("b"), "read", &many[50..])]).await;
    assert_eq!(counted(&store, &posts).await, [100, 100, 0]);
    apply(&store, NOW, vec![compact(&posts, i64::MAX)]).await;
    assert_eq!(counted(&store, &posts).await, [50, 150, 0]);
    let found = names(&store, &posts).await;
    let left = many[50..].iter().zip(51..).map(|(group, n)| ((*group).to_owned(), [1, NOW, n]));
    assert_eq!(found, left.collect());
}

pub(super) async fn groups_that_come_into_groups_or_go_are_counted(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    founded(&store, "other", "posts").await;
    let groups = CollectionPath::groups("blog".into());
    let steps: [(&str, &[&str], i64); 7] = [
        ("staff", &["account:alice", "system.Authenticated"], 0),
        ("board", &["account:alice", STAFF], 1),
        ("board", &["account:bob", STAFF], 1),
        ("board", &["account:bob", STAFF, GUESTS], 2),
        ("board", &["account:bob", BOARD], 3),
        ("staff", &["account:carol"], 3),
        ("board", &[], 4),
    ];
    for (group, members, expected) in steps {
        apply(&store, NOW, set("blog", group, members).into()).await;
        assert_eq!(counted(&store, &groups).await[2], expected, "{group}: {members:?}");
    }
    for path in [posts, CollectionPath::groups("other".into())] {
        assert_eq!(counted(&store, &path).await[2], 0, "{path}");
    }
    let drop =
        [Write::DropBucket { bucket: "blog".into() }, delete(&RecordPath::bucket("blog".into()))];
    apply(&store, NOW, drop.into()).await;
    assert_eq!(counted(&store, &groups).await[2], 5);
    founded(&store, "blog", "posts").await;
    apply(&store, NOW, set("blog", "staff", &[GUESTS]).into()).await;
    assert_eq!(counted(&store, &groups).await[2], 6);
}

pub(super) async fn a_batch_that_names_too_many_groups_is_turned_down(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let names: Vec<String> = (0..24).map(|n| format!("/buckets/blog/groups/g{n:02}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let try_to = async |names_max: usize, writes: Vec<Write>| {
        let batch = Batch { names_max, ..Batch::new(Timestamp(NOW), writes) };
        match store.apply(batch).await {
            Ok(_) => true,
            Err(ApplyError::Conflict) => false,
            Err(error) => panic!("{error}"),
        }
    };
    let put = |id: &str, names: &[&str]| put_for(&posts.record(id), "read", names);
    assert!(!try_to(19, vec![put("a", &names[..20])]).await, "at once");
    assert!(try_to(20, vec![put("a", &names[..20])]).await);
    // Known ones can be used on, however many at a time; of new ones there is no room for one.
    assert!(try_to(20, vec![put("b", &names[3..18])]).await);
    assert!(!try_to(20, vec![put("c", &names[3..21])]).await);
    assert!(!try_to(20, vec![put("c", &names[..2]), put("d", &names[20..21])]).await);
    assert!(try_to(20, vec![put("c", &["alice"])]).await);
    // Where they are more than may be, they only get no more.
    assert!(try_to(10, vec![put("d", &names[..12])]).await);
    assert!(!try_to(10, vec![put("e", &names[20..21])]).await);
    // What was named before goes with the collection; in the list of buckets nothing is counted.
    let bucket = put_for(&RecordPath::bucket("blog".into()), "read", &names);
    assert!(try_to(3, vec![bucket]).await);
    let drop = Write::DropCollection { collection: posts.clone() };
    assert!(!try_to(3, vec![drop.clone(), put("f", &names[..4])]).await);
    assert!(try_to(3, vec![drop, put("f", &names[20..23])]).await);
    assert_eq!(counted(&store, &posts).await[0], 3);
}
