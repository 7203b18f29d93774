//! The rules of the house that no compiler checks. `cargo xtask tidy` prints what breaks them;
//! the tests of this crate run the same.

mod crates;
mod files;
mod settings;

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
    let mut texts = Vec::new();
    for path in committed()? {
        // What is not text has no rules; what was just deleted neither.
        if let Ok(text) = std::fs::read_to_string(root().join(&path)) {
            texts.push((path.to_string_lossy().into_owned(), text));
        }
    }
    breaches.extend(texts.iter().flat_map(|(path, text)| files::breaches(path, text)));
    breaches.extend(settings::breaches(&texts));
    Ok(breaches)
}

/// Files that are committed, or would be. In sources without a repository, all that are not made
/// by tools.
fn committed() -> Result<Vec<PathBuf>> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    match output(Command::new("git").args(list).current_dir(root())) {
        Some(names) => Ok(names.lines().map(PathBuf::from).collect()),
        None => walked(),
    }
}

/// Folders that tools make, as `.gitignore` lists them.
const MADE: [&str; 8] =
    [".git", ".venv", "__pycache__", "artifacts", "corpus", "node_modules", "nuage-data", "target"];

/// Files of the workspace outside of those folders.
fn walked() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(root().join(&folder))
            .with_context(|| format!("{} cannot be read", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let path = folder.join(&name);
            if !entry.file_type()?.is_dir() {
                files.push(path);
            } else if !MADE.iter().any(|made| name == *made) {
                folders.push(path);
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
