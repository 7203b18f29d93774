//! Page tokens: where the previous page ended (fact sheet, section 8).
//!
//! The notation is Kinto's, base64 of `{"last_object", "offset", "nonce"}`, with a seal: only
//! what a server with the same secret wrote is read back, so that a position is never more than
//! what the client has already seen. It does not know whether a nonce was used.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nuage_model::{Position, Sort};
use serde_json::{Map, Value};

use crate::error::{Error, Invalid, Location};
use crate::querystring::field_name;

/// What the key is derived for, so that the same secret serves other purposes too.
const PURPOSE: &str = "nuage-kinto page token 1";

/// Bytes of the seal that are kept: forging one takes 2^64 requests on average.
const SEAL_BYTES: usize = 16;

/// The seal is the last member, of the text that would be there without it.
const BEFORE_SEAL: &str = ",\"seal\":\"";
const AFTER_SEAL: &str = "\"}";

/// Longer ones are not ours.
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
    /// How many objects were given so far.
    pub(crate) offset: u64,
    /// Names a use that may happen once.
    pub(crate) nonce: Option<String>,
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

    /// Writes a token; `sort` names the values of the position.
    pub(crate) fn encode(&self, token: &Token, sort: &[Sort]) -> String {
        let mut last_object = Map::new();
        for (sort, value) in sort.iter().zip(&token.position) {
            if let Some(value) = value {
                last_object.insert(field_name(&sort.field).into_owned(), value.clone());
            }
        }
        let mut content = Map::new();
        content.insert("last_object".to_owned(), last_object.into());
        content.insert("offset".to_owned(), token.offset.into());
        if let Some(nonce) = &token.nonce {
            content.insert("nonce".to_owned(), nonce.as_str().into());
        }
        let content = Value::Object(content).to_string();
        let seal = self.seal(&content);
        let open = content.strip_suffix('}').unwrap_or(&content);
        STANDARD.encode(format!("{open}{BEFORE_SEAL}{seal}{AFTER_SEAL}"))
    }

    /// Reads a token for a list in this order.
    pub(crate) fn decode(&self, text: &str, sort: &[Sort]) -> Result<Token, Error> {
        self.read(text, sort).ok_or_else(invalid)
    }

    fn read(&self, text: &str, sort: &[Sort]) -> Option<Token> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let json = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let (open, seal) = json.strip_suffix(AFTER_SEAL)?.rsplit_once(BEFORE_SEAL)?;
        let content = format!("{open}}}");
        if !constant_time_same(seal.as_bytes(), self.seal(&content).as_bytes()) {
            return None;
        }
        let Value::Object(mut content) = serde_json::from_str(&content).ok()? else { return None };
        let Some(Value::Object(mut last_object)) = content.remove("last_object") else {
            return None;
        };
        let position: Position =
            sort.iter().map(|s| last_object.remove(&*field_name(&s.field))).collect();
        // A value of another field: the client changed the order between two pages.
        if !last_object.is_empty() {
            return None;
        }
        let nonce = match content.remove("nonce") {
            None => None,
            Some(Value::String(nonce)) => Some(nonce),
            Some(_) => return None,
        };
        Some(Token { position, offset: content.get("offset")?.as_u64()?, nonce })
    }

    fn seal(&self, content: &str) -> String {
        let hash = blake3::keyed_hash(&self.key, content.as_bytes());
        URL_SAFE_NO_PAD.encode(&hash.as_bytes()[..SEAL_BYTES])
    }
}

fn constant_time_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |different, (a, b)| different | (a ^ b)) == 0
}

#[cfg(test)]
mod tests;
