//! The bench, built as users run things.

use anyhow::Result;

use crate::run::{cargo, must};
use crate::workspace::{root, target};

/// Builds the program and the bench for release, and runs the bench with these arguments. Its
/// terminal is ours, so that it may draw on it.
pub(crate) fn run(arguments: &[&str]) -> Result<bool> {
    must(cargo().args(["build", "--release", "-p", "nuage", "-p", "nuage-bench"]))?;
    let program = target().join("release").join("nuage-bench");
    let status =
        std::process::Command::new(program).args(arguments).current_dir(root()).status()?;
    Ok(status.success())
}
