//! All tests, in one go, counted together.

use anyhow::Result;

use crate::run::{cargo, output, watch};
use crate::server::{DATABASES, Program};
use crate::tally::{Failure, Runner, Tally};
use crate::{browser, fuzz, javascript, postgres, python, tidy};

/// Part after part; one that cannot run counts as one failure, and the others still run.
#[derive(Default)]
struct Report {
    parts: Vec<(String, Tally)>,
}

impl Report {
    fn part(&mut self, name: impl Into<String>, run: impl FnOnce() -> Result<Tally>) {
        let name = name.into();
        println!("\n=== {name}");
        let tally = run().unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::failure(Failure::new(format!("{error:#}")))
        });
        self.parts.push((name, tally));
    }

    /// Prints what was said of each failure, the names of those that failed, each part and, as the
    /// last line, the sum; true if nothing failed.
    fn end(self) -> bool {
        println!();
        for (part, failure) in self.failures() {
            println!("=== failed: {part}: {}", failure.name);
            failure.said.iter().for_each(|line| println!("{line}"));
            println!();
        }
        let mut sum = Tally::default();
        for (name, tally) in &self.parts {
            println!("{name}: {} passed, {} failed", tally.passed, tally.failed);
            sum.add(tally.clone());
        }
        for name in &sum.retried {
            println!("passed only when it was tried once more: {name}");
        }
        for (part, failure) in self.failures() {
            println!("failed: {part}: {}", failure.name);
        }
        println!("{} passed, {} failed", sum.passed, sum.failed);
        sum.failed == 0
    }

    fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.parts.iter().flat_map(|(part, tally)| {
            tally.failures.iter().map(move |failure| (part.as_str(), failure))
        })
    }
}

/// `cargo xtask test`.
pub(crate) fn everything() -> Result<bool> {
    let mut report = Report::default();
    report.part("Rust", rust);
    for database in DATABASES {
        clients(&mut report, &Program::Nuage(database));
    }
    report.part("fuzz targets", || {
        fuzz::set_up()?;
        fuzz::smoke(fuzz::SECONDS)
    });
    Ok(report.end())
}

/// `cargo xtask conformance`.
pub(crate) fn conformance(programs: &[Program]) -> Result<bool> {
    let mut report = Report::default();
    for program in programs {
        clients(&mut report, program);
    }
    Ok(report.end())
}

/// `cargo xtask ci`: stops at the first thing that is wrong, except that all tests run.
pub(crate) fn ci() -> Result<bool> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"];
    Ok(watch(cargo().args(["fmt", "--all", "--check"]), |_| ())?
        && watch(cargo().args(clippy), |_| ())?
        && tidy::print()?
        && everything()?)
}

fn clients(report: &mut Report, program: &Program) {
    let part = |name: &str| format!("{name}, {}", program.name());
    report.part(part("Python client"), || {
        python::set_up()?;
        build(program)?;
        python::test(program)
    });
    report.part(part("JavaScript clients"), || {
        javascript::set_up()?;
        browser::set_up()?;
        build(program)?;
        javascript::test(program)
    });
    // The examples use what the original does not have: a permission, and feeds.
    if let Program::Nuage(keeper) = program {
        report.part(part("example: payments"), || {
            javascript::set_up()?;
            build(program)?;
            javascript::example(program, "payments")
        });
        report.part(part("example: notes"), || {
            javascript::set_up()?;
            browser::set_up()?;
            build(program)?;
            javascript::notes(*keeper)
        });
    }
}

fn build(program: &Program) -> Result<()> {
    if program.is_kinto() {
        return Ok(());
    }
    crate::run::must(cargo().args(["build", "--package", "nuage"]))
}

fn rust() -> Result<Tally> {
    let mut command = cargo();
    // Each test is a process: they share one server. Its messages say more than where it panicked.
    command.env(postgres::SERVER_VARIABLE, postgres::server()?).env("RUST_BACKTRACE", "0");
    if output(cargo().args(["nextest", "--version"])).is_some() {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
        return Tally::of(Runner::Nextest, &mut command);
    }
    Tally::of(Runner::Libtest, command.args(["test", "--workspace", "--no-fail-fast"]))
}
