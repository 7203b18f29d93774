//! All tests, in one go, counted together.

use anyhow::Result;

use crate::run::{cargo, output, watch};
use crate::server::Program;
use crate::tally::{Runner, Tally};
use crate::{browser, fuzz, javascript, python, tidy};

/// Part after part; one that cannot run counts as one failure, and the others still run.
#[derive(Default)]
struct Report {
    parts: Vec<(&'static str, Tally)>,
}

impl Report {
    fn part(&mut self, name: &'static str, run: impl FnOnce() -> Result<Tally>) {
        println!("\n=== {name}");
        let tally = run().unwrap_or_else(|error| {
            println!("error: {error:#}");
            Tally::failure()
        });
        self.parts.push((name, tally));
    }

    /// Prints each part and, as the last line, the sum; true if nothing failed.
    fn end(self) -> bool {
        println!();
        let mut sum = Tally::default();
        for (name, tally) in self.parts {
            println!("{name}: {} passed, {} failed", tally.passed, tally.failed);
            sum = sum.plus(tally);
        }
        println!("{} passed, {} failed", sum.passed, sum.failed);
        sum.failed == 0
    }
}

/// `cargo xtask test`.
pub(crate) fn everything() -> Result<bool> {
    let mut report = Report::default();
    report.part("Rust", rust);
    clients(&mut report, &Program::Nuage);
    report.part("fuzz targets", || {
        fuzz::set_up()?;
        fuzz::smoke(fuzz::SECONDS)
    });
    Ok(report.end())
}

/// `cargo xtask conformance`.
pub(crate) fn conformance(program: &Program) -> Result<bool> {
    let mut report = Report::default();
    clients(&mut report, program);
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
    report.part("Python client", || {
        python::set_up()?;
        build(program)?;
        python::test(program)
    });
    report.part("JavaScript clients", || {
        javascript::set_up()?;
        browser::set_up()?;
        build(program)?;
        javascript::test(program)
    });
    // The example uses a permission that the original does not have.
    if !program.is_kinto() {
        report.part("example: payments", || {
            javascript::set_up()?;
            build(program)?;
            javascript::example(program, "payments")
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
    if output(cargo().args(["nextest", "--version"])).is_some() {
        let run = ["nextest", "run", "--workspace", "--no-fail-fast"];
        return Tally::of(Runner::Nextest, cargo().args(run));
    }
    Tally::of(Runner::Libtest, cargo().args(["test", "--workspace", "--no-fail-fast"]))
}
