//! What an endpoint answers, before positions are known and after.
//!
//! An endpoint gives a [`Reply`] made of the engine's nouns. It becomes text only after the
//! commit, when [`Resolved`] tells which times the changes were given.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use nuage_engine::Resolved;
use nuage_http::{etag, http_date};
use nuage_model::{Kind, Query, Record, Timestamp};

use crate::accounts::shown;
use crate::error::{Details, Error};
use crate::feed::Ask;
use crate::fields::project;
use crate::object::{Ending, Object, splice};
use crate::patch::{Patched, ResponseBehavior};

/// What an endpoint answers.
pub(crate) enum Reply {
    /// One object.
    Object {
        status: StatusCode,
        record: Record,
        /// As text; `None` leaves them out.
        permissions: Option<String>,
        fields: Option<Vec<String>>,
    },
    /// Some fields of a patched object.
    Fragment(Box<Fragment>),
    /// One page of a list.
    List(ListReply),
    /// It is as the client knows it.
    NotModified { timestamp: Timestamp },
    /// A text made beforehand.
    Text { status: StatusCode, body: Bytes, headers: Vec<(HeaderName, HeaderValue)> },
    /// A condition of the client does not hold. What is there, and since when, is told to those
    /// only who may read it.
    Stale { existing: Option<Record>, timestamp: Option<Timestamp> },
    /// What is asked of a feed, which is read once the unit of work is over.
    Feed(Box<Ask>),
    /// A refusal.
    Error(Error),
}

/// Some fields of a patched object.
pub(crate) struct Fragment {
    pub(crate) record: Record,
    /// What was stored.
    pub(crate) before: Object,
    pub(crate) patched: Patched,
    pub(crate) behavior: ResponseBehavior,
    /// As text.
    pub(crate) permissions: String,
}

/// Makes the address of a page from the last record of the one before.
pub(crate) type NextPage = Box<dyn FnOnce(&Record, Timestamp) -> HeaderValue + Send>;

/// One page of a list.
pub(crate) struct ListReply {
    pub(crate) records: Vec<Record>,
    /// The time of the list.
    pub(crate) timestamp: Timestamp,
    /// The last record of the page, if others follow.
    pub(crate) last: Option<Record>,
    /// Number of matches, where the method asks for it instead of the records.
    pub(crate) total: Option<u64>,
    /// Whether that number is told.
    pub(crate) has_counter: bool,
    pub(crate) fields: Option<Vec<String>>,
    /// Makes the address of the next page from the last record.
    pub(crate) next_page: Option<NextPage>,
    /// The address of the next page, where it is known.
    pub(crate) next_url: Option<HeaderValue>,
    pub(crate) alert: Option<HeaderValue>,
    /// A list without times: no `ETag`.
    pub(crate) is_timeless: bool,
}

impl From<Error> for Reply {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Reply {
    /// A JSON text.
    pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self::Text { status, body: body.into(), headers: Vec::new() }
    }

    /// Whether nothing of the unit of work that gave this answer may stay.
    pub(crate) fn is_abort(&self) -> bool {
        match self {
            Self::Error(error) => error.is_failure,
            Self::Text { status, .. } => status.is_server_error(),
            _ => false,
        }
    }

    /// What it holds, in bytes: about as many as the answer will have.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Object { record, permissions, .. } => {
                Query::cost(record) + permissions.as_ref().map_or(0, String::len)
            }
            Self::Fragment(fragment) => Query::cost(&fragment.record) + fragment.permissions.len(),
            Self::List(list) => list.records.iter().map(Query::cost).sum(),
            Self::Text { body, .. } => body.len(),
            Self::Stale { existing, .. } => existing.as_ref().map_or(0, Query::cost),
            Self::NotModified { .. } | Self::Feed(_) | Self::Error(_) => 0,
        }
    }

    /// The answer about objects of this kind, without the headers that all answers have.
    pub(crate) fn render(self, kind: Kind, resolved: &Resolved) -> Response<Bytes> {
        match self {
            Self::Object { status, record, permissions, fields } => {
                let record = resolved.record(record);
                let mut text = String::with_capacity(record.body().len() + 192);
                text.push_str("{\"data\":");
                push_record(&mut text, kind, &record, fields.as_deref());
                if let Some(permissions) = permissions.filter(|_| fields.is_none()) {
                    text.push_str(",\"permissions\":");
                    text.push_str(&permissions);
                }
                text.push('}');
                timed(respond(status, text), record.timestamp())
            }
            Self::Fragment(fragment) => {
                let Fragment { record, before, patched, behavior, permissions } = *fragment;
                let record = resolved.record(record);
                let timestamp = record.timestamp();
                let after = shown(kind, record.body());
                let after = Object::parse(&after, usize::MAX).unwrap_or_default();
                let data = patched.shown(behavior, &before, &after, timestamp);
                let text = format!("{{\"data\":{data},\"permissions\":{permissions}}}");
                timed(respond(StatusCode::OK, text), timestamp)
            }
            Self::List(list) => list.render(kind, resolved),
            Self::NotModified { timestamp } => {
                let mut response = Response::new(Bytes::new());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                timed(response, resolved.timestamp(timestamp))
            }
            Self::Text { status, body, headers } => {
                let mut response = Response::new(body);
                *response.status_mut() = status;
                let all = response.headers_mut();
                all.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                for (name, value) in headers {
                    all.insert(name, value);
                }
                response
            }
            Self::Stale { existing, timestamp } => {
                let mut error = Error::precondition_failed(None);
                error.details = existing.map(|record| {
                    let mut text = String::new();
                    push_record(&mut text, kind, &resolved.record(record), None);
                    Details::Existing(text)
                });
                match timestamp {
                    Some(timestamp) => timed(error.to_response(), resolved.timestamp(timestamp)),
                    None => error.to_response(),
                }
            }
            Self::Feed(_) => unreachable!("a feed is read by whoever runs the request"),
            Self::Error(error) => error.to_response(),
        }
    }
}

impl ListReply {
    fn render(self, kind: Kind, resolved: &Resolved) -> Response<Bytes> {
        let mut text = String::new();
        if self.total.is_none() {
            let size: usize = self.records.iter().map(|record| record.body().len() + 80).sum();
            text.reserve(size + 16);
            text.push_str("{\"data\":[");
            for (n, record) in self.records.into_iter().enumerate() {
                if n > 0 {
                    text.push(',');
                }
                if self.is_timeless {
                    push_timeless(&mut text, &record, self.fields.as_deref());
                } else {
                    let record = resolved.record(record);
                    push_record(&mut text, kind, &record, self.fields.as_deref());
                }
            }
            text.push_str("]}");
        }
        let mut response = respond(StatusCode::OK, text);
        let headers = response.headers_mut();
        if let Some(total) = self.total.filter(|_| self.has_counter) {
            headers.insert(HeaderName::from_static("total-objects"), total.into());
            headers.insert(HeaderName::from_static("total-records"), total.into());
        }
        if let (Some(last), Some(next_page)) = (self.last, self.next_page) {
            let url = next_page(&resolved.record(last), resolved.timestamp(self.timestamp));
            headers.insert(HeaderName::from_static("next-page"), url);
        }
        if let Some(url) = self.next_url {
            headers.insert(HeaderName::from_static("next-page"), url);
        }
        if let Some(alert) = self.alert {
            headers.insert(HeaderName::from_static("alert"), alert);
        }
        if self.is_timeless {
            return response;
        }
        timed(response, resolved.timestamp(self.timestamp))
    }
}

/// A JSON answer.
fn respond(status: StatusCode, text: String) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response.headers_mut().reserve(16);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn timed(mut response: Response<Bytes>, timestamp: Timestamp) -> Response<Bytes> {
    set_time(response.headers_mut(), timestamp);
    response
}

fn set_time(headers: &mut HeaderMap, timestamp: Timestamp) {
    headers.insert(ETAG, etag(timestamp));
    headers.insert(LAST_MODIFIED, http_date(timestamp));
}

fn push_record(text: &mut String, kind: Kind, record: &Record, fields: Option<&[String]>) {
    let ending = if record.is_live() { Ending::Live } else { Ending::Tombstone };
    let mut body = shown(kind, record.body());
    if let Some(fields) = fields {
        body = project(&body, fields).into();
    }
    splice(text, &body, record.id.as_str(), record.timestamp(), ending);
}

/// A record that was made up for the answer: all there is to show is in its body.
fn push_timeless(text: &mut String, record: &Record, fields: Option<&[String]>) {
    match fields {
        None => text.push_str(record.body()),
        Some(fields) => {
            let mut fields = fields.to_vec();
            fields.push("id".to_owned());
            text.push_str(&project(record.body(), &fields));
        }
    }
}

/// The singular noun of a kind, as refusals name it.
pub(crate) fn noun(kind: Kind) -> &'static str {
    kind.as_str()
}
