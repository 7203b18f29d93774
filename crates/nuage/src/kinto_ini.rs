//! Kinto's settings file, so that whoever runs Kinto can run Nuage with what is there. Each
//! setting is mapped to Nuage's own, told at start to be without effect, or, where ignoring it
//! would open access that the operator had closed, a reason not to start.

use std::path::Path;

mod found;
mod judge;
mod parse;
mod table;
#[cfg(test)]
mod tests;

use crate::config::{Config, Environment, Kind, Origin, Value};
use found::{Found, Setting};
use parse::Ini;

/// What there is to read.
pub(crate) struct Source<'a> {
    /// Where the file lies.
    pub(crate) path: &'a Path,
    /// What it says.
    pub(crate) text: &'a str,
    /// The environment, of which Kinto reads `KINTO_...`.
    pub(crate) environment: &'a Environment,
    /// Plugins, listeners, policies and settings that the operator agrees to lose.
    pub(crate) ignored: &'a [String],
}

/// Puts the file, and what Kinto assumes where it is silent, over the configuration. Returns what
/// forbids to start, in sentences.
pub(crate) fn read(config: &mut Config, source: &Source<'_>) -> Vec<String> {
    let mut errors = Vec::new();
    config.kinto = true;
    let ini = match parse::parse(source.path, source.text) {
        Ok(ini) => ini,
        Err(sentence) => return vec![sentence],
    };
    let lines = match application(&ini) {
        Ok(lines) => lines,
        Err(sentence) => return vec![sentence],
    };
    let declared = table::ROWS.iter().filter(|row| row.declared).map(|row| row.kinto);
    let declared = declared.chain(table::JUDGED.iter().copied());
    let found = Found::collect(source.path, lines, declared, source.environment, &mut errors);
    read_server(config, source, &ini, &mut errors);
    read_rows(config, &found, &mut errors);
    let mut judge = judge::Judge { config, found: &found, source, errors: &mut errors };
    judge.judge();
    note_variables(config, source, &found);
    errors
}

/// The options of the application, which must be Kinto itself and nothing around it.
fn application(ini: &Ini) -> Result<Vec<parse::Line>, String> {
    for name in ini.sections() {
        let wraps = ["pipeline:main", "composite:main", "composit:main", "filter-app:main"];
        if wraps.contains(&name) {
            return Err(format!(
                "[{name}] puts other programs around Kinto, which may guard it. Nuage cannot run \
                 them: make [app:main] Kinto itself."
            ));
        }
    }
    let Some(lines) = ini.section("app:main") else {
        return Err(
            "There is no section [app:main], so this is not a settings file of Kinto.".to_owned()
        );
    };
    let lines = lines?;
    for line in &lines {
        if line.key == "use" && !matches!(line.value.as_str(), "egg:kinto" | "egg:kinto#main") {
            return Err(format!(
                "Line {}: [app:main] uses {}, not egg:kinto: this is not Kinto alone.",
                line.number, line.value
            ));
        }
        if line.key == "filter-with" {
            return Err(format!(
                "Line {}: filter-with puts another program before Kinto, which may guard it.",
                line.number
            ));
        }
    }
    let settings = lines.into_iter().filter(|line| {
        line.key != "use" && !line.key.starts_with("set ") && !line.key.starts_with("get ")
    });
    Ok(settings.collect())
}

/// Address and port of `[server:main]`.
fn read_server(config: &mut Config, source: &Source<'_>, ini: &Ini, errors: &mut Vec<String>) {
    let lines = match ini.section("server:main") {
        Some(Ok(lines)) => lines,
        Some(Err(sentence)) => return errors.push(sentence),
        None => Vec::new(),
    };
    let (mut host, mut port, mut number) = ("127.0.0.1".to_owned(), "8888".to_owned(), None);
    for line in lines {
        match line.key.as_str() {
            "use" => {}
            "host" => (host, number) = (line.value, Some(line.number)),
            "port" => (port, number) = (line.value, Some(line.number)),
            "listen" | "bind" => {
                let first = line.value.split([' ', ',', '\n']).next().unwrap_or_default();
                if let Some((before, after)) = first.rsplit_once(':') {
                    (host, port) = (before.replace('*', "0.0.0.0"), after.to_owned());
                    number = Some(line.number);
                }
            }
            key => config
                .notes
                .push(format!("[server:main] {key} has no effect: Nuage is its own server.")),
        }
    }
    let origin = match number {
        Some(number) => Origin::File(source.path.to_owned(), number),
        None => Origin::KintoDefault,
    };
    if host.contains(':') && !host.starts_with('[') {
        host = format!("[{host}]");
    }
    config.set("http.listen", Value::Text(format!("{host}:{port}")), origin);
}

/// The settings that mean the same here and there.
fn read_rows(config: &mut Config, found: &Found, errors: &mut Vec<String>) {
    for row in table::ROWS {
        let kind = config.kind(row.nuage);
        let (value, origin) = match found.take(row.kinto) {
            Some(setting) => match convert(kind, setting) {
                Some(value) => (value, setting.origin.clone()),
                None => {
                    let (name, origin) = (&setting.name, &setting.origin);
                    errors.push(format!("{origin}: {name} must be {}.", kind.expected()));
                    continue;
                }
            },
            None => {
                let default = convert_text(kind, row.default);
                (default.expect("defaults are of the kind of their key"), Origin::KintoDefault)
            }
        };
        config.set(row.nuage, value, origin);
    }
}

fn convert(kind: Kind, setting: &Setting) -> Option<Value> {
    match kind {
        Kind::Switch => setting.switch().map(Value::Switch),
        Kind::Words => Some(Value::Words(setting.words())),
        _ => convert_text(kind, &setting.text()),
    }
}

fn convert_text(kind: Kind, text: &str) -> Option<Value> {
    match kind {
        // Negative numbers mean "never" to Kinto.
        Kind::WholeOrNone if text.trim().starts_with('-') => Some(Value::None),
        kind => kind.read_text(text),
    }
}

/// Tells of variables that look as if they did something.
fn note_variables(config: &mut Config, source: &Source<'_>, found: &Found) {
    for variable in source.environment.keys() {
        let used = found.variables.contains(variable) || variable == "KINTO_INI";
        if variable.starts_with("KINTO_") && !used {
            config.notes.push(format!(
                "${variable} has no effect: Kinto takes from the environment only what it \
                 declares itself or what the file sets."
            ));
        }
    }
}
