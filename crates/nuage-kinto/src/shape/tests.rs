#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn identifiers() {
    let limits = Limits::default();
    for (id, ordinary, account) in [
        ("a", true, true),
        ("A-b_9", true, true),
        ("0", true, true),
        ("a.b+c@d", false, true),
        ("", false, false),
        ("-a", false, false),
        ("_a", false, false),
        ("+a", false, false),
        ("a b", false, false),
        ("a/b", false, false),
        ("\u{e9}", false, false),
        ("a\0", false, false),
        ("a\n", false, false),
    ] {
        assert_eq!(is_id(Kind::Record, id, &limits), ordinary, "{id}");
        assert_eq!(is_id(Kind::Account, id, &limits), account, "{id}");
    }
    assert!(is_id(Kind::Record, &"a".repeat(512), &limits));
    assert!(!is_id(Kind::Record, &"a".repeat(513), &limits));
}

#[test]
fn times() {
    for (raw, time) in [
        ("5", Some(Timestamp(5))),
        ("-5", Some(Timestamp(-5))),
        ("0", Some(Timestamp(0))),
        ("5.0", None),
        ("5e3", None),
        ("\"5\"", None),
        ("true", None),
        ("null", None),
    ] {
        assert_eq!(chosen_time(raw).unwrap(), time, "{raw}");
    }
    assert!(chosen_time("99999999999999999999").is_err());
    assert!(chosen_time("9007199254740993").is_err());
}
