#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

fn sentence(text: &str) -> String {
    check(text, 8).err().map(|e| e.to_string()).unwrap_or_default()
}

#[test]
fn tells_where_and_what() {
    for (text, offset, what) in [
        ("", 0, "The document is empty."),
        (" ", 1, "The document is empty."),
        ("{", 1, "Missing a name for object member."),
        ("{a:1}", 1, "Missing a name for object member."),
        ("{\"a\"", 4, "Missing a colon after a name of object member."),
        ("{\"a\" 1}", 5, "Missing a colon after a name of object member."),
        ("{\"a\":", 5, "Invalid value."),
        ("{\"a\":1", 6, "Missing a comma or '}' after an object member."),
        ("{\"a\":1,", 7, "Missing a name for object member."),
        ("{\"a\":1,}", 7, "Missing a name for object member."),
        ("{\"a\":[1", 7, "Missing a comma or ']' after an array element."),
        ("{\"a\":[1,", 8, "Invalid value."),
        ("{\"a\":[1 2]}", 8, "Missing a comma or ']' after an array element."),
        ("{\"a\":tru}", 8, "Invalid value."),
        ("{\"a\":1.}", 7, "Miss fraction part in number."),
        ("{\"a\":1e}", 7, "Miss exponent in number."),
        ("{\"a\":-}", 6, "Invalid value."),
        ("{\"a\":01}", 6, "Missing a comma or '}' after an object member."),
        ("{\"a\":1e400}", 5, "Number too big to be stored in double."),
        ("{\"a\":\"x", 7, "Missing a closing quotation mark in string."),
        ("{\"a\":\"\\x\"}", 6, "Invalid escape character in string."),
        ("{\"foo\": \"\\u0d1\"}", 9, "Incorrect hex digit after \\u escape in string."),
        ("{\"a\":\"\\ud800x\"}", 6, "The surrogate pair in string is invalid."),
        ("{\"a\":\"\\ud800\\u0041\"}", 6, "The surrogate pair in string is invalid."),
        ("{\"a\":\"\\udc00\"}", 6, "The surrogate pair in string is invalid."),
        ("{\"a\":\"\n\"}", 6, "Invalid encoding in string."),
        ("{\"a\":1}}", 7, "The document root must not be followed by other values."),
        ("{\"a\":Infinity}", 5, "Invalid value."),
    ] {
        let wanted = format!("Invalid JSON: Parse error at offset {offset}: {what}");
        assert_eq!(sentence(text), wanted, "{text}");
    }
}

#[test]
fn bounds_nesting() {
    assert_eq!(check("[[[[[[[[]]]]]]]]", 8), Ok(()));
    assert_eq!(check("[[[[[[[[[]]]]]]]]]", 8), Err(JsonError::TooDeep { depth_max: 8 }));
    let deep = "[{\"a\":".repeat(100_000);
    assert_eq!(check(&deep, 1_000_000), Err(JsonError::TooDeep { depth_max: 120 }));
}

proptest! {
    #[test]
    fn agrees_with_the_other_reader(text in "[\\[\\]{}:,\"\\\\u0-9a-f eE.+-]{0,24}|\\PC{0,16}") {
        let ours = check(&text, 120).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(&text).is_ok();
        prop_assert_eq!(ours, theirs, "{}", text);
    }
}
