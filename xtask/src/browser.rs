//! Chromium and its driver, for the tests that run in a browser.

use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{found, must, output};

const PROGRAMS: [&str; 2] = ["chromium", "chromedriver"];
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Installs them with apt-get if they are missing and this is allowed.
pub(crate) fn set_up() -> Result<()> {
    if PROGRAMS.into_iter().all(found) {
        return Ok(());
    }
    let missing = "the browser tests need chromium and chromedriver; on Debian: \
                   apt-get install chromium chromium-driver";
    let is_root = output(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !is_root || !found("apt-get") {
        bail!("{missing}");
    }
    must(Command::new("apt-get").args(["update", "--quiet"])).context(missing)?;
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    must(
        Command::new("apt-get")
            .args(install)
            .args(PACKAGES)
            .env("DEBIAN_FRONTEND", "noninteractive"),
    )
    .context(missing)
}
