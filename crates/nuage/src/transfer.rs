//! Everything out to lines of JSON, and in again: to look at, to keep, to move to another store.

pub(crate) mod export;
pub(crate) mod import;
#[cfg(test)]
mod tests;
mod wire;

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

/// The end of the name of a file that is gone when this process is.
fn scratch(verb: &str) -> String {
    format!(".{verb}-{}", std::process::id())
}

/// A bar for a person who watches; nothing otherwise.
fn progress(total: u64, wanted: bool) -> ProgressBar {
    if !wanted || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} records, {eta} left");
    bar.with_style(style.expect("the template is right"))
}
