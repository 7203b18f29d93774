//! Lists, counts, directories.

use std::sync::Arc;

use nuage_model::{
    Bodies, Body, CollectionPath, Direction, Field, Filter, GroupPath, Kind, Pace, Principal, Put,
    Query, ReaderFilter, Record, RecordPath, Scope, Sort, States, Store, Tally, Test, View, Write,
};
use serde_json::Value;

use super::build::{
    NOW, apply, at, count, delete, founded, group_path, ids, list, principals, put, put_at, put_for,
};

const ASCENDING: Sort = Sort { field: Field::Timestamp, direction: Direction::Ascending };

fn only(field: Field, test: Test) -> Vec<Filter> {
    vec![Filter { field, test }]
}

async fn five(store: &Arc<dyn Store>) -> CollectionPath {
    let posts = founded(store, "blog", "posts").await;
    for (n, id) in ["c", "a", "e", "b", "d"].into_iter().enumerate() {
        let body = format!(r#"{{"n":{}}}"#, 5 - n);
        apply(store, NOW + n as i64, vec![put(&posts.record(id), &body)]).await;
    }
    posts
}

pub(super) async fn newest_first_and_oldest_first(store: Arc<dyn Store>) {
    let posts = five(&store).await;
    let all = Query::all(posts, 10);
    assert_eq!(ids(&store, &all).await, ["d", "b", "e", "a", "c"]);
    let oldest = Query { sort: vec![ASCENDING], ..all.clone() };
    assert_eq!(ids(&store, &oldest).await, ["c", "a", "e", "b", "d"]);
    let body = Field::Body(vec!["n".to_owned()]);
    let by_body = Sort { field: body.clone(), direction: Direction::Ascending };
    let sorted = Query { sort: vec![by_body, ASCENDING], ..all.clone() };
    assert_eq!(ids(&store, &sorted).await, ["d", "b", "e", "a", "c"]);

    let since = only(Field::Timestamp, Test::Gt(Value::from(NOW + 1)));
    assert_eq!(ids(&store, &Query { filters: since, ..all.clone() }).await, ["d", "b", "e"]);
    let some = vec![Value::from("c"), Value::from("zz"), Value::from("d"), Value::from(1)];
    let named = only(Field::Id, Test::In(some));
    assert_eq!(ids(&store, &Query { filters: named, ..all.clone() }).await, ["d", "c"]);
    let one = only(Field::Id, Test::Eq(Value::from("e")));
    assert_eq!(ids(&store, &Query { filters: one, ..all.clone() }).await, ["e"]);
    let odd = only(body, Test::In(vec![Value::from(1), Value::from(3)]));
    assert_eq!(ids(&store, &Query { filters: odd, ..all.clone() }).await, ["d", "e"]);
    assert_eq!(ids(&store, &Query::all(CollectionPath::new("x", "y"), 1)).await.len(), 0);
}

pub(super) async fn pages_say_whether_others_follow(store: Arc<dyn Store>) {
    let posts = five(&store).await;
    for (limit, shown, more) in [(0, 0, true), (4, 4, true), (5, 5, false), (6, 5, false)] {
        let page = list(&store, &Query::all(posts.clone(), limit)).await;
        assert_eq!((page.records.len(), page.more), (shown, more), "limit {limit}");
        assert_eq!(page.head.map(|head| (head.seq.0, head.live)), Some((NOW + 4, 5)));
    }
    let after = Some(vec![Some(Value::from(NOW + 2))]);
    let rest = Query { after, ..Query::all(posts, 1) };
    let page = list(&store, &rest).await;
    assert_eq!((page.records[0].id.as_str(), page.more), ("a", true));
}

/// Large records in the order of a field, and small ones behind them, which would fit into what
/// the large ones leave of a page.
pub(super) async fn pages_cut_by_bytes_leave_nothing_out(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let large = "x".repeat(900_000);
    let mut expected = Vec::new();
    for (time, order) in [90, 4, 2, 5, 0, 91, 3, 1, 92].into_iter().enumerate() {
        let text = if order < 90 { large.as_str() } else { "" };
        let body = format!(r#"{{"order":{order},"text":"{text}"}}"#);
        let id = format!("r{order:02}");
        apply(&store, NOW + time as i64, vec![put(&posts.record(id.as_str()), &body)]).await;
        expected.push(id);
    }
    expected.sort();
    let order =
        Sort { field: Field::Body(vec!["order".to_owned()]), direction: Direction::Ascending };
    for limit_bytes in [1_000_000, 2_000_000, 4_000_000] {
        let sort = vec![order.clone(), ASCENDING];
        let mut query = Query { sort, limit_bytes, ..Query::all(posts.clone(), 100) };
        let mut told = Vec::new();
        loop {
            let page = list(&store, &query).await;
            told.extend(page.records.iter().map(|record| record.id.as_str().to_owned()));
            let Some(last) = page.records.last().filter(|_| page.more) else { break };
            query.after = Some(query.position(&View::new(last)));
        }
        assert_eq!(told, expected, "pages of {limit_bytes} bytes");
    }
}

pub(super) async fn tombstones_are_shown_when_asked_for(store: Arc<dyn Store>) {
    let posts = five(&store).await;
    apply(&store, NOW + 9, vec![delete(&posts.record("a")), delete(&posts.record("d"))]).await;
    let live = Query::all(posts, 10);
    assert_eq!(ids(&store, &live).await, ["b", "e", "c"]);
    let both = Query { states: States::Both, ..live.clone() };
    assert_eq!(ids(&store, &both).await, ["d", "a", "b", "e", "c"]);
    let page = list(&store, &both).await;
    assert_eq!(page.records.iter().filter(|record| !record.is_live()).count(), 2);
    let deleted = only(Field::Deleted, Test::Eq(Value::Bool(true)));
    assert_eq!(ids(&store, &Query { filters: deleted, ..both.clone() }).await, ["d", "a"]);
    assert_eq!((count(&store, &live).await, count(&store, &both).await), (3, 5));
}

pub(super) async fn chosen_times_are_listed_in_their_place(store: Arc<dyn Store>) {
    let posts = five(&store).await;
    let writes = vec![
        put_at(&posts.record("old"), "{}", at(NOW - 5)),
        put_at(&posts.record("e"), "{}", at(NOW - 6)),
        put_at(&posts.record("mid"), "{}", at(NOW + 2)),
    ];
    apply(&store, NOW + 50, writes).await;
    let all = Query::all(posts, 10);
    let order = ["d", "b", "mid", "a", "c", "old", "e"];
    assert_eq!(ids(&store, &all).await, order);
    let oldest = Query { sort: vec![ASCENDING], ..all.clone() };
    assert_eq!(ids(&store, &oldest).await, order.iter().rev().copied().collect::<Vec<_>>());
    let before = only(Field::Timestamp, Test::Max(Value::from(NOW)));
    assert_eq!(ids(&store, &Query { filters: before, ..all.clone() }).await, ["c", "old", "e"]);
    let after = Some(vec![Some(Value::from(NOW))]);
    let page = list(&store, &Query { after, limit: 1, ..all }).await;
    assert_eq!((page.records[0].id.as_str(), page.more), ("old", true));
}

async fn shared(store: &Arc<dyn Store>) -> CollectionPath {
    let posts = founded(store, "blog", "posts").await;
    let writes = vec![
        put_for(&posts.record("a"), "read", &["alice", "bob"]),
        put_for(&posts.record("b"), "write", &["bob"]),
        put(&posts.record("c"), "{}"),
        put_for(&posts.record("d"), "read", &["carol"]),
        put_for(&posts.record("e"), "read", &["alice"]),
        put_for(&posts.record("f"), "write", &["alice", "bob"]),
        delete(&posts.record("e")),
    ];
    apply(store, NOW, writes).await;
    posts
}

pub(super) async fn readers_see_what_names_them(store: Arc<dyn Store>) {
    let posts = shared(&store).await;
    for (who, live, both) in [
        (&["alice"][..], &["f", "a"][..], &["e", "f", "a"][..]),
        (&["bob"], &["f", "b", "a"], &["f", "b", "a"]),
        (&["carol", "bob"], &["f", "d", "b", "a"], &["f", "d", "b", "a"]),
        (&["dave"], &[], &[]),
        (&[], &[], &[]),
    ] {
        let scope = Scope::Readers(principals(who));
        let query = Query { scope, ..Query::all(posts.clone(), 10) };
        assert_eq!(ids(&store, &query).await, live, "{who:?}");
        assert_eq!(count(&store, &query).await, live.len() as u64, "{who:?}");
        let query = Query { states: States::Both, ..query };
        assert_eq!(ids(&store, &query).await, both, "{who:?}");
        assert_eq!(count(&store, &query).await, both.len() as u64, "{who:?}");
    }
}

/// Those who count as many signatures are not looked for by each of them, and see the same.
pub(super) async fn who_has_many_signatures_sees_what_names_them(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    // Old ones with a signature each, many that nobody sees, and new ones with a signature each.
    let id = |n: usize| format!("{n:05}");
    let who = |n: usize| match n {
        0..1_100 => vec!["old".to_owned(), "both".to_owned(), format!("p{n}")],
        1_100..5_400 => vec!["nobody".to_owned()],
        _ => vec!["both".to_owned(), format!("p{n}")],
    };
    for chunk in (0..5_500).collect::<Vec<_>>().chunks(500) {
        let put = |n: &usize| {
            let who = who(*n);
            let who: Vec<&str> = who.iter().map(String::as_str).collect();
            put_for(&posts.record(id(*n)), "read", &who)
        };
        apply(&store, NOW, chunk.iter().map(put).collect()).await;
    }
    let gone = [delete(&posts.record(id(5_450))), delete(&posts.record(id(5_451)))];
    apply(&store, NOW, gone.to_vec()).await;
    let newest = || (0..5_500).rev().filter(|n| !(5_450..5_452).contains(n));
    for (reader, limit) in [("old", 10), ("both", 10), ("both", 150), ("both", 2_000)] {
        let sees = |n: &usize| who(*n).iter().any(|one| one == reader);
        let expected: Vec<String> = newest().filter(sees).take(limit).map(id).collect();
        let scope = Scope::Readers(principals(&[reader]));
        let query = Query { scope, ..Query::all(posts.clone(), limit) };
        let page = list(&store, &query).await;
        let found: Vec<&str> = page.records.iter().map(|record| record.id.as_str()).collect();
        assert_eq!(found, expected, "{reader}, {limit}");
        assert_eq!(page.more, newest().filter(sees).count() > limit, "{reader}, {limit}");
        let at_once = store.list_at(&query, Pace::Quick).await.expect("it reads");
        assert!(at_once.is_none_or(|at_once| at_once == page), "{reader}, {limit}");
        // Too many names to look up each of them for each row.
        let names = (0..3_000).map(|n| format!("name{n}")).chain([reader.to_owned()]);
        let scope = Scope::Readers(names.map(Principal::from).collect());
        assert_eq!(ids(&store, &Query { scope, ..query.clone() }).await, expected, "{reader}");
        let query = Query { sort: vec![ASCENDING], ..query };
        let mut oldest: Vec<String> = newest().filter(sees).map(id).collect();
        oldest.reverse();
        oldest.truncate(limit);
        assert_eq!(ids(&store, &query).await, oldest, "{reader}, {limit}");
        let query = Query { states: States::Both, sort: Query::sort_default(), ..query };
        let both = ids(&store, &query).await;
        let told = ["05451", "05450"].iter().filter(|id| both.contains(&(**id).to_owned())).count();
        assert_eq!(told, if reader == "both" { 2 } else { 0 }, "{reader}, {limit}");
    }
}

pub(super) async fn holders_see_what_names_them_under_that_permission(store: Arc<dyn Store>) {
    let posts = shared(&store).await;
    for (permission, who, expected) in [
        ("write", &["alice"][..], &["f"][..]),
        ("read", &["alice"], &["a"]),
        ("write", &["bob"], &["f", "b"]),
        ("write", &["carol"], &[]),
    ] {
        let scope = Scope::Holders(permission, principals(who));
        let query = Query { scope, states: States::Both, ..Query::all(posts.clone(), 10) };
        assert_eq!(ids(&store, &query).await, expected, "{permission} {who:?}");
        assert_eq!(count(&store, &query).await, expected.len() as u64);
    }
}

pub(super) async fn counts_ignore_the_page(store: Arc<dyn Store>) {
    let posts = five(&store).await;
    let after = Some(vec![Some(Value::from(NOW + 2))]);
    let query = Query { after, ..Query::all(posts.clone(), 1) };
    let (head, counted) = store.count(&query).await.expect("it counts");
    assert_eq!((head.map(|head| head.seq.0), counted), (Some(NOW + 4), 5));
    let filters = only(Field::Timestamp, Test::Gt(Value::from(NOW + 1)));
    assert_eq!(count(&store, &Query { filters, ..query.clone() }).await, 3);
    let filters = only(Field::Body(vec!["n".to_owned()]), Test::Lt(Value::from(3)));
    assert_eq!(count(&store, &Query { filters, ..query.clone() }).await, 2);
    let filters = only(Field::Id, Test::Eq(Value::from("c")));
    assert_eq!(count(&store, &Query { filters, ..query }).await, 1);
    let unknown = Query::all(CollectionPath::new("x", "y"), 1);
    assert_eq!(store.count(&unknown).await.expect("it counts"), (None, 0));
}

pub(super) async fn groups_are_found_by_their_members(store: Arc<dyn Store>) {
    let group = |bucket: &str, name: &str| GroupPath { bucket: bucket.into(), group: name.into() };
    let set = |bucket: &str, name: &str, members: &[&str]| {
        let body = Value::from_iter([("members", Value::from(members))]).to_string();
        let members = principals(members);
        [
            put(&group_path(bucket, name), &body),
            Write::SetMembers { group: group(bucket, name), members },
        ]
    };
    let found =
        async |who: &[&str]| store.groups_of(&principals(who), 100).await.expect("it reads");
    for bucket in ["blog", "club"] {
        founded(&store, bucket, "posts").await;
    }
    let sets = [
        set("blog", "friends", &["alice", "bob"]),
        set("blog", "editors", &["bob"]),
        set("club", "friends", &["alice", "alice"]),
    ];
    apply(&store, NOW, sets.concat()).await;
    assert_eq!(found(&["alice"]).await, [group("blog", "friends"), group("club", "friends")]);
    assert_eq!(found(&["bob"]).await, [group("blog", "editors"), group("blog", "friends")]);
    assert_eq!(found(&["alice", "bob"]).await.len(), 3, "each group once");
    assert!(found(&["carol"]).await.is_empty());
    assert!(found(&[]).await.is_empty());

    let sets = [set("blog", "friends", &["carol", "bob"]), set("club", "friends", &[])];
    apply(&store, NOW, sets.concat()).await;
    assert!(found(&["alice"]).await.is_empty());
    assert_eq!(found(&["carol"]).await, [group("blog", "friends")]);
    assert_eq!(found(&["bob"]).await, [group("blog", "editors"), group("blog", "friends")]);
}

pub(super) async fn collections_are_found_by_their_readers(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let books = founded(&store, "shelf", "books").await;
    let writes = vec![
        put_for(&posts.record("a"), "read", &["alice"]),
        put_for(&books.record("a"), "read", &["alice", "bob"]),
        put_for(&RecordPath::bucket("blog".into()), "read", &["bob"]),
    ];
    apply(&store, NOW, writes).await;
    let found = async |who: &[&str]| {
        store
            .collections(ReaderFilter::Of(&principals(who)), None, usize::MAX)
            .await
            .expect("it reads")
    };
    assert_eq!(found(&["alice"]).await, [posts, books.clone()]);
    assert_eq!(found(&["bob"]).await, [CollectionPath::buckets(), books]);
    assert!(found(&["carol"]).await.is_empty());
}

pub(super) async fn collections_are_listed_in_order_and_tallied(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let books = founded(&store, "blog", "books").await;
    let empty = founded(&store, "blog", "empty").await;
    let writes = vec![
        put(&posts.record("a"), "{}"),
        put(&books.record("a"), "{}"),
        put(&books.record("b"), "{}"),
        delete(&books.record("a")),
        Write::Touch { collection: empty },
        put(&RecordPath::account("alice"), "{}"),
        put(&group_path("blog", "friends"), "{}"),
    ];
    apply(&store, NOW, writes).await;
    let expected = [
        CollectionPath::accounts(),
        CollectionPath::buckets(),
        CollectionPath::collections("blog".into()),
        CollectionPath::groups("blog".into()),
        books,
        posts,
    ];
    let mut found: Vec<CollectionPath> = Vec::new();
    loop {
        let page = store.collections(ReaderFilter::All, found.last(), 2).await.expect("it reads");
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);

    let tally = store.admin().tally().await.expect("it reads");
    let of = |live, tombstones| Some(Tally { live, tombstones });
    assert_eq!(tally.get(&Kind::Record).copied(), of(2, 1));
    assert_eq!(tally.get(&Kind::Collection).copied(), of(3, 0));
    assert_eq!(tally.get(&Kind::Account).copied(), of(1, 0));
    assert_eq!(tally.get(&Kind::History).copied().unwrap_or_default(), Tally::default());
}

/// Whoever is not judged yet must not be able to tell how large a record is by how long it is read.
pub(super) async fn large_bodies_can_be_left_out(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let paths: Vec<_> = ["small", "large", "gone", "never"].map(|id| posts.record(id)).into();
    let text: String =
        (0..100_000).map(|n: u32| n.wrapping_mul(2_654_435_761).to_string()).collect();
    for (path, text) in paths.iter().zip(["", &text, ""]) {
        let mut write = put_for(path, "read", &["alice"]);
        let Write::Put(Put { body, .. }) = &mut write else { unreachable!("it is a put") };
        *body = Body::from(format!("{{\"text\":\"{text}\"}}"));
        apply(&store, NOW, vec![write]).await;
    }
    apply(&store, NOW, vec![delete(&paths[2])]).await;
    let all = store.get(&paths, Bodies::All).await.expect("it reads");
    let small = store.get(&paths, Bodies::Small).await.expect("it reads");
    let lacks = |found: &Option<Record>| found.as_ref().is_some_and(Record::lacks_body);
    assert!(!all.iter().any(lacks));
    assert_eq!(small.iter().map(lacks).collect::<Vec<_>>(), [false, true, false, false]);
    let alone = store.get(&paths[1..2], Bodies::Small).await.expect("it reads");
    assert_eq!(alone[0], small[1]);
    let rest = |record: Record| (record.seq, record.chosen, record.permissions().into_owned());
    for (whole, found) in all.into_iter().zip(small) {
        assert_eq!(whole.map(rest), found.map(rest));
    }
}

/// Nothing can have such a name where texts cannot hold it, so nothing has it anywhere.
pub(super) async fn names_with_a_character_0_are_of_nothing(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let known = posts.record("a");
    apply(&store, NOW, vec![put_for(&known, "read", &["alice"])]).await;
    let paths = [posts.record("a\0"), known, RecordPath::account("\0")];
    let found = store.get(&paths, Bodies::All).await.expect("they can be asked for");
    let found: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false]);
    for path in [CollectionPath::new("blog\0", "posts"), CollectionPath::new("blog", "\0posts")] {
        assert_eq!(store.head(&path).await.expect("it can be asked for"), None);
        let page = list(&store, &Query::all(path, 10)).await;
        assert!(page.head.is_none() && page.records.is_empty() && !page.more);
    }
    let all = Query::all(posts, 10);
    for (test, expected) in [
        (Test::Eq(Value::from("a\0")), 0),
        (Test::In(vec![Value::from("a\0"), Value::from("a")]), 1),
        (Test::Gt(Value::from("a\0")), 0),
        (Test::Lt(Value::from("a\0")), 1),
        (Test::Not(Value::from("a\0")), 1),
    ] {
        let query = Query { filters: only(Field::Id, test.clone()), ..all.clone() };
        assert_eq!(ids(&store, &query).await.len(), expected, "{test:?}");
        assert_eq!(count(&store, &query).await, expected as u64, "{test:?}");
    }
    let who = principals(&["alice\0", "alice"]);
    assert_eq!(
        store
            .collections(ReaderFilter::Of(&who), None, usize::MAX)
            .await
            .expect("it can be asked for")
            .len(),
        1
    );
    assert_eq!(
        store
            .collections(ReaderFilter::Of(&who[..1]), None, usize::MAX)
            .await
            .expect("it can be asked for"),
        []
    );
    assert_eq!(store.groups_of(&who, 100).await.expect("it can be asked for"), []);
    let seen = Query { scope: Scope::Readers(who), ..all };
    assert_eq!(ids(&store, &seen).await, ["a"]);
}
