//! Answers that say no, in Kinto's words (fact sheet, section 2).
//!
//! Every refusal of this door is one of the constructors here, so that status, number and
//! sentence stay together. It does not decide who is refused what.

use std::borrow::Cow;
use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use nuage_model::push_json_string;

use crate::json::JsonError;

/// A refusal. Boxed: it travels in results that are nearly always something else.
#[derive(Clone, Debug)]
pub(crate) struct Error(Box<Reason>);

/// What a refusal says.
#[derive(Clone, Debug)]
pub(crate) struct Reason {
    /// The status of the answer.
    pub(crate) status: StatusCode,
    /// The number by which clients tell reasons apart.
    pub(crate) errno: u16,
    /// The reason phrase.
    pub(crate) error: &'static str,
    /// One sentence.
    pub(crate) message: Option<Cow<'static, str>>,
    /// An address where more is said.
    pub(crate) info: Option<String>,
    /// What exactly is wrong.
    pub(crate) details: Option<Details>,
    /// Headers that come with it.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Whether it is a failure of the server, after which a batch is not gone on with.
    pub(crate) is_failure: bool,
}

/// What exactly is wrong.
#[derive(Clone, Debug)]
pub(crate) enum Details {
    /// What is missing.
    Unknown {
        /// Its identifier.
        id: String,
        /// Its kind, as a singular noun.
        resource_name: &'static str,
    },
    /// The object that stands in the way, as JSON text.
    Existing(String),
    /// What is invalid, sorted by name.
    Invalid(Vec<Invalid>),
}

/// Where an invalid parameter was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Location {
    /// In the path.
    Path,
    /// In the query string.
    Querystring,
    /// In a header.
    Header,
    /// In the body.
    Body,
}

impl Location {
    fn as_str(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Querystring => "querystring",
            Self::Header => "header",
            Self::Body => "body",
        }
    }
}

/// One invalid parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Invalid {
    /// Where it was found.
    pub(crate) location: Location,
    /// Its dotted name; empty for a whole, `None` where there is none.
    pub(crate) name: Option<String>,
    /// What is wrong with it.
    pub(crate) description: String,
}

impl Invalid {
    /// A parameter with a name.
    pub(crate) fn named(
        location: Location,
        name: impl Into<String>,
        description: impl Into<String>,
    ) -> Self {
        Self { location, name: Some(name.into()), description: description.into() }
    }

    /// Something that has no name.
    pub(crate) fn unnamed(location: Location, description: impl Into<String>) -> Self {
        Self { location, name: None, description: description.into() }
    }

    /// A member of the body.
    pub(crate) fn body(name: impl Into<String>, description: impl Into<String>) -> Self {
        Self::named(Location::Body, name, description)
    }

    fn sentence(&self) -> String {
        let location = self.location.as_str();
        match &self.name {
            None => format!("{location}: {}", self.description),
            Some(name) if self.description.contains(name.as_str()) => self.description.clone(),
            Some(name) => format!("{name} in {location}: {}", self.description),
        }
    }
}

impl Deref for Error {
    type Target = Reason;

    fn deref(&self) -> &Reason {
        &self.0
    }
}

impl DerefMut for Error {
    fn deref_mut(&mut self) -> &mut Reason {
        &mut self.0
    }
}

/// After how long somebody may ask again where too many groups lie inside those that are named: their
/// owners have to do something about it.
const INNER_GROUPS_RETRY_S: u64 = 300;

impl Error {
    fn new(status: StatusCode, errno: u16, error: &'static str) -> Self {
        Self(Box::new(Reason {
            status,
            errno,
            error,
            message: None,
            info: None,
            details: None,
            headers: Vec::new(),
            is_failure: status.is_server_error(),
        }))
    }

    fn say(mut self, message: impl Into<Cow<'static, str>>) -> Self {
        self.message = Some(message.into());
        self
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    fn detail(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    /// 401: nobody is known, or not under these credentials. One challenge for each policy, such
    /// as `Basic realm="Realm"`.
    pub(crate) fn unauthorized(challenges: &[HeaderValue]) -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, 104, "Unauthorized")
            .say("Please authenticate yourself to use this endpoint.");
        challenges.iter().fold(error, |e, c| e.with(WWW_AUTHENTICATE, c.clone()))
    }

    /// 401 on the list of accounts.
    pub(crate) fn unreadable_accounts(challenges: &[HeaderValue]) -> Self {
        let error = Self::new(StatusCode::UNAUTHORIZED, 999, "Cannot read accounts.");
        challenges.iter().fold(error, |e, c| e.with(WWW_AUTHENTICATE, c.clone()))
    }

    /// 403.
    pub(crate) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, 121, "Forbidden")
            .say("This user cannot access this resource.")
    }

    /// 404 for a path that leads nowhere.
    pub(crate) fn unknown_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, 111, "Not Found")
            .say("The resource you are looking for could not be found.")
    }

    /// 404 for an object.
    pub(crate) fn unknown_object(id: &str, resource_name: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 110, "Not Found")
            .detail(Details::Unknown { id: id.to_owned(), resource_name })
    }

    /// 404 for what should hold the object.
    pub(crate) fn unknown_parent(id: &str, resource_name: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, 111, "Not Found")
            .detail(Details::Unknown { id: id.to_owned(), resource_name })
    }

    /// 404 for `/v2` and the like.
    pub(crate) fn api_version() -> Self {
        Self::new(StatusCode::NOT_FOUND, 116, "Not Found")
            .say("The requested API version is not available on this server.")
    }

    /// 405, with the methods that are allowed.
    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, 115, "Method Not Allowed")
            .say("Method not allowed on this endpoint.")
            .with(ALLOW, HeaderValue::from_static(allow))
    }

    /// 412, with the text of the object that stands in the way if the caller may read it.
    pub(crate) fn precondition_failed(existing: Option<String>) -> Self {
        let mut error = Self::new(StatusCode::PRECONDITION_FAILED, 114, "Precondition Failed")
            .say("Resource was modified meanwhile");
        error.details = existing.map(Details::Existing);
        error
    }

    /// 503.
    pub(crate) fn unavailable(retry_after_s: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, 201, "Service Unavailable")
            .say(
                "Service temporary unavailable due to overloading or maintenance, \
                 please retry later.",
            )
            .with(RETRY_AFTER, HeaderValue::from(retry_after_s))
    }

    /// 403 for a change by which the records of a collection would name too many groups.
    pub(crate) fn too_many_names(limit: usize) -> Self {
        Self::new(StatusCode::FORBIDDEN, 121, "Forbidden").say(format!(
            "The permissions in this collection would name more than {limit} groups (limits.names). \
             Those of deleted records count until they are forgotten."
        ))
    }

    /// 503 where so many groups lie inside those that a place names that it cannot be told who is in
    /// them. Not 403: nothing was taken from anybody, and devices empty their mirrors after that.
    pub(crate) fn too_many_inner_groups(limit: usize) -> Self {
        let mut error = Self::new(StatusCode::SERVICE_UNAVAILABLE, 201, "Service Unavailable");
        error.0.is_failure = false;
        error
            .say(format!(
                "This place names groups that contain more than {limit} groups \
                 (limits.inner_groups)."
            ))
            .with(RETRY_AFTER, HeaderValue::from(INNER_GROUPS_RETRY_S))
    }

    /// 410: the date of the end has passed; the alert says so to clients.
    pub(crate) fn decommissioned(alert: HeaderValue) -> Self {
        Self::new(StatusCode::GONE, 202, "Gone")
            .say("The service you are trying to connect no longer exists at this location.")
            .with(HeaderName::from_static("alert"), alert)
    }

    /// 429.
    pub(crate) fn too_many_attempts(retry_after_s: u64) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, 117, "Too Many Requests")
            .say("Too many failed attempts, please retry later.")
            .with(RETRY_AFTER, HeaderValue::from(retry_after_s))
    }

    /// 431.
    pub(crate) fn head_too_large(limit_bytes: usize) -> Self {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Self::new(status, 113, "Request Header Fields Too Large").say(format!(
            "The line and the headers of a request may have {limit_bytes} bytes and 100 lines."
        ))
    }

    /// 501, for what HTTP has and this server has not.
    pub(crate) fn not_implemented(why: &'static str) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, 115, "Not Implemented").say(why)
    }

    /// 413.
    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 113, "Request Entity Too Large")
            .say(format!("The body of a request may have {limit_bytes} bytes."))
    }

    /// 413, where a record is too large, whatever the request was.
    pub(crate) fn record_too_large(limit_bytes: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, 113, "Request Entity Too Large")
            .say(format!("An object may have {limit_bytes} bytes, with its permissions."))
    }

    /// 408: the client took too long to send its request, or the request to be answered.
    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, 999, "Request Timeout")
            .say("The request took longer than it may.")
    }

    /// 500, with an address where it can be told.
    pub(crate) fn internal(info: &str) -> Self {
        let mut error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, 999, "Internal Server Error")
            .say("A programmatic error occurred, developers have been informed.");
        error.info = Some(info.to_owned());
        error
    }

    /// 400 for parameters, at least one.
    pub(crate) fn invalid(invalid: Vec<Invalid>) -> Self {
        Self::validation(StatusCode::BAD_REQUEST, invalid)
    }

    /// 400 for one parameter.
    pub(crate) fn invalid_one(invalid: Invalid) -> Self {
        Self::invalid(vec![invalid])
    }

    /// 400 for an identifier of a shape that no object has.
    pub(crate) fn invalid_id() -> Self {
        Self::invalid_one(Invalid::unnamed(Location::Path, "Invalid object id"))
    }

    /// 400 for a body that is not the JSON that it should be.
    pub(crate) fn json(error: &JsonError) -> Self {
        let required = Invalid::body("", "Required");
        Self::invalid(vec![Invalid::body("", error.to_string()), required])
    }

    /// 406, with the media types that can be given.
    pub(crate) fn not_acceptable(description: &str) -> Self {
        let invalid = vec![Invalid::named(Location::Header, "Accept", description)];
        Self::validation(StatusCode::NOT_ACCEPTABLE, invalid)
    }

    /// 415, with the media types that can be read.
    pub(crate) fn unsupported_media(description: &str) -> Self {
        let invalid = vec![Invalid::named(Location::Header, "Content-Type", description)];
        Self::validation(StatusCode::UNSUPPORTED_MEDIA_TYPE, invalid)
    }

    /// 400 for what cannot be read at all.
    pub(crate) fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, 107, "Bad Request").say(message)
    }

    /// 400 for a path that is not UTF-8.
    pub(crate) fn bad_path() -> Self {
        Self::bad_request("Invalid URL path.")
    }

    fn validation(status: StatusCode, mut invalid: Vec<Invalid>) -> Self {
        invalid.sort_by(|a, b| a.name.cmp(&b.name));
        let message = invalid.first().map(Invalid::sentence);
        let mut error = Self::new(status, 107, "Invalid parameters");
        error.message = message.map(Cow::Owned);
        error.detail(Details::Invalid(invalid))
    }

    /// The body of the answer.
    pub(crate) fn to_body(&self) -> Bytes {
        let status = self.status.as_u16();
        let mut text = format!("{{\"code\":{status},\"errno\":{},\"error\":", self.errno);
        push_json_string(&mut text, self.error);
        if let Some(message) = &self.message {
            push_member(&mut text, "message", message);
        }
        if let Some(info) = &self.info {
            push_member(&mut text, "info", info);
        }
        if let Some(details) = &self.details {
            text.push_str(",\"details\":");
            push_details(&mut text, details);
        }
        text.push('}');
        text.into()
    }

    /// The answer, without what all answers have.
    pub(crate) fn to_response(&self) -> Response<Bytes> {
        let mut response = Response::new(self.to_body());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        response
    }
}

fn push_member(text: &mut String, name: &str, value: &str) {
    text.push_str(",\"");
    text.push_str(name);
    text.push_str("\":");
    push_json_string(text, value);
}

fn push_details(text: &mut String, details: &Details) {
    match details {
        Details::Unknown { id, resource_name } => {
            text.push_str("{\"id\":");
            push_json_string(text, id);
            push_member(text, "resource_name", resource_name);
            text.push('}');
        }
        Details::Existing(existing) => {
            text.push_str("{\"existing\":");
            text.push_str(existing);
            text.push('}');
        }
        Details::Invalid(list) => {
            for (n, invalid) in list.iter().enumerate() {
                text.push_str(if n == 0 { "[{" } else { ",{" });
                text.push_str("\"location\":");
                push_json_string(text, invalid.location.as_str());
                match &invalid.name {
                    Some(name) => push_member(text, "name", name),
                    None => text.push_str(",\"name\":null"),
                }
                push_member(text, "description", &invalid.description);
                text.push('}');
            }
            text.push(']');
        }
    }
}

#[cfg(test)]
mod tests;
