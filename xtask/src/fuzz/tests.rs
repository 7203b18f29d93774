//! What a target says is kept so that its end tells why it failed.

use super::{Heard, PANIC_LINES_MAX};

#[test]
fn a_panic_is_kept_from_its_beginning() {
    let mut heard = Heard::new("json");
    (0..100).for_each(|n| heard.line(&format!("#{n} NEW cov: 1")));
    heard.line("thread 'main' panicked at src/json.rs:1:2:");
    heard.line("why");
    (0..100).for_each(|n| heard.line(&format!("  {n}: a frame")));
    let said = heard.failure.said;
    assert_eq!(said[0], "thread 'main' panicked at src/json.rs:1:2:");
    assert_eq!(said[1], "why");
    assert_eq!(said.len(), PANIC_LINES_MAX);
}

#[test]
fn without_a_panic_the_end_is_kept() {
    let mut heard = Heard::new("json");
    (0..100).for_each(|n| heard.line(&format!("#{n} NEW cov: 1")));
    heard.line("ERROR: libFuzzer: timeout after 5 seconds");
    let last = heard.failure.said.last();
    assert_eq!(last.map(String::as_str), Some("ERROR: libFuzzer: timeout after 5 seconds"));
    assert!(heard.failure.name.contains("json"));
}
