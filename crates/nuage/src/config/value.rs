//! Values of settings, and how each kind is read from text (flags, environment) and from TOML.

use std::fmt;

use toml::de::DeValue;

/// What a setting may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// `true` or `false`.
    Switch,
    /// A whole number of at least this.
    Whole(u64),
    /// A whole number, or `none`.
    WholeOrNone,
    /// A list of words.
    Words,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The value of a setting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Value {
    /// Nothing was chosen.
    None,
    /// Text, also a secret or a choice.
    Text(String),
    /// Yes or no.
    Switch(bool),
    /// A number.
    Whole(u64),
    /// A list.
    Words(Vec<String>),
}

impl Kind {
    /// What is expected, to finish a sentence with.
    pub(crate) fn expected(self) -> String {
        match self {
            Self::Text | Self::Secret => "a text".to_owned(),
            Self::Switch => "true or false".to_owned(),
            Self::Whole(0) => "a whole number".to_owned(),
            Self::Whole(min) => format!("a whole number of at least {min}"),
            Self::WholeOrNone => "a whole number or \"none\"".to_owned(),
            Self::Words => "a list of texts".to_owned(),
            Self::Choice(words) => format!("one of {}", words.join(", ")),
        }
    }

    /// Reads what a flag or a variable says; `None` when it is not of this kind.
    pub(crate) fn read_text(self, text: &str) -> Option<Value> {
        match self {
            Self::Text | Self::Secret => Some(Value::Text(text.to_owned())),
            Self::Switch => match text.trim().to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(Value::Switch(true)),
                "false" | "no" | "off" | "0" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Whole(min) => whole(text).filter(|n| *n >= min).map(Value::Whole),
            Self::WholeOrNone => match text.trim() {
                "" | "none" => Some(Value::None),
                text => whole(text).map(Value::Whole),
            },
            Self::Words => {
                let words = text.split(|c: char| c == ',' || c.is_whitespace());
                let words = words.filter(|word| !word.is_empty()).map(str::to_owned);
                Some(Value::Words(words.collect()))
            }
            Self::Choice(words) => {
                let text = text.trim();
                words.contains(&text).then(|| Value::Text(text.to_owned()))
            }
        }
    }

    /// Reads what the file says; `None` when it is not of this kind.
    pub(crate) fn read_toml(self, value: &DeValue<'_>) -> Option<Value> {
        match (self, value) {
            (Self::Text | Self::Secret, DeValue::String(text)) => {
                Some(Value::Text(text.to_string()))
            }
            (Self::Choice(_), DeValue::String(text)) => self.read_text(text),
            (Self::WholeOrNone, DeValue::String(text)) if text == "none" => Some(Value::None),
            (Self::Switch, DeValue::Boolean(switch)) => Some(Value::Switch(*switch)),
            (Self::Whole(_) | Self::WholeOrNone, DeValue::Integer(number)) => {
                let number = u64::from_str_radix(number.as_str(), number.radix()).ok()?;
                self.read_text(&number.to_string())
            }
            (Self::Words, DeValue::Array(items)) => {
                let words = items.iter().map(|item| item.get_ref().as_str().map(str::to_owned));
                words.collect::<Option<Vec<_>>>().map(Value::Words)
            }
            _ => None,
        }
    }
}

fn whole(text: &str) -> Option<u64> {
    // Beyond what TOML and JSON readers keep exactly there is no sensible setting.
    text.trim().replace('_', "").parse().ok().filter(|n| *n <= i64::MAX as u64)
}

impl fmt::Display for Value {
    /// As TOML writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("\"none\""),
            Self::Text(text) => write!(f, "{}", toml::Value::from(text.as_str())),
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Whole(number) => write!(f, "{number}"),
            Self::Words(words) => write!(f, "{}", toml::Value::from(words.clone())),
        }
    }
}

impl Value {
    /// The same as JSON.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match self {
            Self::None => serde_json::Value::Null,
            Self::Text(text) => text.as_str().into(),
            Self::Switch(switch) => (*switch).into(),
            Self::Whole(number) => (*number).into(),
            Self::Words(words) => words.clone().into(),
        }
    }
}
