//! What all doors of Nuage share of HTTP: the accept loop with its limits, request ids, the access
//! log, conditional requests, compression.
//!
//! A door is a [`Facet`]: it gets whole requests, and gives responses whole or as streams. This
//! crate keeps what comes from outside within the limits, and within what HTTP allows, before a
//! door sees it, and shares out what there is not enough of. It does not know who is asking, what a
//! path means, or how a protocol words its errors: for those it asks the door.

mod body;
mod client;
mod gate;
mod gzip;
mod places;
mod precondition;
mod request_id;
mod room;
mod serve;
mod shares;
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
    /// Where the body was refused the parts are those of the request. Where the head was refused,
    /// or the handling failed, they hold the method, the URI, the `Origin` header and the
    /// extensions only, as far as they could be read.
    fn refuse(&self, request: &http::request::Parts, why: Refusal) -> Response;

    /// What is known of a request from its line and headers alone, at once and for little: it is
    /// asked where there is not enough for all. The parts hold the method, the URI, `Authorization`
    /// and the extensions at least.
    fn standing(&self, _request: &http::request::Parts) -> Standing {
        Standing::Unknown
    }
}

/// What is known of a request before anything is done for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It asks whether the server is well, takes little, and is always answered.
    Vital,
    /// It carries credentials that were found good, of the person that this number stands for.
    Known(u64),
    /// Nothing yet.
    Unknown,
}

/// Why a request is not handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its head cannot be understood, or can be understood in two ways. The connection is closed
    /// after the answer.
    Malformed {
        /// What is wrong, as a sentence.
        why: &'static str,
    },
    /// It asks for something of HTTP that is not here. The connection is closed after the answer.
    NotImplemented {
        /// What is not, as a sentence.
        why: &'static str,
    },
    /// Its line and headers are larger than may be, or too many. The connection is closed after
    /// the answer.
    HeadTooLarge {
        /// The greatest size in bytes.
        limit_bytes: usize,
    },
    /// Its body is larger than may be. The connection is closed after the answer.
    BodyTooLarge {
        /// The greatest size in bytes.
        limit_bytes: usize,
    },
    /// There is no room for it: too many connections, streams or bodies, of all or of its client.
    /// It may be sent again later. The connection may be closed after the answer.
    Crowded,
    /// Its body did not arrive in time. The connection is closed after the answer.
    BodyTooSlow,
    /// Its handling took longer than one request may.
    RequestTooSlow,
    /// Its handling panicked.
    Panicked,
}

/// Whose request it is: who is at the other end of the connection, or whom a trusted proxy names
/// there, with port 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub SocketAddr);
