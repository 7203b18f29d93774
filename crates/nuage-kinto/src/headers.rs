//! Headers that do not depend on what is stored: CORS, caching, security, load, end of service.
//!
//! Source: Kinto fact sheet, sections 1 and 21. Values are made once: this is on the way of every
//! answer.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, EXPIRES,
    ORIGIN, PRAGMA, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use nuage_http::http_date;
use nuage_model::Timestamp;
use serde_json::json;

use crate::Settings;
use crate::error::{Error, Invalid, Location};

/// What scripts of other origins may read on every answer.
static EXPOSED: HeaderValue =
    HeaderValue::from_static("Backoff, Retry-After, Alert, Content-Length, Content-Type");
/// And of an object that is read.
static EXPOSED_OBJECT: HeaderValue = HeaderValue::from_static(
    "Backoff, Retry-After, Alert, Content-Length, Content-Type, \
     ETag, Last-Modified, Cache-Control, Expires, Pragma",
);
/// And of a list.
static EXPOSED_LIST: HeaderValue = HeaderValue::from_static(
    "Backoff, Retry-After, Alert, Content-Length, Content-Type, \
     ETag, Last-Modified, Cache-Control, Expires, Pragma, Next-Page",
);
/// And of a list that is counted.
static EXPOSED_COUNT: HeaderValue = HeaderValue::from_static(
    "Backoff, Retry-After, Alert, Content-Length, Content-Type, ETag, Last-Modified, \
     Cache-Control, Expires, Pragma, Next-Page, Total-Objects, Total-Records",
);
static ANY_ORIGIN: HeaderValue = HeaderValue::from_static("*");
static NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
static POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; base-uri 'none';");
const VARIES: &str = "Accept-Encoding, Origin";
static NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, no-store");
const ALERT: HeaderName = HeaderName::from_static("alert");
const BACKOFF: HeaderName = HeaderName::from_static("backoff");

/// Makes headers by the settings.
pub(crate) struct Headers {
    origins: Origins,
    max_age: Option<HeaderValue>,
    backoff: Option<HeaderValue>,
    backoff_percentage: u64,
    answers: AtomicU64,
    soft_alert: Option<HeaderValue>,
    hard_alert: HeaderValue,
}

enum Origins {
    All,
    /// Patterns in which `*` stands for anything.
    Listed(Vec<String>),
}

impl Headers {
    pub(crate) fn new(settings: &Settings) -> Self {
        let origins = if settings.cors_origins.iter().any(|origin| origin == "*") {
            Origins::All
        } else {
            let listed = settings.cors_origins.iter().map(|origin| origin.trim().to_owned());
            Origins::Listed(listed.collect())
        };
        Self {
            origins,
            max_age: settings.cors_max_age_s.map(HeaderValue::from),
            backoff: settings.backoff_s.map(HeaderValue::from),
            backoff_percentage: settings.backoff_percentage.map_or(100, u64::from),
            answers: AtomicU64::new(0),
            soft_alert: settings.eos.as_ref().map(|_| alert(settings, "soft-eol")),
            hard_alert: alert(settings, "hard-eol"),
        }
    }

    /// The alert of a service that has ended.
    pub(crate) fn hard_alert(&self) -> HeaderValue {
        self.hard_alert.clone()
    }

    /// The alert for the old name of a parameter.
    pub(crate) fn to_alert(&self) -> HeaderValue {
        HeaderValue::from_static(concat!(
            r#"{"code":"soft-eol","#,
            r#""message":"_to is now deprecated, you should use _before instead","#,
            r#""url":"https://kinto.readthedocs.io/en/2.4.0/api/resource.html"#,
            r##"#list-of-available-url-parameters"}"##,
        ))
    }

    /// What every answer has.
    pub(crate) fn finish<B>(&self, asked: &Asked, response: &mut Response<B>) {
        let leads_on = response.status().is_redirection();
        let leads_on = leads_on && response.status() != StatusCode::NOT_MODIFIED;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, asked.exposed.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF.clone());
        headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
        // Whatever a cache in between is told, it must not give one client the other's answer.
        let also = headers.get(VARY).and_then(|also| also.to_str().ok());
        let both = also.and_then(|also| format!("{also}, {VARIES}").try_into().ok());
        headers.insert(VARY, both.unwrap_or(HeaderValue::from_static(VARIES)));
        // Nearly everything depends on who is asking, and on the moment.
        if asked.is_read && !leads_on && !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, NO_CACHE.clone());
        }
        if let Some(origin) = &asked.origin {
            self.allow(origin, headers);
        }
        if let Some(backoff) = &self.backoff
            && self.is_chosen()
        {
            headers.insert(BACKOFF, backoff.clone());
        }
        if let Some(alert) = &self.soft_alert
            && !headers.contains_key(&ALERT)
        {
            headers.insert(ALERT, alert.clone());
        }
    }

    /// Whether this answer is among the share that asks clients to slow down. Spread evenly, so
    /// that every client is asked sooner or later.
    fn is_chosen(&self) -> bool {
        let turn = self.answers.fetch_add(1, Ordering::Relaxed);
        (turn * self.backoff_percentage) % 100 + self.backoff_percentage >= 100
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        match &self.origins {
            Origins::All => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN.clone());
            }
            Origins::Listed(listed) => {
                let text = origin.to_str().unwrap_or_default();
                if listed.iter().any(|pattern| is_like(pattern, text)) {
                    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
    }

    /// The answer to a preflight; `methods` are those of the endpoint, if there is one.
    pub(crate) fn preflight(
        &self,
        asked: &HeaderMap,
        methods: Option<&'static str>,
    ) -> Result<Response<Bytes>, Error> {
        for name in [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD] {
            if !asked.contains_key(&name) {
                let name = match name {
                    ORIGIN => "Origin",
                    _ => "Access-Control-Request-Method",
                };
                let description = format!("{name} header is missing");
                return Err(Error::invalid_one(Invalid::named(
                    Location::Header,
                    name,
                    description,
                )));
            }
        }
        let mut response = Response::new(Bytes::from_static(b"null"));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let methods = methods.unwrap_or("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        let mut allowed = EXPOSED_COUNT.to_str().unwrap_or_default().to_owned();
        let requested = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(requested) = requested.and_then(|requested| requested.to_str().ok()) {
            allowed = format!("{requested}, {allowed}");
        }
        if let Ok(allowed) = HeaderValue::try_from(allowed) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
        }
        if let Some(max_age) = &self.max_age {
            headers.insert(ACCESS_CONTROL_MAX_AGE, max_age.clone());
        }
        Ok(response)
    }

    /// How long caches may keep what anybody may read, for those who send no credentials.
    pub(crate) fn cache(&self, lifetime_s: u64, now: Timestamp, headers: &mut HeaderMap) {
        headers.insert(VARY, HeaderValue::from_static("Authorization"));
        match lifetime_s {
            0 => {
                let none = "max-age=0, must-revalidate, no-cache, no-store";
                headers.insert(CACHE_CONTROL, HeaderValue::from_static(none));
                headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
                headers.insert(EXPIRES, http_date(now));
            }
            seconds => {
                let value = HeaderValue::try_from(format!("max-age={seconds}"));
                headers.insert(CACHE_CONTROL, value.unwrap_or(HeaderValue::from_static("")));
                let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
                let until = now.0.saturating_add(seconds.saturating_mul(1000));
                headers.insert(EXPIRES, http_date(Timestamp(until)));
            }
        }
    }
}

/// What the headers of every answer depend on. Known from the outside, since refusals have them
/// too.
pub(crate) struct Asked {
    origin: Option<HeaderValue>,
    exposed: &'static HeaderValue,
    is_read: bool,
}

impl Asked {
    pub(crate) fn of(method: &Method, path: &str, headers: &HeaderMap) -> Self {
        Self {
            origin: headers.get(ORIGIN).cloned(),
            exposed: exposed(method, path),
            is_read: matches!(*method, Method::GET | Method::HEAD),
        }
    }
}

/// What scripts of other origins may read of the answer to a request: more where there is more.
fn exposed(method: &Method, path: &str) -> &'static HeaderValue {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return &EXPOSED;
    }
    let mut steps = path.strip_prefix("/v1/").unwrap_or_default().split('/');
    let is_list = match steps.next() {
        Some("buckets" | "accounts") => steps.count().is_multiple_of(2),
        Some("permissions") => true,
        _ => return &EXPOSED,
    };
    match (is_list, method) {
        (false, _) => &EXPOSED_OBJECT,
        (true, &Method::HEAD) => &EXPOSED_COUNT,
        (true, _) => &EXPOSED_LIST,
    }
}

/// Whether a text is like a pattern in which `*` stands for anything.
fn is_like(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(start) else { return false };
    let mut pieces = rest.split('*');
    let end = pieces.next_back().unwrap_or_default();
    for piece in pieces {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
    }
    text.ends_with(end)
}

fn alert(settings: &Settings, code: &str) -> HeaderValue {
    let eos = settings.eos.as_ref();
    let message = eos.and_then(|eos| eos.message.as_deref());
    let url = eos.and_then(|eos| eos.url.as_deref());
    let text = json!({ "code": code, "message": message, "url": url }).to_string();
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("{}"))
}

#[cfg(test)]
mod tests;
