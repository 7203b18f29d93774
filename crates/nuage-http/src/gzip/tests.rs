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

#[test]
fn what_is_wrapped_comes_back() {
    let large: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    for length in [0, 1, 20, 512, 65_535, 65_536, 200_000] {
        let wrapped = Gzip::wrapped(&large[..length]);
        assert_eq!(unpressed(&wrapped), &large[..length], "{length}");
        assert!(wrapped.len() <= length + 64);
    }
}

#[tokio::test]
async fn so_many_bodies_are_compressed_at_a_time_and_the_rest_is_wrapped() {
    let large = Bytes::from("{\"title\":\"The same again\"}".repeat(20_000));
    let compressor = Compressor::default();
    let pressed = compressor.gzip(large.clone()).await;
    assert!(pressed.len() * 10 < large.len());
    assert_eq!(unpressed(&pressed), large);
    let busy = compressor.turns.acquire_many(PARALLEL as u32).await.unwrap();
    let wrapped = compressor.gzip(large.clone()).await;
    assert!(wrapped.len() > large.len());
    assert_eq!(unpressed(&wrapped), large);
    drop(busy);
    assert!(compressor.gzip(large.clone()).await.len() * 10 < large.len());
    let small = large.slice(..100);
    assert_eq!(unpressed(&compressor.gzip(small.clone()).await), small);
}

#[test]
fn gzip_is_for_those_who_take_it() {
    for (value, wanted) in [
        ("gzip", true),
        ("GZIP;q=0.5", true),
        ("deflate, gzip, br", true),
        ("br;q=1.0, gzip; q=0.8, *;q=0.1", true),
        ("gzip;q=0", false),
        ("gzip; q=0.000", false),
        ("identity", false),
        ("*", false),
        ("", false),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, value.parse().unwrap());
        assert_eq!(takes_gzip(&headers), wanted, "{value}");
    }
    assert!(!takes_gzip(&HeaderMap::new()));
}
