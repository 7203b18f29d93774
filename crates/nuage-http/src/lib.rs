//! What all doors of Nuage share of HTTP: the accept loop with its limits, request ids, the access
//! log, conditional requests, compression.
//!
//! A door is a [`Facet`]: it gets whole requests, and gives responses whole or as streams. This
//! crate keeps what comes from outside within the limits before a door sees it. It does not know who
//! is asking, what a path means, or how a protocol words its errors: for those it asks the door.

mod body;
mod gzip;
mod precondition;
mod request_id;
mod room;
mod serve;
mod stopping;
mod watch;
mod wire;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use bytes::Bytes;

pub use body::{Body, Pieces, Stream};
pub use gzip::{Compressor, Gzip, takes_gzip};
pub use precondition::{PreconditionError, Preconditions, Tags, etag, http_date};
pub use request_id::RequestId;
pub use room::{Held, Room, SMALL_BYTES};
pub use serve::{ServeOptions, serve};
pub use stopping::Stopping;

/// A request whose body is here in full. Its extensions hold a [`Peer`], a [`RequestId`], the
/// word that the server stops ([`Stopping`]), and the [`Room`] for its answer.
pub type Request = http::Request<Bytes>;

/// A response, with its body in full or as a stream.
pub type Response = http::Response<Body>;

/// A boxed future: doors are used through `dyn Facet`.
pub type Pending<'a> = Pin<Box<dyn Future<Output = Response> + Send + 'a>>;

/// A door: one protocol, from whole requests to responses.
pub trait Facet: Send + Sync {
    /// Answers a request. The future is dropped when the client goes away or the time for one
    /// request is over; that time does not count what a stream takes to be sent.
    fn handle(&self, request: Request) -> Pending<'_>;

    /// Words the answer to a request that is not handled, or not to its end.
    ///
    /// Where the body was refused the parts are those of the request. Where the handling failed
    /// they hold the method, the URI, the `Origin` header and the extensions only.
    fn refuse(&self, request: &http::request::Parts, why: Refusal) -> Response;
}

/// Why a request is not handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its body is larger than may be. The connection is closed after the answer.
    BodyTooLarge {
        /// The greatest size in bytes.
        limit_bytes: usize,
    },
    /// The bodies of all requests together are larger than may be held. It may be sent again
    /// later. The connection is closed after the answer.
    Crowded,
    /// Its body did not arrive in time. The connection is closed after the answer.
    BodyTooSlow,
    /// Its handling took longer than one request may.
    RequestTooSlow,
    /// Its handling panicked.
    Panicked,
}

/// Who is at the other end of the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub SocketAddr);
