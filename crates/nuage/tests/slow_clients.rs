//! Clients that send slowly, or nothing, keep the others out.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::{Answer, Call, read_answer};
use nuage_testkit::server::{Server, Setup};
use serde_json::json;

use crate::programs::program;

both_databases!(
    slow_headers_are_cut_off,
    slow_bodies_are_cut_off,
    idle_connections_make_room,
    readers_that_stop_reading_keep_nobody_out,
    what_is_too_large_is_refused
);

const LIMIT_MS: u64 = 800;
const CONNECTIONS: usize = 48;
/// Longest time from the limit until the server hangs up.
const GRACE: Duration = Duration::from_secs(5);

fn slow_headers_are_cut_off(backend: Backend) {
    let server = server(backend);
    let mut slow: Vec<_> = (0..CONNECTIONS / 2).map(|_| connect(server.address())).collect();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2 * LIMIT_MS) {
        for stream in &mut slow {
            // It may be closed already.
            let _ = stream.write_all(b"X");
        }
        assert_served(&server);
        std::thread::sleep(Duration::from_millis(50));
    }
    slow.iter_mut().for_each(assert_hung_up);
    assert_served(&server);
}

fn slow_bodies_are_cut_off(backend: Backend) {
    let server = server(backend);
    let mut slow: Vec<_> = (0..CONNECTIONS / 2).map(|_| connect(server.address())).collect();
    let head = "PUT /v1/buckets/b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Authorization: Basic YTox\r\nContent-Length: 1000\r\n\r\n";
    for stream in &mut slow {
        stream.write_all(head.as_bytes()).unwrap();
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2 * LIMIT_MS) {
        for stream in &mut slow {
            let _ = stream.write_all(b" ");
        }
        assert_served(&server);
        std::thread::sleep(Duration::from_millis(50));
    }
    slow.iter_mut().for_each(assert_hung_up);
    assert_served(&server);
}

fn idle_connections_make_room(backend: Backend) {
    let server = server(backend);
    // More than may be open at a time.
    let mut idle: Vec<_> = (0..2 * CONNECTIONS).map(|_| connect(server.address())).collect();
    let begun = Instant::now();
    let mut client = server.client().patience(Duration::from_millis(4 * LIMIT_MS) + GRACE);
    let answer = client.send(&Call::get("/v1/__lbheartbeat__")).unwrap();
    assert_eq!(answer.status, 200, "after {:?}", begun.elapsed());
    std::thread::sleep(Duration::from_millis(2 * LIMIT_MS));
    idle.iter_mut().for_each(assert_hung_up);
}

fn readers_that_stop_reading_keep_nobody_out(backend: Backend) {
    let server = server(backend);
    let user = "slow:1";
    let filler = json!({"data": {"filler": "x".repeat(50_000)}});
    let list = "/v1/buckets/default/collections/large/records";
    let mut client = server.client();
    for n in 0..60 {
        let put = Call::put(format!("{list}/r{n}"), &filler).login(user);
        assert_eq!(client.send(&put).unwrap().status, 201);
    }
    let before = server.resident_kib();
    let mut deaf: Vec<_> = (0..20).map(|_| connect(server.address())).collect();
    for stream in &mut deaf {
        stream.write_all(&Call::get(list).login(user).to_bytes(server.address())).unwrap();
    }
    for _ in 0..20 {
        assert_served(&server);
        std::thread::sleep(Duration::from_millis(50));
    }
    // Three megabytes for each, and as much again to write it.
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 200 * 1024, "{grown} KiB for twenty answers of 3 MB");
}

fn what_is_too_large_is_refused(backend: Backend) {
    let server = server(backend);
    let large = json!({"data": {"filler": "x".repeat(200_000)}});
    let put = Call::put("/v1/buckets/large", &large).login("a:1");
    let answer = send_raw(&server, &put.to_bytes(server.address()));
    assert_eq!(answer.status, 413, "{answer}");
    assert_eq!(answer.json()["errno"], 113, "{answer}");
    let head = format!(
        "PUT /v1/buckets/large HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{}\r\n",
        150_000,
        "y".repeat(150_000)
    );
    assert_eq!(send_raw(&server, head.as_bytes()).status, 413);
    let get = Call::get("/v1/").header("X-Large", "x".repeat(100_000));
    let answer = send_raw(&server, &get.to_bytes(server.address()));
    assert!((400..500).contains(&answer.status), "{answer}");
    assert_served(&server);
}

fn server(backend: Backend) -> Server {
    let set = |setup: Setup, setting: String| setup.argument("--set").argument(setting);
    let mut setup = program().on(backend);
    for setting in [
        format!("limits.header_ms={LIMIT_MS}"),
        format!("limits.body_ms={LIMIT_MS}"),
        format!("limits.connections={CONNECTIONS}"),
        "limits.body_bytes=100000".to_owned(),
        "limits.batch_requests=1".to_owned(),
        "limits.record_bytes=90000".to_owned(),
        "limits.schema_bytes=90000".to_owned(),
        "kinto.accounts=false".to_owned(),
        "auth.policies=basicauth".to_owned(),
    ] {
        setup = set(setup, setting);
    }
    setup.start()
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(GRACE)).unwrap();
    stream.set_write_timeout(Some(GRACE)).unwrap();
    stream
}

// Others are answered at once.
fn assert_served(server: &Server) {
    let mut client = server.client().patience(Duration::from_secs(2));
    let answer = client.send(&Call::get("/v1/__lbheartbeat__")).unwrap();
    assert_eq!(answer.status, 200);
}

// The server has said what it had to say, and closed the connection.
fn assert_hung_up(stream: &mut TcpStream) {
    let mut said = Vec::new();
    match stream.take(1 << 20).read_to_end(&mut said) {
        Ok(_) => {
            let status = String::from_utf8_lossy(&said);
            let refused = said.is_empty() || status.starts_with("HTTP/1.1 4");
            assert!(refused, "{status}");
        }
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "{error}"),
    }
}

// The server may answer and hang up before it has read everything.
fn send_raw(server: &Server, bytes: &[u8]) -> Answer {
    let mut stream = connect(server.address());
    let _ = stream.write_all(bytes);
    read_answer(&mut std::io::BufReader::new(stream), false).unwrap().0
}
