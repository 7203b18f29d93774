//! Tokens come back as they were, and only to their owner.
#![allow(clippy::unwrap_used)]

use super::*;

fn tokens() -> Vec<Token> {
    let base = Base { epoch: [1; 8], incarnation: [2; 8] };
    let views = [ViewName::Nothing, ViewName::Whole, ViewName::Alone, ViewName::Groups([7; 16])];
    let cursors = [
        Cursor::START,
        Cursor { signature: Some(Signature([9; 16])), seq: None },
        Cursor { signature: Some(Signature([9; 16])), seq: Some(Seq(-4)) },
    ];
    let mut phases = vec![None, Some(Phase::Tail(Seq(i64::MAX)))];
    phases.extend(cursors.iter().map(|cursor| Some(Phase::Retract(*cursor))));
    phases.extend(cursors.iter().map(|cursor| Some(Phase::Replay(*cursor))));
    let mut tokens = Vec::new();
    for view in views {
        for phase in &phases {
            let run = phase.clone().map(|phase| Run {
                view,
                begun: Seq(1_795_000_000_000),
                rights: [3; 8],
                phase,
            });
            tokens.push(Token { base, at: Seq(17), view, holds: run.is_some(), run });
        }
    }
    tokens
}

#[test]
fn tokens_come_back_as_they_were() {
    let sealer = Tokens::new("secret");
    let (person, collection) =
        (Principal::from("account:bob".to_owned()), CollectionPath::new("b", "c"));
    let owner = Owner { person: &person, collection: &collection };
    for token in tokens() {
        let text = sealer.seal(&token, &owner);
        assert!(text.len() <= TOKEN_BYTES_MAX, "{}", text.len());
        assert_eq!(sealer.open(&text, &owner), Some(token.clone()));
        assert_eq!(sealer.seal(&token, &owner), text, "the same place, the same token");
    }
}

#[test]
fn nobody_else_can_use_them() {
    let sealer = Tokens::new("secret");
    let people = ["account:bob", "account:bo", "system.Everyone"];
    let people = people.map(|person| Principal::from(person.to_owned()));
    let collections = [
        CollectionPath::new("b", "c"),
        CollectionPath::new("bc", ""),
        CollectionPath::new("c", "b"),
    ];
    for token in tokens() {
        let first = Owner { person: &people[0], collection: &collections[0] };
        let text = sealer.seal(&token, &first);
        assert_eq!(Tokens::new("another").open(&text, &first), None);
        for (person, collection) in people.iter().zip(&collections).skip(1) {
            assert_eq!(sealer.open(&text, &Owner { person, collection: &collections[0] }), None);
            assert_eq!(sealer.open(&text, &Owner { person: &people[0], collection }), None);
        }
        for end in 0..text.len() {
            assert_eq!(sealer.open(&text[..end], &first), None);
        }
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).unwrap();
            assert_eq!(sealer.open(&other, &first), None);
        }
    }
    for junk in ["", "A", "====", "\u{1F600}", &"A".repeat(300)] {
        let owner = Owner { person: &people[0], collection: &collections[0] };
        assert_eq!(sealer.open(junk, &owner), None);
    }
}
