//! The suites of the JavaScript clients, in Node and in a browser, and of the example programs.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::postgres;
use crate::run::{must, once, output};
use crate::server::{Keeper, Pair, Program};
use crate::tally::{Runner, Tally};
use crate::workspace::{root, scratch, target};

/// What only Nuage can do.
const OURS: [&str; 2] = ["feeds.test.js", "moves.test.js"];
/// Node 20.19 is the first that loads what kinto.js depends on.
const NODE: (u32, u32) = (20, 19);

/// Installs the clients, if that has not been done.
pub(crate) fn set_up() -> Result<()> {
    let version = output(Command::new("node").arg("--version")).unwrap_or_default();
    if numbers(&version) < NODE || output(Command::new("npm").arg("--version")).is_none() {
        bail!(
            "the JavaScript suites need Node {}.{} or newer and npm: install nodejs and npm \
            (found: {version:?})",
            NODE.0,
            NODE.1
        );
    }
    let folder = root().join("conformance/js");
    let stamp = scratch().join("package-lock.json");
    if !folder.join("node_modules").is_dir() {
        drop(std::fs::remove_file(&stamp));
    }
    once(&folder.join("package-lock.json"), &stamp, || {
        must(Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(&folder))
    })
}

/// Runs the suites of the clients against servers of their own.
pub(crate) fn test(program: &Program) -> Result<Tally> {
    let Program::Nuage(keeper) = program else {
        return suite(program, "js", &root().join("conformance/js"), ".test.js", |_| ());
    };
    // Empty places, one on each database, to move everything from and to.
    let folder = scratch().join(format!("js-moves-{}", std::process::id()));
    let database = postgres::database()?;
    let (file, url) = (folder.as_os_str(), OsStr::new(database.url()));
    // What many records cost the client is the same on both databases: once is enough.
    let (from, to, many) = match keeper {
        Keeper::Sqlite => (file, url, "10000"),
        Keeper::Postgres => (url, file, "3000"),
    };
    let tally = suite(program, "js", &root().join("conformance/js"), ".test.js", |suite| {
        suite.env("NUAGE_TEST_PROGRAM", target().join("debug").join("nuage"));
        suite.env("NUAGE_TEST_FROM", from).env("NUAGE_TEST_TO", to);
        suite.env("NUAGE_TEST_RECORDS", many);
    });
    // It is not there if the suite did not come so far.
    drop(std::fs::remove_dir_all(&folder));
    tally
}

/// Runs the test of an example program against servers of its own.
pub(crate) fn example(program: &Program, name: &str) -> Result<Tally> {
    suite(program, name, &root().join("examples").join(name), ".test.mjs", |_| ())
}

/// Runs the test of the page in `examples/notes`, which starts and restarts a server by itself and
/// leaves a picture of each step.
pub(crate) fn notes(keeper: Keeper) -> Result<Tally> {
    let program = Program::Nuage(keeper);
    let artefacts = scratch().join(format!("notes-{}", program.name().to_lowercase()));
    let folder = scratch().join(format!("notes-data-{}", std::process::id()));
    let database = match keeper {
        Keeper::Sqlite => None,
        Keeper::Postgres => Some(postgres::database()?),
    };
    let place = database.as_ref().map_or(folder.as_os_str(), |it| OsStr::new(it.url()));
    let mut command = files(&program, &root().join("examples/notes"), ".test.mjs")?;
    command.env("NUAGE_TEST_PROGRAM", target().join("debug").join("nuage"));
    command.env("NUAGE_TEST_PLACE", place).env("NUAGE_TEST_ARTEFACTS", artefacts);
    let tally = Tally::of(Runner::Node, &mut command);
    // It is not there on the other database.
    drop(std::fs::remove_dir_all(&folder));
    tally
}

fn suite(
    program: &Program,
    name: &str,
    folder: &Path,
    ending: &str,
    tell: impl FnOnce(&mut Command),
) -> Result<Tally> {
    let mut command = files(program, folder, ending)?;
    let servers = Pair::start(program, name)?;
    servers.tell(&mut command);
    tell(&mut command);
    Tally::of(Runner::Node, &mut command)
}

/// Node with the test files of a folder that this program is asked to pass.
fn files(program: &Program, folder: &Path, ending: &str) -> Result<Command> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        if file.ends_with(ending) && !(program.is_kinto() && OURS.contains(&file.as_str())) {
            files.push(file);
        }
    }
    files.sort();
    let mut command = Command::new("node");
    // One file at a time: one of them flushes the server.
    command.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(files);
    command.current_dir(folder);
    Ok(command)
}

/// The first two numbers of `v20.19.1`.
fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.trim_start_matches('v').split('.').map(|part| part.parse());
    let mut next = || parts.next().and_then(Result::ok).unwrap_or(0);
    (next(), next())
}
