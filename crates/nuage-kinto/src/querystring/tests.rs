#![allow(clippy::unwrap_used)]

use nuage_model::Test;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn try_parse(raw: &str, listing: Listing) -> Result<ListParams, Error> {
    let limits = Limits::default();
    parse(Some(raw), &Rules { listing, limits: &limits, paginate_by: None })
}

fn params(raw: &str) -> ListParams {
    try_parse(raw, Listing::Objects).unwrap()
}

fn message(raw: &str, listing: Listing) -> String {
    try_parse(raw, listing).unwrap_err().message.clone().unwrap().into_owned()
}

fn body(path: &[&str]) -> Field {
    Field::Body(path.iter().map(|s| (*s).to_owned()).collect())
}

fn test_of(raw: &str) -> Test {
    let mut filters = params(raw).filters;
    assert_eq!(filters.len(), 1, "{raw}");
    filters.remove(0).test
}

#[test]
fn values_are_json_where_they_parse() {
    for (raw, value) in [
        ("f=1", json!(1)),
        ("f=%221%22", json!("1")),
        ("f=true", json!(true)),
        ("f=null", json!(null)),
        ("f=[1]", json!([1])),
        ("f=%7B%22a%22:1%7D", json!({"a": 1})),
        ("f=abc", json!("abc")),
        ("f=01", json!("01")),
        ("f=True", json!("True")),
        ("f=NaN", json!("NaN")),
        ("f=", json!("")),
        ("f", json!("")),
        ("f=a+b%20c", json!("a b c")),
        ("f=%C3%A9", json!("\u{e9}")),
        ("f=1;g=2", json!("1;g=2")),
    ] {
        assert_eq!(test_of(raw), Test::Eq(value), "{raw}");
    }
    assert_eq!(test_of("f=1&f=a"), Test::Eq(json!([1, "a"])));
    assert!(nuage_model::same(&json!(1), &serde_json::from_str::<Value>("1e0").unwrap()));
}

#[test]
fn operators() {
    for (raw, test) in [
        ("eq_f=1", Test::Eq(json!(1))),
        ("not_f=1", Test::Not(json!(1))),
        ("gt_f=1", Test::Gt(json!(1))),
        ("min_f=1", Test::Min(json!(1))),
        ("lt_f=1", Test::Lt(json!(1))),
        ("max_f=1", Test::Max(json!(1))),
        ("in_f=a,1,", Test::In(vec![json!("a"), json!(1)])),
        ("in_f=", Test::In(vec![])),
        ("in_f=a&in_f=b", Test::In(vec![json!("a"), json!("b")])),
        ("exclude_f=a", Test::Exclude(vec![json!("a")])),
        ("like_f=TexT", Test::Like("*text*".into())),
        ("like_f=T*t", Test::Like("t*t".into())),
        ("like_f=%221%22", Test::Like("*1*".into())),
        ("has_f=true", Test::Has(true)),
        ("has_f=false", Test::Has(false)),
        ("has_f=0", Test::Has(false)),
        ("has_f=x", Test::Has(true)),
        ("contains_f=1", Test::Contains(vec![json!(1)])),
        ("contains_f=[1,2]", Test::Contains(vec![json!(1), json!(2)])),
        ("contains_f=[]", Test::Contains(vec![])),
        ("contains_any_f=[1]", Test::ContainsAny(vec![json!(1)])),
        ("contains_any_f=1", Test::ContainsAny(vec![json!(1)])),
        ("gt_id=5", Test::Gt(json!("5"))),
        ("not_id=5", Test::Not(json!("5"))),
        ("id=%225%22", Test::Eq(json!("5"))),
    ] {
        assert_eq!(test_of(raw), test, "{raw}");
    }
    assert_eq!(params("min_=1").filters[0].field, body(&["min_"]));
    assert_eq!(params("min_age=1").filters[0].field, body(&["age"]));
    assert_eq!(params("a.b=1").filters[0].field, body(&["a", "b"]));
    assert_eq!(params("id=x").filters[0].field, Field::Id);
    assert_eq!(params("deleted=true").filters[0].field, Field::Deleted);
    assert_eq!(params("_foo=1&__x=2").filters, []);
}

#[test]
fn times() {
    for (raw, test) in [
        ("_since=5", Test::Gt(json!(5))),
        ("_since=%225%22", Test::Gt(json!(5))),
        ("_since=5.7", Test::Gt(json!(5))),
        ("_since=1e3", Test::Gt(json!(1000))),
        ("_since=null", Test::Gt(json!(null))),
        ("_before=5", Test::Lt(json!(5))),
        ("_to=5", Test::Lt(json!(5))),
        ("last_modified=%225%22", Test::Eq(json!(5))),
        ("min_last_modified=5.5", Test::Min(json!(5))),
        ("gt_last_modified=-5", Test::Gt(json!(-5))),
        ("_since=9007199254740991", Test::Gt(json!(9_007_199_254_740_991_i64))),
        ("in_last_modified=1,%222%22", Test::In(vec![json!(1), json!(2)])),
        ("exclude_last_modified=1", Test::Exclude(vec![json!(1)])),
    ] {
        let params = params(raw);
        assert_eq!(params.filters, [Filter { field: Field::Timestamp, test }], "{raw}");
        assert_eq!(params.states, States::Both);
        assert_eq!(params.to_used, raw.starts_with("_to"));
    }
    assert_eq!(params("_since=5").since, Some(Timestamp(5)));
    assert_eq!(params("_since=5&a=1").since, None);
    assert_eq!(params("deleted=true").states, States::Live);
    let params = try_parse("_since=5&last_modified=3", Listing::Permissions).unwrap();
    assert_eq!((params.filters.len(), params.states), (0, States::Live));
}

#[test]
fn refusals() {
    for (raw, wanted) in [
        ("_limit=x", "_limit in querystring: \"x\" is not a number"),
        ("_limit=-1", "_limit in querystring: -1 is less than minimum value 0"),
        ("_since=x", "_since in querystring: \"x\" is not a number"),
        ("_since=%2212", "_since in querystring: \"\"12\" is not a number"),
        ("_since=Infinity", "_since in querystring: \"Infinity\" is not a number"),
        ("_since=-1", "_since in querystring: -1 is less than minimum value 0"),
        ("_since=", "Invalid value for _since"),
        ("_since=9007199254740992", "Invalid value for _since"),
        ("_to=%22%22", "Invalid value for _to"),
        ("last_modified=x", "last_modified in querystring: \"x\" is not a number"),
        ("last_modified=null", "Invalid value for last_modified"),
        ("gt_last_modified=x", "Invalid value for gt_last_modified"),
        ("gt_last_modified=true", "Invalid value for gt_last_modified"),
        ("in_last_modified=x", "Invalid value for in_last_modified"),
        ("has_last_modified=true", "Invalid value for has_last_modified"),
        ("contains_last_modified=1", "Invalid value for contains_last_modified"),
        ("contains_id=a", "contains_id in querystring: Field 'id' is not an array"),
        ("id=1", "1 is not a string: {'id': ''}"),
        ("in_id=a,1", "Invalid value for in_id"),
        ("like_f=1", "Invalid value for like_f"),
        ("in_id=1", "Invalid value for in_id"),
        ("like_id=1", "Invalid value for like_id"),
        ("like_f=null", "Invalid value for like_f"),
        ("f=%00", "f in querystring: Invalid character 0x00"),
        ("_token=a&_token=b", "querystring: _token has invalid content"),
    ] {
        assert_eq!(message(raw, Listing::Objects), wanted, "{raw}");
    }
    for (raw, wanted) in [
        ("x=1", "Unknown filter field 'x'"),
        ("gt_x=1", "Unknown filter field 'gt_x'"),
        ("_sort=x", "querystring: Unknown sort field 'x'"),
        ("_fields=x,uri", "_fields in querystring: Fields x do not exist"),
    ] {
        assert_eq!(message(raw, Listing::History), wanted, "{raw}");
        assert_eq!(message(raw, Listing::Permissions), wanted, "{raw}");
    }
    assert!(try_parse("target.data.id=x&_sort=date", Listing::History).is_ok());
    let error = try_parse("a=%ff", Listing::Objects).unwrap_err();
    assert_eq!((error.status.as_u16(), error.error), (400, "Bad Request"));
}

#[test]
fn several_refusals_together() {
    let error = try_parse("_limit=x&_since=y&id=1", Listing::Objects).unwrap_err();
    let Some(crate::error::Details::Invalid(list)) = &error.details else { panic!() };
    let names: Vec<_> = list.iter().map(|i| i.name.as_deref().unwrap()).collect();
    assert_eq!(names, ["_limit", "_since", "id"]);
}

#[test]
fn order() {
    let key = |field, direction| Sort { field, direction };
    let newest = key(Field::Timestamp, Direction::Descending);
    for raw in ["", "_sort=", "_sort=,", "_sort=--a", "_sort=-"] {
        assert_eq!(params(raw).sort, std::slice::from_ref(&newest), "{raw}");
    }
    let ascending = |name| key(body(&[name]), Direction::Ascending);
    assert_eq!(params("_sort=+a,%2Bb,a").sort, [ascending("a"), ascending("b"), newest.clone()]);
    let sort = params("_sort=-a.b,last_modified").sort;
    let descending = key(body(&["a", "b"]), Direction::Descending);
    assert_eq!(sort, [descending, key(Field::Timestamp, Direction::Ascending)]);
    let sort = try_parse("_sort=id", Listing::Permissions).unwrap().sort;
    let last = key(body(&["uri"]), Direction::Descending);
    assert_eq!(sort, [key(Field::Id, Direction::Ascending), last]);
}

#[test]
fn sizes() {
    let limits = Limits::default();
    let rules = Rules { listing: Listing::Objects, limits: &limits, paginate_by: Some(10) };
    for (raw, page, limited) in [
        ("", 10, true),
        ("_limit=0", 10, true),
        ("_limit=5", 5, true),
        ("_limit=%225%22", 5, true),
        ("_limit=1.5", 1, true),
        ("_limit=50", 10, true),
    ] {
        let params = parse(Some(raw), &rules).unwrap();
        assert_eq!((params.page_records, params.limited), (page, limited), "{raw}");
    }
    assert_eq!(params("_limit=999999").page_records, 10_000);
    assert!(!params("a=1").limited);
    assert!(try_parse("_limit=99999999999999999999999", Listing::Objects).is_err());
}

#[test]
fn bounds() {
    let many = |n: usize| (0..n).map(|i| format!("a{i}=1&")).collect::<String>();
    assert!(try_parse(&many(64), Listing::Objects).is_ok());
    assert!(try_parse(&many(65), Listing::Objects).is_err());
    assert!(try_parse(&many(10_000), Listing::Objects).is_err());
    let list = |n: usize| format!("in_a={}", "x,".repeat(n));
    assert!(try_parse(&list(1_000), Listing::Objects).is_ok());
    assert!(try_parse(&list(1_001), Listing::Objects).is_err());
    let sort = (0..17).map(|i| format!("a{i},")).collect::<String>();
    assert!(try_parse(&format!("_sort={sort}"), Listing::Objects).is_err());
    assert!(try_parse(&format!("a={}", "[".repeat(70)), Listing::Objects).is_err());
}

#[test]
fn next_page_asks_the_same() {
    let params = params("_limit=2&a=x%20y&_token=old&_sort=-a");
    assert_eq!(params.next_query("n/e="), "a=x%20y&_sort=-a&_limit=2&_token=n%2Fe%3D");
    let again = parse(
        Some(&params.next_query("t")),
        &Rules { listing: Listing::Objects, limits: &Limits::default(), paginate_by: None },
    );
    assert_eq!(again.unwrap().filters, params.filters);
}

#[test]
fn next_page_of_the_most_parameters_is_taken() {
    let raw = vec!["_sort=id"; Limits::default().filter_terms + 32].join("&");
    let next = params(&raw).next_query("next");
    assert_eq!(params(&next).token.as_deref(), Some("next"));
    assert!(try_parse(&format!("{raw}&_sort=id"), Listing::Objects).is_err());
}

#[test]
fn objects() {
    let limits = Limits::default();
    let read = |raw, used| parse_object(Some(raw), used, &limits);
    let fields = read("_fields=a,b.c,&_since=x", ObjectUse::Read).unwrap().fields;
    assert_eq!(fields, Some(vec!["a".to_owned(), "b.c".to_owned()]));
    assert_eq!(read("_fields=", ObjectUse::Read).unwrap().fields, None);
    assert_eq!(read("last_modified=x", ObjectUse::Read).unwrap().last_modified, None);
    for raw in ["last_modified=5", "last_modified=%225%22"] {
        let params = read(raw, ObjectUse::Delete).unwrap();
        assert_eq!(params.last_modified, Some(Timestamp(5)));
    }
    for raw in ["last_modified=x", "last_modified=", "last_modified=1&last_modified=2"] {
        assert!(read(raw, ObjectUse::Delete).is_err(), "{raw}");
    }
}

proptest! {
    #[test]
    fn never_panics(raw in "[a-z_=&%0-9\",.\\[\\]{}+-]{0,80}|\\PC{0,40}") {
        for listing in [Listing::Objects, Listing::History, Listing::Permissions] {
            if let Ok(params) = try_parse(&raw, listing) {
                let next = params.next_query("t");
                prop_assert!(try_parse(&next, listing).is_ok(), "{}", next);
            }
        }
    }
}
