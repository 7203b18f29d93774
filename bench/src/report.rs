//! Tables for people: the same text on the terminal and in docs/performance.md.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::load::Sample;
use crate::machine;
use crate::options::{Options, Subject};
use crate::process::Memory;
use crate::run::{PUT_CONNECTIONS, Results};
use crate::workload::Workload;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/performance.md");
/// What was published, a line for each run.
const HISTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/history.tsv");

/// What a run says.
pub(crate) struct Report<'a> {
    pub(crate) options: &'a Options,
    pub(crate) machine: String,
    pub(crate) results: &'a Results,
    pub(crate) binary_bytes: Option<u64>,
}

/// A part of the page, between markers of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Section {
    /// Nuage on SQLite and what it stands beside.
    Main,
    /// Nuage on PostgreSQL.
    Postgres,
}

/// Writes the text between the markers of the section of that name.
pub(crate) fn publish(section: &str, text: &str) -> Result<()> {
    let path = Path::new(PAGE);
    let page = std::fs::read_to_string(path)?;
    let page = replace(&page, section, text).context("no markers in docs/performance.md")?;
    Ok(std::fs::write(path, page)?)
}

/// Adds a line to the history of what was published.
pub(crate) fn remember(line: &str) -> Result<()> {
    let mut history = std::fs::read_to_string(HISTORY).unwrap_or_default();
    history.push_str(line);
    history.push('\n');
    Ok(std::fs::write(HISTORY, history)?)
}

fn replace(page: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{text}\n{end}{after}"))
}

impl Section {
    const ALL: [Self; 2] = [Self::Main, Self::Postgres];

    /// Its name in the markers.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Main => "bench",
            Self::Postgres => "bench-postgres",
        }
    }

    // Its columns, in order.
    fn subjects(self) -> &'static [Subject] {
        match self {
            Self::Main => &[
                Subject::Hyper,
                Subject::Rusqlite,
                Subject::Nuage,
                Subject::NuageHistory,
                Subject::NuageBasicauth,
                Subject::Kinto,
                Subject::KintoPostgresql,
            ],
            Self::Postgres => &[
                Subject::PostgresRaw,
                Subject::Postgres,
                Subject::PostgresThree,
                Subject::Nuage,
                Subject::KintoPostgresql,
            ],
        }
    }

    // Those that it is about: who is in both sections stands beside them in the second.
    fn own_subjects(self) -> &'static [Subject] {
        match self {
            Self::Main => self.subjects(),
            Self::Postgres => &[Subject::PostgresRaw, Subject::Postgres, Subject::PostgresThree],
        }
    }

    /// Whether everybody in it took part.
    pub(crate) fn is_whole(self, results: &Results) -> bool {
        self.subjects().iter().all(|subject| results.figures.contains_key(subject))
    }
}

impl Report<'_> {
    /// The sections that somebody took part in.
    pub(crate) fn to_markdown(&self) -> Vec<(Section, String)> {
        let text = |section| match section {
            Section::Main => self.main_section(),
            Section::Postgres => self.postgres_section(),
        };
        let has = |subject: &Subject| self.results.figures.contains_key(subject);
        let mut sections = Section::ALL.to_vec();
        sections.retain(|section| section.own_subjects().iter().any(has));
        sections.into_iter().map(|section| (section, text(section))).collect()
    }

    fn main_section(&self) -> String {
        let mut out = self.introduction();
        let columns = self.subjects(Section::Main);
        self.write_main_table(&mut out, &columns);
        let title = format!("CPU of the server in \u{b5}s per request, at {}", self.counts());
        self.write_table(&mut out, &columns, &title, |sample| micros(cpu_us(sample)));
        self.write_tables(&mut out, &columns);
        self.write_puts(&mut out);
        self.write_figures(&mut out, &columns);
        if let Some(bytes) = self.binary_bytes {
            let _ = writeln!(out, "\nRelease binary: {:.1} MB.", bytes as f64 / 1e6);
        }
        out.trim_end().to_owned()
    }

    // What was run, on what.
    fn introduction(&self) -> String {
        let mut out = String::new();
        let arguments: Vec<_> = std::env::args().skip(1).collect();
        let command = format!("cargo xtask bench {}", arguments.join(" "));
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let rounds = self.options.rounds();
        let millis = self.options.duration().as_millis();
        let _ = writeln!(
            out,
            "`{}`, {today}. {} And after it: {}. {rounds} rounds of {millis} ms, the median of each \
             figure; Kinto one round.",
            command.trim_end(),
            self.machine,
            machine::load().unwrap_or_default(),
        );
        out
    }

    // What everybody's requests come to.
    fn write_tables(&self, out: &mut String, columns: &[Subject]) {
        let counts = self.counts();
        let title = format!("Requests per second, at {counts}");
        self.write_table(out, columns, &title, |s| grouped(throughput(s)) + &failed(s));
        let title = format!("Median latency in ms, at {counts}");
        self.write_table(out, columns, &title, |sample| millis_text(sample.p50));
        let title = format!("99th percentile of latency in ms, at {counts}");
        self.write_table(out, columns, &title, |sample| millis_text(sample.p99));
    }

    // At which connections the cells of a table were measured.
    fn counts(&self) -> String {
        let counts: Vec<_> = self.options.connections.iter().map(usize::to_string).collect();
        format!("{} connections", counts.join(" / "))
    }

    // The figures that the targets are set in.
    fn write_main_table(&self, out: &mut String, columns: &[Subject]) {
        let connections = self.main_connections();
        let _ = write!(
            out,
            "\n### CPU of the server in \u{b5}s per request, at {connections} connections\n\n\
             | |"
        );
        for subject in columns {
            let _ = write!(out, " {} |", subject.title());
        }
        out.push_str(
            " Nuage / hyper | Nuage / rusqlite | Kinto / Nuage | Nuage / floor | aim | acceptable |\n\
             |---|",
        );
        out.push_str(&"--:|".repeat(columns.len() + 6));
        out.push('\n');
        for workload in self.options.workloads() {
            let cpu = |subject| self.median(subject, workload, connections).map(|s| cpu_us(&s));
            let _ = write!(out, "| {} |", workload.title());
            for subject in columns {
                let _ = write!(out, " {} |", cpu(*subject).map_or(String::new(), micros));
            }
            let ratio = |over, under| match (cpu(over), cpu(under)) {
                (Some(over), Some(under)) if under > 0.0 => ratio_text(over / under),
                _ => String::new(),
            };
            let (aim, acceptable) = workload.targets();
            let floor = self.over_floor(workload).map_or(String::new(), ratio_text);
            let _ = writeln!(
                out,
                " {} | {} | {} | {floor} | {aim} | {acceptable} |",
                ratio(Subject::Nuage, Subject::Hyper),
                ratio(Subject::Nuage, Subject::Rusqlite),
                ratio(Subject::Kinto, Subject::NuageBasicauth),
            );
        }
    }

    /// How many times the floor Nuage takes: hyper, and where rows are written or many are read, the
    /// row work as well.
    fn over_floor(&self, workload: Workload) -> Option<f64> {
        let cpu = |subject| {
            self.median(subject, workload, self.main_connections()).map(|sample| cpu_us(&sample))
        };
        let rows = if workload.has_row_work() { cpu(Subject::Rusqlite)? } else { 0.0 };
        Some(cpu(Subject::Nuage)? / (cpu(Subject::Hyper)? + rows))
    }

    /// The main figures on one line: day, commit, how many times the floor each workload takes, and
    /// the binary in MB.
    pub(crate) fn history_line(&self) -> String {
        let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
        let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let mut cells = vec![today, commit.unwrap_or_default()];
        for workload in Workload::ALL {
            let over =
                self.over_floor(workload).map_or("-".to_owned(), |over| format!("{over:.2}"));
            cells.push(format!("{} {over}", workload.name()));
        }
        let bytes = self.binary_bytes.unwrap_or(0) as f64;
        cells.push(format!("MB {:.1}", bytes / 1e6));
        cells.join("\t")
    }

    fn write_table(
        &self,
        out: &mut String,
        columns: &[Subject],
        title: &str,
        cell: impl Fn(&Sample) -> String,
    ) {
        let _ = write!(out, "\n### {title}\n\n| |");
        for subject in columns {
            let _ = write!(out, " {} |", subject.title());
        }
        let _ = writeln!(out, "\n|---|{}", "--:|".repeat(columns.len()));
        for workload in self.options.workloads() {
            let _ = write!(out, "| {} |", workload.title());
            for subject in columns {
                let cells: Vec<String> = self
                    .options
                    .connections
                    .iter()
                    .map(|connections| self.median(*subject, workload, *connections))
                    .map(|sample| sample.map_or("\u{2013}".to_owned(), |s| cell(&s)))
                    .collect();
                let _ = write!(out, " {} |", cells.join(" / "));
            }
            out.push('\n');
        }
    }

    fn write_puts(&self, out: &mut String) {
        let rate =
            |subject| self.median(subject, Workload::Put, PUT_CONNECTIONS).map(|s| throughput(&s));
        let (Some(raw), Some(nuage)) = (rate(Subject::Rusqlite), rate(Subject::Nuage)) else {
            return;
        };
        let _ = writeln!(
            out,
            "\n### Durable puts at {PUT_CONNECTIONS} connections\n\nNuage {} per second, rusqlite \
             {} per second: {:.0} % of the engine underneath (aim: at least 50 %).",
            grouped(nuage),
            grouped(raw),
            100.0 * nuage / raw
        );
    }

    fn write_figures(&self, out: &mut String, columns: &[Subject]) {
        out.push_str(
            "\n### Start, and memory in MB: allocated + pages of files\n\n\
             | | start-up | idle | records loaded | loaded in | memory then | after the runs | \
             served by |\n|---|--:|--:|--:|--:|--:|--:|---|\n",
        );
        for (subject, figures) in &self.results.figures {
            if !columns.contains(subject) {
                continue;
            }
            let memory = |memory: Memory| match memory.own_bytes {
                0 => String::new(),
                own => {
                    format!("{:.1} + {:.1}", own as f64 / 1e6, memory.file_bytes as f64 / 1e6)
                }
            };
            let start_up = figures
                .start_up
                .map_or(String::new(), |time| format!("{:.0} ms", time.as_secs_f64() * 1e3));
            let (records, load_time) = match figures.records {
                0 => (String::new(), String::new()),
                n => (grouped(n as f64), format!("{:.1} s", figures.load_time.as_secs_f64())),
            };
            let _ = writeln!(
                out,
                "| {} | {start_up} | {} | {records} | {load_time} | {} | {} | {} |",
                subject.title(),
                memory(figures.idle),
                memory(figures.loaded),
                memory(figures.after),
                figures.served_by
            );
        }
    }

    fn subjects(&self, section: Section) -> Vec<Subject> {
        let has = |subject: &Subject| self.results.figures.contains_key(subject);
        section.subjects().iter().copied().filter(has).collect()
    }

    fn main_connections(&self) -> usize {
        let counts = &self.options.connections;
        counts.iter().copied().find(|n| *n == 16).or(counts.first().copied()).unwrap_or(1)
    }

    fn median(&self, subject: Subject, workload: Workload, connections: usize) -> Option<Sample> {
        let samples = self.results.samples.get(&(subject, workload, connections))?;
        Some(median(samples))
    }
}

// Each figure's own median: they need not come from one measurement.
fn median(samples: &[Sample]) -> Sample {
    fn middle<T: Clone>(samples: &[Sample], by: impl Fn(&Sample) -> (f64, T)) -> T {
        let mut values: Vec<(f64, T)> = samples.iter().map(by).collect();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        values[values.len() / 2].1.clone()
    }
    let (requests, elapsed) =
        middle(samples, |sample| (throughput(sample), (sample.requests, sample.elapsed)));
    let cpu = middle(samples, |sample| (cpu_us(sample), cpu_us(sample)));
    let database = middle(samples, |sample| (database_us(sample), database_us(sample)));
    Sample {
        requests,
        elapsed,
        errors: samples.iter().map(|sample| sample.errors).sum(),
        database_nanos: (database * 1e3 * requests as f64) as u64,
        cpu_nanos: (cpu * 1e3 * requests as f64) as u64,
        p50: middle(samples, |sample| (sample.p50.as_secs_f64(), sample.p50)),
        p99: middle(samples, |sample| (sample.p99.as_secs_f64(), sample.p99)),
        traffic: samples[0].traffic,
    }
}

fn cpu_us(sample: &Sample) -> f64 {
    sample.cpu_nanos as f64 / 1e3 / sample.requests.max(1) as f64
}

fn database_us(sample: &Sample) -> f64 {
    sample.database_nanos as f64 / 1e3 / sample.requests.max(1) as f64
}

fn throughput(sample: &Sample) -> f64 {
    sample.requests as f64 / sample.elapsed.as_secs_f64().max(1e-9)
}

fn failed(sample: &Sample) -> String {
    if sample.errors == 0 { String::new() } else { format!(" ({} failed)", sample.errors) }
}

fn micros(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { grouped(value) }
}

fn millis_text(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1e3;
    match millis {
        m if m < 1.0 => format!("{m:.3}"),
        m if m < 100.0 => format!("{m:.1}"),
        m => grouped(m),
    }
}

fn ratio_text(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { grouped(ratio) }
}

// Thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

mod postgres;
#[cfg(test)]
mod tests;
