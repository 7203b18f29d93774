//! Conditional requests by positions: `If-Match`, `If-None-Match`, `ETag`, `Last-Modified`.
//!
//! Kinto HTTP API v1, "Preconditions": a tag is a timestamp in quotes, or `*`; weak tags, lists and
//! anything else are errors. What a condition means for a request is not known here.

use http::header::{IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue};
use nuage_model::Timestamp;

/// The last moment that an HTTP date can name: the end of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// What a request asks to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Preconditions {
    /// What must be there.
    pub if_match: Option<Tag>,
    /// What must not be there.
    pub if_none_match: Option<Tag>,
}

/// What a condition compares with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    /// Whatever exists (`*`).
    Any,
    /// Exactly this state.
    Is(Timestamp),
}

/// A condition that cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid value for {header}")]
pub struct PreconditionError {
    /// Name of the header, as documents spell it.
    pub header: &'static str,
}

impl Preconditions {
    /// Reads the conditions of a request.
    pub fn parse(headers: &HeaderMap) -> Result<Self, PreconditionError> {
        Ok(Self {
            if_match: tag(headers, IF_MATCH, "If-Match")?,
            if_none_match: tag(headers, IF_NONE_MATCH, "If-None-Match")?,
        })
    }

    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }
}

fn tag(
    headers: &HeaderMap,
    name: HeaderName,
    header: &'static str,
) -> Result<Option<Tag>, PreconditionError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    // Several lines are a list in disguise.
    let alone = values.next().is_none();
    match parse_tag(value.as_bytes()).filter(|_| alone) {
        Some(tag) => Ok(Some(tag)),
        None => Err(PreconditionError { header }),
    }
}

fn parse_tag(value: &[u8]) -> Option<Tag> {
    if value == b"*" {
        return Some(Tag::Any);
    }
    let digits = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if digits.is_empty() {
        return None;
    }
    let mut number = 0_i64;
    for digit in digits {
        let digit = digit.is_ascii_digit().then(|| i64::from(digit - b'0'))?;
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    Some(Tag::Is(Timestamp(number)))
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
