//! Pages as they come, to a connection that stays.
//!
//! What is held for a reader is one page, and a piece of its text: the next page is read when
//! this one was taken. While it is written it holds room for answers; a stream with nothing to
//! tell holds none.

use std::time::Duration;

use bytes::Bytes;
use nuage_engine::{Entry, FeedPage};
use nuage_http::{Gzip, Pieces};
use nuage_model::Query;
use tokio::time::Instant;

use crate::error::Error;
use crate::feed::text::End;
use crate::feed::watcher::{Event, Watcher};
use crate::feed::{Ask, is_quiet};

pub(crate) use crate::feed::text::Shape;

/// Text is handed over in pieces of about this size.
const PIECE_BYTES: usize = 32 * 1024;

/// How a stream behaves.
pub(crate) struct Rules {
    pub(crate) shape: Shape,
    /// The longest time without a sign of life.
    pub(crate) silence: Duration,
    /// Who reads, and how.
    pub(crate) ask: Ask,
}

/// Writes a feed until it ends: with a refusal, or because the server stops or has no room for
/// another page.
pub(crate) async fn run(pieces: Pieces, mut watcher: Watcher, first: FeedPage, rules: Rules) {
    let Rules { shape, silence, ask } = rules;
    let mut out = Out::new(pieces, shape, ask);
    let mut untold = None;
    let Some(mut told) = out.write_page(first).await else {
        shape.push_close(&mut out.text, watcher.retry_ms());
        return out.end().await;
    };
    let mut due = Instant::now() + silence;
    loop {
        match watcher.next(due).await {
            // The device hears of the new token when there is something else to say.
            Event::Page(mut page) if is_quiet(&page) => {
                untold = Some(End::of(&mut page)).filter(|end| end.token != told);
                continue;
            }
            Event::Page(page) => {
                untold = None;
                let Some(token) = out.write_page(page).await else {
                    shape.push_close(&mut out.text, watcher.retry_ms());
                    break;
                };
                told = token;
            }
            Event::Silence => {
                match untold.take() {
                    Some(end) => {
                        shape.push_end(&mut out.text, &end);
                        told = end.token;
                    }
                    None => shape.push_heartbeat(&mut out.text),
                }
                out.flush().await;
            }
            Event::Stopping => {
                shape.push_close(&mut out.text, watcher.retry_ms());
                break;
            }
            Event::Nothing(error) => {
                shape.push_reset(&mut out.text);
                out.refuse(&error, watcher.retry_ms());
                break;
            }
            Event::Refusal(error) => {
                out.refuse(&error, watcher.retry_ms());
                break;
            }
        }
        due = Instant::now() + silence;
    }
    out.end().await;
}

/// Where a stream is written to.
struct Out {
    pieces: Pieces,
    shape: Shape,
    ask: Ask,
    gzip: Option<Gzip>,
    text: String,
}

impl Out {
    fn new(pieces: Pieces, shape: Shape, ask: Ask) -> Self {
        let gzip = ask.gzip.then(Gzip::default);
        Self { pieces, shape, ask, gzip, text: String::new() }
    }

    /// Writes a page, and says with which token; nothing of it if there is no room.
    async fn write_page(&mut self, mut page: FeedPage) -> Option<String> {
        let bytes = page.entries.iter().map(cost).sum();
        let _held = self.ask.hold(bytes)?;
        if page.reset {
            self.shape.push_reset(&mut self.text);
        }
        let end = End::of(&mut page);
        // Each entry is dropped as soon as it is written.
        for entry in page.entries {
            self.shape.push_entry(&mut self.text, &entry);
            drop(entry);
            if self.text.len() >= PIECE_BYTES {
                self.flush().await;
            }
        }
        self.shape.push_end(&mut self.text, &end);
        self.flush().await;
        Some(end.token)
    }

    fn refuse(&mut self, error: &Error, retry_ms: u64) {
        // What may be otherwise in a moment is no refusal.
        if error.status.is_server_error() || error.status == http::StatusCode::TOO_MANY_REQUESTS {
            self.shape.push_close(&mut self.text, retry_ms);
            return;
        }
        let body = error.to_body();
        self.shape.push_refusal(&mut self.text, &String::from_utf8_lossy(&body));
    }

    async fn flush(&mut self) {
        let text = std::mem::take(&mut self.text);
        let piece = match &mut self.gzip {
            Some(gzip) => Bytes::from(gzip.piece(text.as_bytes())),
            None => Bytes::from(text),
        };
        self.pieces.send(piece).await;
    }

    async fn end(mut self) {
        self.flush().await;
        if let Some(mut gzip) = self.gzip.take() {
            self.pieces.send(gzip.end().into()).await;
        }
    }
}

/// What an entry holds, in bytes.
fn cost(entry: &Entry) -> usize {
    match entry {
        Entry::Change(record) => Query::cost(record),
        Entry::Removal(id) => id.as_str().len(),
    }
}
