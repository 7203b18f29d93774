//! What happens to a request before it reaches an endpoint, and to every answer.
//!
//! Source: Kinto fact sheet, sections 1 and 21: the version in the path, redirections, preflights,
//! end of service, methods, media types; headers that all answers have.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPIRES,
    HOST, LOCATION, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use nuage_http::{
    Body, Facet, Held, Peer, Pending, Refusal, Request, Standing, http_date, takes_gzip,
};
use nuage_model::{CollectionPath, Kind, RecordPath, Timestamp};
use percent_encoding::percent_decode_str;

use crate::batch::SubRequest;
use crate::call::{Call, Place};
use crate::error::Error;
use crate::feed;
use crate::headers::Asked;
use crate::negotiate;
use crate::object::Object;
use crate::routes::Endpoint;
use crate::{Kinto, RedirectLifetime};

const PREFIX: &str = "/v1";
/// From here on compressing makes an answer smaller.
const COMPRESSED_BYTES_MIN: usize = 1_024;
/// Proxies let what is smaller be, unless they are told otherwise.
const TAGGED_BYTES_MIN: usize = 20;

impl Facet for Kinto {
    fn handle(&self, request: Request) -> Pending<'_> {
        Box::pin(async move {
            let asked = Asked::of(request.method(), request.uri().path(), request.headers());
            let gzip = *request.method() != Method::HEAD && takes_gzip(request.headers());
            let mut held = Vec::new();
            let mut response = self.enter(request, &mut held).await;
            self.headers.finish(&asked, &mut response);
            if gzip {
                response = self.compress(response).await;
            }
            response.map(|body| match body {
                Body::Whole(bytes) => Body::Whole(Held::keep(held, bytes)),
                stream => stream,
            })
        })
    }

    fn refuse(&self, request: &Parts, why: Refusal) -> nuage_http::Response {
        let error = match why {
            Refusal::Malformed { why } => Error::bad_request(why),
            Refusal::NotImplemented { why } => Error::not_implemented(why),
            Refusal::HeadTooLarge { limit_bytes } => Error::head_too_large(limit_bytes),
            Refusal::BodyTooLarge { limit_bytes } => Error::body_too_large(limit_bytes),
            Refusal::BodyTooSlow => Error::too_slow(),
            Refusal::Crowded | Refusal::RequestTooSlow => {
                Error::unavailable(self.settings.retry_after_s)
            }
            Refusal::Panicked => Error::internal(&self.settings.error_info_link),
        };
        let mut response = error.to_response();
        let asked = Asked::of(&request.method, request.uri.path(), &request.headers);
        self.headers.finish(&asked, &mut response);
        response.map(Body::Whole)
    }

    fn standing(&self, request: &Parts) -> Standing {
        let is_check = matches!(request.uri.path(), "/v1/__lbheartbeat__" | "/v1/__heartbeat__")
            && matches!(request.method, Method::GET | Method::HEAD);
        // A check has no body, which could take its time.
        if is_check && !has_body(&request.headers) {
            return Standing::Vital;
        }
        let authorization = request.headers.get(AUTHORIZATION);
        let known = authorization.and_then(|value| self.auth.known(value.as_bytes()));
        known.map_or(Standing::Unknown, Standing::Known)
    }
}

/// Whether a body follows these headers. RFC 9112, section 6.3.
fn has_body(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH);
    headers.contains_key(TRANSFER_ENCODING) || length.is_some_and(|length| length != "0")
}

impl Kinto {
    async fn enter(&self, request: Request, held: &mut Vec<Held>) -> nuage_http::Response {
        if let Some(gone) = self.end_of_service() {
            return gone.to_response().map(Body::Whole);
        }
        let (parts, body) = request.into_parts();
        match self.route(parts, body) {
            Ok(Route::Call(call)) => self.run(&call, held).await,
            Ok(Route::Answer(response)) => response.map(Body::Whole),
            Err(error) => error.to_response().map(Body::Whole),
        }
    }

    fn end_of_service(&self) -> Option<Error> {
        let eos = self.settings.eos.as_ref()?;
        (self.engine.now().0 >= eos.at_ms).then(|| Error::decommissioned(self.headers.hard_alert()))
    }

    fn route(&self, parts: Parts, body: Bytes) -> Result<Route, Error> {
        let raw = parts.uri.path();
        let query = parts.uri.query();
        let path = decode(raw)?;
        let inside = match version_of(&path) {
            Version::This(inside) => inside,
            Version::Other => return Err(Error::api_version()),
            Version::None if parts.method == Method::OPTIONS => {
                let known = self.headers.preflight(&parts.headers, None);
                return Ok(Route::Answer(known.unwrap_or_default()));
            }
            Version::None => return self.redirect_to_version(&parts, &path),
        };
        if parts.method == Method::OPTIONS {
            // Browsers follow no redirection here.
            let named = inside.trim_end_matches('/');
            let named = if named.is_empty() { "/" } else { named };
            let endpoint = Endpoint::of(named, self.settings.features);
            let methods = endpoint.as_ref().map(|endpoint| endpoint.methods());
            return Ok(Route::Answer(self.headers.preflight(&parts.headers, methods)?));
        }
        if inside.is_empty() || (inside.len() > 1 && inside.ends_with('/')) {
            let lifetime = self.settings.trailing_slash_redirect;
            let lifetime = lifetime.ok_or_else(Error::unknown_route)?;
            let target = if inside.is_empty() { "/v1/" } else { raw.trim_end_matches('/') };
            return self.redirect(&parts.headers, target, query, lifetime);
        }
        let endpoint = Endpoint::of(inside, self.settings.features);
        let endpoint = endpoint.ok_or_else(Error::unknown_route)?;
        self.check_method(&endpoint, &parts.method)?;
        negotiate_with(&endpoint, &parts.method, &parts.headers)?;
        let peer = parts.extensions.get::<Peer>();
        Ok(Route::Call(Call {
            endpoint,
            query: query.map(str::to_owned),
            peer: peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip()),
            stopping: parts.extensions.get().cloned().unwrap_or_default(),
            room: parts.extensions.get().cloned().unwrap_or_default(),
            path: path.into_owned(),
            method: parts.method,
            headers: parts.headers,
            body,
            place: Place::Alone,
            alias: None,
            hashing: Default::default(),
            spent: Default::default(),
        }))
    }

    fn check_method(&self, endpoint: &Endpoint, method: &Method) -> Result<(), Error> {
        let reads = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        if !endpoint.allows(method) || (self.settings.readonly && !reads) {
            return Err(Error::method_not_allowed(endpoint.methods()));
        }
        Ok(())
    }

    /// A request inside a batch, or what is wrong with it.
    pub(crate) fn subcall(
        &self,
        batch: &Call,
        request: SubRequest,
    ) -> Result<Call, (String, Error)> {
        let SubRequest { method, path, query, headers, body } = request;
        let path = match version_of(&path) {
            Version::This(_) => path,
            Version::Other => return Err((path, Error::api_version())),
            Version::None => format!("{PREFIX}{path}"),
        };
        let trimmed = path.trim_end_matches('/');
        let path = if trimmed == PREFIX { "/v1/".to_owned() } else { trimmed.to_owned() };
        let found = Endpoint::of(&path[PREFIX.len()..], self.settings.features)
            .ok_or_else(Error::unknown_route)
            .and_then(|endpoint| {
                self.check_method(&endpoint, &method)?;
                negotiate_with(&endpoint, &method, &headers)?;
                Ok(endpoint)
            });
        match found {
            Err(error) => Err((path, error)),
            Ok(endpoint) => Ok(Call {
                method,
                endpoint,
                path,
                query,
                headers,
                body,
                peer: batch.peer,
                place: Place::InBatch,
                stopping: batch.stopping.clone(),
                room: batch.room.clone(),
                alias: None,
                hashing: Default::default(),
                spent: Default::default(),
            }),
        }
    }

    fn redirect_to_version(&self, parts: &Parts, path: &str) -> Result<Route, Error> {
        let lifetime = self.settings.version_prefix_redirect;
        let lifetime = lifetime.ok_or_else(Error::unknown_route)?;
        if path.contains(['\r', '\n']) {
            return Err(Error::unknown_route());
        }
        let target = format!("{PREFIX}{}", parts.uri.path());
        self.redirect(&parts.headers, &target, parts.uri.query(), lifetime)
    }

    fn redirect(
        &self,
        headers: &HeaderMap,
        path: &str,
        query: Option<&str>,
        lifetime: RedirectLifetime,
    ) -> Result<Route, Error> {
        let mut url = self.absolute(headers, path);
        if let Some(query) = query {
            url.push('?');
            url.push_str(query);
        }
        let location = HeaderValue::try_from(url).map_err(|_| Error::unknown_route())?;
        let mut response = Response::new(Bytes::from_static(b"307 Temporary Redirect\n"));
        *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
        let told = response.headers_mut();
        told.insert(LOCATION, location);
        told.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if let RedirectLifetime(Some(seconds)) = lifetime {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX / 1000);
            let expires = self.engine.now().0.saturating_add(seconds.saturating_mul(1000));
            told.insert(EXPIRES, http_date(Timestamp(expires)));
            let value = HeaderValue::try_from(format!("max-age={seconds}"));
            told.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("max-age=0")));
        }
        Ok(Route::Answer(response))
    }

    /// The whole address of a path on this server, as the client sees it.
    pub(crate) fn absolute(&self, headers: &HeaderMap, path: &str) -> String {
        let scheme = self.settings.http_scheme.as_deref().unwrap_or("http");
        let host = match &self.settings.http_host {
            Some(host) => host.as_str(),
            None => headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost"),
        };
        format!("{scheme}://{host}{path}")
    }

    /// The same answer in gzip, if that is worth it. What has an entity tag is worth it also where
    /// it gets no smaller: a proxy that compresses it weakens the tag, and clients that read times
    /// from tags lose them. The tag itself stays as it is, for it is a time; there are no ranges
    /// that could be put together from two codings.
    async fn compress(&self, mut response: nuage_http::Response) -> nuage_http::Response {
        let headers = response.headers();
        let least_bytes =
            if headers.contains_key(ETAG) { TAGGED_BYTES_MIN } else { COMPRESSED_BYTES_MIN };
        let is_plain =
            response.status() == StatusCode::OK && !headers.contains_key(CONTENT_ENCODING);
        if let Body::Whole(body) = response.body_mut()
            && is_plain
            && body.len() >= least_bytes
        {
            *body = self.compressor.gzip(std::mem::take(body)).await;
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    /// Headers that depend on the endpoint.
    pub(crate) async fn dress(&self, call: &Call, response: &mut Response<Bytes>) {
        let reads = matches!(call.method, Method::GET | Method::HEAD);
        let shown = response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED;
        if !reads || !shown || call.headers.contains_key(AUTHORIZATION) {
            return;
        }
        let (kind, bucket, collection) = match &call.endpoint {
            Endpoint::Object(path) => {
                let bucket = match path.kind() {
                    Kind::Bucket => path.id.as_str(),
                    _ => path.collection.bucket.as_str(),
                };
                (path.kind(), bucket, path.collection.name.as_str())
            }
            Endpoint::List(list) => (list.kind(), list.bucket.as_str(), list.name.as_str()),
            _ => return,
        };
        let mut lifetime = self.cache_lifetime(kind, bucket, collection);
        if kind == Kind::Record {
            let owner = CollectionPath::collections(bucket.into()).record(collection);
            lifetime = lifetime.max(self.cache_expires(&owner).await);
        }
        if let Some(seconds) = lifetime {
            self.headers.cache(seconds, self.engine.now(), response.headers_mut());
        }
    }

    /// The lifetime that a collection gives to its records. One that cannot be read gives none.
    async fn cache_expires(&self, collection: &RecordPath) -> Option<u64> {
        let record = self.engine.holder(collection).await.ok().flatten()?;
        if !record.body().contains("\"cache_expires\"") {
            return None;
        }
        let fields = Object::parse(record.body(), usize::MAX).ok()?;
        fields.get("cache_expires")?.parse().ok()
    }

    fn cache_lifetime(&self, kind: Kind, bucket: &str, collection: &str) -> Option<u64> {
        let settings = &self.settings.cache_expires_s;
        if settings.is_empty() {
            return None;
        }
        if kind == Kind::Record {
            let own = settings.get(&format!("{bucket}.{collection}.record"));
            let own = own.or_else(|| settings.get(&format!("{bucket}.record")));
            if let Some(seconds) = own {
                return Some(*seconds);
            }
        }
        settings.get(kind.as_str()).copied()
    }
}

/// Refuses media types. What a server says of itself it says in JSON to everybody: load balancers
/// ask for anything.
fn negotiate_with(endpoint: &Endpoint, method: &Method, headers: &HeaderMap) -> Result<(), Error> {
    if endpoint.shows_objects() {
        negotiate::accept(headers)?;
    }
    if endpoint.is_feed() {
        feed::ask::negotiate(headers)?;
    }
    if endpoint.reads_body() {
        negotiate::content_type(method, headers)?;
    }
    Ok(())
}

enum Route {
    Call(Call),
    Answer(Response<Bytes>),
}

enum Version<'a> {
    /// What comes after it.
    This(&'a str),
    Other,
    None,
}

fn version_of(path: &str) -> Version<'_> {
    let Some(rest) = path.strip_prefix("/v") else { return Version::None };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, inside) = rest.split_at(digits);
    if number.is_empty() || !(inside.is_empty() || inside.starts_with('/')) {
        return Version::None;
    }
    if number == "1" { Version::This(inside) } else { Version::Other }
}

fn decode(raw: &str) -> Result<Cow<'_, str>, Error> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    percent_decode_str(raw).decode_utf8().map_err(|_| Error::bad_path())
}
