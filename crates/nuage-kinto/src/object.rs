//! A JSON object as the client wrote it: members in order, values as text.
//!
//! Bodies go from the wire to the disk and back without being rebuilt: numbers keep their digits
//! and nested members their order. A name given twice keeps its first place and its last value.
//! It does not know what the members mean.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use nuage_model::{Timestamp, push_json_string};
use serde_json::Value;

use crate::json::{JsonError, Scanner};

/// Up to this many members a walk is faster than an index.
const FEW: usize = 24;

/// A JSON object as the client wrote it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object {
    source: String,
    members: Vec<Member>,
}

#[derive(Clone, Debug)]
struct Member {
    name: Text,
    value: Text,
}

/// A part of the source, or a text of its own. A name is kept decoded, without quotes.
#[derive(Clone, Debug)]
enum Text {
    Span { from: usize, to: usize },
    Own(Box<str>),
}

impl Text {
    fn get<'a>(&'a self, source: &'a str) -> &'a str {
        match self {
            Self::Span { from, to } => &source[*from..*to],
            Self::Own(text) => text,
        }
    }
}

impl Object {
    /// Reads an object; the text is checked to the last byte.
    pub(crate) fn parse(text: &str, depth_max: usize) -> Result<Self, JsonError> {
        let mut scanner = Scanner::new(text, depth_max);
        scanner.start()?;
        if scanner.peek() != Some(b'{') {
            scanner.value(0)?;
            scanner.end()?;
            return Err(JsonError::NotObject);
        }
        if depth_max == 0 {
            return Err(JsonError::TooDeep { depth_max });
        }
        Self::read(text, scanner)
    }

    /// Reads what was a value of a text that was checked; `None` if it is no object.
    pub(crate) fn of_checked(text: &str) -> Option<Self> {
        let scanner = Scanner::of_checked(text);
        (scanner.peek() == Some(b'{')).then(|| Self::read(text, scanner).ok()).flatten()
    }

    fn read(text: &str, mut scanner: Scanner<'_>) -> Result<Self, JsonError> {
        scanner.take(b'{');
        scanner.space();
        let mut members = Vec::new();
        let mut more = !scanner.take(b'}');
        while more {
            let from = scanner.at();
            let (to, escaped) = scanner.name()?;
            let name = if escaped {
                Text::Own(decode(&text[from..to]).into())
            } else {
                Text::Span { from: from + 1, to: to - 1 }
            };
            let from = scanner.at();
            scanner.value(1)?;
            members.push(Member { name, value: Text::Span { from, to: scanner.at() } });
            more = scanner.next_member()?;
        }
        scanner.end()?;
        let mut object = Self { source: text.to_owned(), members };
        object.drop_repetitions();
        Ok(object)
    }

    /// An object of these members, of which no two have the same name.
    pub(crate) fn from_members<'a>(members: impl Iterator<Item = (&'a str, Cow<'a, str>)>) -> Self {
        let members = members.map(|(name, value)| Member {
            name: Text::Own(name.into()),
            value: Text::Own(value.into()),
        });
        Self { source: String::new(), members: members.collect() }
    }

    fn drop_repetitions(&mut self) {
        let mut repeated = Vec::new();
        {
            let names = self.members.iter().map(|m| m.name.get(&self.source));
            if self.members.len() <= FEW {
                let names: Vec<&str> = names.collect();
                for (index, name) in names.iter().enumerate() {
                    if let Some(first) = names[..index].iter().position(|n| n == name) {
                        repeated.push((first, index));
                    }
                }
            } else {
                let mut first_of = HashMap::with_capacity(self.members.len());
                for (index, name) in names.enumerate() {
                    let first = *first_of.entry(name).or_insert(index);
                    if first != index {
                        repeated.push((first, index));
                    }
                }
            }
        }
        if repeated.is_empty() {
            return;
        }
        let mut dropped = vec![false; self.members.len()];
        for (first, again) in repeated {
            self.members[first].value = self.members[again].value.clone();
            dropped[again] = true;
        }
        let mut dropped = dropped.into_iter();
        self.members.retain(|_| !dropped.next().unwrap_or(false));
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.members.iter().position(|m| m.name.get(&self.source) == name)
    }

    /// The text of a value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        Some(self.members[self.position(name)?].value.get(&self.source))
    }

    /// Gives a member this value, which is JSON text; a new one goes last.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Box<str>>) {
        let value = Text::Own(value.into());
        match self.position(name) {
            Some(index) => self.members[index].value = value,
            None => self.members.push(Member { name: Text::Own(name.into()), value }),
        }
    }

    /// Takes a member out, and gives its text.
    pub(crate) fn remove(&mut self, name: &str) -> Option<String> {
        let member = self.members.remove(self.position(name)?);
        Some(member.value.get(&self.source).to_owned())
    }

    /// Puts the members of another object under those of this one, at every depth: what this one
    /// has stays, what it lacks follows in the order of the other. Nesting was bounded when the
    /// texts were read.
    pub(crate) fn complete(&mut self, under: &Self) {
        let mut completed: Vec<(usize, Text)> = Vec::new();
        let mut added: Vec<Member> = Vec::new();
        {
            let index = self.index();
            for (name, raw) in under.iter() {
                let Some(at) = index.find(name) else {
                    added.push(Member {
                        name: Text::Own(name.into()),
                        value: Text::Own(raw.into()),
                    });
                    continue;
                };
                let own = self.members[at].value.get(&self.source);
                if own.starts_with('{') && raw.starts_with('{') {
                    let read = |text| Self::parse(text, usize::MAX).unwrap_or_default();
                    let mut merged = read(own);
                    merged.complete(&read(raw));
                    completed.push((at, Text::Own(merged.to_text().into())));
                }
            }
        }
        for (at, value) in completed {
            self.members[at].value = value;
        }
        self.members.extend(added);
    }

    /// Takes the members for which this is false out.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        let source = &self.source;
        self.members.retain(|m| keep(m.name.get(source)));
    }

    /// Puts the members of another object over those of this one.
    pub(crate) fn merge(&mut self, over: &Self) {
        let mut changed: Vec<(usize, Text)> = Vec::new();
        let mut added: Vec<Member> = Vec::new();
        {
            let index = self.index();
            for (name, value) in over.iter() {
                let value = Text::Own(value.into());
                match index.find(name) {
                    Some(at) => changed.push((at, value)),
                    None => added.push(Member { name: Text::Own(name.into()), value }),
                }
            }
        }
        for (at, value) in changed {
            self.members[at].value = value;
        }
        self.members.extend(added);
    }

    /// Names to places, for many look-ups in a large object.
    pub(crate) fn index(&self) -> Index<'_> {
        let places = (self.members.len() > FEW).then(|| {
            let names = self.members.iter().map(|m| m.name.get(&self.source));
            names.enumerate().map(|(at, name)| (name, at)).collect()
        });
        Index { object: self, places }
    }

    /// Names in order.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// Names and texts of the values, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let source = &self.source;
        self.members.iter().map(move |m| (m.name.get(source), m.value.get(source)))
    }

    /// Whether it has no members.
    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// The object as JSON text, values as written.
    pub(crate) fn to_text(&self) -> String {
        let mut text = String::with_capacity(self.source.len() + 2);
        text.push('{');
        for (name, value) in self.iter() {
            if text.len() > 1 {
                text.push(',');
            }
            push_json_string(&mut text, name);
            text.push(':');
            text.push_str(value);
        }
        text.push('}');
        text
    }

    /// The object as a value.
    pub(crate) fn to_value(&self) -> Value {
        let members = self.iter().map(|(name, value)| (name.to_owned(), value_of(value)));
        Value::Object(members.collect())
    }
}

/// Names of an object to their places.
pub(crate) struct Index<'a> {
    object: &'a Object,
    places: Option<HashMap<&'a str, usize>>,
}

impl<'a> Index<'a> {
    fn find(&self, name: &str) -> Option<usize> {
        match &self.places {
            Some(places) => places.get(name).copied(),
            None => self.object.position(name),
        }
    }

    /// The text of a value.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        Some(self.object.members[self.find(name)?].value.get(&self.object.source))
    }
}

/// The texts of the items of a list, of which the text was checked; `None` if it is none.
pub(crate) fn items_of(text: &str) -> Option<Vec<&str>> {
    let mut scanner = Scanner::of_checked(text);
    if !scanner.take(b'[') {
        return None;
    }
    scanner.space();
    let mut items = Vec::new();
    let mut more = !scanner.take(b']');
    while more {
        let from = scanner.at();
        scanner.value(1).ok()?;
        items.push(&text[from..scanner.at()]);
        more = scanner.next_item().ok()?;
    }
    Some(items)
}

/// A value of which the text was checked.
pub(crate) fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// A string of which the text was checked; `None` if it is another kind of value.
pub(crate) fn string_of(text: &str) -> Option<Cow<'_, str>> {
    let inside = text.strip_prefix('"')?.strip_suffix('"')?;
    if inside.contains('\\') { Some(Cow::Owned(decode(text))) } else { Some(Cow::Borrowed(inside)) }
}

fn decode(text: &str) -> String {
    serde_json::from_str(text).unwrap_or_default()
}

/// What is written after the members of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// An object that lives.
    Live,
    /// What a deleted one left.
    Tombstone,
}

/// Writes the body of an object with its id and time, as answers show it. The body is not looked
/// at beyond its first and last bytes.
pub(crate) fn splice(out: &mut String, body: &str, id: &str, timestamp: Timestamp, ending: Ending) {
    let inside = body.trim_ascii();
    let inside = inside.strip_prefix('{').and_then(|b| b.strip_suffix('}')).unwrap_or("");
    let inside = inside.trim_ascii();
    out.reserve(inside.len() + id.len() + 64);
    out.push('{');
    if !inside.is_empty() {
        out.push_str(inside);
        out.push(',');
    }
    out.push_str("\"id\":");
    push_json_string(out, id);
    let _ = write!(out, ",\"last_modified\":{timestamp}");
    if ending == Ending::Tombstone {
        out.push_str(",\"deleted\":true");
    }
    out.push('}');
}

#[cfg(test)]
mod tests;
