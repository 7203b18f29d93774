//! Records, guards and bodies.

use std::sync::Arc;

use nuage_model::{
    ApplyError, Batch, Bodies, Body, CollectionPath, Placement, Put, RULES, ReaderFilter,
    RecordPath, Seq, Signature, Slot, State, Store, StoreError, Timestamp, Write,
};

use super::build::{
    NOW, apply, delete, founded, get, guard, guarded, head, outcome, put, put_for, readers,
};

pub(super) async fn a_record_is_read_as_it_was_written(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let path = posts.record("a");
    let body = r#"{"title":"caf\u00e9 \ud83d\ude00 é","n":1e2}"#;
    let write = Write::Put(Put {
        path: path.clone(),
        body: Body::from(body.to_owned()),
        permissions: r#"{"write":["alice"]}"#.to_owned(),
        readers: readers(&["alice"]),
        placement: Placement::Next,
    });
    let outcomes = apply(&store, NOW + 5, vec![write]).await;
    assert_eq!(outcomes, [outcome(NOW + 5, NOW + 5)]);

    let record = get(&store, &path).await.expect("it was written");
    assert_eq!(record.id.as_str(), "a");
    assert_eq!((record.seq, record.chosen), (Seq(NOW + 5), None));
    assert_eq!((record.signature, record.entered), (readers(&["alice"]).signature(), record.seq));
    let State::Live { body: read, permissions } = record.state else { panic!("it is alive") };
    assert_eq!(read, body, "the text is kept as it came");
    assert_eq!(permissions, r#"{"write":["alice"]}"#);
    let head = head(&store, &posts).await.expect("the collection has a record");
    assert_eq!((head.seq, head.timestamp.0, head.live), (Seq(NOW + 5), NOW + 5, 1));
}

pub(super) async fn unknown_records_and_collections_are_none(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    let paths =
        [posts.record("b"), posts.record("a"), CollectionPath::new("blog", "other").record("a")];
    let found = store.get(&paths, Bodies::All).await.expect("records can be read");
    let found: Vec<bool> = found.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false], "answers come in the order asked for");
    assert_eq!(head(&store, &CollectionPath::new("blog", "other")).await, None);
    assert_eq!(head(&store, &CollectionPath::new("none", "posts")).await, None);
}

pub(super) async fn later_writes_of_a_batch_see_earlier_ones(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let path = posts.record("a");
    let writes = vec![
        put(&path, r#"{"n":1}"#),
        put_for(&path, "read", &["alice"]),
        delete(&path),
        delete(&path),
        put(&path, r#"{"n":2}"#),
    ];
    let outcomes = apply(&store, NOW + 10, writes).await;
    let at = |more| outcome(NOW + 10 + more, NOW + 10 + more);
    assert_eq!(outcomes, [at(0), at(1), at(2), at(2), at(3)]);
    let record = get(&store, &path).await.expect("it was written last");
    assert_eq!((record.body(), record.seq), (r#"{"n":2}"#, Seq(NOW + 13)));
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(1));
}

pub(super) async fn a_failed_guard_turns_everything_down(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let (a, b) = (posts.record("a"), posts.record("b"));
    apply(&store, NOW + 1, vec![put(&a, "{}")]).await;
    let before = head(&store, &posts).await;

    for guards in [
        vec![guard(&a, None)],
        vec![guard(&a, Some(Seq(NOW)))],
        vec![guard(&b, Some(Seq(NOW + 1)))],
        vec![guard(&a, Some(Seq(NOW + 1))), guard(&b, Some(Seq(NOW + 1)))],
    ] {
        let writes = vec![put(&b, "{}"), delete(&a)];
        let refused = guarded(&store, NOW + 9, guards, writes).await;
        assert!(matches!(refused, Err(ApplyError::Conflict)), "{refused:?}");
    }
    assert_eq!(head(&store, &posts).await, before);
    assert_eq!(get(&store, &b).await, None);

    let guards = vec![guard(&a, Some(Seq(NOW + 1))), guard(&b, None)];
    guarded(&store, NOW + 9, guards, vec![delete(&a)]).await.expect("these guards hold");
    let guards = vec![guard(&a, None)];
    guarded(&store, NOW + 9, guards, vec![put(&a, "{}")]).await.expect("a tombstone is not live");
}

pub(super) async fn guards_look_at_the_moment_before_the_batch(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let path = posts.record("a");
    let guards = vec![guard(&path, None)];
    let writes = vec![put(&path, "{}"), put(&path, "{}")];
    let outcomes = guarded(&store, NOW, guards, writes).await.expect("it was not there before");
    assert_eq!(outcomes.len(), 2);
}

pub(super) async fn numbers_are_filled_into_bodies(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let past = put_at_past(&posts.record("a"));
    let text = r#"{"first":,"own":}"#.to_owned();
    let slots = vec![Slot { at: 9, write: 0 }, Slot { at: 16, write: 1 }];
    let telling = Write::Put(Put {
        path: posts.record("b"),
        body: Body::with_slots(text, slots),
        permissions: "{}".to_owned(),
        readers: readers(&[]),
        placement: Placement::Next,
    });
    apply(&store, NOW, vec![Write::Touch { collection: posts.clone() }]).await;
    let outcomes = apply(&store, NOW + 50, vec![past, telling]).await;
    assert_eq!(outcomes, [outcome(NOW + 50, 77), outcome(NOW + 51, NOW + 51)]);
    let record = get(&store, &posts.record("b")).await.expect("it was written");
    assert_eq!(record.body(), format!(r#"{{"first":77,"own":{}}}"#, NOW + 51));
}

fn put_at_past(path: &RecordPath) -> Write {
    super::build::put_at(path, "{}", super::build::at(77))
}

pub(super) async fn a_deleted_record_is_a_tombstone_until_it_is_written_again(
    store: Arc<dyn Store>,
) {
    let posts = founded(&store, "blog", "posts").await;
    let path = posts.record("a");
    apply(&store, NOW, vec![put_for(&path, "read", &["alice"])]).await;
    let outcomes = apply(&store, NOW + 1, vec![delete(&path)]).await;
    assert_eq!(outcomes, [outcome(NOW + 1, NOW + 1)]);
    let tombstone = get(&store, &path).await.expect("it left a tombstone");
    assert_eq!((&tombstone.state, tombstone.seq), (&State::Tombstone, Seq(NOW + 1)));
    let (signature, entered) = (readers(&["alice"]).signature(), Seq(NOW));
    assert_eq!((tombstone.signature, tombstone.entered), (signature, entered));
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(0));

    apply(&store, NOW + 2, vec![put(&path, r#"{"again":true}"#)]).await;
    let record = get(&store, &path).await.expect("it was written again");
    assert_eq!(record.body(), r#"{"again":true}"#);
    assert_eq!((record.signature, record.entered), (readers(&[]).signature(), record.seq));
    assert_ne!(record.signature, Signature([0; 16]));
    assert_eq!(head(&store, &posts).await.map(|head| head.live), Some(1));
}

pub(super) async fn deleting_what_is_not_there_changes_nothing(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let unknown = CollectionPath::new("blog", "unknown");
    assert_eq!(apply(&store, NOW, vec![delete(&unknown.record("a"))]).await, [outcome(0, 0)]);
    assert_eq!(head(&store, &unknown).await, None);

    apply(&store, NOW + 3, vec![put(&posts.record("a"), "{}")]).await;
    let before = head(&store, &posts).await;
    let writes = vec![delete(&posts.record("b"))];
    assert_eq!(apply(&store, NOW + 9, writes).await, [outcome(NOW + 3, NOW + 3)]);
    assert_eq!(head(&store, &posts).await, before);
    assert_eq!(get(&store, &posts.record("b")).await, None);
}

pub(super) async fn it_says_that_it_can_write(store: Arc<dyn Store>) {
    let foreign = store.foreign_writes();
    store.admin().ping().await.expect("it can write");
    let posts = founded(&store, "blog", "posts").await;
    apply(&store, NOW, vec![put(&posts.record("a"), "{}")]).await;
    assert_eq!(store.foreign_writes(), foreign, "its own writes are not foreign");
}

pub(super) async fn a_note_is_written_over_what_was_read(store: Arc<dyn Store>) {
    let read = async |name: &str| store.note(name).await.expect("notes can be read");
    let note = |was: Option<&str>, text: &str| Write::Note {
        name: "lease.sweep".to_owned(),
        was: was.map(str::to_owned),
        text: text.to_owned(),
    };
    let apply_one = |writes: Vec<Write>| {
        let store = Arc::clone(&store);
        let batch = Batch::new(Timestamp(NOW), writes);
        async move { store.apply(batch).await }
    };
    assert_eq!(read("lease.sweep").await, None);
    assert!(matches!(apply_one(vec![note(Some("x"), "y")]).await, Err(ApplyError::Conflict)));
    // Of many that come at a time, one is the first.
    let names: Vec<String> = (0..20).map(|n| format!("'\u{1f600}' {n}")).collect();
    let all: Vec<_> =
        names.iter().map(|name| tokio::spawn(apply_one(vec![note(None, name)]))).collect();
    let mut first = Vec::new();
    for (answer, name) in all.into_iter().zip(&names) {
        match answer.await.expect("it does not panic") {
            Ok(outcomes) => {
                assert_eq!(outcomes.len(), 1);
                first.push(name.as_str());
            }
            Err(ApplyError::Conflict) => {}
            Err(ApplyError::Store(error)) => panic!("{error}"),
        }
    }
    assert_eq!(first.len(), 1);
    assert_eq!(read("lease.sweep").await.as_deref(), Some(first[0]));
    assert_eq!(read("lease.cook").await, None);
    // It goes with its batch, and the batch with it.
    let posts = founded(&store, "blog", "posts").await;
    let a = posts.record("a");
    let refused = apply_one(vec![put(&a, "{}"), note(None, "third")]).await;
    assert!(matches!(refused, Err(ApplyError::Conflict)));
    assert_eq!(get(&store, &a).await, None);
    apply_one(vec![put(&a, "{}"), note(Some(first[0]), "fourth")]).await.expect("it holds");
    assert!(get(&store, &a).await.is_some());
    assert_eq!(read("lease.sweep").await.as_deref(), Some("fourth"));
    let epoch = "0123456789abcdef0123456789abcdef".to_owned();
    apply_one(vec![Write::Flush { epoch }]).await.expect("it can be emptied");
    assert_eq!(read("lease.sweep").await.as_deref(), Some("fourth"), "it is of the store itself");
}

pub(super) async fn a_batch_of_other_rules_is_refused(store: Arc<dyn Store>) {
    let posts = founded(&store, "blog", "posts").await;
    let before = head(&store, &posts).await;
    let writes = vec![put(&posts.record("a"), "{}")];
    let batch = Batch { rules: RULES + 1, ..Batch::new(Timestamp(NOW), writes) };
    let refused = store.apply(batch).await;
    assert!(matches!(refused, Err(ApplyError::Store(StoreError::Unsupported(_)))), "{refused:?}");
    assert_eq!(head(&store, &posts).await, before);
    assert_eq!(get(&store, &posts.record("a")).await, None);
}

pub(super) async fn applications_may_use_the_names_of_what_is_built_in(store: Arc<dyn Store>) {
    let mut all = Vec::new();
    for name in ["_groups", "__groups", "_collections", "_history", "_buckets", "_", "__", "a_"] {
        all.push(founded(&store, "blog", name).await);
    }
    all.push(CollectionPath::groups("blog".into()));
    for (n, path) in all.iter().enumerate() {
        let body = format!("{{\"n\":{n}}}");
        apply(&store, NOW, vec![put(&path.record("a"), &body)]).await;
    }
    for (n, path) in all.iter().enumerate() {
        let found = get(&store, &path.record("a")).await.expect("it is there");
        assert_eq!(found.body(), format!("{{\"n\":{n}}}"), "{path}");
        assert_eq!(head(&store, path).await.map(|head| head.live), Some(1), "{path}");
    }
    let found = store.collections(ReaderFilter::All, None, 100).await.expect("it reads");
    assert!(all.iter().all(|path| found.contains(path)), "{found:?}");
    assert_eq!(store.admin().check().await.expect("it can be checked"), []);
}
