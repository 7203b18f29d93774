//! The accept loop, and what all connections share.
//!
//! Keeps the limits on connections, headers, bodies and times, so that doors get whole requests
//! of bounded size, and that no request outlives its time or takes others with it when it panics.
//!
//! It is written for speed: per request there is no task and no timer, and nothing is read, copied
//! or logged that nobody asked for. Locks are taken once a connection, and by requests that hold
//! what there is only so much of: a large body, a stream, a turn behind a trusted proxy.

mod answer;
mod connection;
mod descriptors;
mod outgoing;

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use http::request;
use hyper::server::conn::http1;
use ipnet::IpNet;
use nuage_model::Limits;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::client::{Network, Proxies};
use crate::gate::Refused;
use crate::places::{self, Place, Places};
use crate::request_id::RequestIds;
use crate::room::Room;
use crate::serve::connection::connection;
use crate::serve::descriptors::Descriptors;
use crate::shares::{Holder, Shares};
use crate::stopping::Stopping;
use crate::watch::{Phase, Watch};
use crate::{Facet, Standing};

/// Connections that wait and are closed at once for want of file descriptors.
const CLOSED_FOR_DESCRIPTORS: usize = 16;

/// Longest wait for a head on a spare connection: health checks send theirs at once.
const SPARE_HEAD_MS: u64 = 2_000;

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
    /// The proxies whose `Forwarded` and `X-Forwarded-For` name the client.
    pub trusted_proxies: Vec<IpNet>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), drain_ms: 8_000, trusted_proxies: Vec::new() }
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
    let drain = Duration::from_millis(options.drain_ms);
    let server = Arc::new(Server::new(facet, options));
    // Closed once the last connection has dropped its end.
    let (alive, mut all_gone) = mpsc::channel::<Infallible>(1);
    let mut descriptors = Descriptors::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let tight = descriptors.are_short();
                if let Some(link) = server.admit(peer, tight) {
                    tokio::spawn(connection(link, stream, alive.clone()));
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let closed = server.places.close_some(CLOSED_FOR_DESCRIPTORS, server.now_ms());
                descriptors.ran_out(&error, closed).await;
            }
        }
    }
    drop((listener, alive));
    server.stopping.tell();
    server.places.wake();
    // Connections drop themselves at the end of that time; the rest is for doing so.
    let patience = drain + Duration::from_secs(1);
    if tokio::time::timeout(patience, all_gone.recv()).await.is_err() {
        let left = server.places.count();
        tracing::warn!(connections = left, "connections were still busy when the server stopped");
    }
}

/// Whether only the connection that was to be accepted is to blame.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    let kinds = [ErrorKind::ConnectionAborted, ErrorKind::ConnectionReset, ErrorKind::Interrupted];
    kinds.contains(&error.kind())
}

/// What all connections share.
struct Server {
    facet: Arc<dyn Facet>,
    options: ServeOptions,
    http: http1::Builder,
    started: Instant,
    request_ids: RequestIds,
    stopping: Stopping,
    room: Room,
    proxies: Proxies,
    places: Arc<Places>,
    /// Requests under way that came through trusted proxies.
    turns: Arc<Shares>,
    /// Requests of known people on spare connections.
    spare_turns: Arc<Shares>,
    /// Answers without an end of their own.
    streams: Arc<Shares>,
    /// Bytes of request bodies.
    bodies: Arc<Shares>,
}

impl Server {
    fn new(facet: Arc<dyn Facet>, options: ServeOptions) -> Self {
        let limits = &options.limits;
        let mut http = http1::Builder::new();
        // hyper's own timer is made anew for each request; the watch is not.
        http.header_read_timeout(None)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(BUFFER_BYTES_MAX));
        let connections = limits.connections;
        // Requests always find connections that are not streams.
        let streams = (connections - connections / 4).max(1);
        Self {
            room: Room::new(options.limits.answers_bytes),
            facet,
            http,
            started: Instant::now(),
            request_ids: RequestIds::new(),
            stopping: Stopping::default(),
            proxies: Proxies::new(options.trusted_proxies.clone()),
            places: Places::new(connections),
            turns: Shares::new(connections, connections - connections / 4),
            spare_turns: Shares::new(places::spare(connections), 0),
            streams: Shares::new(streams, streams.div_ceil(2)),
            // A quarter for strangers, half of it for one of them: see the rule on settings.
            bodies: Shares::new(limits.bodies_bytes, limits.bodies_bytes / 4),
            options,
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Finds a place for a connection. `None` closes it.
    fn admit(self: &Arc<Self>, peer: SocketAddr, tight: bool) -> Option<Link> {
        let proxied = self.proxies.trust(peer.ip());
        let network = (!proxied).then(|| Network::of(peer.ip()));
        let watch = Arc::new(Watch::new(self.started, &self.options.limits));
        let place = self.places.admit(network, &watch, tight)?;
        if place.is_spare() {
            let lasts_ms = SPARE_HEAD_MS.min(self.options.limits.header_ms);
            watch.enter(Phase::Heading, watch.now_ms(), lasts_ms);
        }
        Some(Link {
            server: Arc::clone(self),
            peer,
            proxied,
            place,
            watch,
            linger: Arc::default(),
            refused: Arc::default(),
        })
    }

    /// Whose share a request takes, by what is known from its head.
    fn holder(&self, parts: &request::Parts, client: IpAddr) -> Holder {
        match self.facet.standing(parts) {
            Standing::Known(person) => Holder::Person(person),
            Standing::Vital | Standing::Unknown => Holder::Address(Network::of(client)),
        }
    }
}

/// What the requests of one connection share.
struct Link {
    server: Arc<Server>,
    peer: SocketAddr,
    /// Whether a trusted proxy is at the other end.
    proxied: bool,
    place: Place,
    watch: Arc<Watch>,
    linger: Arc<AtomicBool>,
    refused: Arc<OnceLock<Refused>>,
}

#[cfg(test)]
mod tests;
