//! One request of this protocol: alone, or inside a batch.

use std::net::IpAddr;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use http::{HeaderMap, Method};
use nuage_http::{Room, Stopping};

use crate::accounts::Hashing;
use crate::routes::Endpoint;

/// A request on its way to an endpoint.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) endpoint: Endpoint,
    /// The decoded path, with the version.
    pub(crate) path: String,
    /// As written, without the question mark.
    pub(crate) query: Option<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) peer: IpAddr,
    /// The request that a person or a client library sent, or one inside its batch.
    pub(crate) place: Place,
    /// Another name under which the body may know the object.
    pub(crate) alias: Option<&'static str>,
    /// Tells whoever waits that the server stops.
    pub(crate) stopping: Stopping,
    /// Where room for a large answer is taken.
    pub(crate) room: Room,
    pub(crate) hashing: Hashing,
    /// Whether its page token of a list deletion was used: once, however often it is attempted.
    pub(crate) spent: AtomicBool,
}

/// Where a request came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Alone,
    InBatch,
}

impl Call {
    /// The same request to another endpoint: an alias under its real name.
    pub(crate) fn under(&self, endpoint: Endpoint, path: String) -> Self {
        Self {
            method: self.method.clone(),
            endpoint,
            path,
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            peer: self.peer,
            place: self.place,
            alias: Some("default"),
            stopping: self.stopping.clone(),
            room: self.room.clone(),
            hashing: Hashing::default(),
            spent: AtomicBool::default(),
        }
    }
}
