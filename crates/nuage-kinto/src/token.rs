//! Page tokens: where the previous page ended (fact sheet, section 8).
//!
//! The notation is like Kinto's, base64 of `{"last_object", "nonce"}`, with a seal: only what a
//! server with the same secret wrote is read back, so that a position is never more than what the
//! client has already seen. The seal is over the order of the list too, so that a token is good
//! for that order alone. It does not know whether a nonce was used.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nuage_model::{Direction, Position, Sort, Timestamp};
use serde_json::{Map, Value};

use crate::error::{Error, Invalid, Location};
use crate::querystring::field_name;

/// What the key is derived for, so that the same secret serves other purposes too.
const PURPOSE: &str = "nuage-kinto page token 2";

/// Bytes of the seal that are kept: forging one takes 2^64 requests on average.
const SEAL_BYTES: usize = 16;

/// The seal is the last member, of the text that would be there without it.
const BEFORE_SEAL: &str = ",\"seal\":\"";
const AFTER_SEAL: &str = "\"}";

/// Longer ones are not ours, nor would the head of a request hold them.
const TOKEN_BYTES_MAX: usize = 32 * 1024;

/// Writes and reads page tokens.
#[derive(Clone)]
pub(crate) struct Tokens {
    key: [u8; blake3::KEY_LEN],
}

/// What a token says.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Token {
    /// The sort values of the last object of the previous page.
    pub(crate) position: Position,
    /// Names a use that may happen once.
    pub(crate) nonce: Option<String>,
    /// The time of the list when its first page was read. All pages show it: whoever asks later
    /// for what changed since is told what was written while the pages were read.
    pub(crate) head: Option<Timestamp>,
}

/// 400: not a token, or not one of ours.
pub(crate) fn invalid() -> Error {
    Error::invalid_one(Invalid::unnamed(Location::Querystring, "_token has invalid content"))
}

impl Tokens {
    /// The same secret reads what the same secret wrote, in any process.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self { key: blake3::derive_key(PURPOSE, secret) }
    }

    /// Writes a token for a list in this order.
    pub(crate) fn encode(&self, token: &Token, order: &str) -> String {
        // A value that is missing is not null.
        let values = token.position.iter().map(|value| Value::from(Vec::from_iter(value.clone())));
        let mut content = Map::new();
        content.insert("last_object".to_owned(), values.collect());
        if let Some(nonce) = &token.nonce {
            content.insert("nonce".to_owned(), nonce.as_str().into());
        }
        if let Some(head) = token.head {
            content.insert("head".to_owned(), head.0.into());
        }
        let content = Value::Object(content).to_string();
        let seal = self.seal(&content, order);
        let open = content.strip_suffix('}').unwrap_or(&content);
        URL_SAFE_NO_PAD.encode(format!("{open}{BEFORE_SEAL}{seal}{AFTER_SEAL}"))
    }

    /// Reads a token for a list in this order.
    pub(crate) fn decode(&self, text: &str, order: &str) -> Result<Token, Error> {
        self.read(text, order).ok_or_else(invalid)
    }

    fn read(&self, text: &str, order: &str) -> Option<Token> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let json = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let (open, seal) = json.strip_suffix(AFTER_SEAL)?.rsplit_once(BEFORE_SEAL)?;
        let content = format!("{open}}}");
        if !constant_time_same(seal.as_bytes(), self.seal(&content, order).as_bytes()) {
            return None;
        }
        let Value::Object(mut content) = serde_json::from_str(&content).ok()? else { return None };
        let Some(Value::Array(values)) = content.remove("last_object") else { return None };
        let position = values.into_iter().map(|value| match value {
            Value::Array(mut value) => Some(value.pop()),
            _ => None,
        });
        let position = position.collect::<Option<Position>>()?;
        let nonce = match content.remove("nonce") {
            None => None,
            Some(Value::String(nonce)) => Some(nonce),
            Some(_) => return None,
        };
        let head = content.remove("head").map(|head| head.as_i64().map(Timestamp));
        let head = head.map_or(Some(None), |head| head.map(Some))?;
        Some(Token { position, nonce, head })
    }

    fn seal(&self, content: &str, order: &str) -> String {
        // JSON text has no line breaks.
        let hash = blake3::keyed_hash(&self.key, format!("{content}\n{order}").as_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_bytes()[..SEAL_BYTES])
    }
}

/// The order of a list as a text, the first key first.
pub(crate) fn order(sort: &[Sort]) -> String {
    let mut text = String::new();
    for Sort { field, direction } in sort {
        text.push(if *direction == Direction::Ascending { '+' } else { '-' });
        // No name of a field holds this.
        text.push_str(&field_name(field));
        text.push('\0');
    }
    text
}

fn constant_time_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
