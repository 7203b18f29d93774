//! The accept loop, and the life of a connection.
//!
//! Keeps the limits on connections, headers, bodies and times, so that doors get whole requests
//! of bounded size, and that no request outlives its time or takes others with it when it panics.
//!
//! It is written for speed: per request there is no task, no timer and no lock, and nothing is
//! read, copied or logged that nobody asked for.

mod answer;
mod outgoing;

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use nuage_model::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Facet;
use crate::request_id::RequestIds;
use crate::room::Room;
use crate::serve::answer::answer;
use crate::stopping::Stopping;
use crate::watch::{Verdict, Watch};
use crate::wire::Wire;

/// Pause after the system refuses a connection, usually for want of file descriptors.
const ACCEPT_PAUSE_MS: u64 = 50;

/// Greatest buffer for what is read of a connection. It bounds memory, and the size of the pieces
/// in which a large body is read.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The bounds on what comes from outside.
    pub limits: Limits,
    /// Time that requests under way may take once the server is told to stop.
    pub drain_ms: u64,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), drain_ms: 10_000 }
    }
}

/// Serves a door until `stop` completes, then lets requests under way finish, and tells streams
/// to end.
///
/// When it returns, all connections are closed; those that did not finish within the time to
/// drain were dropped.
pub async fn serve(
    listener: TcpListener,
    facet: Arc<dyn Facet>,
    options: ServeOptions,
    stop: impl Future,
) {
    let connections = options.limits.connections.clamp(1, Semaphore::MAX_PERMITS);
    let slots = Arc::new(Semaphore::new(connections));
    let drain = Duration::from_millis(options.drain_ms);
    let server = Arc::new(Server::new(facet, options));
    let mut stop = pin!(stop);
    loop {
        let (slot, accepted) = tokio::select! {
            biased;
            _ = &mut stop => break,
            next = accept(&listener, &slots) => next,
        };
        match accepted {
            Ok((stream, peer)) => {
                tokio::spawn(connection(Arc::clone(&server), stream, peer, slot));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
    drop(listener);
    server.stopping.tell();
    // Connections drop themselves at the end of that time; the rest is for doing so.
    let patience = drain + Duration::from_secs(1);
    let all = u32::try_from(connections).unwrap_or(u32::MAX);
    if tokio::time::timeout(patience, slots.acquire_many(all)).await.is_err() {
        let left = connections - slots.available_permits();
        tracing::warn!(connections = left, "connections were still busy when the server stopped");
    }
}

/// Waits for a free slot first: the connections beyond the limit wait in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, std::io::Result<(TcpStream, SocketAddr)>) {
    let slot = Arc::clone(slots).acquire_owned().await.expect("the semaphore is never closed");
    (slot, listener.accept().await)
}

/// What all connections share.
struct Server {
    /// Bytes of request bodies that are held now.
    body_bytes: AtomicUsize,
    facet: Arc<dyn Facet>,
    options: ServeOptions,
    http: http1::Builder,
    started: Instant,
    request_ids: RequestIds,
    stopping: Stopping,
    room: Room,
}

impl Server {
    fn new(facet: Arc<dyn Facet>, options: ServeOptions) -> Self {
        let header_bytes = options.limits.header_bytes;
        let mut http = http1::Builder::new();
        // hyper's own timer is made anew for each request; the watch is not.
        http.header_read_timeout(None)
            .max_header_size(header_bytes)
            .max_buf_size(header_bytes.max(BUFFER_BYTES_MAX));
        Self {
            room: Room::new(options.limits.answers_bytes),
            facet,
            options,
            http,
            started: Instant::now(),
            request_ids: RequestIds::new(),
            body_bytes: AtomicUsize::new(0),
            stopping: Stopping::default(),
        }
    }
}

/// What the requests of one connection share.
struct Link {
    server: Arc<Server>,
    peer: SocketAddr,
    watch: Arc<Watch>,
    linger: Arc<AtomicBool>,
}

/// One connection, from its first byte to its last. Holds its slot meanwhile.
async fn connection(
    server: Arc<Server>,
    stream: TcpStream,
    peer: SocketAddr,
    _slot: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "the connection is already gone");
        return;
    }
    let watch = Arc::new(Watch::new(server.started, server.options.limits.header_ms));
    let linger = Arc::new(AtomicBool::new(false));
    let wire = Wire::new(stream, Arc::clone(&watch), Arc::clone(&linger));
    let link = Arc::new(Link { server: Arc::clone(&server), peer, watch, linger });
    let requests = Arc::clone(&link);
    let service = service_fn(move |request| answer(Arc::clone(&requests), request));
    let mut http = server.http.serve_connection(wire, service);

    let mut timer = Timer::new(&link.watch);
    let mut stopped = pin!(server.stopping.told());
    let mut waker: Option<Waker> = None;
    let mut draining = false;
    let ended = poll_fn(|cx| {
        // A task has one waker for life. Registering it again would cost a lock each time.
        let known = waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if !known {
            waker = Some(cx.waker().clone());
            if !draining {
                let _ = stopped.as_mut().poll(cx);
            }
        }
        if !draining && server.stopping.is_told() {
            draining = true;
            Pin::new(&mut http).graceful_shutdown();
            timer.end_ms = link.watch.now_ms().saturating_add(server.options.drain_ms);
        }
        if timer.judge(&link.watch) == Verdict::Close {
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(ended) = Pin::new(&mut http).poll(cx) {
            return Poll::Ready(ended);
        }
        timer.arm(&link.watch, known, cx);
        Poll::Pending
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The one timer of a connection, armed for the earliest deadline that it saw.
struct Timer {
    sleep: Pin<Box<tokio::time::Sleep>>,
    armed_ms: u64,
    /// When the connection goes, whatever it does.
    end_ms: u64,
}

impl Timer {
    fn new(watch: &Watch) -> Self {
        let armed_ms = watch.deadline_ms();
        let sleep = Box::pin(tokio::time::sleep_until(watch.instant(armed_ms)));
        Self { sleep, armed_ms, end_ms: u64::MAX }
    }

    /// What to do now. Looks at the clock only when the timer fired.
    fn judge(&self, watch: &Watch) -> Verdict {
        if !self.sleep.is_elapsed() {
            return Verdict::Continue;
        }
        let now_ms = watch.now_ms();
        if now_ms >= self.end_ms { Verdict::Close } else { watch.judge(now_ms) }
    }

    /// Sees to it that the task is woken at the present deadline or before.
    fn arm(&mut self, watch: &Watch, waker_known: bool, cx: &mut Context<'_>) {
        let due_ms = watch.deadline_ms().min(self.end_ms);
        let elapsed = self.sleep.is_elapsed();
        if due_ms < self.armed_ms || elapsed {
            self.armed_ms = due_ms;
            self.sleep.as_mut().reset(watch.instant(due_ms));
        } else if waker_known {
            return;
        }
        if self.sleep.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests;
