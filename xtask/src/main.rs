//! Chores of this repository, as `cargo xtask <chore>`.
//!
//! A missing component is a failure with a sentence, never a silent skip. It knows programs and
//! files, not how Nuage works: what it starts, it starts as a user would.

// A program for people at a terminal.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod browser;
mod fuzz;
mod javascript;
mod postgres;
mod python;
mod run;
mod server;
mod soak;
mod tally;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use crate::server::{DATABASES, Keeper, Program};

const HELP: &str = "\
cargo xtask <chore>

  test                  install what the tests need, run all of them, count
  ci                    formatting, lints, tidy, then test
  tidy                  the rules of the house that no compiler checks
  conformance [--sqlite | --postgres | --kinto PROGRAM]
                        real clients only, on both databases or one; against Kinto itself, to
                        check the suites
  fuzz-smoke [SECONDS]  each fuzz target for a bounded time (10 seconds)
  soak feed [--database sqlite | postgres]
                        random histories of feeds against the oracle, until one fails
  soak crash [--database sqlite | postgres]
                        kills the server 100 times and PostgreSQL 40 times while clients write
  bench [ARGUMENTS]     build for release and measure; arguments go to the bench
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test::everything(),
        ["ci"] => test::ci(),
        ["tidy"] => tidy::print(),
        ["conformance"] => test::conformance(&DATABASES.map(Program::Nuage)),
        ["conformance", "--sqlite"] => test::conformance(&[Program::Nuage(Keeper::Sqlite)]),
        ["conformance", "--postgres"] => test::conformance(&[Program::Nuage(Keeper::Postgres)]),
        ["conformance", "--kinto", program] => test::conformance(&[Program::Kinto(program.into())]),
        ["fuzz-smoke"] => fuzz::print(fuzz::SECONDS),
        ["fuzz-smoke", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz::print(seconds),
            Err(_) => Err(anyhow::anyhow!("{seconds} is not a number of seconds")),
        },
        ["soak", "feed"] => soak::feed(&["sqlite", "postgres"]),
        ["soak", "feed", "--database", database @ ("sqlite" | "postgres")] => {
            soak::feed(&[*database])
        }
        ["soak", "crash"] => soak::crash(&["sqlite", "postgres"]),
        ["soak", "crash", "--database", database @ ("sqlite" | "postgres")] => {
            soak::crash(&[*database])
        }
        ["bench", rest @ ..] => bench::run(rest),
        [] | ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("There is no such chore.\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
