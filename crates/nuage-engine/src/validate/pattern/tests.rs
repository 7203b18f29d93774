#![allow(clippy::unwrap_used)]

use super::*;

fn cost(pattern: &str) -> Option<Cost> {
    Pattern::measured(pattern).ok().map(|pattern| pattern.cost)
}

#[test]
fn patterns_are_measured() {
    let small = Some(Cost::Linear(8 * 1024));
    for pattern in
        ["^[a-z]+$", "", "^[a-z0-9-]{1,36}$", r"^\d{4}-\d\d-\d\dT", r"^[^@]+@[^@]+\.[a-z]+$"]
    {
        assert_eq!(cost(pattern), small, "{pattern}");
    }
    assert_eq!(cost(r"\w{400}"), Some(Cost::Linear(64 * 1024)));
    assert_eq!(cost("^.{1,200}$"), Some(Cost::Linear(512 * 1024)));
    assert_eq!(cost(r"^(?=.*\d)(?=.*[a-z]).{8,}$"), Some(Cost::Power(2)));
    assert_eq!(cost(r"^((?!foo).)*$"), Some(Cost::Power(3)));
    for pattern in [r"\p{L}{200}", "(", r"((a{100}){100}){100}", "(?=((a{100}){100}){100})b"] {
        assert_eq!(cost(pattern), None, "{pattern}");
    }
}

#[test]
fn texts_that_would_take_long_are_refused() {
    let takes = |pattern: &str, length: usize| {
        Pattern::measured(pattern).unwrap().takes(&"a".repeat(length))
    };
    assert!(takes("^[a-z]+$", 4 << 20), "a small pattern takes the largest body");
    assert!(takes("^.{1,200}$", 60_000));
    assert!(!takes("^.{1,200}$", 70_000));
    assert!(takes("^(?=a)b", 32_000));
    assert!(!takes("^(?=a)b", 33_000));
    assert!(!takes("^((?!foo).)*$", 1_100));
}

#[test]
fn nesting_counts_groups_only() {
    for (pattern, expected) in
        [("a", 0), ("(a)(b)", 1), ("((a)(b))", 2), (r"\(\(a", 0), ("[((]a", 0)]
    {
        assert_eq!(nesting(pattern), expected, "{pattern}");
    }
}
