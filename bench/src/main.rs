//! Measures Nuage beside what it stands on and what it stands in for, and writes
//! docs/performance.md. The load driver and the floors are here; the servers are processes of
//! their own.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

mod feeds;
mod floor;
mod histogram;
mod load;
mod machine;
mod meter;
mod options;
mod payments;
mod process;
mod profile;
mod quiet;
mod raw;
mod report;
mod run;
mod servers;
mod wire;
mod workload;

use anyhow::Result;
use clap::Parser;

use crate::options::{Options, Part};

fn main() -> Result<()> {
    let options = Options::parse();
    match &options.part {
        // As many threads as cores that it may use, like the server that it is the floor of.
        Some(Part::Floor { listen, answers }) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(floor::serve(*listen, answers)),
        Some(Part::RawSqlite { file, records }) => raw::serve_sqlite(file, *records),
        Some(Part::RawPostgres { url, database, records }) => {
            raw::serve_postgres(url, *database, *records)
        }
        Some(Part::Feeds(options)) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(feeds::run(options)),
        Some(Part::Payments(options)) => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(payments::run(options)),
        Some(Part::Quiet(options)) => quiet::run(options),
        None => {
            if !options.no_pin {
                process::pin_self()?;
            }
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?
                .block_on(run::run(&options))
        }
    }
}
