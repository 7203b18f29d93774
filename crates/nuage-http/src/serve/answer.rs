//! One request: its body within the limits, the door's answer within its time, the log.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, ORIGIN};
use http::{HeaderValue, Method, Uri, request};
use hyper::body::{Body as _, Incoming};

use crate::request_id::X_REQUEST_ID;
use crate::serve::outgoing::{Live, Outgoing, Told};
use crate::serve::{Link, Server};
use crate::watch::Phase;
use crate::{Body, Peer, Refusal, Request, RequestId, Response};

/// Target of the access log's events.
pub(super) const ACCESS: &str = "nuage::access";

/// Room made at once for a body in pieces, whatever length it claims.
const BODY_BYTES_FIRST: usize = 64 * 1024;

/// The client went away, or does not speak HTTP: nothing can be answered.
#[derive(Debug, thiserror::Error)]
#[error("the body of a request did not arrive")]
pub(super) struct Aborted;

/// Answers one request of a connection.
pub(super) async fn answer(
    link: Arc<Link>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Outgoing>, Aborted> {
    let server = &*link.server;
    let limits = &server.options.limits;
    let watch = &*link.watch;
    let (mut parts, body) = request.into_parts();
    let (id, id_header) = server.request_ids.of(&parts.headers);
    parts.extensions.insert(Peer(link.peer));
    parts.extensions.insert(id.clone());
    parts.extensions.insert(server.stopping.clone());
    parts.extensions.insert(server.room.clone());
    let started =
        tracing::enabled!(target: ACCESS, tracing::Level::INFO).then(tokio::time::Instant::now);
    let known = Known::of(&parts, id, link.peer);

    let mut held = Held { server, bytes: 0 };
    let received = if body.is_end_stream() {
        Ok(Bytes::new())
    } else {
        watch.enter(Phase::Receiving, watch.now_ms(), limits.body_ms);
        receive(&link, body, limits.body_bytes, &mut held).await
    };
    let mut response = match received {
        Ok(body) => {
            watch.enter(Phase::Handling, watch.now_ms(), limits.request_ms);
            handle(&link, Request::from_parts(parts, body), &known).await
        }
        Err(Unreceived::Refused(why)) => {
            link.linger.store(true, Ordering::Relaxed);
            let mut response = server.facet.refuse(&parts, why);
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }
        Err(Unreceived::Aborted) => return Err(Aborted),
    };
    response.headers_mut().insert(X_REQUEST_ID, id_header);
    let mut told = Told { known, started, status: response.status(), bytes: 0 };
    Ok(response.map(|body| match body {
        Body::Whole(body) => {
            watch.wait();
            told.bytes = body.len() as u64;
            told.tell();
            Outgoing::Whole(Some(body))
        }
        Body::Stream(stream) => {
            Outgoing::Stream(Box::new(Live::new(stream, Arc::clone(&link), told)))
        }
    }))
}

/// What is kept of a request while the door has it: enough to refuse it and to log it.
pub(super) struct Known {
    pub(super) method: Method,
    pub(super) uri: Uri,
    origin: Option<HeaderValue>,
    pub(super) id: RequestId,
    peer: std::net::SocketAddr,
}

impl Known {
    fn of(parts: &request::Parts, id: RequestId, peer: std::net::SocketAddr) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            origin: parts.headers.get(ORIGIN).cloned(),
            id,
            peer,
        }
    }

    fn to_parts(&self) -> request::Parts {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = self.uri.clone();
        if let Some(origin) = &self.origin {
            parts.headers.insert(ORIGIN, origin.clone());
        }
        parts.extensions.insert(Peer(self.peer));
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

/// What one request holds of the room that all bodies share.
struct Held<'a> {
    server: &'a Server,
    bytes: usize,
}

impl Held<'_> {
    fn add(&mut self, bytes: usize) -> Result<(), Unreceived> {
        self.bytes += bytes;
        let all = self.server.body_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if all > self.server.options.limits.bodies_bytes {
            return Err(Unreceived::Refused(Refusal::Crowded));
        }
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.server.body_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
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
                Poll::Ready(Err(Unreceived::Refused(Refusal::BodyTooSlow)))
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
