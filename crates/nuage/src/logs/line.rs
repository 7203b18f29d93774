//! One event as one line.
//!
//! JSON: `ts`, `level`, `msg` if there is a message, the fields by their names, `target`. For
//! people: time, level or method and status, message, fields.

use std::fmt::{self, Write};

use jiff::Timestamp;
use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// For whom.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// For people.
    Pretty {
        /// Whether levels have colours.
        colours: bool,
    },
    /// For programs.
    Json,
}

/// Writes events as lines.
pub(super) struct Line(pub(super) Format);

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let meta = event.metadata();
        let line = match self.0 {
            Format::Json => json(Timestamp::now(), *meta.level(), meta.target(), &fields),
            Format::Pretty { colours } => pretty(Timestamp::now(), *meta.level(), &fields, colours),
        }?;
        writer.write_str(&line)
    }
}

/// The fields of an event, in their order.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) rest: Vec<(&'static str, Value)>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => self.rest.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.rest.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

/// One JSON object.
pub(super) fn json(
    now: Timestamp,
    level: Level,
    target: &str,
    fields: &Fields,
) -> Result<String, fmt::Error> {
    let mut line = String::with_capacity(256);
    let level = level.as_str().to_lowercase();
    write!(line, "{{\"ts\":\"{now:.3}\",\"level\":\"{level}\"")?;
    if !fields.message.is_empty() {
        write!(line, ",\"msg\":{}", Value::from(fields.message.as_str()))?;
    }
    for (name, value) in &fields.rest {
        write!(line, ",\"{name}\":{value}")?;
    }
    writeln!(line, ",\"target\":\"{target}\"}}")?;
    Ok(line)
}

/// One line for a person.
pub(super) fn pretty(
    now: Timestamp,
    level: Level,
    fields: &Fields,
    colours: bool,
) -> Result<String, fmt::Error> {
    let mut line = String::with_capacity(128);
    write!(line, "  {}  ", now.strftime("%H:%M:%S"))?;
    let colour = match level {
        Level::ERROR => "31",
        Level::WARN => "33",
        Level::INFO => "32",
        _ => "2",
    };
    let answered = fields.get("method").zip(fields.get("status"));
    let mut shown: &[&str] = &[];
    if let Some((method, status)) = answered.filter(|_| fields.message.is_empty()) {
        let colour = match status.as_u64() {
            Some(500..) => "31",
            Some(400..) => "33",
            _ => "32",
        };
        let ms = fields.get("ms").and_then(Value::as_f64).unwrap_or_default();
        let path = fields.get("path").and_then(Value::as_str).unwrap_or_default();
        write!(line, "{:<7} ", method.as_str().unwrap_or_default())?;
        write_coloured(&mut line, &status.to_string(), colour, colours)?;
        write!(line, " {ms:>8.1} ms  {}", printable(path))?;
        shown = &["method", "status", "ms", "path"];
    } else {
        write_coloured(&mut line, &format!("{:<5}", level.as_str()), colour, colours)?;
        write!(line, "  {}", printable(&fields.message))?;
    }
    for (name, value) in fields.rest.iter().filter(|(name, _)| !shown.contains(name)) {
        match value {
            Value::String(text) => write!(line, "  {name}={}", printable(text))?,
            value => write!(line, "  {name}={value}")?,
        }
    }
    line.push('\n');
    Ok(line)
}

fn write_coloured(line: &mut String, text: &str, colour: &str, colours: bool) -> fmt::Result {
    match colours {
        true => write!(line, "\x1b[{colour}m{text}\x1b[0m"),
        false => line.write_str(text),
    }
}

/// What comes from outside must not command the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
