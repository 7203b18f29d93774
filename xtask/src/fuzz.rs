//! Fuzz targets, each for a bounded time: enough to notice a target that no longer builds or
//! falls over at once. Long runs are `cargo fuzz run`.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{cargo, must, output, watch};
use crate::tally::{Failure, Tally};
use crate::workspace::{root, scratch};

/// How long each target runs, in seconds.
pub(crate) const SECONDS: u32 = 10;
/// Where the choice of inputs begins: the same in each run, so that what one finds the next finds.
const SEED: u32 = 20_261;
/// How the names of committed inputs begin.
const FIRST: &str = "seed-";
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
    for failure in &tally.failures {
        println!("\n=== failed: {}", failure.name);
        failure.said.iter().for_each(|line| println!("{line}"));
    }
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
    let mut build = Failure::new("the fuzz targets do not build");
    if !watch(fuzz("build").args(CHOICES), |line| build.hear(line))? {
        return Ok(Tally::failure(build));
    }
    for target in targets {
        let bounds = [
            format!("-max_total_time={seconds}"),
            format!("-seed={SEED}"),
            format!("-timeout={INPUT_SECONDS}"),
            format!("-rss_limit_mb={MEMORY_MB}"),
            "-print_final_stats=1".to_owned(),
        ];
        let mut command = fuzz("run");
        command.args(CHOICES).arg(&target).arg(first_inputs(&target)?).arg("--").args(bounds);
        let mut heard = Failure::new(format!("fuzz target {target}, -seed={SEED}"));
        let passed = watch(&mut command, |line| heard.hear(line))?;
        tally.add(if passed { Tally::success() } else { Tally::failure(heard) });
    }
    Ok(tally)
}

/// The committed inputs alone: with what earlier runs found, the same seed would not give the same
/// inputs, as far as the time reaches.
fn first_inputs(target: &str) -> Result<PathBuf> {
    let folder = scratch().with_file_name("fuzz-smoke").join(target);
    if folder.is_dir() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    let corpus = root().join("fuzz/corpus").join(target);
    let entries = std::fs::read_dir(&corpus)
        .with_context(|| format!("the fuzz target {target} has no {}", corpus.display()))?;
    for entry in entries {
        let name = entry?.file_name();
        if name.to_string_lossy().starts_with(FIRST) {
            std::fs::copy(corpus.join(&name), folder.join(&name))?;
        }
    }
    Ok(folder)
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
