//! Names the tests that failed, each with the end of what was printed about it, so that the tail
//! of a long log tells what to repair.

use crate::tally::Runner;

/// As many lines are kept of each failure: the end tells why.
pub(super) const SAID_LINES_MAX: usize = 30;
/// As many of them are those from the first panic on: logs may follow it.
pub(super) const PANIC_LINES: usize = 12;
const PANIC: &str = "panicked at";
/// The column at which nextest's statuses end.
const STATUS_WIDTH: usize = 12;

/// A test that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    /// As its runner calls it.
    pub(crate) name: String,
    /// The last lines that were printed about it.
    pub(crate) said: Vec<String>,
}

impl Failure {
    /// One of which nothing more is known.
    pub(crate) fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), said: Vec::new() }
    }

    /// Keeps a line, and forgets those that are too many: neither the last ones nor those of the
    /// first panic. Empty ones tell nothing.
    pub(crate) fn hear(&mut self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let has_panicked = self.said.first().is_some_and(|first| first.contains(PANIC));
        if !has_panicked && line.contains(PANIC) {
            self.said.clear();
        }
        if self.said.len() == SAID_LINES_MAX {
            self.said.remove(if has_panicked { PANIC_LINES } else { 0 });
        }
        self.said.push(line.to_owned());
    }
}

/// Collects them from a runner's lines, which come without colours.
pub(super) struct Failures {
    runner: Runner,
    found: Vec<Failure>,
    retried: Vec<String>,
    /// Which of them the lines are about.
    about: Option<usize>,
    previous: String,
    /// The runner has begun to repeat those that failed.
    repeating: bool,
}

/// What a line says of the ones that follow.
enum Turn {
    /// They are about this failure.
    To(String),
    /// They are about no failure.
    Away,
    /// They are about the same as before, as it is itself.
    Stay,
    /// It names a failure of which nothing more is said.
    Only(String),
    /// This one failed before, and passed when it was tried once more.
    Passed(String),
}

impl Failures {
    pub(super) fn new(runner: Runner) -> Self {
        Self {
            runner,
            found: Vec::new(),
            retried: Vec::new(),
            about: None,
            previous: String::new(),
            repeating: false,
        }
    }

    pub(super) fn read(&mut self, line: &str) {
        let turn = match self.runner {
            Runner::Nextest if self.repeating => Turn::Stay,
            Runner::Nextest => {
                self.repeating = line.starts_with("     Summary [");
                nextest(line)
            }
            Runner::Libtest => self.libtest(line),
            Runner::Unittest => self.unittest(line),
            Runner::Node => self.node(line),
        };
        match turn {
            Turn::To(name) => self.about = Some(self.place(name)),
            Turn::Only(name) => drop(self.place(name)),
            Turn::Passed(name) => {
                self.about = None;
                self.found.retain(|failure| failure.name != name);
                self.retried.push(name);
            }
            Turn::Away => self.about = None,
            Turn::Stay => {
                if let Some(failure) = self.about.and_then(|at| self.found.get_mut(at)) {
                    failure.hear(line);
                }
            }
        }
        line.clone_into(&mut self.previous);
    }

    /// Those that failed, and those that passed when they were tried once more.
    pub(super) fn end(self) -> (Vec<Failure>, Vec<String>) {
        (self.found, self.retried)
    }

    fn place(&mut self, name: String) -> usize {
        let known = self.found.iter().position(|failure| failure.name == name);
        known.unwrap_or_else(|| {
            self.found.push(Failure::new(name));
            self.found.len() - 1
        })
    }

    /// `test a::b ... FAILED`, and later `---- a::b stdout ----`.
    fn libtest(&self, line: &str) -> Turn {
        if let Some(name) = line.strip_prefix("---- ").and_then(|l| l.strip_suffix(" stdout ----"))
        {
            return Turn::To(name.to_owned());
        }
        let test = line.strip_prefix("test ");
        if let Some(name) = test.and_then(|test| test.strip_suffix(" ... FAILED")) {
            return Turn::Only(name.to_owned());
        }
        let away = line == "failures:" || line.starts_with("test result:");
        if away { Turn::Away } else { Turn::Stay }
    }

    /// After a line of `=`: `FAIL: test_x (module.Class.test_x)`.
    fn unittest(&self, line: &str) -> Turn {
        if line.contains(" ... skipped ") {
            return Turn::Only(line.to_owned());
        }
        if self.previous.starts_with("=====") {
            let name = ["FAIL: ", "ERROR: "].iter().find_map(|start| line.strip_prefix(start));
            return name.map_or(Turn::Away, |name| Turn::To(name.to_owned()));
        }
        let away = line.starts_with("=====") || line.starts_with("Ran ");
        if away { Turn::Away } else { Turn::Stay }
    }

    /// After `✖ failing tests:`, each as `test at file:1:2` and `✖ name (1ms)`.
    fn node(&mut self, line: &str) -> Turn {
        if line == "\u{2716} failing tests:" {
            self.repeating = true;
            return Turn::Away;
        }
        if let Some(name) = line.trim_start().strip_prefix("\u{fe63} ") {
            return Turn::Only(name.to_owned());
        }
        if !self.repeating || line.starts_with("test at ") {
            return Turn::Away;
        }
        let Some(name) = line.strip_prefix("\u{2716} ") else { return Turn::Stay };
        let place = self.previous.strip_prefix("test at ").unwrap_or_default();
        Turn::To(format!("{place} {name}").trim_start().to_owned())
    }
}

/// `        FAIL [   0.480s] (3/4) crate::binary module::test`, before what it printed.
fn nextest(line: &str) -> Turn {
    let Some((status, rest)) = line.split_once(" [") else { return Turn::Stay };
    let shouted = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || " -+".contains(c);
    if status.len() != STATUS_WIDTH || !(status.chars().all(shouted) || status.ends_with("Summary"))
    {
        return Turn::Stay;
    }
    let status = status.trim_start();
    let is_end = ["PASS", "SLOW", "LEAK", "START", "SETUP"].contains(&status);
    if is_end || status.ends_with("Summary") || status.starts_with("TERM") {
        return Turn::Away;
    }
    let Some((_, name)) = rest.split_once("] ") else { return Turn::Stay };
    // A count in brackets, in newer versions.
    let counted = name.strip_prefix('(').and_then(|name| name.split_once(") "));
    let name = counted.map_or(name, |(_, name)| name).trim().to_owned();
    // `  TRY 2 PASS`
    if status.starts_with("TRY") && status.ends_with("PASS") {
        return Turn::Passed(name);
    }
    Turn::To(name)
}
