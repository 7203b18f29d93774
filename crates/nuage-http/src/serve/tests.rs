#![allow(clippy::unwrap_used)]

mod streams;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nuage_model::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use crate::{
    Facet, Peer, Pending, Refusal, Request, RequestId, Response, ServeOptions, Standing, serve,
};

/// A door that echoes, waits or panics, as its paths say.
#[derive(Default)]
struct Door {
    entered: AtomicUsize,
    left: Arc<AtomicUsize>,
    release: Notify,
}

struct Leaving(Arc<AtomicUsize>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Facet for Door {
    fn handle(&self, request: Request) -> Pending<'_> {
        assert!(request.uri().path() != "/panic-at-once", "at once");
        Box::pin(async move {
            self.entered.fetch_add(1, Ordering::SeqCst);
            let _leaving = Leaving(Arc::clone(&self.left));
            assert!(request.extensions().get::<Peer>().is_some());
            let id = request.extensions().get::<RequestId>().cloned().unwrap();
            match request.uri().path() {
                "/panic" => {
                    tokio::task::yield_now().await;
                    panic!("on purpose");
                }
                "/wait" => self.release.notified().await,
                "/forever" => std::future::pending().await,
                "/large" => return Response::new(vec![b'x'; 8 << 20].into()),
                _ => {}
            }
            let mut response = Response::new(request.into_body().into());
            response.headers_mut().insert("x-seen-id", id.0.parse().unwrap());
            response
        })
    }

    fn refuse(&self, request: &http::request::Parts, why: Refusal) -> Response {
        let status = match why {
            Refusal::Malformed { .. } => 400,
            Refusal::NotImplemented { .. } => 501,
            Refusal::HeadTooLarge { .. } => 431,
            Refusal::BodyTooLarge { .. } => 413,
            Refusal::Crowded => 503,
            Refusal::BodyTooSlow => 408,
            Refusal::RequestTooSlow => 503,
            Refusal::Panicked => 500,
        };
        assert!(request.extensions.get::<RequestId>().is_some());
        let origin = request.headers.get("origin").map_or("-", |o| o.to_str().unwrap());
        let text = format!("{} {} {origin}", request.method, request.uri);
        http::Response::builder().status(status).body(text.into()).unwrap()
    }

    fn standing(&self, request: &http::request::Parts) -> Standing {
        let known = request.headers.contains_key("authorization");
        match request.uri.path() {
            "/vital" => Standing::Vital,
            _ if known => Standing::Known(7),
            _ => Standing::Unknown,
        }
    }
}

struct Running {
    address: SocketAddr,
    door: Arc<Door>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
}

async fn start(limits: Limits, drain_ms: u64) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let door = Arc::new(Door::default());
    let (stop, stopped) = oneshot::channel();
    let facet: Arc<dyn Facet> = Arc::clone(&door) as Arc<dyn Facet>;
    let options = ServeOptions { limits, drain_ms, ..ServeOptions::default() };
    let served = tokio::spawn(serve(listener, facet, options, stopped));
    Running { address, door, stop, served }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends text on a connection of its own and reads to its end.
    async fn exchange(&self, sent: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(sent.as_bytes()).await.unwrap();
        rest(&mut stream).await
    }

    async fn entered(&self, times: usize) {
        while self.door.entered.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    }

    async fn left(&self, times: usize) {
        while self.door.left.load(Ordering::SeqCst) < times {
            tokio::task::yield_now().await;
        }
    }
}

/// All that comes until the other side closes.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// One response that has a `Content-Length`.
async fn response(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        text.push(stream.read_u8().await.unwrap());
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

const CLOSE: &str = "Host: x\r\nConnection: close\r\n";

#[tokio::test]
async fn answers_with_the_name_of_the_request() {
    let server = start(Limits::default(), 1000).await;
    let sent = format!("GET / HTTP/1.1\r\nX-Request-Id: me-1\r\n{CLOSE}\r\n");
    let answer = server.exchange(&sent).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nx-request-id: me-1\r\n"));
    assert!(answer.contains("\r\nx-seen-id: me-1\r\n"));
    assert!(answer.contains("\r\ndate: "));
    assert!(!answer.contains("\r\nserver: "));
}

#[tokio::test]
async fn bodies_arrive_whole() {
    let server = start(Limits::default(), 1000).await;
    let body = "0123456789".repeat(100_000);
    let head = format!("POST / HTTP/1.1\r\n{CLOSE}Content-Length: {}\r\n\r\n", body.len());
    let answer = server.exchange(&format!("{head}{body}")).await;
    assert!(answer.ends_with(&format!("\r\n\r\n{body}")));

    let chunked = format!(
        "POST / HTTP/1.1\r\n{CLOSE}Transfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0005;x=y\r\ndefgh\r\n0\r\nTrailer: z\r\n\r\n"
    );
    let answer = server.exchange(&chunked).await;
    assert!(answer.ends_with("\r\n\r\nabcdefgh"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(Limits::default(), 1000).await;
    let mut sent = String::new();
    for n in 0..100 {
        sent.push_str(&format!(
            "POST / HTTP/1.1\r\nHost: x\r\nX-Request-Id: n{n}\r\nContent-Length: 3\r\n\r\n{n:03}"
        ));
    }
    let mut stream = server.connect().await;
    stream.write_all(sent.as_bytes()).await.unwrap();
    for n in 0..100 {
        let answer = response(&mut stream).await;
        assert!(answer.ends_with(&format!("{n:03}")), "{answer}");
        assert!(answer.contains(&format!("x-request-id: n{n}\r\n")));
    }
}

#[tokio::test]
async fn too_large_bodies_are_refused_and_the_answer_arrives() {
    let limits = Limits { body_bytes: 1000, ..Limits::default() };
    let server = start(limits, 1000).await;
    let fits = "x".repeat(1000);
    let post = format!("POST /a HTTP/1.1\r\n{CLOSE}Origin: me\r\n");
    let answer = server.exchange(&format!("{post}Content-Length: 1000\r\n\r\n{fits}")).await;
    assert!(answer.ends_with(&fits));

    // By its announced length, though the client sends all of it before it reads.
    let large = "x".repeat(4_000_000);
    let answer = server.exchange(&format!("{post}Content-Length: 4000000\r\n\r\n{large}")).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"));
    assert!(answer.ends_with("POST /a me"));

    // By what came, when it announces none.
    let chunks = "fa\r\n".to_owned() + &"x".repeat(250) + "\r\n";
    let sent = format!("{post}Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunks.repeat(5000));
    let answer = server.exchange(&sent).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // Without being asked for, when the client waits for leave to send it.
    let sent = format!("{post}Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n");
    let mut stream = server.connect().await;
    stream.write_all(sent.as_bytes()).await.unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 413 "));
    assert_eq!(server.door.entered.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn slow_headers_and_idle_connections_are_closed() {
    let limits = Limits { header_ms: 150, idle_ms: 300, ..Limits::default() };
    let server = start(limits, 1000).await;
    // Nothing at all.
    assert_eq!(server.exchange("").await, "");
    // A byte now and then buys no time.
    let begun = Instant::now();
    let mut stream = server.connect().await;
    for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" {
        let written = stream.write_all(&[*byte]).await;
        let gone = tokio::time::timeout(Duration::from_millis(20), stream.read_u8()).await;
        if written.is_err() || gone.is_ok() {
            break;
        }
    }
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    // Idle after a request.
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    response(&mut stream).await;
    assert_eq!(rest(&mut stream).await, "");
}

#[tokio::test]
async fn slow_bodies_are_refused() {
    let limits = Limits { body_ms: 100, header_ms: 400, ..Limits::default() };
    let server = start(limits, 1000).await;
    let answer =
        server.exchange("PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(answer.ends_with("PUT /a -"));
}

#[tokio::test]
async fn slow_requests_are_dropped_and_the_connection_lives() {
    let limits = Limits { request_ms: 100, ..Limits::default() };
    let server = start(limits, 1000).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /forever HTTP/1.1\r\nHost: x\r\nOrigin: me\r\n\r\n").await.unwrap();
    let answer = response(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.ends_with("GET /forever me"));
    server.left(1).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_panic_ends_one_request() {
    let server = start(Limits::default(), 1000).await;
    let mut stream = server.connect().await;
    for path in ["/panic", "/panic-at-once"] {
        let sent = format!("GET {path} HTTP/1.1\r\nHost: x\r\nX-Request-Id: p\r\n\r\n");
        stream.write_all(sent.as_bytes()).await.unwrap();
        let answer = response(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
        assert!(answer.contains("x-request-id: p\r\n"));
        assert!(answer.ends_with(&format!("GET {path} -")));
    }
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(response(&mut stream).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_request() {
    let server = start(Limits::default(), 1000).await;
    let mut stream = server.connect().await;
    stream.write_all(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    server.entered(1).await;
    drop(stream);
    server.left(1).await;
}

#[tokio::test]
async fn header_bombs_are_refused() {
    let limits = Limits { header_bytes: 4096, ..Limits::default() };
    let server = start(limits, 1000).await;
    let one = "x".repeat(5000);
    let answer = server.exchange(&format!("GET / HTTP/1.1\r\n{CLOSE}X: {one}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "X: y\r\n".repeat(500);
    let answer = server.exchange(&format!("GET / HTTP/1.1\r\n{CLOSE}{many}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let path = "x".repeat(5000);
    let answer = server.exchange(&format!("GET /{path} HTTP/1.1\r\n{CLOSE}\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let sent = "NONSENSE /a\r\nOrigin: me\r\n\r\n";
    let answer = server.exchange(sent).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.ends_with("NONSENSE /a me"), "{answer}");
    let answer = server.exchange("OPTIONS * HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
    assert_eq!(server.door.entered.load(Ordering::SeqCst), 0);
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test]
async fn whoever_waits_longest_makes_room() {
    // One address may have as many as are left: two.
    let server = start(Limits { connections: 4, ..Limits::default() }, 1000).await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(GET).await.unwrap();
        response(&mut stream).await;
        streams.push(stream);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let mut third = server.connect().await;
    third.write_all(GET).await.unwrap();
    assert!(response(&mut third).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(rest(&mut streams[0]).await, "");
    streams[1].write_all(GET).await.unwrap();
    assert!(response(&mut streams[1]).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn where_nobody_waits_there_is_room_for_health_checks_and_known_people() {
    let server = start(Limits { connections: 4, ..Limits::default() }, 1000).await;
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        busy.push(stream);
    }
    server.entered(2).await;
    for (sent, status) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "503"),
        ("GET /vital HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\nHost: x\r\nAuthorization: me\r\nConnection: close\r\n\r\n", "200"),
    ] {
        for _ in 0..20 {
            let answer = server.exchange(sent).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{sent}{answer}");
        }
    }
    drop(busy);
    server.left(42).await;
    assert!(server.exchange(&format!("GET / HTTP/1.1\r\n{CLOSE}\r\n")).await.contains(" 200 "));
}

#[tokio::test]
async fn many_connections_are_served_at_once() {
    let server = start(Limits::default(), 1000).await;
    let mut streams = Vec::new();
    for _ in 0..300 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        streams.push(stream);
    }
    server.entered(300).await;
    server.door.release.notify_waiters();
    for stream in &mut streams {
        assert!(response(stream).await.starts_with("HTTP/1.1 200 "));
    }
}

#[tokio::test]
async fn stopping_lets_requests_finish() {
    let server = start(Limits::default(), 10_000).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut idle = server.connect().await;
    idle.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    response(&mut idle).await;
    server.entered(2).await;
    server.stop.send(()).unwrap();
    assert_eq!(rest(&mut idle).await, "");
    assert!(TcpStream::connect(server.address).await.is_err());
    assert!(!server.served.is_finished());
    server.door.release.notify_waiters();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"));
    server.served.await.unwrap();
}

#[tokio::test]
async fn stopping_drops_what_does_not_finish() {
    let server = start(Limits::default(), 100).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /forever HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut half = server.connect().await;
    half.write_all(b"GET / HT").await.unwrap();
    server.entered(1).await;
    server.stop.send(()).unwrap();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!(rest(&mut half).await, "");
    server.served.await.unwrap();
    assert_eq!(server.door.left.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn readers_may_be_slow_but_not_stand_still() {
    let limits = Limits { header_ms: 200, ..Limits::default() };
    let server = start(limits, 1000).await;
    let get = b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // Takes several times the limit, moving all the time.
    let mut slow = server.connect().await;
    slow.write_all(get).await.unwrap();
    let (mut piece, mut taken) = (vec![0; 512 * 1024], 0);
    loop {
        let read = slow.read(&mut piece).await.unwrap();
        if read == 0 {
            break;
        }
        taken += read;
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    assert!(taken > 8 << 20, "{taken}");
    // Stands still: it is cut off.
    let mut still = server.connect().await;
    still.write_all(get).await.unwrap();
    server.left(2).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let mut taken = Vec::new();
    let _ = still.read_to_end(&mut taken).await;
    assert!(taken.len() < 8 << 20, "{}", taken.len());
}

#[tokio::test]
async fn all_bodies_together_have_a_bound_and_room_comes_back() {
    // A quarter of it for strangers, half of that for one of them, and 16 KiB of each body free.
    let limits = Limits { bodies_bytes: 320_000, ..Limits::default() };
    let server = start(limits, 1000).await;
    let head = |bytes: usize, more: &str| {
        format!("POST / HTTP/1.1\r\n{CLOSE}{more}Content-Length: {bytes}\r\n\r\n")
    };
    let body = [b'x'; 50_000];
    let mut first = server.connect().await;
    first.write_all(head(50_000, "").as_bytes()).await.unwrap();
    first.write_all(&body[..49_000]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let send = async |bytes: usize, more: &str| {
        let mut stream = server.connect().await;
        stream.write_all(head(bytes, more).as_bytes()).await.unwrap();
        stream.write_all(&body[..bytes]).await.unwrap();
        rest(&mut stream).await[9..12].to_owned()
    };
    assert_eq!(send(50_000, "").await, "503");
    assert_eq!(send(16_000, "").await, "200");
    assert_eq!(send(50_000, "Authorization: me\r\n").await, "200");
    first.write_all(&body[49_000..]).await.unwrap();
    let answer = rest(&mut first).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(send(50_000, "").await, "200");
}
