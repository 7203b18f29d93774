//! Fuzz targets, each for a bounded time: enough to notice a target that no longer builds or
//! falls over at once. Long runs are `cargo fuzz run`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, must, output, watch};
use crate::tally::Tally;
use crate::workspace::root;

/// How long each target runs, in seconds.
pub(crate) const SECONDS: u32 = 10;
/// The longest a single input may take, in seconds; longer counts as a hang.
const INPUT_SECONDS: u32 = 5;
/// The most memory a target may use.
const MEMORY_MB: u32 = 1024;

/// Installs cargo-fuzz, if it is missing.
pub(crate) fn set_up() -> Result<()> {
    if output(cargo().args(["fuzz", "--version"])).is_some() {
        return Ok(());
    }
    must(cargo().args(["install", "cargo-fuzz", "--locked"]))
        .context("the fuzz targets need cargo-fuzz: cargo install cargo-fuzz --locked")
}

/// Sets up, runs each target for so many seconds and prints the outcome; true if all went well.
pub(crate) fn print(seconds: u32) -> Result<bool> {
    set_up()?;
    let tally = smoke(seconds)?;
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

/// Runs each target for so many seconds.
pub(crate) fn smoke(seconds: u32) -> Result<Tally> {
    let targets = targets()?;
    if targets.is_empty() {
        bail!("there are no fuzz targets in {}", folder().display());
    }
    let mut tally = Tally::default();
    if !watch(fuzz("build").args(CHOICES), |_| ())? {
        return Ok(Tally::failure());
    }
    for target in targets {
        let bounds = [
            format!("-max_total_time={seconds}"),
            format!("-timeout={INPUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MB}"),
            "-print_final_stats=1".to_owned(),
        ];
        let mut command = fuzz("run");
        command.args(CHOICES).arg(&target).arg("--").args(bounds);
        if watch(&mut command, |_| ())? {
            tally.passed += 1;
        } else {
            println!("The fuzz target {target} failed.");
            tally.failed += 1;
        }
    }
    Ok(tally)
}

/// Sanitizers need a nightly compiler and find little in a workspace that forbids unsafe code.
const CHOICES: [&str; 2] = ["--sanitizer", "none"];

fn fuzz(verb: &str) -> Command {
    let mut command = cargo();
    command.args(["fuzz", verb]);
    // The flags for coverage are of the compiler's unstable options: this lets the pinned, stable
    // compiler take them.
    command.env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", root().join("fuzz/target"));
    command
}

fn folder() -> PathBuf {
    root().join("fuzz/fuzz_targets")
}

fn targets() -> Result<Vec<String>> {
    let folder = folder();
    let mut targets = Vec::new();
    let entries = std::fs::read_dir(&folder)
        .with_context(|| format!("{} cannot be read", folder.display()))?;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(target) = name.strip_suffix(".rs") {
            targets.push(target.to_owned());
        }
    }
    targets.sort();
    Ok(targets)
}
