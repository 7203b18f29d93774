//! What feeds cost: a page, by how rights are shared out, on both databases, beside a walk that
//! filters by hand; a write, by what it does to readers; and how soon a write reaches those who
//! watch.
//!
//! Pages and writes are measured inside this process, without HTTP: the same engine and stores.

mod names;
mod pages;
mod shapes;
mod walk;
mod watchers;
mod writes;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::process::{CpuTime, cpu_time};
use crate::report;
use crate::servers::Places;
use crate::servers::database::{Database, is_installed};
use crate::{machine, options};

/// The part of docs/performance.md that is written.
const SECTION: &str = "bench-feeds";
/// How long one thing is repeated.
const LONG: Duration = Duration::from_millis(400);

pub(crate) use options::FeedOptions;
pub(crate) use shapes::scatter;

/// Measures, prints, and writes the tables if asked to.
pub(crate) async fn run(options: &FeedOptions) -> Result<()> {
    let places = Places::find(!options.no_pin, None)?;
    let mut text = machine::describe(&places.data, places.pin)?;
    println!("{text}");
    let mut homes = vec![shapes::Home::on_sqlite(&places.data).await?];
    let database = match is_installed() {
        true => Some(Database::start(&places, &places.data)?),
        false => None,
    };
    if let Some(database) = &database {
        homes.push(shapes::Home::on_postgres(database).await?);
    }
    let mut tables = Vec::new();
    for home in &homes {
        for shape in shapes::Shape::ALL {
            println!("{}, {}: loading {} records", home.name, shape.name(), options.records);
            home.load(shape, options).await?;
        }
        tables.push((home.name, pages::measure(home, options).await?));
    }
    let _ = write!(text, "\n\n{}", pages::to_markdown(&tables, options));
    let _ = write!(text, "\n{}", writes::measure(&homes, options).await?);
    let _ = write!(text, "\n{}", names::measure(&homes).await?);
    for home in homes {
        home.store.close().await;
    }
    drop(database);
    let _ = write!(text, "\n{}", watchers::measure(&places, options).await?);
    println!("\n{text}");
    if options.write {
        report::publish(SECTION, &text)?;
    }
    std::fs::remove_dir_all(&places.data)?;
    Ok(())
}

/// Microseconds of CPU time of these processes for each of some repetitions.
pub(crate) struct Clock<'a> {
    pids: &'a [u32],
    before: CpuTime,
    begun: Instant,
    pub(crate) count: u64,
}

impl<'a> Clock<'a> {
    pub(crate) fn start(pids: &'a [u32]) -> Self {
        Self { pids, before: cpu_time(pids), begun: Instant::now(), count: 0 }
    }

    /// Counts one, and says whether to go on.
    pub(crate) fn again(&mut self) -> bool {
        self.count += 1;
        self.count < 3 || self.begun.elapsed() < LONG
    }

    /// CPU time of one.
    pub(crate) fn each_us(&self) -> f64 {
        let nanos = cpu_time(self.pids).since(&self.before);
        nanos as f64 / 1000.0 / self.count.max(1) as f64
    }
}

pub(crate) fn micros(us: f64) -> String {
    match us {
        us if us >= 10_000.0 => format!("{:.0} ms", us / 1000.0),
        us if us >= 1_000.0 => format!("{:.1} ms", us / 1000.0),
        us if us >= 10.0 => format!("{us:.0}"),
        us => format!("{us:.1}"),
    }
}
