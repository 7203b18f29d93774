//! What happens, as lines: aligned for people on a terminal, JSON for programs elsewhere.

mod line;
#[cfg(test)]
mod tests;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::config::Config;
use crate::logs::line::{Format, Line};

/// Begins to log the server's doings on the standard output.
pub(crate) fn begin_server(config: &Config) {
    let terminal = std::io::stdout().is_terminal();
    begin(config, terminal, config.log_level(), std::io::stdout);
}

/// Begins to log what goes wrong in other verbs on the standard error.
pub(crate) fn begin_tool(config: &Config) {
    begin(config, std::io::stderr().is_terminal(), "warn", std::io::stderr);
}

fn begin<W>(config: &Config, terminal: bool, level: &str, writer: W)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // RUST_LOG refines the setting; where it says nothing the setting holds.
    let refined = std::env::var("RUST_LOG").unwrap_or_default();
    let filter = EnvFilter::builder().parse_lossy(format!("{level},{refined}"));
    let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    let format = match config.log_format() {
        "pretty" => Format::Pretty { colours },
        "json" => Format::Json,
        _ if terminal => Format::Pretty { colours },
        _ => Format::Json,
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    lines.with_ansi(false).event_format(Line(format)).init();
}
