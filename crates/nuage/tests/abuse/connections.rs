//! Connections, streams and bodies of people that nobody knows.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, read_answer};
use nuage_testkit::server::{Server, Setup};
use serde_json::json;

use super::{assert_peak, bounded, bounded_with, eventually};

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(10);
const HEALTH: &str = "/v1/__lbheartbeat__";
const FEED: &str = "/v1/buckets/default/collections/c/feed";
const KNOWN: &str = "alice:a long password";

// Everybody may sign up, and everybody is behind a trusted proxy.
fn with_accounts(settings: &[&str]) -> Server {
    let open = ["grants.account_create=system.Everyone", "http.trusted_proxies=127.0.0.0/8"];
    let settings = open.iter().chain(settings);
    let setup = settings.fold(bounded(Backend::Sqlite), |setup: Setup, setting| {
        setup.argument("--set").argument(*setting)
    });
    let server = setup.start();
    for name in ["alice", "bob", "carol"] {
        let account = json!({"data": {"password": "a long password"}});
        let put = Call::put(format!("/v1/accounts/{name}"), &account);
        assert_eq!(send(&server, &put).status, 201);
    }
    // From now on she is known, and the others are not.
    assert_eq!(send(&server, &Call::get(FEED.replace("/feed", "")).login(KNOWN)).status, 200);
    server
}

fn send(server: &Server, call: &Call) -> Answer {
    server.client().patience(PATIENCE).send(call).unwrap()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn put_of(bytes: usize, id: &str) -> Call {
    let path = format!("/v1/buckets/default/collections/c/records/{id}");
    Call::put(path, &json!({"data": {"filler": "x".repeat(bytes)}}))
}

#[test]
fn bodies_that_never_finish_leave_room_for_writes() {
    let server = with_accounts(&[]);
    let (mut held, mut refused) = (Vec::new(), 0);
    for _ in 0..75 {
        let mut stream = connect(server.address());
        match send_unfinished(&mut stream, 4 << 20) {
            true => held.push(stream),
            false => refused += 1,
        }
    }
    assert!(refused > 20, "{} bodies of 4 MiB are held for one stranger", held.len());
    let elsewhere = |call: Call| call.header("X-Forwarded-For", "192.0.2.9");
    // Whoever is known, whoever is elsewhere, and whoever sends little.
    let large = 200_000;
    for put in [
        put_of(large, "known").login(KNOWN).header("X-Forwarded-For", "192.0.2.1"),
        elsewhere(put_of(large, "elsewhere").login("bob:a long password")),
        put_of(1_000, "small")
            .login("carol:a long password")
            .header("X-Forwarded-For", "192.0.2.1"),
    ] {
        let answer = send(&server, &put);
        assert_eq!(answer.status, 201, "{answer}");
    }
    assert_eq!(send(&server, &Call::get("/v1/__heartbeat__")).status, 200);
    drop(held);
    let back = || {
        let put = put_of(large, "back").header("X-Forwarded-For", "192.0.2.1");
        send(&server, &put).status == 401
    };
    assert!(eventually(PATIENCE, back), "room does not come back");
    assert_peak(&server, 500);
}

// Sends all of a body but its last byte; false if it was refused before.
fn send_unfinished(stream: &mut TcpStream, bytes: usize) -> bool {
    let head = format!(
        "PUT /v1/buckets/b HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.1\r\n\
         Content-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let piece = [b' '; 64 * 1024];
    let mut left = bytes - 1;
    while left > 0 {
        let Ok(sent) = stream.write(&piece[..left.min(piece.len())]) else { return false };
        left -= sent;
        if answered(stream) {
            return false;
        }
    }
    // The last pieces are looked at a moment later.
    std::thread::sleep(Duration::from_millis(20));
    !answered(stream)
}

fn answered(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let peeked = stream.peek(&mut [0]);
    stream.set_nonblocking(false).unwrap();
    !matches!(peeked, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

// The status of a stream, which stays open behind it.
fn open_stream(server: &Server, call: &Call) -> Option<(u16, TcpStream)> {
    let mut stream = connect(server.address());
    stream.write_all(&call.to_bytes(server.address())).ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).ok()?;
    Some((std::str::from_utf8(&head[9..]).ok()?.parse().ok()?, stream))
}

#[test]
fn streams_of_one_client_leave_connections_for_the_others() {
    let server = with_accounts(&["limits.connections=40"]);
    let public = json!({"permissions": {"read": ["system.Everyone"]}});
    for path in ["/v1/buckets/b", "/v1/buckets/b/collections/c"] {
        assert_eq!(send(&server, &Call::put(path, &public).login(KNOWN)).status, 201);
    }
    let lines = || {
        let call = Call::get("/v1/buckets/b/collections/c/feed");
        call.header("Accept", "application/x-ndjson")
    };
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..60 {
        match open_stream(&server, &lines().header("X-Forwarded-For", "192.0.2.1")) {
            Some((200, stream)) => open.push(stream),
            Some((503, _)) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((1..20).contains(&open.len()), "{} streams of one client", open.len());
    assert!(refused > 0);
    for _ in 0..3 {
        assert_eq!(send(&server, &Call::get(HEALTH)).status, 200);
    }
    let elsewhere = lines().header("X-Forwarded-For", "192.0.2.2");
    assert_eq!(open_stream(&server, &elsewhere).map(|(status, _)| status), Some(200));
    let known = lines().login(KNOWN).header("X-Forwarded-For", "192.0.2.1");
    assert_eq!(open_stream(&server, &known).map(|(status, _)| status), Some(200));
    drop(open);
    let again = || {
        let call = lines().header("X-Forwarded-For", "192.0.2.1");
        open_stream(&server, &call).map(|(status, _)| status) == Some(200)
    };
    assert!(eventually(PATIENCE, again), "the room of streams that ended does not come back");
}

#[test]
fn requests_that_wait_leave_connections_for_the_others() {
    // Without a proxy: the connections themselves are shared out.
    let settings = ["limits.connections=40", "limits.feed_wait_ms=25000"];
    let server = bounded_with(Backend::Sqlite, &settings).start();
    let put = put_of(10, "r").login("a:1");
    assert_eq!(send(&server, &put).status, 201);
    let token = send(&server, &Call::get(format!("{FEED}?limit=100")).login("a:1"));
    let token = token.json()["token"].as_str().unwrap().to_owned();
    let wait = Call::get(format!("{FEED}?wait=25&token={token}")).login("a:1");
    let waiting: Vec<_> = (0..60)
        .map(|_| {
            let mut stream = connect(server.address());
            // Some are closed at once, for want of a place.
            let _ = stream.write_all(&wait.to_bytes(server.address()));
            stream
        })
        .collect();
    let healthy = || {
        let sent = server.client().patience(PATIENCE).send(&Call::get(HEALTH));
        sent.is_ok_and(|answer| answer.status == 200)
    };
    for _ in 0..10 {
        assert!(eventually(PATIENCE, healthy), "no connection is left for health checks");
    }
    drop(waiting);
    let writes = || {
        let sent = server.client().patience(PATIENCE).send(&put);
        sent.is_ok_and(|answer| answer.status == 200)
    };
    assert!(eventually(PATIENCE, writes), "the places of those who left do not come back");
}

#[test]
fn idle_connections_make_room_for_new_ones() {
    // Idle ones may stay for longer than anybody here waits.
    let settings = ["limits.connections=200", "limits.header_ms=60000"];
    let server = bounded_with(Backend::Sqlite, &settings).start();
    let mut idle: Vec<_> = (0..220).map(|_| connect(server.address())).collect();
    let used = |stream: &mut TcpStream| {
        stream.write_all(&Call::get(HEALTH).to_bytes(server.address())).unwrap();
        let mut from = BufReader::new(stream);
        read_answer(&mut from, false).is_ok_and(|(answer, _)| answer.status == 200)
    };
    // The newest are there, also after they were used and are idle again.
    assert!(idle.iter_mut().rev().take(20).all(used));
    for n in 0..20 {
        let put = put_of(10, &format!("r{n}")).login("a:1");
        assert_eq!(send(&server, &put).status, 201);
    }
    // The oldest made room.
    let first = idle.first_mut().unwrap();
    match first.read(&mut [0]) {
        Ok(bytes) => assert_eq!(bytes, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
}

both_databases!(exhausted_descriptors_are_told_once_and_health_checks_are_answered);

fn exhausted_descriptors_are_told_once_and_health_checks_are_answered(backend: Backend) {
    let server = bounded_with(backend, &[]).start();
    assert_eq!(send(&server, &put_of(10, "r").login("a:1")).status, 201);
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap().count();
    limit_files(&server, open + 24);
    let lines = Call::get(FEED).login("a:1").header("Accept", "application/x-ndjson");
    let streams: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = connect(server.address());
            let _ = stream.write_all(&lines.to_bytes(server.address()));
            stream
        })
        .collect();
    let said = || server.log().matches("could not be accepted").count();
    assert!(eventually(PATIENCE, || said() > 0), "the log says nothing");
    drop(streams.into_iter().skip(30).collect::<Vec<_>>());
    let healthy = || {
        let sent = server.client().patience(Duration::from_secs(2)).send(&Call::get(HEALTH));
        sent.is_ok_and(|answer| answer.status == 200)
    };
    assert!(eventually(PATIENCE, healthy), "health checks are not answered");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(said(), 1, "{}", server.log());
    limit_files(&server, 1024);
    assert!(eventually(PATIENCE, || {
        let sent = server.client().patience(PATIENCE).send(&put_of(10, "s").login("a:1"));
        sent.is_ok_and(|answer| answer.status < 300)
    }));
}

fn limit_files(server: &Server, files: usize) {
    let mut command = Command::new("prlimit");
    command.arg(format!("--pid={}", server.pid())).arg(format!("--nofile={files}:4096"));
    assert!(command.status().unwrap().success());
}

mod in_time {
    use std::time::Instant;

    use super::*;

    // It is one second that those who read nothing have, and eight that nobody here needs.
    #[test]
    fn whoever_sends_half_or_reads_nothing_does_not_hold_up_the_end() {
        let mut server = bounded_with(Backend::Sqlite, &[]).start();
        for n in 0..20 {
            let put = put_of(100_000, &format!("r{n}")).login("a:1");
            assert_eq!(send(&server, &put).status, 201);
        }
        let list = Call::get("/v1/buckets/default/collections/c/records").login("a:1");
        let list = list.to_bytes(server.address());
        let half_body = put_of(1_000, "half").login("a:1").to_bytes(server.address());
        let sent = [
            Vec::new(),
            list[..20].to_vec(),
            half_body[..half_body.len() - 5].to_vec(),
            list.repeat(20),
        ];
        let streams: Vec<_> = sent
            .iter()
            .map(|bytes| {
                let mut stream = connect(server.address());
                stream.write_all(bytes).unwrap();
                stream
            })
            .collect();
        std::thread::sleep(Duration::from_millis(500));
        let begun = Instant::now();
        server.signal("TERM");
        let mut half = BufReader::new(&streams[2]);
        let (answer, _) = read_answer(&mut half, false).unwrap();
        assert_eq!(answer.status, 503, "{answer}");
        assert!(answer.header("Retry-After").is_some(), "{answer}");
        assert_eq!(server.ended().code(), Some(0));
        assert!(begun.elapsed() < Duration::from_secs(6), "{:?}", begun.elapsed());
    }
}
