#![allow(clippy::unwrap_used)]

use nuage_model::{Direction, Field};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn sort() -> Vec<Sort> {
    let key = |field| Sort { field, direction: Direction::Ascending };
    vec![key(Field::Body(vec!["a".into(), "b".into()])), key(Field::Timestamp)]
}

#[test]
fn another_secret_or_order_reads_nothing() {
    let tokens = Tokens::new(b"one");
    let token = Token { position: vec![None, Some(json!(5))], offset: 1, nonce: None };
    let text = tokens.encode(&token, &sort());
    assert_eq!(tokens.decode(&text, &sort()).unwrap(), token);
    assert!(Tokens::new(b"two").decode(&text, &sort()).is_err());
    assert!(tokens.decode(&text, &sort()[..1]).is_err());
}

#[test]
fn what_we_did_not_write_is_refused() {
    let tokens = Tokens::new(b"one");
    let forged = STANDARD.encode(r#"{"last_object":{"last_modified":5},"offset":1}"#);
    for text in ["", "x", "e30=", "bnVsbA==", "W10=", forged.as_str()] {
        let error = tokens.decode(text, &sort()).unwrap_err();
        assert_eq!(error.message.as_deref(), Some("querystring: _token has invalid content"));
    }
}

proptest! {
    #[test]
    fn round_trip(text in "\\PC*", number in any::<f64>(), offset in any::<u64>(), once: bool) {
        let tokens = Tokens::new(b"secret");
        let number = Value::from(number);
        for first in [None, Some(json!({"x": [text.clone(), number, null]}))] {
            let nonce = once.then(|| text.clone());
            let token = Token { position: vec![first, Some(json!(7))], offset, nonce };
            let read = tokens.decode(&tokens.encode(&token, &sort()), &sort()).unwrap();
            prop_assert_eq!(read, token);
        }
    }

    #[test]
    fn never_panics(text in "\\PC*") {
        prop_assert!(Tokens::new(b"x").decode(&text, &sort()).is_err());
    }
}
