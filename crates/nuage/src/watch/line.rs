//! One line of a feed, and how it looks to a person.

use serde_json::Value;

/// What a line says.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Line {
    /// A record that is new or changed, with all that is in it.
    Change { id: String, data: Value },
    /// A record that is gone.
    Removal { id: String },
    /// What was seen before counts no more.
    Reset,
    /// The end of a page.
    End { token: String, more: bool },
    /// A sign of life.
    Heartbeat,
    /// The server ends the stream.
    Close { retry_ms: u64 },
    /// The server shows no more.
    Refusal { message: String },
    /// What a later server may say.
    Other(String),
}

impl Line {
    /// Reads a line.
    pub(super) fn parse(text: &str) -> Self {
        let other = || Self::Other(text.to_owned());
        let Ok(mut line) = serde_json::from_str::<Value>(text) else { return other() };
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match line["kind"].as_str().unwrap_or_default() {
            "change" => Self::Change { id: word(&line["data"]["id"]), data: line["data"].take() },
            "removal" => Self::Removal { id: word(&line["data"]["id"]) },
            "reset" => Self::Reset,
            kind @ ("page" | "rest") => {
                Self::End { token: word(&line["token"]), more: kind == "page" }
            }
            "heartbeat" => Self::Heartbeat,
            "close" => Self::Close { retry_ms: line["retry_ms"].as_u64().unwrap_or(1_000) },
            "refusal" => Self::Refusal { message: sentence(&line["error"]) },
            _ => other(),
        }
    }

    /// The line for a person.
    pub(super) fn pretty(&self) -> String {
        match self {
            Self::Change { id, data } => format!("changed  {id}  {data}"),
            Self::Removal { id } => format!("gone     {id}"),
            Self::Reset => "From the beginning:".to_owned(),
            Self::End { more: true, .. } => "...".to_owned(),
            Self::End { more: false, .. } => "That is all for now.".to_owned(),
            Self::Heartbeat | Self::Close { .. } => String::new(),
            Self::Refusal { message } => format!("refused  {message}"),
            Self::Other(text) => text.clone(),
        }
    }
}

/// What a refusal says.
pub(super) fn sentence(error: &Value) -> String {
    let said = error["message"].as_str().or_else(|| error["error"].as_str());
    said.unwrap_or("it does not say why").to_owned()
}
