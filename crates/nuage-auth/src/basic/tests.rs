use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::Secret;
use crate::basic::Credentials;

fn parse(authorization: &str) -> Option<(String, String)> {
    let credentials = Credentials::parse(authorization.as_bytes())?;
    Some((credentials.user().to_owned(), credentials.password().to_owned()))
}

fn encoded(credentials: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

#[test]
fn reads_names_and_passwords() {
    for (sent, user, password) in [
        (&b"mat:secret"[..], "mat", "secret"),
        (b"mat:", "mat", ""),
        (b"mat:a:b", "mat", "a:b"),
        ("m\u{e9}:\u{20ac}".as_bytes(), "m\u{e9}", "\u{20ac}"),
        (b"m\xe9:x", "m\u{e9}", "x"),
    ] {
        assert_eq!(parse(&encoded(sent)), Some((user.to_owned(), password.to_owned())));
    }
    assert!(parse("bAsIc   bWF0OnNlY3JldA== ").is_some());
}

#[test]
fn others_are_anybody() {
    for sent in [&b"mat"[..], b":x", b":", b""] {
        assert_eq!(parse(&encoded(sent)), None);
    }
    for other in
        ["", "Basic", "Basic ", "Basic bWF0OnNlY3JldA", "Basic ***", "Bearer bWF0OnNlY3JldA=="]
    {
        assert_eq!(parse(other), None, "{other}");
    }
}

#[test]
fn people_are_those_of_kinto() {
    for (sent, secret, hex) in [
        (
            &b"mat:secret"[..],
            "",
            "8a931a10fc88ab2f6d1cc02a07d3a81b5d4768f6f13e85c5d8d4180419acb1b4",
        ),
        (b"mat:", "", "eb05d2f05022fb52965eca22a1258e80e5e62015fc3a37769d597c02d8d41d7c"),
        (b"mat:a:b", "", "24ea2dc2663f14d452d32d75f31f7f27f4c0f3e4baee6aa66bdee85a48567fe9"),
        (b"m\xe9:x", "", "4aa3321300d6959ae3787f9b8e02468e5ba4c513d5ec7e5a9678d7abdc9185d6"),
        (
            "m\u{e9}:x".as_bytes(),
            "",
            "4aa3321300d6959ae3787f9b8e02468e5ba4c513d5ec7e5a9678d7abdc9185d6",
        ),
        (
            b"mat:secret",
            "b4c96a8692291d88",
            "fac5d9c2399ba7837ed90fbd92df4682969599114fe0db227fbd6d3136c9d693",
        ),
    ] {
        let credentials = Credentials::parse(encoded(sent).as_bytes());
        let person = credentials.map(|c| c.person("basicauth", &Secret::from(secret)));
        let person = person.map(|person| person.to_string());
        assert_eq!(person, Some(format!("basicauth:{hex}")));
    }
}
