#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tokio_postgres::config::{Host, SslMode, SslNegotiation, TargetSessionAttrs};

use crate::postgres::url::{Verification, parse};

fn complaint(url: &str) -> String {
    match parse(url) {
        Ok(_) => panic!("{url} is understood"),
        Err(why) => why,
    }
}

#[test]
fn a_url_says_who_and_where() {
    let url = "postgresql://me%40work:p%C3%A4ss@db.example:5433/n%20u?application_name=x%26y";
    let (config, _) = parse(url).unwrap();
    assert_eq!(config.get_user(), Some("me@work"));
    assert_eq!(config.get_password(), Some("p\u{e4}ss".as_bytes()));
    assert_eq!(config.get_hosts(), [Host::Tcp("db.example".to_owned())]);
    assert_eq!(config.get_ports(), [5433]);
    assert_eq!(config.get_dbname(), Some("n u"));
    assert_eq!(config.get_application_name(), Some("x&y"));
}

#[test]
fn quotes_and_signs_reach_the_driver_as_they_are() {
    let (config, _) = parse(r"postgres://u:it's%5Cme@h/d?options=-c%20a=b%5C%20c").unwrap();
    assert_eq!(config.get_password(), Some(r"it's\me".as_bytes()));
    assert_eq!(config.get_options(), Some(r"-c a=b\ c"));
    // A sign in a parameter is not the end of the credentials.
    let (config, _) = parse("postgres://h/d?user=me@work").unwrap();
    assert_eq!(config.get_user(), Some("me@work"));
    let (config, _) = parse("postgres://u:p@ss@h/d").unwrap();
    assert_eq!(config.get_password(), Some("p@ss".as_bytes()));
}

#[test]
fn hosts_are_names_addresses_lists_and_sockets() {
    let hosts = |url: &str| {
        let (config, _) = parse(url).unwrap();
        let hosts = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(host) => host.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        (hosts.collect::<Vec<_>>().join(" "), config.get_ports().to_vec())
    };
    assert_eq!(hosts("postgres://[::1]:6000/d"), ("::1".to_owned(), vec![6000]));
    assert_eq!(hosts("postgres://[::1]/d"), ("::1".to_owned(), vec![]));
    assert_eq!(hosts("postgres://a:1,b,c:3/d"), ("a b c".to_owned(), vec![1, 5432, 3]));
    assert_eq!(hosts("postgres://%2Frun%2Fpg/d"), ("/run/pg".to_owned(), vec![]));
    assert_eq!(hosts("postgres:///d?host=/run/pg&port=7"), ("/run/pg".to_owned(), vec![7]));
    assert_eq!(hosts("postgres:///d?hostaddr=10.0.0.1"), ("10.0.0.1".to_owned(), vec![]));
    let (nobody, _) = hosts("postgres://");
    assert!(nobody == "/var/run/postgresql" || nobody == "localhost", "{nobody}");
}

#[test]
fn the_mode_of_tls_is_meant_as_libpq_means_it() {
    use Verification::{Authority, Full, None};
    let cases = [
        ("", SslMode::Prefer, None),
        ("sslmode=disable", SslMode::Disable, None),
        ("sslmode=disable&sslrootcert=/a", SslMode::Disable, None),
        ("sslmode=prefer", SslMode::Prefer, None),
        ("sslmode=require", SslMode::Require, None),
        ("ssl=true", SslMode::Require, None),
        ("sslmode=require&sslrootcert=/a", SslMode::Require, Authority),
        ("sslmode=verify-ca", SslMode::Require, Authority),
        ("sslmode=verify-full&sslrootcert=system", SslMode::Require, Full),
    ];
    for (parameters, mode, verification) in cases {
        let (config, tls) = parse(&format!("postgres://h/d?{parameters}")).unwrap();
        assert_eq!(config.get_ssl_mode(), mode, "{parameters}");
        assert_eq!(tls.verification, verification, "{parameters}");
        // There is no TLS on sockets, whatever is asked for.
        let (config, tls) = parse(&format!("postgres:///d?host=/run&{parameters}")).unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
        assert_eq!(tls.verification, None);
    }
    let direct = "postgres://h/d?sslmode=verify-full&sslnegotiation=direct";
    assert_eq!(parse(direct).unwrap().0.get_ssl_negotiation(), SslNegotiation::Direct);
    let (_, tls) = parse("postgres://h/d?sslcert=a&sslkey=b&sslrootcert=c").unwrap();
    assert_eq!(tls.client, Some(("a".to_owned(), "b".to_owned())));
    assert_eq!(tls.roots.as_deref(), Some("c"));
}

#[test]
fn units_and_names_are_those_of_libpq() {
    let (config, _) = parse(
        "postgres://h/d?connect_timeout=7&tcp_user_timeout=2500&keepalives_idle=9\
         &keepalives_interval=8&keepalives_count=2&target_session_attrs=primary&client_encoding=utf8",
    )
    .unwrap();
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
    assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(3)));
    assert_eq!(config.get_keepalives_idle(), Duration::from_secs(9));
    assert_eq!(config.get_keepalives_interval(), Some(Duration::from_secs(8)));
    assert_eq!(config.get_keepalives_retries(), Some(2));
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
}

#[test]
fn what_is_not_said_is_bounded() {
    let (config, _) = parse("postgres://h/d").unwrap();
    assert_eq!(config.get_application_name(), Some("nuage"));
    assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(5)));
    assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(15)));
    assert_eq!(config.get_keepalives_retries(), Some(3));
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::Any);
    // Of several servers, the one that takes writes is looked for.
    let (config, _) = parse("postgres://a,b/d").unwrap();
    assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
}

#[test]
fn what_is_not_understood_is_told_without_its_value() {
    let cases = [
        ("mysql://u:secret@h/d", "must begin with postgres://"),
        ("postgres://u:secret@h/d?colour=secret", "there is no parameter colour"),
        ("postgres://u:secret@h/d?sslmode=secret", "sslmode must be disable, prefer"),
        ("postgres://u:secret@h/d?sslnegotiation=direct", "stronger sslmode"),
        ("postgres://u:secret@h/d?sslmode=require&sslrootcert=system", "stronger sslmode"),
        ("postgres://u:secret@h/d?sslcert=secret", "sslcert and sslkey go together"),
        ("postgres://u:secret@h/d?connect_timeout=secret", "connect_timeout"),
        ("postgres://u:secret@h/d?target_session_attrs=standby", "Nuage writes"),
        ("postgres://u:secret@h/d?client_encoding=latin1", "UTF8"),
        ("postgres://u:secret@h/d?passfile=secret", "storage.password_file"),
        ("postgres://u:secret@h/d?secret", "name=value"),
        ("postgres://u:secret@h:secret/d", "port"),
        ("postgres://u:secret@[h/d", "bracket"),
        ("postgres://u:secret@a:1,b:2/d?port=3,4,5", "as many as hosts"),
        ("postgres://u:secret@a,b/d?hostaddr=10.0.0.1", "as many addresses"),
        ("postgres://u:secret%FF@h/d", "UTF-8"),
        ("postgres://u:secret%00@h/d", "character 0"),
        // Written without %, a password may end the host too early.
        ("postgres://u:sec/ret@h/d", "port"),
    ];
    for (url, expected) in cases {
        let why = complaint(url);
        assert!(why.contains(expected), "{url}: {why}");
        assert!(!why.contains("secret"), "{why}");
    }
}
