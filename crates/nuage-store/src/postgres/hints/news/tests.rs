//! Tables of notifications.

use nuage_model::{CollectionPath, Hint};

use crate::postgres::hints::news::{COLLECTIONS_MAX, News, PAYLOAD_BYTES_MAX};

fn news(rights: bool, collections: &[(&str, &str)]) -> News {
    let collections =
        collections.iter().map(|(bucket, name)| CollectionPath::new(*bucket, *name)).collect();
    News { rights, everything: false, collections }
}

#[test]
fn what_is_told_is_heard() {
    let odd = "\"\\'\u{1}\u{e9}/";
    for told in [
        news(true, &[]),
        news(false, &[("b", "c")]),
        news(true, &[("b", "c"), ("b", "d"), (odd, odd)]),
        News { everything: true, ..News::default() },
    ] {
        let text = told.to_text("p");
        assert_eq!(News::of_text(&text, "q"), Some(told.clone()), "{text}");
        assert_eq!(News::of_text(&text, "p"), None, "a process does not hear itself: {text}");
    }
}

#[test]
fn a_notification_is_never_too_long() {
    let long = "x".repeat(500);
    let mut told = news(true, &[]);
    for n in 0.. {
        told.add(&CollectionPath::new("b", format!("{long}{n}").as_str()));
        let text = told.to_text("p");
        assert!(text.len() <= PAYLOAD_BYTES_MAX);
        let heard = News::of_text(&text, "q").expect("it is of another process");
        if heard.everything {
            assert_eq!(
                (n, heard),
                (15, News { rights: true, everything: true, ..News::default() })
            );
            break;
        }
        assert_eq!(heard, told);
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut told = News::default();
    assert!(told.is_empty());
    for n in 0..=COLLECTIONS_MAX {
        assert!(!told.everything, "{n}");
        told.add(&CollectionPath::new("b", n.to_string().as_str()));
    }
    assert!(told.everything && told.collections.is_empty());
    let mut both = news(true, &[("b", "c")]);
    both.join(&told);
    assert_eq!(both, News { rights: true, everything: true, ..News::default() });
}

#[test]
fn what_is_not_understood_may_be_about_rights() {
    let rights = News { rights: true, ..News::default() };
    for text in ["", "5f1c", "{}", "[1]", "\"p\"", "{\"process\":\"q\"}", "{\"rights\":true}"] {
        assert_eq!(News::of_text(text, "p"), Some(rights.clone()), "{text}");
    }
    let odd = "{\"process\":\"q\",\"rights\":false,\"collections\":[[\"b\",\"c\"],[\"b\"]]}";
    assert_eq!(
        News::of_text(odd, "p"),
        Some(News { everything: true, ..News::default() }),
        "who cannot read the names looks at everything"
    );
}

#[test]
fn rights_come_before_what_they_may_show() {
    let hints: Vec<Hint> = news(true, &[("b", "c")]).into_hints().collect();
    assert_eq!(hints, [Hint::Rights, Hint::Changed(CollectionPath::new("b", "c"))]);
}
