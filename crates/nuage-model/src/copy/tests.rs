#![allow(clippy::unwrap_used)]

use crate::copy::{Cell, Digest, Digesting, Progress, Row, Table};

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

#[test]
fn progress_is_read_back_as_it_was_kept() {
    let key = vec![text("b\"\u{e9}"), text("c"), Cell::Whole(i64::MAX), text("")];
    let whole = Progress { source: "s".to_owned(), at: Some((Table::Gone, key)), rows: u64::MAX };
    assert_eq!(Progress::of_text(&whole.to_text()), Some(whole));
    let key = vec![text(""), text("c"), Cell::Bytes(vec![0, 255])];
    let bytes = Progress { source: "s".to_owned(), at: Some((Table::Signatures, key)), rows: 1 };
    let kept = r#"{"source":"s","rows":1,"table":"signatures","after":["","c",{"bytes":[0,255]}]}"#;
    assert_eq!(Progress::of_text(kept), Some(bytes.clone()));
    assert_eq!(Progress::of_text(&bytes.to_text()), Some(bytes));
    let begun = Progress::new("s");
    assert_eq!(Progress::of_text(&begun.to_text()), Some(begun));
}

#[test]
fn what_is_not_progress_is_not_read_as_such() {
    for text in [
        "",
        "{}",
        r#"{"source":"s"}"#,
        r#"{"source":"s","rows":-1}"#,
        r#"{"source":"s","rows":1,"table":"nothing","after":[]}"#,
        r#"{"source":"s","rows":1,"table":"collections","after":["b"]}"#,
        r#"{"source":"s","rows":1,"table":"collections","after":["b",1]}"#,
        r#"{"source":"s","rows":1,"table":"signatures","after":["b","c",{"bytes":[256]}]}"#,
    ] {
        assert_eq!(Progress::of_text(text), None, "{text}");
    }
}

#[test]
fn rows_that_differ_in_anything_differ_in_their_digest() {
    let digest = |rows: &[&[Cell]]| {
        let mut digesting = Digesting::default();
        rows.iter().for_each(|row| digesting.add(&Row(row.to_vec())));
        digesting.end()
    };
    let all: &[&[&[Cell]]] = &[
        &[],
        &[&[text("ab"), text("c")]],
        &[&[text("a"), text("bc")]],
        &[&[text("abc"), text("")]],
        &[&[text(""), text("abc")]],
        &[&[Cell::Bytes(b"ab".to_vec()), text("c")]],
        &[&[text("c"), text("ab")]],
        &[&[Cell::Nothing, text("c")]],
        &[&[Cell::Whole(0), text("c")]],
        &[&[Cell::Whole(1), text("c")]],
        &[&[Cell::Whole(0), text("c")], &[Cell::Whole(0), text("c")]],
    ];
    for (i, a) in all.iter().enumerate() {
        for b in &all[i + 1..] {
            assert_ne!(digest(a), digest(b), "{a:?} {b:?}");
        }
    }
    assert_eq!(digest(all[1]), digest(all[1]));
    let both = Digest::of_all(&[digest(all[1]), digest(all[10])]);
    assert_eq!(both.rows, 3);
    assert_ne!(both, Digest::of_all(&[digest(all[10]), digest(all[1])]));
}

#[test]
fn keys_begin_the_columns_and_the_tables_have_their_names() {
    for table in Table::ALL {
        assert_eq!(Table::named(table.name()), Some(table));
        assert!(table.key().len() <= table.columns().len());
    }
    assert_eq!(Table::named("meta"), None);
}
