//! The lines of an export, in the order in which they come:
//!
//! ```text
//! {"nuage":"export","format":2,"created":1700000000000}
//! {"nuage":"secrets","secrets":{"default_bucket_hmac_secret":"...","token_secret":"..."}}
//! {"bucket":"b","collection":"c","id":"x","seq":5,"timestamp":5,"permissions":{},"body":{"n":1}}
//! {"bucket":"b","collection":"c","id":"y","seq":6,"timestamp":6,"deleted":true}
//! {"nuage":"end","records":2}
//! ```
//!
//! Records of one collection follow each other in the order of their positions. `timestamp` is
//! what clients see. The secrets name personal buckets and basicauth users; the line is missing
//! where there are none yet, and from format 1, which is read as well. The names are those of the
//! store: the root bucket is the empty text, and buckets, collections, groups, accounts and history
//! lie in collections such as `_groups`.

use nuage_model::{CollectionPath, Record, State};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::data::ByName;

/// The form of the lines.
pub(crate) const FORMAT: u32 = 2;

/// One line, read.
pub(crate) enum Line {
    /// First and last line, and that of the secrets.
    Mark(Mark),
    /// A record or a tombstone.
    Record(Box<RecordLine>),
}

/// First and last line, and that of the secrets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mark {
    /// `export`, `secrets` or `end`.
    pub(crate) nuage: String,
    /// Form of what follows.
    pub(crate) format: Option<u32>,
    /// When it was written.
    #[serde(rename = "created")]
    pub(crate) _created: Option<i64>,
    /// How many lines of records there were.
    pub(crate) records: Option<u64>,
    /// What personal buckets and the like are named with.
    pub(crate) secrets: Option<ByName>,
}

/// A record or a tombstone.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordLine {
    pub(crate) bucket: String,
    pub(crate) collection: String,
    pub(crate) id: String,
    pub(crate) seq: i64,
    pub(crate) timestamp: i64,
    #[serde(default)]
    pub(crate) deleted: bool,
    pub(crate) permissions: Option<Box<RawValue>>,
    pub(crate) body: Option<Box<RawValue>>,
}

/// Reads a line.
pub(crate) fn read_line(text: &str) -> serde_json::Result<Line> {
    // A body is kept as text, which rules out letting the reader try both in turn.
    match text.starts_with("{\"nuage\"") {
        true => serde_json::from_str(text).map(Line::Mark),
        false => serde_json::from_str(text).map(|line| Line::Record(Box::new(line))),
    }
}

/// The first line.
pub(crate) fn first_line(created_ms: i64) -> String {
    format!("{{\"nuage\":\"export\",\"format\":{FORMAT},\"created\":{created_ms}}}\n")
}

/// The line of the secrets; empty where there are none.
pub(crate) fn secrets_line(secrets: &ByName) -> String {
    match secrets.is_empty() {
        true => String::new(),
        false => format!("{}\n", serde_json::json!({ "nuage": "secrets", "secrets": secrets })),
    }
}

/// The last line.
pub(crate) fn last_line(records: u64) -> String {
    format!("{{\"nuage\":\"end\",\"records\":{records}}}\n")
}

/// The line of a record.
pub(crate) fn record_line(collection: &CollectionPath, record: &Record) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut line = format!(
        "{{\"bucket\":{},\"collection\":{},\"id\":{},\"seq\":{},\"timestamp\":{}",
        quoted(collection.bucket.as_str()),
        quoted(&collection.stored_name()),
        quoted(record.id.as_str()),
        record.seq,
        record.timestamp(),
    );
    match &record.state {
        State::Tombstone => line.push_str(",\"deleted\":true"),
        State::Live { body, permissions, .. } => {
            // Bodies are kept as clients wrote them. In JSON a line end is only ever space.
            let body = body.replace(['\n', '\r'], " ");
            line.push_str(&format!(",\"permissions\":{permissions},\"body\":{body}"));
        }
    }
    line.push_str("}\n");
    line
}
