//! Checks that a text is JSON, without building anything and without recursion.
//!
//! Whatever passes here is read by every other JSON reader of the house: numbers are finite,
//! surrogates are paired, nesting is bounded. Sentences and offsets are those that clients of
//! Kinto know. It does not know what the text is for.

use std::fmt;

/// Nesting that no setting goes beyond: readers further down stop at 128.
const DEPTH_CEILING: usize = 120;

/// Why a text is not JSON that we take.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum JsonError {
    /// It is not JSON.
    Syntax {
        /// Where, in bytes.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Arrays and objects are nested beyond the limit.
    TooDeep {
        /// The limit.
        depth_max: usize,
    },
    /// It is not UTF-8.
    Encoding {
        /// Where, in bytes.
        offset: usize,
    },
    /// It is JSON, but not an object.
    NotObject,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { offset, what } => {
                write!(f, "Invalid JSON: Parse error at offset {offset}: {what}")
            }
            Self::TooDeep { depth_max } => {
                write!(f, "Invalid JSON: Nesting is deeper than {depth_max} levels.")
            }
            Self::Encoding { offset } => {
                write!(f, "Invalid JSON: Not UTF-8 at offset {offset}.")
            }
            Self::NotObject => f.write_str("Should be a JSON object"),
        }
    }
}

impl std::error::Error for JsonError {}

/// The bytes as text.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, JsonError> {
    std::str::from_utf8(bytes).map_err(|e| JsonError::Encoding { offset: e.valid_up_to() })
}

/// Checks that the text is one JSON value.
pub(crate) fn check(text: &str, depth_max: usize) -> Result<(), JsonError> {
    let mut scanner = Scanner::new(text, depth_max);
    scanner.start()?;
    scanner.value(0)?;
    scanner.end()
}

/// Walks over a JSON text.
pub(crate) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_max: usize,
    /// Whether all of it was checked before, so that only the ends of values are looked for.
    is_checked: bool,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str, depth_max: usize) -> Self {
        let depth_max = depth_max.min(DEPTH_CEILING);
        Self { bytes: text.as_bytes(), at: 0, depth_max, is_checked: false }
    }

    /// Over a text that was checked, as a part of another one.
    pub(crate) fn of_checked(text: &'a str) -> Self {
        Self { is_checked: true, ..Self::new(text, DEPTH_CEILING) }
    }

    /// Where it stands, in bytes.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Skips to the first value; an error if there is none.
    pub(crate) fn start(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at == self.bytes.len() {
            return self.fail(self.at, "The document is empty.");
        }
        Ok(())
    }

    /// Nothing but space may follow.
    pub(crate) fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.at < self.bytes.len() {
            return self.fail(self.at, "The document root must not be followed by other values.");
        }
        Ok(())
    }

    pub(crate) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    pub(crate) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes the byte if it is the next one.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Takes the name of a member and the colon; true if the name has escapes. Stands at the
    /// value afterwards; the span of the name, quotes included, begins where it stood.
    pub(crate) fn name(&mut self) -> Result<(usize, bool), JsonError> {
        if self.peek() != Some(b'"') {
            return self.fail(self.at, "Missing a name for object member.");
        }
        let escaped = self.string()?;
        let name_end = self.at;
        self.space();
        if !self.take(b':') {
            return self.fail(self.at, "Missing a colon after a name of object member.");
        }
        self.space();
        Ok((name_end, escaped))
    }

    /// After a member: true if another one follows, false at the end of the object.
    pub(crate) fn next_member(&mut self) -> Result<bool, JsonError> {
        self.space();
        if self.take(b',') {
            self.space();
            return Ok(true);
        }
        if self.take(b'}') {
            return Ok(false);
        }
        self.fail(self.at, "Missing a comma or '}' after an object member.")
    }

    /// Takes one value, which is `depth` containers deep.
    pub(crate) fn value(&mut self, depth: usize) -> Result<(), JsonError> {
        if self.is_checked {
            self.pass();
            return Ok(());
        }
        let mut open = 0_usize;
        // One bit for each open container, the innermost lowest: is it an object?
        let mut objects = 0_u128;
        loop {
            match self.peek() {
                Some(opening @ (b'{' | b'[')) => {
                    self.at += 1;
                    open += 1;
                    if depth + open > self.depth_max {
                        return Err(JsonError::TooDeep { depth_max: self.depth_max });
                    }
                    let is_object = opening == b'{';
                    self.space();
                    if !self.take(if is_object { b'}' } else { b']' }) {
                        objects = (objects << 1) | u128::from(is_object);
                        if is_object {
                            self.name()?;
                        }
                        continue;
                    }
                    open -= 1;
                }
                Some(b'"') => {
                    self.string()?;
                }
                _ => self.scalar()?,
            }
            // A value is complete: go on in the innermost open container, or out of it.
            loop {
                if open == 0 {
                    return Ok(());
                }
                let more = if objects & 1 == 1 { self.next_member()? } else { self.next_item()? };
                if more {
                    if objects & 1 == 1 {
                        self.name()?;
                    }
                    break;
                }
                open -= 1;
                objects >>= 1;
            }
        }
    }

    /// After an item: true if another one follows, false at the end of the list.
    pub(crate) fn next_item(&mut self) -> Result<bool, JsonError> {
        self.space();
        if self.take(b',') {
            self.space();
            return Ok(true);
        }
        if self.take(b']') {
            return Ok(false);
        }
        self.fail(self.at, "Missing a comma or ']' after an array element.")
    }

    fn scalar(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        for &byte in word {
            if !self.take(byte) {
                return self.fail(self.at, "Invalid value.");
            }
        }
        Ok(())
    }

    fn digits(&mut self) -> usize {
        let from = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        self.at - from
    }

    fn number(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        self.take(b'-');
        let whole = if self.take(b'0') { 1 } else { self.digits() };
        if whole == 0 {
            return self.fail(self.at, "Invalid value.");
        }
        if self.take(b'.') && self.digits() == 0 {
            return self.fail(self.at, "Miss fraction part in number.");
        }
        let mut exponent = false;
        if self.take(b'e') || self.take(b'E') {
            exponent = true;
            let _ = self.take(b'+') || self.take(b'-');
            if self.digits() == 0 {
                return self.fail(self.at, "Miss exponent in number.");
            }
        }
        // Fewer digits than this cannot leave the range of a double.
        if exponent || whole > 300 {
            let text = std::str::from_utf8(&self.bytes[from..self.at]).unwrap_or_default();
            if !text.parse::<f64>().is_ok_and(f64::is_finite) {
                return self.fail(from, "Number too big to be stored in double.");
            }
        }
        Ok(())
    }

    /// Passes over a value of a text that was checked.
    fn pass(&mut self) {
        let is_end = |byte: u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
        let mut open = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.pass_string();
                }
                _ if open == 0 && is_end(byte) => return,
                b'{' | b'[' => {
                    open += 1;
                    self.at += 1;
                    continue;
                }
                b'}' | b']' => {
                    open -= 1;
                    self.at += 1;
                }
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if open == 0 {
                return;
            }
        }
    }

    /// Passes over a string of a text that was checked; true if it has escapes.
    fn pass_string(&mut self) -> bool {
        self.at += 1;
        let mut escaped = false;
        while let Some(found) = memchr::memchr2(b'"', b'\\', &self.bytes[self.at..]) {
            self.at += found + 1;
            if self.bytes[self.at - 1] == b'"' {
                return escaped;
            }
            escaped = true;
            self.at = (self.at + 1).min(self.bytes.len());
        }
        self.at = self.bytes.len();
        escaped
    }

    /// Takes a string; true if it has escapes.
    fn string(&mut self) -> Result<bool, JsonError> {
        if self.is_checked {
            return Ok(self.pass_string());
        }
        self.at += 1;
        let mut escaped = false;
        loop {
            self.plain();
            match self.peek() {
                None => return self.fail(self.at, "Missing a closing quotation mark in string."),
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return self.fail(self.at, "Invalid encoding in string."),
            }
        }
    }

    /// Passes over what needs no second look: all but quotes, backslashes and control characters.
    fn plain(&mut self) {
        let rest = &self.bytes[self.at..];
        let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
        let plain = &rest[..plain];
        // One pass without branches over the whole; the second only to find the culprit.
        let is_clean = plain.iter().fold(true, |clean, byte| clean & (*byte >= 0x20));
        let culprit = || plain.iter().position(|byte| *byte < 0x20).unwrap_or(plain.len());
        self.at += if is_clean { plain.len() } else { culprit() };
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let from = self.at;
        match self.bytes.get(from + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            _ => return self.fail(from, "Invalid escape character in string."),
        }
        let unit = self.unit(from, from + 2)?;
        self.at += 6;
        match unit {
            0xD800..0xDC00 => {
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return self.fail(from, "The surrogate pair in string is invalid.");
                }
                let low = self.unit(from, self.at + 2)?;
                self.at += 6;
                if !(0xDC00..0xE000).contains(&low) {
                    return self.fail(from, "The surrogate pair in string is invalid.");
                }
                Ok(())
            }
            0xDC00..0xE000 => self.fail(from, "The surrogate pair in string is invalid."),
            _ => Ok(()),
        }
    }

    fn unit(&self, escape: usize, at: usize) -> Result<u32, JsonError> {
        let mut unit = 0;
        for byte in self.bytes.get(at..at + 4).unwrap_or(b"") {
            let Some(digit) = char::from(*byte).to_digit(16) else {
                return self.fail(escape, "Incorrect hex digit after \\u escape in string.");
            };
            unit = unit * 16 + digit;
        }
        if at + 4 > self.bytes.len() {
            return self.fail(escape, "Incorrect hex digit after \\u escape in string.");
        }
        Ok(unit)
    }

    fn fail<T>(&self, offset: usize, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError::Syntax { offset, what })
    }
}

#[cfg(test)]
mod tests;
