//! What is asked of a feed: the query string, and headers that say in which shape.

use std::net::IpAddr;
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue};
use nuage_engine::FeedQuery;
use nuage_http::{Held, Room, Stopping, takes_gzip};
use nuage_model::{CollectionPath, Limits, Principal};

use crate::call::Call;
use crate::error::{Error, Invalid, Location};
use crate::querystring::decode_with;
use crate::run::holder;

/// Entries of a page unless the client says.
pub(crate) const PAGE_DEFAULT: usize = 100;

/// What is asked of a feed, by whom.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) query: FeedQuery,
    pub(crate) token: Option<String>,
    /// How long to wait for something to tell.
    pub(crate) wait: Option<Duration>,
    /// The position that the answer must have seen.
    pub(crate) min: Option<i64>,
    pub(crate) shape: Shape,
    /// Whether the client takes compressed answers.
    pub(crate) gzip: bool,
    /// By which the caller is known, to be looked at again.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) peer: IpAddr,
    pub(crate) stopping: Stopping,
    /// Where room for pages is taken.
    pub(crate) room: Room,
}

/// How a feed is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// One page in JSON.
    Page,
    /// Server-sent events.
    Events,
    /// Lines of JSON.
    Lines,
}

const SHAPES: [(&str, Shape); 3] = [
    ("application/json", Shape::Page),
    ("text/event-stream", Shape::Events),
    ("application/x-ndjson", Shape::Lines),
];

impl Ask {
    /// Reads a request.
    pub(crate) fn read(
        call: &Call,
        user: Option<Principal>,
        collection: &CollectionPath,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let params = Params::parse(call.query.as_deref(), limits)?;
        let last_event = call.headers.get(HeaderName::from_static("last-event-id"));
        // A browser that connects again asks with the address of before, and tells in the header
        // how far it came since.
        let last_event = last_event.filter(|id| !id.is_empty());
        let token = match last_event {
            Some(id) => Some(String::from_utf8_lossy(id.as_bytes()).into_owned()),
            None => params.token,
        };
        Ok(Self {
            query: FeedQuery {
                user,
                collection: collection.clone(),
                limit: params.limit,
                sum: params.digest,
            },
            token,
            wait: params.wait,
            min: params.min,
            shape: negotiate(&call.headers)?,
            gzip: takes_gzip(&call.headers),
            authorization: call.headers.get(AUTHORIZATION).cloned(),
            peer: call.peer,
            stopping: call.stopping.clone(),
            room: call.room.clone(),
        })
    }

    /// Room for a page; `None` if there is not enough.
    pub(crate) fn hold(&self, bytes: usize) -> Option<Held> {
        self.room.take(&holder(self.query.user.as_ref(), self.peer), bytes)
    }
}

/// The query string of a feed.
#[derive(Clone, PartialEq, Debug)]
struct Params {
    token: Option<String>,
    limit: usize,
    wait: Option<Duration>,
    min: Option<i64>,
    digest: bool,
}

impl Params {
    fn parse(raw: Option<&str>, limits: &Limits) -> Result<Self, Error> {
        let page_max = limits.feed_page.max(1);
        let mut params = Self {
            token: None,
            limit: PAGE_DEFAULT.min(page_max),
            wait: None,
            min: None,
            digest: false,
        };
        let mut seen: Vec<String> = Vec::new();
        let mut wrong = Vec::new();
        for (name, value) in decode_with(raw.unwrap_or_default(), Some("token"))? {
            let read = match &*name {
                _ if seen.contains(&name) => Err("It may be given once."),
                "token" => {
                    params.token = Some(value).filter(|token| !token.is_empty());
                    Ok(())
                }
                "limit" => match number(&value) {
                    Some(limit) if limit > 0 => {
                        params.limit = usize::try_from(limit).unwrap_or(usize::MAX).min(page_max);
                        Ok(())
                    }
                    _ => Err("It should be a whole number from 1."),
                },
                "wait" => match number(&value) {
                    Some(seconds) => {
                        let ms = seconds.unsigned_abs().saturating_mul(1_000);
                        params.wait = Some(Duration::from_millis(ms.min(limits.feed_wait_ms)));
                        Ok(())
                    }
                    None => Err("It should be a whole number of seconds."),
                },
                "min" => match number(unquoted(&value)) {
                    Some(min) => {
                        params.min = Some(min);
                        Ok(())
                    }
                    None => Err("It should be a position, as last_modified and ETag have it."),
                },
                "digest" => match &*value {
                    "true" | "false" => {
                        params.digest = value == "true";
                        Ok(())
                    }
                    _ => Err("It should be true or false."),
                },
                _ => Err("A feed knows no such parameter."),
            };
            if let Err(why) = read {
                wrong.push(Invalid::named(Location::Querystring, name.clone(), why));
                // One that is told twice is one too many already.
                if wrong.len() >= WRONG_MAX {
                    break;
                }
            }
            seen.push(name);
        }
        if wrong.is_empty() { Ok(params) } else { Err(Error::invalid(wrong)) }
    }
}

/// Parameters that are told to be wrong, at most.
const WRONG_MAX: usize = 8;

/// Digits only: neither sign nor space.
fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn unquoted(text: &str) -> &str {
    // As in the tag of an answer, which a proxy may have weakened.
    let text = text.strip_prefix("W/").unwrap_or(text);
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The shape that the client likes best; JSON if it does not say.
pub(crate) fn negotiate(headers: &HeaderMap) -> Result<Shape, Error> {
    if !headers.contains_key(ACCEPT) {
        return Ok(Shape::Page);
    }
    let mut best: Option<(f32, Shape)> = None;
    for (media, weight) in ranges(headers) {
        let named = SHAPES.iter().find(|(name, _)| media.eq_ignore_ascii_case(name));
        let wild = ["", "*", "*/*", "application/*"];
        let shape = match named {
            Some((_, shape)) => *shape,
            None if wild.iter().any(|wild| media.eq_ignore_ascii_case(wild)) => Shape::Page,
            None => continue,
        };
        if weight > 0.0 && best.is_none_or(|(least, _)| weight > least) {
            best = Some((weight, shape));
        }
    }
    best.map(|(_, shape)| shape).ok_or_else(|| {
        let all: Vec<String> = SHAPES.iter().map(|(name, _)| format!("'{name}'")).collect();
        Error::not_acceptable(&format!("Accept header should be one of [{}]", all.join(", ")))
    })
}

/// What is accepted, each with its weight.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    let values = headers.get_all(ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse().ok());
        (media, weight.unwrap_or(1.0))
    })
}

#[cfg(test)]
mod tests;
