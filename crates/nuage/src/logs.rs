//! What happens, as lines: aligned for people on a terminal, JSON for programs elsewhere.
//!
//! No request, no start and no stop waits for a log or fails with it.

mod line;
mod queue;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::Duration;

use jiff::Timestamp;
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Config;
pub(crate) use crate::logs::line::printable;
use crate::logs::line::{Fields, Format, Line};
use crate::logs::queue::Queue;

/// Longest waits for lines to be written: for the first ones before the server is ready, so that
/// whoever waits for it finds them, and for the last ones at the end.
const FLUSH_FIRST: Duration = Duration::from_millis(250);
const FLUSH_LAST: Duration = Duration::from_secs(1);

/// The log of a server. What was logged before it is dropped is written by then, if it can be.
pub(crate) struct Log(Queue);

impl Log {
    /// Adds lines that are no events, each with its end.
    pub(crate) fn print(&self, lines: &str) {
        self.0.print(lines);
    }

    /// Waits a moment for what was logged until now to be written.
    pub(crate) fn settle(&self) {
        self.0.flush(FLUSH_FIRST);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.0.flush(FLUSH_LAST);
    }
}

/// Begins to log the server's doings on the standard output.
pub(crate) fn begin_server(config: &Config) -> Log {
    let terminal = std::io::stdout().is_terminal();
    let format = format(config, terminal);
    let missing: queue::Missing = match format {
        Format::Json => missing_to_program,
        Format::Pretty { .. } => missing_to_person,
    };
    // The file itself: what Rust puts before it keeps lines that could not be written.
    let queue = match std::io::stdout().as_fd().try_clone_to_owned() {
        Ok(output) => Queue::new(File::from(output), missing),
        Err(_) => Queue::new(std::io::stdout(), missing),
    };
    begin(format, config.log_level(), queue.clone());
    std::panic::set_hook(Box::new(|panic| tracing::error!(%panic, "a thread panicked")));
    Log(queue)
}

/// Begins to log what goes wrong in other verbs on the standard error.
pub(crate) fn begin_tool(config: &Config) {
    begin(format(config, std::io::stderr().is_terminal()), "warn", std::io::stderr);
}

fn format(config: &Config, terminal: bool) -> Format {
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    match config.log_format() {
        "pretty" => Format::Pretty { colours },
        "json" => Format::Json,
        _ if terminal => Format::Pretty { colours },
        _ => Format::Json,
    }
}

fn begin<W>(format: Format, level: &str, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // RUST_LOG refines the setting; where it says nothing the setting holds.
    let refined = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder().parse_lossy(format!("{level},{refined}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    // Nobody could be told that it cannot be written.
    let lines = lines.log_internal_errors(false);
    lines.with_ansi(false).event_format(Line(format)).init();
}

fn missing_to_program(lines: u64) -> String {
    line::json(Timestamp::now(), Level::WARN, "nuage", &missing(lines)).unwrap_or_default()
}

fn missing_to_person(lines: u64) -> String {
    line::pretty(Timestamp::now(), Level::WARN, &missing(lines), false).unwrap_or_default()
}

fn missing(lines: u64) -> Fields {
    Fields {
        message: "lines of the log are missing here: they could not be written".to_owned(),
        rest: vec![("lines", lines.into())],
    }
}
