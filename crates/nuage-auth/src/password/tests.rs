#![allow(clippy::unwrap_used)]

use argon2::password_hash::phc::PasswordHash;

use crate::password::{NOBODY, hash_password_blocking, matches};

/// Made by Python's bcrypt of "p\u{e4}ssword", with few rounds.
const IMPORTED: &str = "$2b$05$nYUBrUcaQtJr50iBL4YRQuql.hwfoIAmwtu1AY.JWAsy19t197WoO";

#[test]
fn new_hashes_are_argon2id_and_verify() {
    let hash = hash_password_blocking("correct horse");
    assert!(hash.starts_with("$argon2id$v=19$m=9216,t=4,p=1$"), "{hash}");
    assert!(matches("correct horse", &hash));
    assert!(!matches("battery staple", &hash));
    assert!(!matches("", &hash));
    assert_ne!(hash, hash_password_blocking("correct horse"));
}

#[test]
fn imported_hashes_verify() {
    assert!(matches("p\u{e4}ssword", IMPORTED));
    assert!(!matches("password", IMPORTED));
    let older = IMPORTED.replacen("2b", "2a", 1);
    assert!(matches("p\u{e4}ssword", &older));
}

#[test]
fn hashes_that_cannot_be_verified_match_nothing() {
    let hash = hash_password_blocking("x");
    for other in [
        String::new(),
        "x".to_owned(),
        "$argon2id$".to_owned(),
        "$2b$12$short".to_owned(),
        hash.replace("m=9216", "m=4194304"),
        hash.replace("t=4", "t=4000000"),
        hash.replace("argon2id", "scrypt"),
        IMPORTED.replace("$05$", "$31$"),
    ] {
        assert!(!matches("x", &other), "{other}");
    }
}

#[test]
fn nobody_costs_as_much_as_somebody() {
    let nobody = PasswordHash::new(NOBODY).unwrap();
    let somebody = PasswordHash::new(&hash_password_blocking("x")).unwrap();
    assert_eq!(nobody.algorithm, somebody.algorithm);
    assert_eq!(nobody.version, somebody.version);
    assert_eq!(nobody.params, somebody.params);
    assert_eq!(nobody.hash.unwrap().len(), somebody.hash.unwrap().len());
}
