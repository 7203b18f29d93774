//! Counts tests from what their runners print, and keeps what is said of those that failed.
//! Skipped tests count as failed: nothing here is skipped on purpose.

mod failures;

use std::process::Command;

use anyhow::Result;

pub(crate) use crate::tally::failures::Failure;
use crate::tally::failures::Failures;

/// How many tests passed and failed.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Those that failed, by name. Not more than failed; fewer, if the runner did not name all.
    pub(crate) failures: Vec<Failure>,
    /// Those that passed when they were tried once more, by name.
    pub(crate) retried: Vec<String>,
}

/// Whose words the output is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Runner {
    /// `cargo nextest run`.
    Nextest,
    /// `cargo test`: one line for each binary.
    Libtest,
    /// Python's `unittest`.
    Unittest,
    /// `node --test` with its "spec" reporter.
    Node,
}

impl Tally {
    /// One success.
    pub(crate) fn success() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One failure.
    pub(crate) fn failure(failure: Failure) -> Self {
        Self { failed: 1, failures: vec![failure], ..Self::default() }
    }

    /// Adds another.
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.retried.extend(other.retried);
    }

    /// Runs tests and counts them. A runner that fails without naming a failed test, or ends
    /// well without having run any, is itself a failure.
    pub(crate) fn of(runner: Runner, command: &mut Command) -> Result<Self> {
        let mut tally = Self::default();
        let mut failures = Failures::new(runner);
        let mut unnamed = Failure::new("the tests ended badly without naming one that failed");
        let ended_well = crate::run::watch(command, |line| {
            let line = plain(line);
            tally.read(runner, &line);
            failures.read(&line);
            unnamed.hear(&line);
        })?;
        (tally.failures, tally.retried) = failures.end();
        Ok(tally.judged(ended_well, unnamed))
    }

    fn judged(mut self, ended_well: bool, unnamed: Failure) -> Self {
        if !ended_well && self.failed == 0 {
            self.failed = 1;
            self.failures.push(unnamed);
        }
        if ended_well && self.passed == 0 && self.failed == 0 {
            self.failed = 1;
            self.failures.push(Failure::new("no test was run"));
        }
        self
    }

    fn read(&mut self, runner: Runner, line: &str) {
        match runner {
            Runner::Nextest => self.read_nextest(line),
            Runner::Libtest => self.read_libtest(line),
            Runner::Unittest => self.read_unittest(line),
            Runner::Node => self.read_node(line),
        }
    }

    /// `Summary [ 1.2s] 5 tests run: 3 passed (1 slow), 1 failed, 1 timed out, 0 skipped`
    fn read_nextest(&mut self, line: &str) {
        let Some(summary) = line.trim_start().strip_prefix("Summary [") else { return };
        let Some((_, counts)) = summary.split_once(" run: ") else { return };
        for count in counts.split(", ") {
            let (number, what) = numbered(count);
            if what.starts_with("passed") {
                self.passed += number;
            } else if number > 0 {
                self.failed += number;
            }
        }
    }

    /// `test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; …`
    fn read_libtest(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else { return };
        let Some((_, counts)) = result.split_once(". ") else { return };
        for count in counts.split("; ") {
            match numbered(count) {
                (number, "passed") => self.passed += number,
                (number, "failed" | "ignored") => self.failed += number,
                _ => (),
            }
        }
    }

    /// `Ran 9 tests in 1.0s`, then `OK` or `FAILED (failures=2, errors=1)`
    fn read_unittest(&mut self, line: &str) {
        if let Some(count) = line.strip_prefix("Ran ") {
            self.passed += numbered(count).0;
        }
        let brackets = ["OK (", "FAILED ("].iter().find_map(|start| line.strip_prefix(start));
        let Some(counts) = brackets else { return };
        for count in counts.trim_end_matches(')').split(", ") {
            let number = count.split_once('=').map_or(0, |(_, number)| numbered(number).0);
            self.failed += number;
            self.passed = self.passed.saturating_sub(number);
        }
    }

    /// `ℹ pass 4`, `ℹ fail 1`, `ℹ cancelled 0`, `ℹ skipped 0`, `ℹ todo 0`
    fn read_node(&mut self, line: &str) {
        let Some((what, number)) =
            line.strip_prefix("\u{2139} ").and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        match what {
            "pass" => self.passed += numbered(number).0,
            "fail" | "cancelled" | "skipped" | "todo" => self.failed += numbered(number).0,
            _ => (),
        }
    }
}

/// The number at the beginning of a text, and what follows it.
fn numbered(text: &str) -> (u64, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().unwrap_or(0), text[end..].trim_start())
}

/// The line without colours.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\u{1b}' {
            // An escape sequence ends with a letter.
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests;
