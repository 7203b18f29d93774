#![allow(clippy::unwrap_used)]

use std::io::Read;

use flate2::read::GzDecoder;

use super::*;

fn unpressed(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

#[test]
fn what_is_pressed_comes_back() {
    let large = "{\"title\":\"The same again\"}".repeat(20_000);
    let pieces = ["a", "", &large, ":\n\n", &large[..64], &large[..65], &large[..1_000]];
    let mut gzip = Gzip::default();
    let mut pressed = Vec::new();
    for piece in pieces {
        pressed.extend(gzip.piece(piece.as_bytes()));
    }
    pressed.extend(gzip.end());
    assert_eq!(unpressed(&pressed), pieces.concat().as_bytes());
    assert!(pressed.len() * 10 < pieces.concat().len(), "{}", pressed.len());
    assert_eq!(unpressed(&Gzip::whole(large.as_bytes())), large.as_bytes());
    assert_eq!(unpressed(&Gzip::whole(b"")), b"");
}

#[test]
fn each_piece_can_be_read_when_it_arrives() {
    let mut gzip = Gzip::default();
    let mut pressed = Vec::new();
    let mut expected: Vec<u8> = Vec::new();
    for n in 0..200_usize {
        let text: String = (0..n * 7).map(|k| char::from(b'a' + (k * n % 23) as u8)).collect();
        pressed.extend(gzip.piece(text.as_bytes()));
        expected.extend(text.as_bytes());
        let mut got = vec![0; expected.len()];
        GzDecoder::new(&pressed[..]).read_exact(&mut got).unwrap();
        assert_eq!(got, expected, "after {n} pieces");
    }
}
