//! The rules of the house that no compiler checks. `cargo xtask tidy` prints what breaks them;
//! the tests of this crate run the same.

mod crates;
mod files;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::run::output;
use crate::workspace::root;

/// Prints every breach; true if there is none.
pub(crate) fn print() -> Result<bool> {
    let breaches = breaches()?;
    for breach in &breaches {
        println!("tidy: {breach}");
    }
    println!("tidy: {} breaches", breaches.len());
    Ok(breaches.is_empty())
}

/// A sentence for every breach.
fn breaches() -> Result<Vec<String>> {
    let mut breaches = crates::breaches(&crates::metadata()?);
    for path in committed()? {
        // What is not text has no rules; what was just deleted neither.
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            breaches.extend(files::breaches(&path.to_string_lossy(), &text));
        }
    }
    Ok(breaches)
}

/// Files that are committed, or would be.
fn committed() -> Result<Vec<PathBuf>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let names = output(Command::new("git").args(list).current_dir(root()))
        .context("git cannot list the files of this repository")?;
    Ok(names.lines().map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests;
