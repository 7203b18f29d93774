//! The feed of a collection: what changed since a token, of what the caller may see.
//!
//! - `ask`: what is asked for, and in which shape;
//! - `watcher`: pages one after the other, for as long as the caller is who it was;
//! - `text`: how pages are written;
//! - `stream`: pages as they come, to a connection that stays;
//! - `bell`: tells watchers whose account changed.
//!
//! The laws are the engine's, and in `docs/feed.md`. This door puts them on the wire.

pub(crate) mod ask;
mod bell;
mod stream;
mod text;
mod watcher;

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};
use nuage_engine::{Attempts, FeedPage, ListIntent, Session};
use nuage_http::{Body, Held, Response};
use nuage_model::{CollectionPath, Timestamp};
use tokio::time::{Instant, sleep, timeout_at};

use crate::Kinto;
use crate::call::{Call, Place};
use crate::error::{Error, Invalid};
use crate::feed::watcher::{Event, Watcher};
use crate::reply::Reply;

pub(crate) use crate::feed::ask::{Ask, Shape};
pub(crate) use crate::feed::bell::Bell;

/// What is left of the time of a request for its answer, once a long poll is over.
const ANSWER_MS: u64 = 2_000;
/// How long a position may be waited for unless the client says.
const MIN_WAIT_MS: u64 = 5_000;
/// Time between two looks whether a position is reached.
const MIN_LOOK: Duration = Duration::from_millis(50);

impl Kinto {
    /// Reads what is asked of a feed. The feed itself is read when the unit of work is over: it
    /// may last.
    pub(crate) fn ask_feed(
        &self,
        session: &Session,
        call: &Call,
        collection: &CollectionPath,
    ) -> Result<Reply, Error> {
        if call.place == Place::InBatch {
            let why = "A feed cannot be read inside a batch.";
            return Err(Error::invalid_one(Invalid::body("path", why)));
        }
        self.check_place(collection)?;
        let user = session.caller().user().cloned();
        let ask = Ask::read(call, user, collection, &self.engine.settings().limits)?;
        Ok(Reply::Feed(Box::new(ask)))
    }

    /// Answers with a page and the room that it holds, or with a stream of them.
    pub(crate) async fn feed(&self, ask: Ask, held: &mut Vec<Held>) -> Response {
        match self.begin_feed(ask, held).await {
            Ok(response) => response,
            Err(error) => error.to_response().map(Body::Whole),
        }
    }

    async fn begin_feed(&self, ask: Ask, held: &mut Vec<Held>) -> Result<Response, Error> {
        let mut first = match ask.min {
            Some(min) => Some(self.reach(&ask, min).await?),
            None => None,
        };
        let (kind, body) = match ask.shape {
            Shape::Page => return self.answer_page(ask, first, held).await,
            Shape::Events => ("text/event-stream", stream::Shape::Events),
            Shape::Lines => ("application/x-ndjson", stream::Shape::Lines),
        };
        let token = first.as_ref().map(|page| page.token.clone()).or_else(|| ask.token.clone());
        let mut watcher = Watcher::new(self.this(), &ask, token);
        let first = match first.take() {
            Some(page) => page,
            None => match watcher.next(Instant::now() + self.patience()).await {
                Event::Page(page) => page,
                Event::Refusal(error) | Event::Nothing(error) => return Err(error),
                Event::Silence | Event::Stopping => return Err(self.later()),
            },
        };
        let silence = Duration::from_millis(self.engine.settings().limits.feed_wait_ms.max(1));
        let gzip = ask.gzip;
        let rules = stream::Rules { shape: body, silence, ask };
        let mut response =
            Response::new(Body::stream(move |pieces| stream::run(pieces, watcher, first, rules)));
        set_headers(response.headers_mut(), kind, gzip);
        Ok(response)
    }

    /// A page in JSON: at once if it tells something, else when there is something to tell, or
    /// when the time is over.
    async fn answer_page(
        &self,
        ask: Ask,
        first: Option<FeedPage>,
        held: &mut Vec<Held>,
    ) -> Result<Response, Error> {
        let begun = Instant::now();
        let mut page = match first {
            Some(page) => page,
            None => timeout_at(begun + self.patience(), self.page(&ask))
                .await
                .map_err(|_| self.later())??,
        };
        if let Some(wait) = ask.wait.filter(|wait| !wait.is_zero() && is_quiet(&page)) {
            let until = begun + wait.min(self.patience());
            let mut watcher = Watcher::new(self.this(), &ask, Some(page.token.clone()));
            while is_quiet(&page) {
                match watcher.next(until).await {
                    Event::Page(next) => page = next,
                    Event::Refusal(error) | Event::Nothing(error) => return Err(error),
                    Event::Silence | Event::Stopping => break,
                }
            }
        }
        let text = text::page(page);
        held.push(ask.hold(text.len()).ok_or_else(|| self.later())?);
        let mut response = Response::new(Body::Whole(Bytes::from(text)));
        set_headers(response.headers_mut(), "application/json", false);
        Ok(response)
    }

    async fn page(&self, ask: &Ask) -> Result<FeedPage, Error> {
        let page = self.engine.feed(&ask.query, ask.token.as_deref()).await;
        page.map_err(|error| self.refusal_to(ask.query.user.as_ref(), error))
    }

    /// A page of a moment in which this position was reached.
    async fn reach(&self, ask: &Ask, min: i64) -> Result<FeedPage, Error> {
        let wait = ask.wait.unwrap_or(Duration::from_millis(MIN_WAIT_MS));
        let until = Instant::now() + wait.min(self.patience());
        loop {
            let page = self.page(ask).await?;
            // Where the collection is, is not for those to know who see part of it: what was
            // acknowledged to them is not later than the clock, or than what they see shows.
            let is_reached = match page.interest.whole {
                true => page.head.0 >= min,
                false => min <= self.engine.now().0,
            };
            if is_reached {
                return Ok(page);
            }
            if !page.interest.whole && self.shown_to(ask).await?.0 >= min {
                return self.page(ask).await;
            }
            if Instant::now() >= until || ask.stopping.is_told() {
                return Err(self.later());
            }
            sleep(MIN_LOOK).await;
        }
    }

    /// The time of the list that a feed is of, for whoever asks.
    async fn shown_to(&self, ask: &Ask) -> Result<Timestamp, Error> {
        let user = ask.query.user.clone();
        let mut session = self.engine.session(user, &Attempts::default()).await;
        let list = session.open_list(ask.query.collection.clone(), ListIntent::Read).await;
        let head = match list {
            Ok(list) => session.head(&list).await,
            Err(error) => Err(error),
        };
        let head = head.map_err(|error| self.refusal_to(ask.query.user.as_ref(), error))?;
        Ok(head.timestamp)
    }

    /// How long a request may wait, so that it is answered within its time.
    fn patience(&self) -> Duration {
        let limits = &self.engine.settings().limits;
        let left_ms = limits.request_ms.saturating_sub(ANSWER_MS);
        Duration::from_millis(limits.feed_wait_ms.min(left_ms))
    }

    fn later(&self) -> Error {
        Error::unavailable(self.settings.retry_after_s)
    }
}

/// Whether a page tells a device nothing that it does not know.
fn is_quiet(page: &FeedPage) -> bool {
    page.entries.is_empty() && !page.more && !page.reset && !page.continues
}

fn set_headers(headers: &mut HeaderMap, kind: &'static str, gzip: bool) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    // Proxies that gather what they pass on would hold events back.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
}
