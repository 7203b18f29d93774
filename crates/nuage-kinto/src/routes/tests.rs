//! Paths and where they lead.

use nuage_model::{CollectionPath, RecordPath};

use super::{Endpoint, FEED, LIST, OBJECT, READ};
use crate::Features;

fn check(path: &str, expected: Option<Endpoint>) {
    assert_eq!(Endpoint::of(path, Features::all()), expected, "{path}");
}

#[test]
fn paths_lead_to_their_endpoints() {
    let posts = CollectionPath::new("blog", "posts");
    check("/", Some(Endpoint::Hello));
    check("/batch", Some(Endpoint::Batch));
    check("/buckets", Some(Endpoint::List(CollectionPath::buckets())));
    check("/buckets/blog", Some(Endpoint::Object(RecordPath::bucket("blog".into()))));
    check(
        "/buckets/blog/collections",
        Some(Endpoint::List(CollectionPath::collections("blog".into()))),
    );
    check("/buckets/blog/collections/posts/records", Some(Endpoint::List(posts.clone())));
    check("/buckets/blog/collections/posts/records/a", Some(Endpoint::Object(posts.record("a"))));
    check(
        "/buckets/blog/snapshot/collections/posts@12",
        Some(Endpoint::Snapshot { collection: posts, at: "12".to_owned() }),
    );
    let default = |path: &str, methods| Endpoint::Default { path: path.to_owned(), methods };
    check("/buckets/default", Some(default("", OBJECT)));
    check("/buckets/default/collections", Some(default("collections", LIST)));
    check("/__user_data__/account:a", Some(Endpoint::UserData("account:a".to_owned())));
}

#[test]
fn a_feed_is_beside_the_records_of_its_collection() {
    let feed = |name| Some(Endpoint::Feed(CollectionPath::new("blog", name)));
    check("/buckets/blog/collections/posts/feed", feed("posts"));
    check("/buckets/blog/collections/feed/feed", feed("feed"));
    // Names of built-in collections name others here.
    check("/buckets/blog/collections/_groups/feed", feed("_groups"));
    for path in ["/buckets/blog/feed", "/buckets/blog/collections//feed", "/buckets/feed/feed"] {
        check(path, None);
    }
    check("/buckets/blog/collections/posts/feed/a", None);
    check("/buckets/blog/groups/g/feed", None);
    let path = "collections/posts/feed".to_owned();
    let default = Endpoint::Default { path, methods: FEED };
    assert!(default.is_feed() && !default.shows_objects());
    check("/buckets/default/collections/posts/feed", Some(default));
}

#[test]
fn what_is_explained_is_never_taken_for_an_object() {
    let collections = CollectionPath::collections("blog".into());
    let posts = CollectionPath::new("blog", "posts");
    let explain = |path| Some(Endpoint::Explain(path));
    check("/buckets/blog/explain", explain(RecordPath::bucket("blog".into())));
    check("/buckets/blog/collections/posts/explain", explain(collections.record("posts")));
    let group = CollectionPath::groups("blog".into()).record("explain");
    check("/buckets/blog/groups/explain", Some(Endpoint::Object(group.clone())));
    check("/buckets/blog/groups/explain/explain", explain(group));
    let records = "/buckets/blog/collections/posts/records";
    check(&format!("{records}/a/explain"), explain(posts.record("a")));
    let record = Some(Endpoint::Object(posts.record("explain")));
    check(&format!("{records}/explain"), record);
    check(
        "/buckets/blog/collections/explain",
        Some(Endpoint::Object(collections.record("explain"))),
    );
    for path in ["/explain", "/buckets/explain/explain/explain", "/buckets/blog/history/explain"] {
        check(path, None);
    }
    check(&format!("{records}/a/explain/explain"), None);
    let default = |path: &str| Endpoint::Default { path: path.to_owned(), methods: READ };
    check("/buckets/default/explain", Some(default("explain")));
}

#[test]
fn other_paths_lead_nowhere() {
    for path in [
        "/nothing",
        "//",
        "/buckets//collections",
        "/buckets/a/b",
        "/buckets/blog/collections/posts/records/a/b",
        "/buckets/blog/collections/posts/nothing",
        "/batch/more",
    ] {
        check(path, None);
    }
}

#[test]
fn what_is_switched_off_leads_nowhere() {
    for path in ["/accounts", "/accounts/a", "/__flush__", "/permissions", "/buckets/b/history"] {
        assert_eq!(Endpoint::of(path, Features::default()), None, "{path}");
    }
}

#[test]
fn the_collections_of_the_store_itself_cannot_be_named() {
    let Some(Endpoint::List(list)) =
        Endpoint::of("/buckets/b/collections/_groups/records", Features::all())
    else {
        panic!("a list of records")
    };
    assert_eq!(list.kind(), nuage_model::Kind::Record);
}
