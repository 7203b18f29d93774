//! Answers that are made while they are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use nuage_model::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::serve::tests::rest;
use crate::{Body, Facet, Pending, Refusal, Request, Response, ServeOptions, Stopping, serve};

/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);
const PIECE_BYTES: usize = 16 * 1024;

/// A door of streams.
#[derive(Default)]
struct Door {
    made: Arc<AtomicUsize>,
    ended: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

struct Ending(Arc<AtomicUsize>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Facet for Door {
    fn handle(&self, request: Request) -> Pending<'_> {
        let stopping = request.extensions().get::<Stopping>().unwrap().clone();
        let path = request.uri().path().to_owned();
        let made = Arc::clone(&self.made);
        let release = Arc::clone(&self.release);
        let ending = Ending(Arc::clone(&self.ended));
        Box::pin(async move {
            Response::new(Body::stream(move |mut pieces| async move {
                let _ending = ending;
                match &*path {
                    "/flood" => loop {
                        pieces.send(vec![b'x'; PIECE_BYTES].into()).await;
                        made.fetch_add(1, Ordering::SeqCst);
                    },
                    "/panic" => {
                        pieces.send("before ".into()).await;
                        // What is there is sent while there is nothing more to take.
                        tokio::task::yield_now().await;
                        panic!("on purpose");
                    }
                    "/quiet" => {
                        pieces.send("begun ".into()).await;
                        tokio::select! {
                            () = stopping.told() => pieces.send("stopped".into()).await,
                            () = release.notified() => pieces.send("released".into()).await,
                        }
                    }
                    _ => {
                        for piece in ["one ", "", "two ", "three"] {
                            pieces.send(Bytes::from(piece)).await;
                        }
                    }
                }
            }))
        })
    }

    fn refuse(&self, _request: &http::request::Parts, _why: Refusal) -> Response {
        unreachable!("nothing here is refused")
    }
}

struct Running {
    address: std::net::SocketAddr,
    door: Arc<Door>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn start(limits: Limits) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Arc::new(Door::default());
    let (stop, stopped) = oneshot::channel();
    let facet: Arc<dyn Facet> = Arc::clone(&door) as Arc<dyn Facet>;
    let options = ServeOptions { limits, drain_ms: 60_000, ..ServeOptions::default() };
    let served = tokio::spawn(serve(listener, facet, options, stopped));
    Running { address, door, stop, served }
}

impl Running {
    async fn ask(&self, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let sent = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream
    }
}

async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = tokio::time::timeout(PATIENCE, stream.read_u8()).await.unwrap();
        text.push(byte.unwrap());
    }
    String::from_utf8(text).unwrap()
}

async fn until(what: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !what() {
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn pieces_arrive_in_order_to_the_end() {
    let server = start(Limits::default()).await;
    let mut stream = server.ask("/").await;
    let answer = rest(&mut stream).await;
    assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    assert_eq!(body, "4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0");
}

#[tokio::test]
async fn silence_outlives_the_times_of_requests_and_of_idle_connections() {
    let limits = Limits { request_ms: 50, header_ms: 50, ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.ask("/quiet").await;
    read_until(&mut stream, "begun \r\n").await;
    // Many times what either may take.
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.door.release.notify_one();
    assert!(rest(&mut stream).await.contains("released"));
}

#[tokio::test]
async fn whoever_stops_reading_stops_the_making_and_is_cut_off() {
    let limits = Limits { header_ms: 300, ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.ask("/flood").await;
    let ended = Arc::clone(&server.door.ended);
    until(move || ended.load(Ordering::SeqCst) == 1).await;
    let made = server.door.made.load(Ordering::SeqCst);
    // What the two kernels hold between them.
    assert!(made * PIECE_BYTES < 64 << 20, "{made} pieces for somebody who never reads");
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken).await;
    assert!(!taken.ends_with(b"0\r\n\r\n"), "a cut stream looks whole");
}

#[tokio::test]
async fn whoever_reads_slowly_is_served_on() {
    let limits = Limits { header_ms: 1_000, ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.ask("/flood").await;
    let begun = tokio::time::Instant::now();
    let mut taken = vec![0; 4 << 20];
    while begun.elapsed() < Duration::from_millis(3_000) {
        stream.read_exact(&mut taken).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.door.ended.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_panic_cuts_its_connection_alone() {
    let server = start(Limits::default()).await;
    let mut other = server.ask("/quiet").await;
    read_until(&mut other, "begun \r\n").await;
    let mut stream = server.ask("/panic").await;
    let answer = rest(&mut stream).await;
    assert!(answer.contains("before "), "{answer}");
    assert!(!answer.ends_with("0\r\n\r\n"), "{answer}");
    server.door.release.notify_one();
    assert!(rest(&mut other).await.ends_with("released\r\n0\r\n\r\n"));
}

#[tokio::test]
async fn streams_are_told_that_the_server_stops() {
    let server = start(Limits::default()).await;
    let mut stream = server.ask("/quiet").await;
    read_until(&mut stream, "begun \r\n").await;
    server.stop.send(()).unwrap();
    let told = tokio::time::timeout(PATIENCE, rest(&mut stream)).await.unwrap();
    assert!(told.ends_with("stopped\r\n0\r\n\r\n"), "{told}");
    tokio::time::timeout(PATIENCE, server.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_ends_when_its_reader_leaves() {
    let server = start(Limits::default()).await;
    let mut stream = server.ask("/quiet").await;
    read_until(&mut stream, "begun \r\n").await;
    drop(stream);
    until(|| server.door.ended.load(Ordering::SeqCst) == 1).await;
}
