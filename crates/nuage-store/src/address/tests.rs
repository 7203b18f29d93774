use crate::Address;

#[test]
fn passwords_in_urls_are_masked_also_where_the_url_is_wrong() {
    let cases = [
        ("postgres://me@h/d", "postgres://me@h/d"),
        ("postgres://me:pw@h/d", "postgres://me:*@h/d"),
        ("postgres://me:p@w@h/d", "postgres://me:*@h/d"),
        ("postgres://me:p/w?@h/d", "postgres://me:*@h/d"),
        ("postgres://h/d?user=me&password=pw&port=1", "postgres://h/d?user=me&password=*&port=1"),
        ("postgres://h/d?p%61ssword=pw", "postgres://h/d?p%61ssword=*"),
        ("postgres://h/d?sslpassword=pw", "postgres://h/d?sslpassword=*"),
        ("postgres+x://me:pw@h", "postgres+x://me:*@h"),
        ("me:pw@h", "me:*@h"),
    ];
    for (url, expected) in cases {
        assert_eq!(Address::without_password(url, "*"), expected);
    }
    let url = "postgres://me:pw@h/d".to_owned();
    let shown = format!("{:?}", Address { url, password: Some("other".to_owned()) });
    assert!(!shown.contains("pw") && !shown.contains("other"), "{shown}");
}

#[test]
fn a_place_is_host_and_database() {
    let place = |url: &str| Address { url: url.to_owned(), password: None }.place();
    let cases = [
        ("postgres://me:pw@h/d", "h/d"),
        ("postgres://me:pw@h:6000/d", "h:6000/d"),
        ("postgres://me@a:1,b:2", "a:1,b:2/me"),
        ("postgres://[::1]:5/d", "[::1]:5/d"),
    ];
    for (url, expected) in cases {
        assert_eq!(place(url).as_deref(), Ok(expected));
    }
}
