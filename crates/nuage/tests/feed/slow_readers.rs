//! Readers that never read, and readers that are gone, cost no more than their connection.

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;
use nuage_testkit::client::Call;
use serde_json::json;

use crate::feed::reader::{Reader, connect};
use crate::feed::{FEED, OWNER, PATIENCE, Person, server};

both_databases!(
    streams_that_nobody_reads_hold_no_memory_and_are_cut_off,
    streams_that_are_read_outlive_the_times_of_requests,
    readers_that_are_gone_make_room
);

const STREAMS: usize = 40;
const RECORDS: usize = 60;
const RECORD_BYTES: usize = 100_000;

fn streams_that_nobody_reads_hold_no_memory_and_are_cut_off(backend: Backend) {
    let server = server(backend, &["limits.header_ms=8000", "feed.page_bytes=300000"]);
    Person::new(&server, OWNER).settle();
    let large = |n: usize| json!({"data": {"n": n, "filler": "x".repeat(RECORD_BYTES)}});
    // Each on a connection of its own: one that waited for long may just be closing.
    let put = |n: usize| Person::new(&server, OWNER).put(&format!("r{}", n % RECORDS), large(n));
    for n in 0..RECORDS {
        put(n);
    }
    let before = server.resident_kib();
    let call = Call::get(FEED).login(OWNER).header("Accept", "application/x-ndjson");
    let mut deaf: Vec<TcpStream> = (0..STREAMS).map(|_| connect(server.address(), &call)).collect();
    // All are told to be over only once they were cut off.
    let over = || server.log().lines().filter(|line| line.contains("/c/feed")).count();
    let (mut most, mut n) = (0, 0);
    let deadline = Instant::now() + PATIENCE;
    while over() < STREAMS {
        assert!(Instant::now() < deadline, "{} of {STREAMS} are cut off", over());
        put(n);
        most = most.max(server.resident_kib());
        n += 1;
        std::thread::sleep(Duration::from_millis(50));
    }
    // Six megabytes for each would be 240 MB; a page, its text and the buffers are less than one.
    let grown = most.saturating_sub(before);
    assert!(grown < 120 * 1024, "{grown} KiB for {STREAMS} streams that nobody reads");
    for stream in &mut deaf {
        let mut taken = Vec::new();
        // What lies in the buffers of the system, then the end, and no word that it were one.
        match stream.read_to_end(&mut taken) {
            Ok(_) => assert!(!taken.ends_with(b"\r\n0\r\n\r\n"), "a cut stream looks whole"),
            Err(error) => {
                let kind = error.kind();
                assert_eq!(kind, std::io::ErrorKind::ConnectionReset, "{error}");
            }
        }
    }
    put(n);
}

fn streams_that_are_read_outlive_the_times_of_requests(backend: Backend) {
    let settings = ["limits.header_ms=500", "limits.request_ms=3000", "limits.feed_wait_ms=700"];
    let server = server(backend, &settings);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    owner.put("first", json!({}));
    let mut reader = Reader::lines(server.address(), FEED, OWNER);
    reader.until_rest();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        reader.until_heartbeat();
    }
    owner.put("a", json!({}));
    assert_eq!(reader.news().unwrap()["data"]["id"], "a");
}

fn readers_that_are_gone_make_room(backend: Backend) {
    // Of which one client gets about a fifth for streams.
    let server = server(backend, &["limits.connections=100"]);
    let mut owner = Person::new(&server, OWNER);
    owner.settle();
    for _ in 0..12 {
        let readers: Vec<Reader> =
            (0..15).map(|_| Reader::lines(server.address(), FEED, OWNER)).collect();
        readers.into_iter().for_each(Reader::leave);
    }
    // Some half-close and wait: to a stream that is the end as well.
    for _ in 0..3 {
        let call = Call::get(FEED).login(OWNER).header("Accept", "text/event-stream");
        let mut streams: Vec<_> = (0..15).map(|_| connect(server.address(), &call)).collect();
        for stream in &mut streams {
            stream.read_exact(&mut [0; 12]).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
        }
    }
    owner.put("a", json!({}));
}
