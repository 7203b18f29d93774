//! What a write costs by what it does to readers: residencies begin and end in the transaction.

use std::fmt::Write as _;

use anyhow::Result;
use futures_util::future::join_all;
use nuage_model::Readers;

use crate::feeds::shapes::{Home, Shape, person, put};
use crate::feeds::{Clock, FeedOptions, micros};

/// Writes at a time, each a batch of its own.
const AT_A_TIME: u64 = 16;

/// What is written: a title, and record number and readers from the number of a write.
type Case = (&'static str, fn(u64, u64) -> (u64, Readers));

const CASES: [Case; 3] = [
    ("update, same readers", |n, people| (n % 1_000, Shape::Private.readers(n % 1_000, people))),
    ("update, other readers each time", |n, people| {
        (2_000 + n % 1_000, Readers::new([person((n / 1_000 + n) % people)].into()))
    }),
    ("new record", |n, people| (10_000_000 + n, Shape::Private.readers(n, people))),
];

pub(crate) async fn measure(homes: &[Home], options: &FeedOptions) -> Result<String> {
    let mut out = format!(
        "### Writes\n\nCPU microseconds a write in the store, without HTTP and judgement; {AT_A_TIME} \
         at a time.\n\n|"
    );
    for home in homes {
        let _ = write!(out, " | {}", home.name);
    }
    let _ = writeln!(out, " |\n|---|{}", "--:|".repeat(homes.len()));
    for (title, case) in CASES {
        let _ = write!(out, "| {title} |");
        for home in homes {
            let mut clock = Clock::start(&home.pids);
            let mut number = 0;
            loop {
                let writes = (0..AT_A_TIME).map(|_| {
                    number += 1;
                    let (n, readers) = case(number, options.people);
                    home.apply(vec![put(Shape::Private, n, readers)])
                });
                for written in join_all(writes.collect::<Vec<_>>()).await {
                    written?;
                }
                if !clock.again() {
                    break;
                }
            }
            let _ = write!(out, " {} |", micros(clock.each_us() / AT_A_TIME as f64));
        }
        out.push('\n');
    }
    Ok(out)
}
