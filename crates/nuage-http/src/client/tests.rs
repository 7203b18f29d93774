#![allow(clippy::unwrap_used)]

use super::*;

fn client(lines: &[(&'static str, &str)]) -> String {
    let trusted = ["10.0.0.0/8", "fd00::/16"].map(|network| network.parse().unwrap());
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, value.parse().unwrap());
    }
    let proxies = Proxies::new(trusted.to_vec());
    proxies.client("10.0.0.1".parse().unwrap(), &headers).to_string()
}

#[test]
fn the_rightmost_hop_that_is_not_trusted_is_the_client() {
    for (value, expected) in [
        ("1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4", "1.2.3.4"),
        ("6.6.6.6, 1.2.3.4, 10.2.3.4", "1.2.3.4"),
        ("10.9.9.9,10.8.8.8", "10.9.9.9"),
        ("1.2.3.4:5678", "1.2.3.4"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:1.2.3.4", "1.2.3.4"),
        // Whoever says nothing is named by the proxy that heard it.
        ("1.2.3.4, unknown, 10.2.3.4", "10.2.3.4"),
        ("", "10.0.0.1"),
        ("1.2.3.4,", "10.0.0.1"),
    ] {
        assert_eq!(client(&[("x-forwarded-for", value)]), expected, "{value}");
    }
    let lines = [("x-forwarded-for", "6.6.6.6, 1.2.3.4"), ("x-forwarded-for", "10.0.0.7")];
    assert_eq!(client(&lines), "1.2.3.4");
}

#[test]
fn forwarded_is_understood() {
    for (value, expected) in [
        ("for=1.2.3.4;proto=https;by=10.0.0.1", "1.2.3.4"),
        ("For=\"[2001:db8::1]:4711\"", "2001:db8::1"),
        ("by=10.0.0.1; for = \"1.2.3.4:80\" ", "1.2.3.4"),
        ("for=6.6.6.6, for=1.2.3.4, for=10.0.0.9", "1.2.3.4"),
        ("for=\"6.6.6.6, for=1.2.3.4", "1.2.3.4"),
        ("for=_hidden", "10.0.0.1"),
        ("proto=https", "10.0.0.1"),
    ] {
        assert_eq!(client(&[("forwarded", value)]), expected, "{value}");
    }
    // A header that the proxy does not write is whatever the client made of it.
    let lines = [("forwarded", "for=6.6.6.6"), ("x-forwarded-for", "1.2.3.4")];
    assert_eq!(client(&lines), "1.2.3.4");
}

#[test]
fn an_ipv6_network_counts_as_one() {
    let network = |text: &str| Network::of(text.parse().unwrap());
    assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1"));
    assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    assert_ne!(network("1.2.3.4"), network("1.2.3.5"));
    assert_eq!(network("1.2.3.4"), network("::ffff:1.2.3.4"));
}
