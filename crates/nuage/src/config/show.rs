//! The settings in effect, with the origin of each, for people and for programs. Secrets are
//! never shown, only whether they are set.

use crate::config::{Config, Entry, Kind, Value, keys};

const MASK: &str = "********";

/// As `nuage.toml`, each line with its origin and its help as comments.
pub(crate) fn show_text(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for key in keys::all() {
        let (this, _) = key.name.split_once('.').expect("every key has a section");
        if this != section {
            text.push_str(if section.is_empty() { "" } else { "\n" });
            text.push_str(&format!("[{this}]\n"));
            section = this;
        }
        match key.family() {
            None => {
                let name = &key.name[this.len() + 1..];
                text.push_str(&line(name, key, config.entry(key.name)));
            }
            Some(family) => {
                text.push_str(&format!("# {}*: {}\n", &family[this.len() + 1..], key.help));
                for (name, entry) in config.family(family) {
                    let inner = family[this.len() + 1..].to_owned();
                    let name = match name.contains('.') {
                        true => format!("{inner}{name:?}"),
                        false => format!("{inner}{name}"),
                    };
                    text.push_str(&line(&name, key, entry));
                }
            }
        }
    }
    text
}

fn line(name: &str, key: &keys::Key, entry: &Entry) -> String {
    let value = shown(key, entry);
    let help = if key.family().is_some() { "" } else { key.help };
    match key.kind {
        // Not a value that could be given: it is a comment as a whole.
        Kind::Secret => format!("# {name}: {value} ({}; {help})\n", entry.origin),
        _ if help.is_empty() => format!("{name} = {value}  # {}\n", entry.origin),
        _ => format!("{name} = {value}  # {}; {help}\n", entry.origin),
    }
}

fn shown(key: &keys::Key, entry: &Entry) -> String {
    match (key.kind, &entry.value) {
        (Kind::Secret, Value::None) => "generated".to_owned(),
        (Kind::Secret, Value::Text(text)) if text.is_empty() => "empty".to_owned(),
        (Kind::Secret, _) => MASK.to_owned(),
        (_, value) => without_password(key, value).to_string(),
    }
}

/// A URL may hold a password.
fn without_password(key: &keys::Key, value: &Value) -> Value {
    match value {
        Value::Text(url) if key.name == "storage.url" && url.contains("://") => {
            Value::Text(nuage_store::Address::without_password(url, MASK))
        }
        value => value.clone(),
    }
}

/// As one JSON object: name to value, origin and help.
pub(crate) fn show_json(config: &Config) -> serde_json::Value {
    let mut settings = serde_json::Map::new();
    let mut add = |name: &str, key: &keys::Key, entry: &Entry| {
        let value = match key.kind {
            Kind::Secret => shown(key, entry).into(),
            _ => without_password(key, &entry.value).to_json(),
        };
        let origin = entry.origin.to_string();
        let entry = serde_json::json!({ "value": value, "origin": origin, "help": key.help });
        settings.insert(name.to_owned(), entry);
    };
    for key in keys::all() {
        match key.family() {
            None => add(key.name, key, config.entry(key.name)),
            Some(family) => {
                for (name, entry) in config.family(family) {
                    add(&format!("{family}{name}"), key, entry);
                }
            }
        }
    }
    settings.into()
}
