//! Paths on the command line, and what they name.

use super::parse;

#[test]
fn paths_name_objects() {
    for path in [
        "/buckets/b",
        "/buckets/b/groups/g",
        "/buckets/b/collections/c",
        "/buckets/b/collections/c/records/r",
        "/accounts/alice",
    ] {
        let shown = |path| parse(path).map(|path| path.to_string());
        assert_eq!(shown(path).as_deref(), Some(path));
        assert_eq!(shown(&format!("/v1{path}")).as_deref(), Some(path));
    }
}

#[test]
fn other_texts_name_nothing() {
    for path in [
        "",
        "/",
        "buckets/b",
        "/buckets",
        "/buckets/b/",
        "/buckets//groups/g",
        "/buckets/b/collections",
        "/buckets/b/collections/c/records",
        "/buckets/b/collections/c/records/r/explain",
        "/buckets/b/history/h",
    ] {
        assert!(parse(path).is_none(), "{path}");
    }
}
