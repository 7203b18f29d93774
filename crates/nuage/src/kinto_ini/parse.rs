//! The notation of Kinto's settings file, as Python's `configparser` and PasteDeploy read it:
//! sections, `key = value` or `key: value`, values that go on in indented lines, whole-line
//! comments, and `%(name)s` in values.

use std::collections::BTreeMap;
use std::path::Path;

/// One option of a section.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Line {
    /// Its name, as written.
    pub(super) key: String,
    /// Its value before interpolation; lines joined with line ends.
    pub(super) value: String,
    /// Where it begins.
    pub(super) number: usize,
}

/// A parsed file.
#[derive(Debug)]
pub(super) struct Ini {
    sections: BTreeMap<String, Vec<Line>>,
    globals: BTreeMap<String, String>,
}

/// How often one value may name another that names another.
const INTERPOLATION_DEPTH: usize = 10;

/// Reads the text. The error is a sentence with the number of the line.
pub(super) fn parse(path: &Path, text: &str) -> Result<Ini, String> {
    let mut sections: BTreeMap<String, Vec<Line>> = BTreeMap::new();
    let mut current: Option<String> = None;
    let mut indent = 0;
    let mut inside_option = false;
    for (index, raw) in text.lines().enumerate() {
        let number = index + 1;
        let trimmed = raw.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let this_indent = raw.len() - raw.trim_start().len();
        if inside_option && this_indent > indent {
            let section = current.as_ref().and_then(|name| sections.get_mut(name));
            if let Some(line) = section.and_then(|lines| lines.last_mut()) {
                line.value.push('\n');
                line.value.push_str(trimmed);
            }
            continue;
        }
        indent = this_indent;
        if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            current = Some(name.0.to_owned());
            sections.entry(name.0.to_owned()).or_default();
            inside_option = false;
            continue;
        }
        let lines = current.as_ref().and_then(|name| sections.get_mut(name));
        let lines = lines.ok_or_else(|| at(path, number, "an option before any [section]"))?;
        let (key, value) = trimmed
            .split_once(['=', ':'])
            .ok_or_else(|| at(path, number, "neither a [section] nor `key = value`"))?;
        let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
        if lines.iter().any(|line| line.key == key) {
            return Err(at(path, number, &format!("{key} is set twice in this section")));
        }
        lines.push(Line { key, value, number });
        inside_option = true;
    }
    let globals = globals(path, &mut sections);
    Ok(Ini { sections, globals })
}

fn at(path: &Path, number: usize, what: &str) -> String {
    format!("{} line {number}: {what}.", path.display())
}

fn globals(path: &Path, sections: &mut BTreeMap<String, Vec<Line>>) -> BTreeMap<String, String> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let here = absolute.parent().unwrap_or(Path::new("/"));
    let mut globals = BTreeMap::from([
        ("here".to_owned(), here.display().to_string()),
        ("__file__".to_owned(), absolute.display().to_string()),
        // What `kinto start` hands to the file.
        ("http_port".to_owned(), "8888".to_owned()),
    ]);
    let defaults = sections.remove("DEFAULT").unwrap_or_default();
    globals.extend(defaults.into_iter().map(|line| (line.key, line.value)));
    globals
}

impl Ini {
    /// Names of the sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &str> {
        self.sections.keys().map(String::as_str)
    }

    /// The options of a section, values interpolated; `None` if there is no such section.
    pub(super) fn section(&self, name: &str) -> Option<Result<Vec<Line>, String>> {
        let lines = self.sections.get(name)?;
        let own = lines.iter().map(|line| (line.key.clone(), line.value.clone()));
        let mut names = self.globals.clone();
        names.extend(own);
        let filled = lines.iter().map(|line| {
            let value = interpolate(&line.value, &names, INTERPOLATION_DEPTH)
                .map_err(|what| format!("Line {}: {}: {what}.", line.number, line.key))?;
            Ok(Line { value, ..line.clone() })
        });
        Some(filled.collect())
    }
}

fn interpolate(
    text: &str,
    names: &BTreeMap<String, String>,
    depth: usize,
) -> Result<String, String> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        filled.push_str(before);
        if let Some(after) = after.strip_prefix('%') {
            filled.push('%');
            rest = after;
            continue;
        }
        let named = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        let Some((name, after)) = named else {
            return Err("a % that is neither %% nor %(name)s".to_owned());
        };
        let value = names.get(name).ok_or_else(|| format!("%({name})s names nothing"))?;
        if depth == 0 {
            return Err(format!("%({name})s goes in circles"));
        }
        filled.push_str(&interpolate(value, names, depth - 1)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}
