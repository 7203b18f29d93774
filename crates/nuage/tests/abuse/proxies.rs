//! What stands between clients and the server, and what it does to requests and answers.

mod answers;

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::client::{Answer, Call, read_answer};
use nuage_testkit::server::Server;
use serde_json::json;

use super::{bounded_with, eventually};

const PATIENCE: Duration = Duration::from_secs(10);

// What is answered, and what comes after that.
fn exchange(server: &Server, sent: &str) -> (Answer, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before it was taken.
    let _ = stream.write_all(sent.as_bytes());
    let mut from = BufReader::new(stream);
    (read_answer(&mut from, false).unwrap().0, from)
}

fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(bytes) => bytes == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused_in_the_words_of_the_door() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    let origin = "Origin: https://app.test\r\n";
    let large = "x".repeat(100_000);
    let many = "X: y\r\n".repeat(200);
    for (sent, status, errno) in [
        (format!("GET /v1/ HTTP/1.1\r\n{origin}\r\n"), 400, 107),
        (format!("GET /v1/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n{origin}\r\n"), 400, 107),
        (format!("GET /v1/ HTTP/1.1\r\nHost: a b\r\n{origin}\r\n"), 400, 107),
        (format!("GET /v1/ HTTP/1.1\r\nHost: a\n{origin}\r\n"), 400, 107),
        ("GET /v1/ HTTP/1.1\nHost: a\nOrigin: https://app.test\n\n".to_owned(), 400, 107),
        (format!("NONSENSE\r\n{origin}\r\n"), 400, 107),
        (format!("GET /v1/ HTTP/9.9\r\nHost: a\r\n{origin}\r\n"), 400, 107),
        (format!("GET a:1 HTTP/1.1\r\nHost: a\r\n{origin}\r\n"), 400, 107),
        (
            format!(
                "PUT /v1/buckets/b HTTP/1.1\r\nHost: a\r\n{origin}Content-Length: 2\r\n\
                 Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            400,
            107,
        ),
        (
            format!(
                "PUT /v1/buckets/b HTTP/1.1\r\nHost: a\r\n{origin}Content-Length: 2\r\n\
                 Content-Length: 3\r\n\r\n{{}} "
            ),
            400,
            107,
        ),
        (
            format!(
                "PUT /v1/buckets/b HTTP/1.1\r\nHost: a\r\n{origin}\
                 Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"
            ),
            501,
            115,
        ),
        (format!("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n{origin}\r\n"), 501, 115),
        (format!("GET /v1/ HTTP/1.1\r\nHost: a\r\n{origin}X: {large}\r\n\r\n"), 431, 113),
        (format!("GET /v1/ HTTP/1.1\r\nHost: a\r\n{origin}{many}\r\n"), 431, 113),
    ] {
        let shown = &sent[..sent.len().min(120)];
        let (answer, mut after) = exchange(&server, &sent);
        assert_eq!(answer.status, status, "{shown}: {answer}");
        assert_eq!(answer.json()["errno"], errno, "{shown}: {answer}");
        assert_eq!(answer.json()["code"], status, "{shown}: {answer}");
        assert_eq!(answer.header("Access-Control-Allow-Origin"), Some("*"), "{shown}");
        assert!(answer.header("X-Request-Id").is_some(), "{shown}");
        assert!(is_closed(&mut after), "the connection goes on after {shown}");
    }
}

#[test]
fn a_request_in_the_body_of_another_is_not_answered() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    let inner = "GET /v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for head in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 5),
        "Transfer-Encoding: chunked\r\n\r\n0\n\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\n\r\n0\r\n\n\r\n\r\n".to_owned(),
    ] {
        let sent = format!("POST /v1/buckets HTTP/1.1\r\nHost: a\r\n{head}{inner}");
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        assert!(said.matches("HTTP/1.1").count() <= 1, "{head}: {said}");
    }
    assert!(!server.log().contains("smuggled"), "{}", server.log());
}

#[test]
fn proxies_ask_with_an_asterisk_whether_the_server_is_there() {
    let server = bounded_with(Backend::Sqlite, &[]).start();
    assert_eq!(exchange(&server, "OPTIONS * HTTP/1.0\r\n\r\n").0.status, 200);
    let (answer, _) = exchange(&server, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(answer.status, 200, "{answer}");
    assert!(answer.body.is_empty());
    // HTTP/1.0 has no Host.
    assert_eq!(exchange(&server, "GET /v1/__lbheartbeat__ HTTP/1.0\r\n\r\n").0.status, 200);
}

#[test]
fn only_trusted_proxies_name_the_client() {
    let claims = [
        ("X-Forwarded-For", "192.0.2.66, 192.0.2.7"),
        ("Forwarded", "for=192.0.2.66, for=\"192.0.2.7:4711\";proto=https"),
    ];
    for (trusted, client) in [("127.0.0.1,10.0.0.0/8", "192.0.2.7"), ("10.0.0.0/8", "127.0.0.1")] {
        let setting = format!("http.trusted_proxies={trusted}");
        let server = bounded_with(Backend::Sqlite, &[&setting]).start();
        for (n, (name, value)) in claims.into_iter().enumerate() {
            let call = Call::get(format!("/v1/claim{n}")).header(name, value);
            assert_eq!(server.client().send(&call).unwrap().status, 404);
            let told = || {
                let log = server.log();
                let line = log.lines().find(|line| line.contains(&format!("claim{n}")));
                line.is_some_and(|line| line.contains(client) && !line.contains("192.0.2.66"))
            };
            assert!(eventually(PATIENCE, told), "{name} of {trusted}: {}", server.log());
        }
    }
}

#[test]
fn a_server_may_be_mounted_under_a_prefix() {
    let settings = ["kinto.http_scheme=https", "kinto.http_host=data.example.org/nuage"];
    let server = bounded_with(Backend::Sqlite, &settings).start();
    let list = "/v1/buckets/default/collections/c/records";
    let mut client = server.client();
    for id in ["a", "b"] {
        let put = Call::put(format!("{list}/{id}"), &json!({"data": {}})).login("a:1");
        assert_eq!(client.send(&put).unwrap().status, 201);
    }
    // The proxy took the prefix away, and clients need it back.
    let page = client.send(&Call::get(format!("{list}?_limit=1")).login("a:1")).unwrap();
    let next = page.header("Next-Page").unwrap();
    assert!(next.starts_with("https://data.example.org/nuage/v1/buckets/"), "{next}");
    let redirected = client.send(&Call::get("/v1/buckets/")).unwrap();
    let location = redirected.header("Location");
    assert_eq!(location, Some("https://data.example.org/nuage/v1/buckets"), "{redirected}");
    let root = client.send(&Call::get("/v1/")).unwrap().json();
    assert_eq!(root["url"], "https://data.example.org/nuage/v1/");
}
