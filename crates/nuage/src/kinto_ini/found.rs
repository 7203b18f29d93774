//! The settings as Kinto finds them: file, then overridden by the environment, with or without
//! the prefix `kinto.`, values that are JSON taken as such.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value as Json;

use crate::config::{Environment, Origin};
use crate::kinto_ini::parse::Line;

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its name as written, for sentences.
    pub(super) name: String,
    /// Where its value came from.
    pub(super) origin: Origin,
    value: Json,
    used: Cell<bool>,
}

/// All settings by their names without the prefix.
#[derive(Debug, Default)]
pub(super) struct Found {
    settings: BTreeMap<String, Setting>,
    /// Variables that overrode something.
    pub(super) variables: Vec<String>,
}

/// What remains without the prefix.
pub(super) fn unprefixed(key: &str) -> &str {
    key.strip_prefix("kinto.").unwrap_or(key)
}

impl Found {
    /// Collects the lines of the section; `declared` are the names that Kinto knows by itself,
    /// which the environment may set even if the file does not.
    pub(super) fn collect(
        path: &Path,
        lines: Vec<Line>,
        declared: impl Iterator<Item = &'static str>,
        environment: &Environment,
        errors: &mut Vec<String>,
    ) -> Self {
        let mut found = Self::default();
        for line in lines {
            let key = unprefixed(&line.key).to_owned();
            let origin = Origin::File(path.to_owned(), line.number);
            let value = native(&line.value);
            let name = line.key;
            if let Some(other) = found.settings.get(&key).filter(|other| other.value != value) {
                errors.push(format!("Settings {} and {name} are in conflict.", other.name));
            }
            let used = Cell::new(false);
            found.settings.insert(key, Setting { name, origin, value, used });
        }
        let mut names: Vec<String> = found.settings.keys().cloned().collect();
        names.extend(declared.map(str::to_owned));
        for name in names {
            found.read_environment(&name, environment);
        }
        found
    }

    fn read_environment(&mut self, key: &str, environment: &Environment) {
        let variable = key.replace(['.', '-'], "_").to_uppercase();
        for variable in [format!("KINTO_{variable}"), variable] {
            let Some(text) = environment.get(&variable) else { continue };
            let name = format!("kinto.{key}");
            let origin = Origin::Environment(variable.clone());
            let setting = Setting { name, origin, value: native(text), used: Cell::new(false) };
            self.settings.insert(key.to_owned(), setting);
            self.variables.push(variable);
            return;
        }
    }

    /// The setting, if anybody gave it. It counts as understood from now on.
    pub(super) fn take(&self, key: &str) -> Option<&Setting> {
        let setting = self.settings.get(key)?;
        setting.used.set(true);
        Some(setting)
    }

    /// Names and settings that nobody has taken, in order.
    pub(super) fn untaken(&self) -> impl Iterator<Item = (&str, &Setting)> {
        let all = self.settings.iter().map(|(key, setting)| (key.as_str(), setting));
        all.filter(|(_, setting)| !setting.used.get())
    }

    /// Names and settings, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.settings.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    /// The words of a setting; none when it is missing.
    pub(super) fn words(&self, key: &str) -> Vec<String> {
        self.take(key).map(Setting::words).unwrap_or_default()
    }
}

impl Setting {
    /// As text; empty for null.
    pub(super) fn text(&self) -> String {
        match &self.value {
            Json::String(text) => text.clone(),
            Json::Null => String::new(),
            value => value.to_string(),
        }
    }

    /// As list: separated by spaces and lines, or a JSON array.
    pub(super) fn words(&self) -> Vec<String> {
        match &self.value {
            Json::Array(items) => items
                .iter()
                .map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned))
                .collect(),
            _ => self.text().split_whitespace().map(str::to_owned).collect(),
        }
    }

    /// As truth value, if it is one.
    pub(super) fn switch(&self) -> Option<bool> {
        match self.text().trim().to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
            "f" | "false" | "n" | "no" | "off" | "0" | "" => Some(false),
            _ => None,
        }
    }

    /// That it has been understood.
    pub(super) fn mark(&self) {
        self.used.set(true);
    }
}

/// Kinto takes for JSON what is JSON, and for text what is not.
fn native(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| Json::from(text))
}
