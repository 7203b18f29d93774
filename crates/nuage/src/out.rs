//! What is said on the standard output and on the standard error.

use std::io::{Error, IsTerminal, Write};
use std::sync::OnceLock;

/// Why the output did not take all that was said.
static LOST: OnceLock<Error> = OnceLock::new();

/// Says a line to whoever reads the output. That it cannot be written is told at the end.
pub(crate) fn say(line: &str) {
    if let Err(error) = writeln!(std::io::stdout().lock(), "{line}") {
        LOST.get_or_init(|| error);
    }
}

/// Why something that was said on the output is lost, if it is.
pub(crate) fn lost() -> Option<&'static Error> {
    if let Err(error) = std::io::stdout().flush() {
        LOST.get_or_init(|| error);
    }
    LOST.get()
}

/// Says a line beside the output: what is wrong, or how it goes.
pub(crate) fn complain(line: &str) {
    // Nobody is left to be told that nobody reads.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether a person reads the output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
