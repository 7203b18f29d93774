#![allow(clippy::unwrap_used)]

use nuage_model::{Direction, Field};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn sort(direction: Direction) -> String {
    let key = |field| Sort { field, direction };
    order(&[key(Field::Body(vec!["a".into(), "b".into()])), key(Field::Timestamp)])
}

#[test]
fn another_secret_or_order_reads_nothing() {
    let (tokens, up) = (Tokens::new(b"one"), sort(Direction::Ascending));
    let token = Token { position: vec![None, Some(json!(5))], nonce: None, head: None };
    let text = tokens.encode(&token, &up);
    assert_eq!(tokens.decode(&text, &up).unwrap(), token);
    assert!(Tokens::new(b"two").decode(&text, &up).is_err());
    assert!(tokens.decode(&text, &sort(Direction::Descending)).is_err());
    assert!(tokens.decode(&text, &up[1..]).is_err());
}

#[test]
fn what_we_did_not_write_is_refused() {
    let tokens = Tokens::new(b"one");
    let forged = URL_SAFE_NO_PAD.encode(r#"{"last_object":[[5]]}"#);
    for text in ["", "x", "e30=", "bnVsbA==", "W10=", forged.as_str()] {
        let error = tokens.decode(text, &sort(Direction::Ascending)).unwrap_err();
        assert_eq!(error.message.as_deref(), Some("querystring: _token has invalid content"));
    }
}

proptest! {
    #[test]
    fn round_trip(text in "\\PC*", number in any::<f64>(), once: bool) {
        let tokens = Tokens::new(b"secret");
        let number = Value::from(number);
        for first in [None, Some(json!({"x": [text.clone(), number, null]}))] {
            let nonce = once.then(|| text.clone());
            let head = once.then_some(Timestamp(7));
            let token = Token { position: vec![first, Some(json!(7))], nonce, head };
            let order = sort(Direction::Descending);
            let read = tokens.decode(&tokens.encode(&token, &order), &order).unwrap();
            prop_assert_eq!(read, token);
        }
    }

    #[test]
    fn never_panics(text in "\\PC*") {
        prop_assert!(Tokens::new(b"x").decode(&text, "").is_err());
    }
}
