//! HTTP Basic authentication: credentials from a header, and the person that a pair of user name
//! and password is where any pair is somebody.
//!
//! Identities are those of Kinto: the same secret makes the same people.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use nuage_model::Principal;
use sha2::Sha256;

use crate::Secret;

/// Padding must be there, but what its bits say does not matter: encoders differ.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// User name and password, in one text.
pub(crate) struct Credentials {
    text: String,
    colon: usize,
}

impl Credentials {
    /// Reads the value of an `Authorization` header. `None` if it is of another scheme, is
    /// malformed, or names nobody.
    pub(crate) fn parse(authorization: &[u8]) -> Option<Self> {
        let (scheme, encoded) = authorization.split_at_checked(6)?;
        if !scheme.eq_ignore_ascii_case(b"basic ") {
            return None;
        }
        let decoded = BASE64.decode(encoded.trim_ascii()).ok()?;
        let text = match String::from_utf8(decoded) {
            Ok(text) => text,
            // What browsers sent before there was a rule: one byte a character.
            Err(other) => other.as_bytes().iter().map(|byte| char::from(*byte)).collect(),
        };
        let colon = text.find(':').filter(|colon| *colon > 0)?;
        Some(Self { text, colon })
    }

    /// The user name; not empty.
    pub(crate) fn user(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The password; may be empty.
    pub(crate) fn password(&self) -> &str {
        &self.text[self.colon + 1..]
    }

    /// Who this pair is where any pair is somebody.
    pub(crate) fn person(&self, policy: &str, secret: &Secret) -> Principal {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes())
            .expect("HMAC takes keys of any length");
        mac.update(self.text.as_bytes());
        let mut name = String::with_capacity(policy.len() + 65);
        name.push_str(policy);
        name.push(':');
        for byte in mac.finalize().into_bytes() {
            for digit in [byte >> 4, byte & 15] {
                name.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
            }
        }
        Principal::from(name)
    }
}

#[cfg(test)]
mod tests;
