//! How pages are written. A record looks as in a list, a removal like a deletion.

use std::fmt::Write;

use nuage_engine::{Entry, FeedPage};
use nuage_model::{Checksum, push_json_string};

use crate::object::{Ending, splice};

/// One page as one JSON object.
pub(crate) fn page(page: FeedPage) -> String {
    let size: usize = page.entries.iter().map(size_of).sum();
    let mut text = String::with_capacity(size + page.token.len() + 128);
    text.push_str("{\"data\":[");
    for (n, entry) in page.entries.into_iter().enumerate() {
        if n > 0 {
            text.push(',');
        }
        push_entry(&mut text, &entry);
    }
    text.push_str("],");
    push_token(&mut text, &page.token);
    let _ = write!(text, ",\"more\":{},\"reset\":{}", page.more, page.reset);
    push_sum(&mut text, page.sum);
    text.push('}');
    text
}

/// How the events of a stream are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// As server-sent events.
    Events,
    /// As a JSON object on a line each.
    Lines,
}

impl Shape {
    /// The device begins anew.
    pub(crate) fn push_reset(self, text: &mut String) {
        text.push_str(match self {
            Self::Events => "event: reset\ndata: {}\n\n",
            Self::Lines => "{\"kind\":\"reset\"}\n",
        });
    }

    /// A change or a removal.
    pub(crate) fn push_entry(self, text: &mut String, entry: &Entry) {
        text.push_str(match (self, entry) {
            (Self::Events, Entry::Change(_)) => "event: change\ndata: ",
            (Self::Events, Entry::Removal(_)) => "event: removal\ndata: ",
            (Self::Lines, Entry::Change(_)) => "{\"kind\":\"change\",\"data\":",
            (Self::Lines, Entry::Removal(_)) => "{\"kind\":\"removal\",\"data\":",
        });
        let from = text.len();
        push_entry(text, entry);
        join_lines(text, from);
        text.push_str(match self {
            Self::Events => "\n\n",
            Self::Lines => "}\n",
        });
    }

    /// The end of a page.
    pub(crate) fn push_end(self, text: &mut String, end: &End) {
        let kind = if end.more { "page" } else { "rest" };
        let _ = match self {
            Self::Events => write!(text, "event: {kind}\nid: {}\ndata: {{", end.token),
            Self::Lines => write!(text, "{{\"kind\":\"{kind}\","),
        };
        push_token(text, &end.token);
        push_sum(text, end.sum);
        text.push_str(match self {
            Self::Events => "}\n\n",
            Self::Lines => "}\n",
        });
    }

    /// A sign of life.
    pub(crate) fn push_heartbeat(self, text: &mut String) {
        text.push_str(match self {
            Self::Events => ":\n\n",
            Self::Lines => "{\"kind\":\"heartbeat\"}\n",
        });
    }

    /// The stream ends; the client comes back after this time.
    pub(crate) fn push_close(self, text: &mut String, retry_ms: u64) {
        let _ = match self {
            Self::Events => write!(
                text,
                "event: close\nretry: {retry_ms}\ndata: {{\"retry_ms\":{retry_ms}}}\n\n"
            ),
            Self::Lines => writeln!(text, "{{\"kind\":\"close\",\"retry_ms\":{retry_ms}}}"),
        };
    }

    /// The stream ends because nothing more may be shown; `error` is the body that the refusal
    /// would have as an answer.
    pub(crate) fn push_refusal(self, text: &mut String, error: &str) {
        let _ = match self {
            Self::Events => write!(text, "event: refusal\ndata: {error}\n\n"),
            Self::Lines => writeln!(text, "{{\"kind\":\"refusal\",\"error\":{error}}}"),
        };
    }
}

/// What is told at the end of a page.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) more: bool,
    pub(crate) token: String,
    pub(crate) sum: Option<Checksum>,
}

impl End {
    pub(crate) fn of(page: &mut FeedPage) -> Self {
        Self { more: page.more, token: std::mem::take(&mut page.token), sum: page.sum }
    }
}

fn size_of(entry: &Entry) -> usize {
    match entry {
        Entry::Change(record) => record.body().len() + 80,
        Entry::Removal(_) => 64,
    }
}

fn push_entry(text: &mut String, entry: &Entry) {
    match entry {
        Entry::Change(record) => {
            splice(text, record.body(), record.id.as_str(), record.timestamp(), Ending::Live);
        }
        Entry::Removal(id) => {
            text.push_str("{\"id\":");
            push_json_string(text, id.as_str());
            text.push_str(",\"deleted\":true}");
        }
    }
}

fn push_token(text: &mut String, token: &str) {
    text.push_str("\"token\":");
    push_json_string(text, token);
}

fn push_sum(text: &mut String, sum: Option<Checksum>) {
    if let Some(Checksum { live, digest }) = sum {
        let _ = write!(text, ",\"digest\":{{\"count\":{live},\"sum\":{digest}}}");
    }
}

/// Makes one line of what was written since. A body may have been sent on several; outside of
/// strings, where JSON allows no line ends, they mean no more than a space.
fn join_lines(text: &mut String, from: usize) {
    if !text.as_bytes()[from..].iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return;
    }
    let joined = text[from..].replace(['\n', '\r'], " ");
    text.truncate(from);
    text.push_str(&joined);
}

#[cfg(test)]
mod tests;
