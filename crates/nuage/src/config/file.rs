//! `nuage.toml`: every key is checked against the table, and what is wrong is told with its line.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{Config, Origin, keys};

/// Puts what the file says over what the configuration holds.
pub(super) fn read(config: &mut Config, path: &Path, text: &str, errors: &mut Vec<String>) {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            errors.push(format!("{} line {line}: {}.", path.display(), error.message()));
            return;
        }
    };
    let mut reader = Reader { config, path, text, errors };
    reader.read_table("", table.get_ref());
}

/// Number of the line that holds the byte.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

struct Reader<'a> {
    config: &'a mut Config,
    path: &'a Path,
    text: &'a str,
    errors: &'a mut Vec<String>,
}

impl Reader<'_> {
    // The depth is that of the file, which the operator writes and the parser bounds.
    fn read_table(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let line = line_of(self.text, name.span().start);
            let full = format!("{prefix}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if keys::find(&full).is_none_or(|k| k.family().is_some()) => {
                    self.read_section(&full, inner, line);
                }
                _ => self.read_value(&full, value, line),
            }
        }
    }

    fn read_section(&mut self, name: &str, table: &DeTable<'_>, line: usize) {
        let prefix = format!("{name}.");
        let known =
            |key: &&keys::Key| key.name.starts_with(&prefix) || key.family() == Some(&prefix);
        let inside_family = keys::find(&prefix).is_some_and(|key| key.family().is_some());
        if keys::all().any(|key| known(&key)) || inside_family {
            return self.read_table(&prefix, table);
        }
        let sections = keys::all().filter_map(|key| key.name.split('.').next());
        let hint = match keys::nearest_of(name, sections) {
            Some(near) => format!(" Did you mean [{near}]?"),
            None => String::new(),
        };
        self.error(line, format!("there is no section [{name}].{hint}"));
    }

    fn read_value(&mut self, name: &str, value: &Spanned<DeValue<'_>>, line: usize) {
        let Some(key) = keys::find(name) else {
            return self.error(line, unknown(name));
        };
        match key.kind.read_toml(value.get_ref()) {
            Some(value) => {
                let origin = Origin::File(self.path.to_owned(), line);
                self.config.set(name, value, origin);
            }
            None => self.error(line, format!("{name} must be {}.", key.kind.expected())),
        }
    }

    fn error(&mut self, line: usize, sentence: String) {
        self.errors.push(format!("{} line {line}: {sentence}", self.path.display()));
    }
}

/// The sentence about an unknown key.
pub(super) fn unknown(name: &str) -> String {
    match keys::nearest(name) {
        Some(near) => format!("there is no setting {name}. Did you mean {near}?"),
        None => format!("there is no setting {name}. `nuage config show` lists them all."),
    }
}
