//! Conditional requests by positions: `If-Match`, `If-None-Match`, `ETag`, `Last-Modified`.
//!
//! RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2. Our tags are strong, a timestamp in quotes; other
//! tags are legal and match nothing. Proxies weaken the tags of what they compress, so that weak
//! ones come back: they say that what was read is still the same, and never that what is to be
//! changed is. What a condition means for a request is not known here.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use nuage_model::Timestamp;

/// The last moment that an HTTP date can name: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a request asks to hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Preconditions {
    /// What must be there.
    pub if_match: Option<Tags>,
    /// What must not be there.
    pub if_none_match: Option<Tags>,
}

/// What a condition compares with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tags {
    /// Whatever exists (`*`).
    Any,
    /// These states. Tags that are none of ours, or cannot match, are left out.
    These(Vec<Timestamp>),
}

/// A condition that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid value for {header}")]
pub struct PreconditionError {
    /// Name of the header, as documents spell it.
    pub header: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

impl Preconditions {
    /// Reads the conditions of a request.
    pub fn parse(headers: &HeaderMap) -> Result<Self, PreconditionError> {
        let read = |name, comparison, header| {
            tags(headers, name, comparison).map_err(|Malformed| PreconditionError { header })
        };
        Ok(Self {
            if_match: read(IF_MATCH, Comparison::Strong, "If-Match")?,
            if_none_match: read(IF_NONE_MATCH, Comparison::Weak, "If-None-Match")?,
        })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// Whether the client asks for what exists to be in none of the states (`If-None-Match: *`).
    pub fn must_be_new(&self) -> bool {
        self.if_none_match == Some(Tags::Any)
    }

    /// Whether the client has this state already (`If-None-Match`).
    pub fn knows(&self, state: Timestamp) -> bool {
        matches!(&self.if_none_match, Some(Tags::These(known)) if known.contains(&state))
    }

    /// Whether the client expects another state than this (`If-Match`).
    pub fn differs(&self, state: Timestamp) -> bool {
        matches!(&self.if_match, Some(Tags::These(expected)) if !expected.contains(&state))
    }
}

struct Malformed;

fn tags(
    headers: &HeaderMap,
    name: HeaderName,
    comparison: Comparison,
) -> Result<Option<Tags>, Malformed> {
    let mut lines = headers.get_all(name).iter().peekable();
    if lines.peek().is_none() {
        return Ok(None);
    }
    let mut states = Vec::new();
    let mut any = false;
    let mut count = 0;
    // Several lines are one list.
    for line in lines {
        let mut rest = line.as_bytes();
        loop {
            rest = rest.trim_ascii_start();
            match rest {
                [] => break,
                // Elements of a list may be empty: RFC 9110, section 5.6.1.
                [b',', after @ ..] => rest = after,
                [b'*', after @ ..] => {
                    any = true;
                    count += 1;
                    rest = after_item(after)?;
                }
                _ => {
                    let (is_weak, opaque, after) = entity_tag(rest)?;
                    count += 1;
                    rest = after_item(after)?;
                    if !is_weak || comparison == Comparison::Weak {
                        states.extend(state(opaque));
                    }
                }
            }
        }
    }
    match (any, count) {
        // Not an element of a list.
        (true, 1) => Ok(Some(Tags::Any)),
        (true, _) | (false, 0) => Err(Malformed),
        (false, _) => Ok(Some(Tags::These(states))),
    }
}

/// What comes after an element of a list: nothing, or a comma and more.
fn after_item(rest: &[u8]) -> Result<&[u8], Malformed> {
    let rest = rest.trim_ascii_start();
    if rest.is_empty() || rest.starts_with(b",") { Ok(rest) } else { Err(Malformed) }
}

/// Whether a tag is weak, what it holds, and what comes after it.
fn entity_tag(text: &[u8]) -> Result<(bool, &[u8], &[u8]), Malformed> {
    let (is_weak, text) = match text.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let text = text.strip_prefix(b"\"").ok_or(Malformed)?;
    let end = text.iter().position(|byte| *byte == b'"').ok_or(Malformed)?;
    let is_legal = |byte: &u8| *byte == 0x21 || (0x23..=0x7e).contains(byte) || *byte >= 0x80;
    let (opaque, after) = (&text[..end], &text[end + 1..]);
    if opaque.iter().all(is_legal) { Ok((is_weak, opaque, after)) } else { Err(Malformed) }
}

/// The state that one of our tags names; nothing for a tag that we would not write.
fn state(opaque: &[u8]) -> Option<Timestamp> {
    let number = std::str::from_utf8(opaque).ok()?.parse().ok()?;
    let tag = etag(Timestamp(number));
    let is_ours = tag.as_bytes().get(1..=opaque.len()) == Some(opaque);
    is_ours.then_some(Timestamp(number))
}

/// A timestamp as an entity tag: in quotes.
pub fn etag(timestamp: Timestamp) -> HeaderValue {
    // A sign, nineteen digits and two quotes.
    let mut text = [b'"'; 22];
    let mut from = text.len() - 1;
    let mut rest = timestamp.0.unsigned_abs();
    loop {
        from -= 1;
        text[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if timestamp.0 < 0 {
        from -= 1;
        text[from] = b'-';
    }
    HeaderValue::from_bytes(&text[from - 1..]).expect("digits and quotes may be in a header")
}

/// A timestamp as an HTTP date, rounded down to the second. What such a date cannot name is
/// replaced by the nearest that it can.
pub fn http_date(timestamp: Timestamp) -> HeaderValue {
    let seconds = timestamp.0.div_euclid(1000).clamp(0, LAST_SECOND) as u64;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut text = *b"DDD, 00 MMM 0000 00:00:00 GMT";
    // 1970 began on a Thursday.
    let weekday = (days % 7) as usize * 3;
    text[..3].copy_from_slice(&b"ThuFriSatSunMonTueWed"[weekday..weekday + 3]);
    two_digits(&mut text[5..7], day);
    let month = (month as usize - 1) * 3;
    text[8..11].copy_from_slice(&b"JanFebMarAprMayJunJulAugSepOctNovDec"[month..month + 3]);
    two_digits(&mut text[12..14], year / 100);
    two_digits(&mut text[14..16], year % 100);
    two_digits(&mut text[17..19], second / 3600);
    two_digits(&mut text[20..22], second / 60 % 60);
    two_digits(&mut text[23..25], second % 60);
    HeaderValue::from_bytes(&text).expect("an HTTP date may be in a header")
}

fn two_digits(place: &mut [u8], number: u64) {
    place[0] = b'0' + (number / 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

/// Year, month and day of a number of days since 1970, by counting from the first of March of the
/// year 0: leap days then come last, and months of a year follow one rule.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests;
