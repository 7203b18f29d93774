//! Tokens come back as they were, and only to their owner.
#![allow(clippy::unwrap_used)]

use super::*;

const BASE: Base = Base { epoch: [1; 8], incarnation: [2; 8] };

fn tokens() -> Vec<Token> {
    let views = [
        ViewName::Nothing,
        ViewName::Whole,
        ViewName::Few(Vec::new()),
        ViewName::Few(vec![0, 127, 128, 1 << 40, i64::MAX]),
        ViewName::Many([7; 16]),
    ];
    let cursors = [
        Cursor::START,
        Cursor { signature: Some(Signature([9; 16])), seq: None },
        Cursor { signature: Some(Signature([9; 16])), seq: Some(Seq(-4)) },
    ];
    let until = Seq(1_795_000_000_000);
    let mut phases = vec![None, Some(Phase::Tail { after: Seq(-1), until: Seq(i64::MAX) })];
    phases.extend(cursors.map(|cursor| Some(Phase::Retract(cursor))));
    phases.extend(cursors.map(|cursor| Some(Phase::Replay { cursor, until })));
    let mut tokens = Vec::new();
    for may in &views {
        for sure in &views {
            for phase in &phases {
                let run = phase.clone().map(|phase| Run {
                    to: sure.clone(),
                    keep: ViewName::Few(vec![3]),
                    phase,
                });
                let holds = run.is_some();
                let place = Place { at: Seq(17), may: may.clone(), sure: sure.clone(), run };
                tokens.push(Token { base: BASE, holds, place });
            }
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
        assert_eq!(sealer.open(&text, &owner), Some(Some(token.clone())));
        assert_eq!(sealer.seal(&token, &owner), text, "the same place, the same token");
    }
}

// The longest token of a collection that had so many names.
fn longest(names: i64) -> usize {
    let far = names / ORDINALS_MAX as i64;
    let view = |less| ViewName::Few((1..=ORDINALS_MAX as i64).map(|n| n * far - less).collect());
    let seq = Seq(i64::MAX);
    let cursor = Cursor { signature: Some(Signature([9; 16])), seq: Some(seq) };
    let phase = Phase::Replay { cursor, until: seq };
    let run = Some(Run { to: view(2), keep: view(3), phase });
    let place = Place { at: seq, may: view(0), sure: view(1), run };
    let (person, collection) =
        (Principal::from("account:bob".to_owned()), CollectionPath::new("b", "c"));
    let owner = Owner { person: &person, collection: &collection };
    let sealer = Tokens::new("secret");
    let token = Token { base: BASE, holds: true, place };
    let text = sealer.seal(&token, &owner);
    assert_eq!(sealer.open(&text, &owner), Some(Some(token)));
    text.len()
}

#[test]
fn the_longest_token_is_ours() {
    assert_eq!((longest(100_000), longest(i64::MAX)), (446, 1_640));
    assert!(longest(i64::MAX) <= TOKEN_BYTES_MAX);
}

#[test]
fn tokens_of_the_former_format_are_good_at_rest() {
    let sealer = Tokens::new("secret");
    let (person, collection) =
        (Principal::from("account:bob".to_owned()), CollectionPath::new("b", "c"));
    let owner = Owner { person: &person, collection: &collection };
    // As they were sealed by the program that had no others.
    let at_rest = "ouaQ0cLHXhiBMl8Mi7NpJjbnr5LS8ev1JiRXtUF9waZPXaHapJ2YkgTFcf5z6lMUMvTDnyJrFbnpAaI";
    let in_a_run = concat!(
        "oKNHkGid7wJQ108Czz391-KWldRyCQrH0rz1pxhv09nInA5umif5p4vDh6xWVBmv",
        "PaZGVCO_3XA9tBBLlVTrP8mmo3qkST374bHpCaAzB5eBCnnOR8BsupUy2BEULxE4z3ekng"
    );
    let view = ViewName::Many([7; 16]);
    let (may, sure) = (view.clone(), view.clone());
    let place = Place { at: Seq(17), may, sure, run: None };
    let token = Token { base: BASE, holds: false, place };
    assert_eq!(sealer.seal_former(&token, &view, &owner), at_rest);
    assert_eq!(sealer.open(at_rest, &owner), Some(Some(token)));
    assert_eq!(sealer.open(in_a_run, &owner), Some(None));
    let other = Owner { person: &Principal::from("account:carol"), collection: &collection };
    assert_eq!(sealer.open(at_rest, &other), None);
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
    for token in tokens().into_iter().step_by(11) {
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
    for junk in ["", "A", "====", "\u{1F600}", &"A".repeat(3_000)] {
        let owner = Owner { person: &people[0], collection: &collections[0] };
        assert_eq!(sealer.open(junk, &owner), None);
    }
}
