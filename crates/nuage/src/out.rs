//! What is said on the standard output and on the standard error.

use std::io::{IsTerminal, Write};

/// Says a line to whoever reads the output. Nobody reading is not an error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Says a line beside the output: what is wrong, or how it goes.
pub(crate) fn complain(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Whether a person reads the output.
pub(crate) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}
