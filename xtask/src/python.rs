//! The suite of Python's client, in a virtual environment of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{must, once, output};
use crate::server::{Pair, Program};
use crate::tally::{Runner, Tally};
use crate::workspace::{root, scratch};

/// Tests of what Nuage does better than the original, which fails them.
const BETTER: &str = "test_better";

/// Installs the client, if that has not been done.
pub(crate) fn set_up() -> Result<()> {
    if output(Command::new("python3").arg("--version")).is_none() {
        bail!("the Python suite needs Python 3.10 or newer: install python3 and python3-venv");
    }
    let requirements = root().join("conformance/python/requirements.txt");
    let environment = environment();
    once(&requirements, &environment.join("requirements.txt"), || {
        must(Command::new("python3").args(["-m", "venv"]).arg(&environment))
            .context("the Python suite needs the module venv: install python3-venv")?;
        must(
            Command::new(environment.join("bin/python"))
                .args(["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "-r"])
                .arg(&requirements),
        )
    })
}

/// Runs the suite against servers of its own.
pub(crate) fn test(program: &Program) -> Result<Tally> {
    let folder = root().join("conformance/python");
    let mut modules = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(module) = name.strip_suffix(".py")
            && module.starts_with("test_")
            && !(program.is_kinto() && module == BETTER)
        {
            modules.push(module.to_owned());
        }
    }
    modules.sort();
    let servers = Pair::start(program, "python")?;
    let mut command = Command::new(environment().join("bin/python"));
    command.args(["-B", "-m", "unittest", "-v"]).args(modules).current_dir(folder);
    servers.tell(&mut command);
    Tally::of(Runner::Unittest, &mut command)
}

fn environment() -> PathBuf {
    scratch().join("venv")
}
