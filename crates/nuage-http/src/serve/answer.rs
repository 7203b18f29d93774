//! One request: its body within the limits, the door's answer within its time, the log.

use std::any::Any;
use std::future::poll_fn;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONNECTION, ORIGIN};
use http::{HeaderValue, Method, Uri, request};
use hyper::body::{Body as _, Incoming};

use crate::client::Network;
use crate::request_id::X_REQUEST_ID;
use crate::serve::outgoing::{Live, Outgoing, Rest, Told};
use crate::serve::{Link, Server};
use crate::shares::{Holder, Share};
use crate::watch::Phase;
use crate::{Body, Peer, Refusal, Request, RequestId, Response, Standing};

/// Target of the access log's events.
pub(super) const ACCESS: &str = "nuage::access";

/// Room made at once for a body in pieces, whatever length it claims.
const BODY_BYTES_FIRST: usize = 64 * 1024;

/// How much of each body takes no share: the buffers of a connection hold as much. So small
/// writes are taken whoever else sends what.
const FREE_BYTES: usize = 16 * 1024;

/// The client went away, or does not speak HTTP: nothing can be answered.
#[derive(Debug, thiserror::Error)]
#[error("the body of a request did not arrive")]
pub(super) struct Aborted;

/// Answers one request of a connection, or the head that was refused in its place.
pub(super) async fn answer(
    link: Arc<Link>,
    request: http::Request<Incoming>,
    refused: bool,
) -> Result<http::Response<Outgoing>, Aborted> {
    let server = &*link.server;
    let watch = &*link.watch;
    let (mut parts, body) = request.into_parts();
    let mut refusal = None;
    if let Some(refused) = link.refused.get().filter(|_| refused) {
        let (why, of) = refused.to_parts();
        parts = of;
        refusal = Some(why);
    }
    let client = match link.proxied {
        true => SocketAddr::new(server.proxies.client(link.peer.ip(), &parts.headers), 0),
        false => link.peer,
    };
    let (id, id_header) = server.request_ids.of(&parts.headers);
    parts.extensions.insert(Peer(client));
    parts.extensions.insert(id.clone());
    parts.extensions.insert(server.stopping.clone());
    parts.extensions.insert(server.room.clone());
    let started =
        tracing::enabled!(target: ACCESS, tracing::Level::INFO).then(tokio::time::Instant::now);
    let known = Known::of(&parts, id, client);

    let (mut response, stream_share) = match refusal {
        Some(why) => (refuse(&link, &parts, why), None),
        None => {
            let response = work(&link, parts, body, &known).await?;
            limit_streams(&link, response, &known)
        }
    };
    response.headers_mut().insert(X_REQUEST_ID, id_header);
    let mut told = Told { known, started, status: response.status(), bytes: 0 };
    Ok(response.map(|body| match body {
        Body::Whole(body) => {
            watch.wait();
            told.bytes = body.len() as u64;
            told.tell();
            Outgoing::Whole(Rest::new(body))
        }
        Body::Stream(stream) => {
            let live = Live::new(stream, Arc::clone(&link), told, stream_share);
            Outgoing::Stream(Box::new(live))
        }
    }))
}

/// Takes a turn, reads the body, and has the door answer.
async fn work(
    link: &Link,
    parts: request::Parts,
    body: Incoming,
    known: &Known,
) -> Result<Response, Aborted> {
    let (server, watch) = (&*link.server, &*link.watch);
    let limits = &server.options.limits;
    if parts.method == Method::OPTIONS && parts.uri.path() == "*" {
        // Of the server as a whole (RFC 9110, 9.3.7): proxies ask so whether it is there.
        return Ok(Response::default());
    }
    let Some(_turn) = turn(link, &parts, known.client.ip()) else {
        return Ok(refuse(link, &parts, Refusal::Crowded));
    };
    let client = known.client.ip();
    let mut held = Held { server, parts: &parts, client, share: None, free_bytes: FREE_BYTES };
    let body = if body.is_end_stream() {
        Bytes::new()
    } else {
        if !watch.enter(Phase::Receiving, watch.now_ms(), limits.body_ms) {
            return Err(Aborted);
        }
        match receive(link, body, limits.body_bytes, &mut held).await {
            Ok(body) => body,
            Err(Unreceived::Refused(why)) => return Ok(refuse(link, &parts, why)),
            Err(Unreceived::Aborted) => return Err(Aborted),
        }
    };
    // Until the answer is there.
    let _share = held.share;
    if !watch.enter(Phase::Handling, watch.now_ms(), limits.request_ms) {
        return Err(Aborted);
    }
    Ok(handle(link, Request::from_parts(parts, body), known).await)
}

/// A turn to be served, with the share that it takes. On a connection of its own, a request has it
/// by that; spare ones are for health checks and known people, and behind a trusted proxy each
/// client has a share.
fn turn(link: &Link, parts: &request::Parts, client: IpAddr) -> Option<Option<Share>> {
    let server = &*link.server;
    let take = |shares, holder| {
        let mut share = Share::of(shares, holder);
        share.grow(1).then_some(Some(share))
    };
    let spare = link.place.is_spare();
    if !spare {
        if !link.proxied {
            return Some(None);
        }
        // Whether somebody is known takes a look, and mostly does not matter.
        let share = take(&server.turns, Holder::Address(Network::of(client)));
        if share.is_some() {
            return share;
        }
    }
    let shares = if spare { &server.spare_turns } else { &server.turns };
    match server.facet.standing(parts) {
        Standing::Vital => Some(None),
        Standing::Known(person) => take(shares, Holder::Person(person)),
        Standing::Unknown => None,
    }
}

/// Lets the door say no, and closes the connection after that.
fn refuse(link: &Link, parts: &request::Parts, why: Refusal) -> Response {
    link.linger.store(true, Ordering::Relaxed);
    let mut response = link.server.facet.refuse(parts, why);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Refuses a stream to somebody who has their share of them, and on spare connections.
fn limit_streams(link: &Link, response: Response, known: &Known) -> (Response, Option<Share>) {
    if matches!(response.body(), Body::Whole(_)) {
        return (response, None);
    }
    let (server, parts) = (&*link.server, known.to_parts());
    let mut share = Share::of(&server.streams, server.holder(&parts, known.client.ip()));
    if !link.place.is_spare() && share.grow(1) {
        return (response, Some(share));
    }
    (server.facet.refuse(&parts, Refusal::Crowded), None)
}

/// What is kept of a request while the door has it: enough to refuse it and to log it.
pub(super) struct Known {
    pub(super) method: Method,
    pub(super) uri: Uri,
    origin: Option<HeaderValue>,
    authorization: Option<HeaderValue>,
    pub(super) id: RequestId,
    pub(super) client: SocketAddr,
}

impl Known {
    fn of(parts: &request::Parts, id: RequestId, client: SocketAddr) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            origin: parts.headers.get(ORIGIN).cloned(),
            authorization: parts.headers.get(AUTHORIZATION).cloned(),
            id,
            client,
        }
    }

    fn to_parts(&self) -> request::Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        let headers = [(ORIGIN, &self.origin), (AUTHORIZATION, &self.authorization)];
        for (name, value) in headers {
            parts.headers.extend(value.clone().map(|value| (name, value)));
        }
        parts.extensions.insert(Peer(self.client));
        parts.extensions.insert(self.id.clone());
        parts
    }
}

/// Lets the door answer, within the time of a request. A panic ends the request alone.
async fn handle(link: &Link, request: Request, known: &Known) -> Response {
    let facet = &*link.server.facet;
    let mut pending = match catch_unwind(AssertUnwindSafe(|| facet.handle(request))) {
        Ok(pending) => pending,
        Err(panic) => return panicked(link, known, &*panic),
    };
    let outcome =
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| pending.as_mut().poll(cx))) {
            Ok(Poll::Ready(response)) => Poll::Ready(Outcome::Answered(response)),
            Ok(Poll::Pending) if link.watch.is_expired() => Poll::Ready(Outcome::Expired),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Outcome::Panicked(panic)),
        })
        .await;
    drop(pending);
    match outcome {
        Outcome::Answered(response) => response,
        Outcome::Expired => {
            tracing::warn!(rid = %known.id, path = known.uri.path(), "a request took too long");
            facet.refuse(&known.to_parts(), Refusal::RequestTooSlow)
        }
        Outcome::Panicked(panic) => panicked(link, known, &*panic),
    }
}

enum Outcome {
    Answered(Response),
    Expired,
    Panicked(Box<dyn Any + Send>),
}

fn panicked(link: &Link, known: &Known, panic: &(dyn Any + Send)) -> Response {
    let panic = said(panic);
    tracing::error!(rid = %known.id, path = known.uri.path(), panic, "a request panicked");
    link.server.facet.refuse(&known.to_parts(), Refusal::Panicked)
}

/// The message of a panic.
pub(super) fn said(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("no message")
}

/// What the body of one request holds of the room that all bodies share.
struct Held<'a> {
    server: &'a Server,
    parts: &'a request::Parts,
    client: IpAddr,
    share: Option<Share>,
    /// How much more it may hold without a share.
    free_bytes: usize,
}

impl Held<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), Unreceived> {
        let free_bytes = bytes.min(self.free_bytes);
        self.free_bytes -= free_bytes;
        let bytes = bytes - free_bytes;
        if bytes == 0 {
            return Ok(());
        }
        let (server, parts, client) = (self.server, self.parts, self.client);
        let first = || Share::of(&server.bodies, server.holder(parts, client));
        if self.share.get_or_insert_with(first).grow(bytes) {
            Ok(())
        } else {
            Err(Unreceived::Refused(Refusal::Crowded))
        }
    }
}

/// Why there is no body.
enum Unreceived {
    Refused(Refusal),
    Aborted,
}

/// Reads a body to its end. One that arrives in one piece is not copied.
async fn receive(
    link: &Link,
    mut body: Incoming,
    limit_bytes: usize,
    held: &mut Held<'_>,
) -> Result<Bytes, Unreceived> {
    let too_large = Unreceived::Refused(Refusal::BodyTooLarge { limit_bytes });
    let announced_bytes = body.size_hint().lower();
    if announced_bytes > limit_bytes as u64 {
        return Err(too_large);
    }
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    loop {
        let frame = poll_fn(|cx| match Pin::new(&mut body).poll_frame(cx) {
            Poll::Pending if link.watch.is_expired() => {
                let stopping = link.server.stopping.is_told();
                let why = if stopping { Refusal::Crowded } else { Refusal::BodyTooSlow };
                Poll::Ready(Err(Unreceived::Refused(why)))
            }
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(Err(_))) => Poll::Ready(Err(Unreceived::Aborted)),
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Ok(Some(frame))),
            Poll::Ready(None) => Poll::Ready(Ok(None)),
        })
        .await?;
        let Some(frame) = frame else { break };
        // Trailers say nothing that anybody here reads.
        let Ok(piece) = frame.into_data() else { continue };
        if piece.len() > limit_bytes - first.len() - whole.len() {
            return Err(too_large);
        }
        held.add(piece.len())?;
        if first.is_empty() && whole.is_empty() {
            first = piece;
            continue;
        }
        if whole.is_empty() {
            let expected_bytes = (announced_bytes as usize).clamp(first.len(), limit_bytes);
            whole.reserve(expected_bytes.min(BODY_BYTES_FIRST));
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}
