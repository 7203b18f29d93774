//! The configuration: which settings there are, where each value came from, and what they come
//! to. Flags go before the environment, the environment before the file (Nuage's own, or
//! Kinto's), the file before the defaults. What is not known is an error, never ignored.
//!
//! Only this module and its children read the environment and the configuration file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

mod file;
mod keys;
mod place;
mod settings;
mod show;
mod sources;
#[cfg(test)]
mod tests;
mod value;

pub(crate) use keys::nearest_of;
pub(crate) use place::{Files, Place, has_file_ending};
pub(crate) use settings::{Settings, StorageSettings};
pub(crate) use show::{show_json, show_text};
pub(crate) use sources::{Environment, Sources, load};
pub(crate) use value::{Kind, Value};

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// The default of Kinto, because its settings file is used.
    KintoDefault,
    /// A line of a settings file.
    File(PathBuf, usize),
    /// A variable of the environment.
    Environment(String),
    /// A flag of the command line.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::KintoDefault => f.write_str("default of Kinto"),
            Self::File(path, line) => write!(f, "{} line {line}", path.display()),
            Self::Environment(variable) => write!(f, "${variable}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// What was said.
    pub(crate) value: Value,
    /// Who said it.
    pub(crate) origin: Origin,
}

/// All settings in effect.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    entries: BTreeMap<String, Entry>,
    /// Whether Kinto's settings file was read.
    pub(crate) kinto: bool,
    /// What the operator must know at start: settings without effect, each in a sentence.
    pub(crate) notes: Vec<String>,
    /// The names of the settings that were read.
    #[cfg(test)]
    pub(crate) was_read: std::sync::Arc<std::sync::Mutex<std::collections::BTreeSet<String>>>,
}

/// What is wrong with the configuration, in sentences.
#[derive(Debug)]
pub(crate) struct Invalid(pub(crate) Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Invalid {}

impl Config {
    /// The defaults.
    pub(crate) fn defaults() -> Self {
        let mut config = Self {
            entries: BTreeMap::new(),
            kinto: false,
            notes: Vec::new(),
            #[cfg(test)]
            was_read: std::sync::Arc::default(),
        };
        for key in keys::all().filter(|key| key.family().is_none()) {
            config.set(key.name, key.default(), Origin::Default);
        }
        let everyone = nuage_model::EVERYONE.to_owned();
        let authenticated = nuage_model::AUTHENTICATED.to_owned();
        config.set("grants.bucket_create", Value::Words(vec![authenticated]), Origin::Default);
        config.set("grants.permissions_read", Value::Words(vec![everyone]), Origin::Default);
        config
    }

    /// Sets a value over an earlier one.
    pub(crate) fn set(&mut self, name: &str, value: Value, origin: Origin) {
        self.entries.insert(name.to_owned(), Entry { value, origin });
    }

    /// The value of a setting and its origin.
    pub(crate) fn entry(&self, name: &str) -> &Entry {
        self.entries.get(name).expect("every declared key has a default")
    }

    /// What a declared setting may hold.
    pub(crate) fn kind(&self, name: &str) -> Kind {
        keys::find(name).expect("only declared keys are asked for").kind
    }

    /// Names and entries of a family (`grants.`).
    fn family(&self, prefix: &str) -> impl Iterator<Item = (&str, &Entry)> {
        let entries = self.entries.iter();
        entries.filter_map(move |(name, entry)| Some((name.strip_prefix(prefix)?, entry)))
    }

    fn value(&self, name: &str) -> &Value {
        #[cfg(test)]
        self.was_read.lock().expect("nobody panics with it").insert(name.to_owned());
        &self.entry(name).value
    }

    fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            value => unreachable!("{name} is a text, not {value}"),
        }
    }

    /// A text, unless it is empty.
    fn text_or_none(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// A secret, unless it was left to be generated.
    fn secret(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }

    fn switch(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Switch(switch) => *switch,
            value => unreachable!("{name} is a switch, not {value}"),
        }
    }

    fn whole(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Whole(number) => *number,
            value => unreachable!("{name} is a number, not {value}"),
        }
    }

    /// A number that counts attempts.
    fn count(&self, name: &str) -> u32 {
        u32::try_from(self.whole(name)).unwrap_or(u32::MAX)
    }

    fn whole_or_none(&self, name: &str) -> Option<u64> {
        match self.value(name) {
            Value::Whole(number) => Some(*number),
            _ => None,
        }
    }

    fn words(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::Words(words) => words,
            value => unreachable!("{name} is a list, not {value}"),
        }
    }
}

impl Config {
    /// Least severity that is logged.
    pub(crate) fn log_level(&self) -> &str {
        self.text("log.level")
    }

    /// How it is logged.
    pub(crate) fn log_format(&self) -> &str {
        self.text("log.format")
    }
}
