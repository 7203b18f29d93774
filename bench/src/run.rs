//! One run: starts who takes part, measures them in turns so that a busy moment of the machine
//! hits all alike, and hands the figures to the report.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, bail};

use crate::load::{Kept, Plan, Sample, Target};
use crate::options::{Options, Subject};
use crate::raw::Way;
use crate::report::{Report, Section};
use crate::servers::{self, Figures, Places, Raw, Server, database};
use crate::workload::{KNOWN_RECORDS, Workload};
use crate::{machine, profile, report};

pub(crate) mod postgres;

/// Connections at which puts are compared with the raw engine.
pub(crate) const PUT_CONNECTIONS: usize = 32;
/// Records that a connection to Kinto learns first: each costs it milliseconds.
const KINTO_KNOWN_RECORDS: u64 = 2;

/// What was measured of whom, under what, at how many connections.
pub(crate) type Key = (Subject, Workload, usize);

/// Everything that came out.
#[derive(Default)]
pub(crate) struct Results {
    pub(crate) samples: BTreeMap<Key, Vec<Sample>>,
    pub(crate) figures: BTreeMap<Subject, Figures>,
    /// What is measured on PostgreSQL alone.
    pub(crate) postgres: postgres::Comparison,
}

/// A round in which a floor is so far from where it mostly is was one of a busy machine.
const STEADY: f64 = 1.15;
/// How often rounds are added for those that were.
const AGAIN_MAX: usize = 2;
/// A row with fewer rounds is left out.
const ROUNDS_MIN: usize = 3;

pub(crate) async fn run(options: &Options) -> Result<()> {
    let places = Places::find(!options.no_pin, options.nuage.clone())?;
    let subjects = subjects(options, &places)?;
    let machine = machine::describe(&places.data, places.pin)?;
    println!("{machine}");
    if options.profile {
        return profile::run(options, &places).await;
    }
    let mut results = Results::default();
    let mut kept = Vec::new();
    // The floor repeats what somebody answered, so Kinto goes first if there is no Nuage.
    let nuage = subjects.iter().any(|subject| subject.is_nuage());
    if nuage {
        measure_fast(options, &places, &subjects, &mut kept, &mut results).await?;
    }
    for subject in subjects.iter().copied().filter(|subject| subject.is_kinto()) {
        // What goes wrong with Kinto does not cost the figures of the others.
        let measured = measure_kinto(options, &places, subject, &mut kept, &mut results).await;
        if let Err(error) = measured {
            println!("{} is left out: {error:#}", subject.title());
        }
    }
    if !nuage {
        measure_fast(options, &places, &subjects, &mut kept, &mut results).await?;
    }
    let start_up = if nuage { Some(servers::start_up_of_nuage(&places)?) } else { None };
    for (subject, figures) in &mut results.figures {
        if subject.is_nuage() && figures.start_up.is_none() {
            figures.start_up = start_up;
        }
    }
    let binary_bytes = fs::metadata(&places.nuage).map(|file| file.len()).ok();
    let report = Report { options, machine, results: &results, binary_bytes };
    for (section, text) in report.to_markdown() {
        println!("\n{text}");
        let is_published = options.is_whole() || (options.write && !options.quick);
        if section.is_whole(&results) && is_published {
            report::publish(section.name(), &text)?;
            if section == Section::Main {
                report::remember(&report.history_line())?;
            }
        }
    }
    fs::remove_dir_all(&places.data).context("cannot remove the data of the run")
}

fn subjects(options: &Options, places: &Places) -> Result<Vec<Subject>> {
    let mut subjects = options.subjects();
    if subjects.iter().any(|subject| subject.needs_postgres()) && !database::is_installed() {
        println!("PostgreSQL is not installed: what needs it is left out");
        subjects.retain(|subject| !subject.needs_postgres());
    }
    let nuage = subjects.iter().any(|subject| subject.is_nuage());
    if nuage && !places.nuage.exists() {
        bail!("there is no release build of Nuage: run `cargo xtask bench`");
    }
    let alone = !subjects.iter().any(|subject| subject.is_nuage() || subject.is_kinto());
    if subjects.contains(&Subject::Hyper) && alone {
        bail!("hyper repeats what Nuage or Kinto answered: let one of them take part");
    }
    Ok(subjects)
}

// The floor, the engine underneath and Nuage, in turns.
async fn measure_fast(
    options: &Options,
    places: &Places,
    subjects: &[Subject],
    kept: &mut Vec<(Workload, Kept)>,
    results: &mut Results,
) -> Result<()> {
    let records = options.records();
    let mut servers: Vec<(Subject, Server)> = Vec::new();
    for subject in subjects.iter().copied().filter(|subject| subject.is_nuage()) {
        println!("{}: starting, loading {records} records", subject.title());
        let server = servers::start(subject, places, records).await?;
        keep_answers(&server.target, kept).await?;
        servers.push((subject, server));
    }
    if subjects.contains(&Subject::Hyper) {
        let server = servers::start_floor(places, kept, records)?;
        servers.push((Subject::Hyper, server));
    }
    let mut raw = Vec::new();
    if subjects.contains(&Subject::Rusqlite) {
        raw.push((Subject::Rusqlite, Raw::on_sqlite(places, records)?));
    }
    if subjects.contains(&Subject::PostgresRaw) {
        raw.push((Subject::PostgresRaw, Raw::on_postgres(places, records)?));
    }
    let all = options.workloads().into_iter().flat_map(|workload| {
        connections(options, workload).into_iter().map(move |connections| (workload, connections))
    });
    let mut rows: Vec<(Workload, usize)> = all.collect();
    for attempt in 0..=AGAIN_MAX {
        for round in 1..=options.rounds() {
            for (workload, connections) in rows.iter().copied() {
                println!("round {round}: {}, {connections} connections", workload.title());
                let plan = plan(options, workload, connections);
                for (subject, server) in &servers {
                    let sample = server.target.measure(plan).await?;
                    results.add((*subject, workload, connections), sample);
                }
                for (subject, raw) in &mut raw {
                    let sample = raw.measure(Way::Grouped, plan)?;
                    results.add((*subject, workload, connections), sample);
                }
            }
        }
        if options.quick {
            break;
        }
        let is_short = |(workload, connections): &(Workload, usize)| {
            let steady = results.keep_steady(*workload, *connections);
            let is_short = steady < options.rounds();
            if is_short {
                let title = workload.title();
                println!("{title}, {connections} connections: {steady} rounds with steady floors");
            }
            if attempt == AGAIN_MAX && steady < ROUNDS_MIN {
                results.samples.retain(|(_, of, at), _| (of, at) != (workload, connections));
            }
            is_short
        };
        rows.retain(is_short);
        if rows.is_empty() {
            break;
        }
    }
    results.postgres.measure(options, places, &servers, &mut raw).await?;
    for (subject, server) in servers {
        results.figures.insert(subject, server.finish());
    }
    for (subject, raw) in raw {
        results.figures.insert(subject, raw.finish());
    }
    Ok(())
}

async fn measure_kinto(
    options: &Options,
    places: &Places,
    subject: Subject,
    kept: &mut Vec<(Workload, Kept)>,
    results: &mut Results,
) -> Result<()> {
    let records = options.kinto_records();
    println!("{}: starting, loading {records} records", subject.title());
    let server = servers::start(subject, places, records).await?;
    keep_answers(&server.target, kept).await?;
    for workload in options.workloads() {
        for connections in options.connections.iter().copied() {
            println!("{}: {}, {connections} connections", subject.title(), workload.title());
            let plan =
                Plan { known_records: KINTO_KNOWN_RECORDS, ..plan(options, workload, connections) };
            // What fails for one workload is told, and does not end the run.
            match server.target.measure(plan).await {
                Ok(sample) => results.add((subject, workload, connections), sample),
                Err(error) => println!("  {error:#}"),
            }
        }
    }
    results.figures.insert(subject, server.finish());
    Ok(())
}

async fn keep_answers(
    target: &std::sync::Arc<Target>,
    kept: &mut Vec<(Workload, Kept)>,
) -> Result<()> {
    if kept.is_empty() {
        for workload in Workload::ALL {
            kept.push((workload, target.keep_answer(workload).await?));
        }
    }
    Ok(())
}

fn connections(options: &Options, workload: Workload) -> Vec<usize> {
    let mut counts = options.connections.clone();
    if workload == Workload::Put && !counts.contains(&PUT_CONNECTIONS) {
        counts.push(PUT_CONNECTIONS);
    }
    counts
}

/// How a workload is measured.
pub(crate) fn plan(options: &Options, workload: Workload, connections: usize) -> Plan {
    Plan {
        workload,
        connections,
        warm_up: options.warm_up(),
        duration: options.duration(),
        known_records: KNOWN_RECORDS,
        requests_max: workload.requests_max(),
    }
}

impl Results {
    fn add(&mut self, key: Key, sample: Sample) {
        self.samples.entry(key).or_default().push(sample);
    }

    // Keeps the rounds in which each floor was about where it mostly is, and says how many they are.
    // Everybody in a row has a sample of each round, in the same order.
    fn keep_steady(&mut self, workload: Workload, connections: usize) -> usize {
        let mut is_steady: Vec<bool> = Vec::new();
        for floor in [Subject::Hyper, Subject::Rusqlite, Subject::PostgresRaw] {
            let samples = self.samples.get(&(floor, workload, connections));
            let cpu: Vec<f64> = samples.into_iter().flatten().map(cpu_of).collect();
            let mut sorted = cpu.clone();
            sorted.sort_by(f64::total_cmp);
            let Some(middle) = sorted.get(sorted.len() / 2) else { continue };
            let is_near = |cpu: f64| cpu <= middle * STEADY && cpu >= middle / STEADY;
            is_steady.resize(cpu.len(), true);
            is_steady.iter_mut().zip(cpu).for_each(|(steady, cpu)| *steady &= is_near(cpu));
        }
        if is_steady.is_empty() {
            // There is no floor to tell by.
            return usize::MAX;
        }
        for (_, samples) in self.samples.iter_mut().filter(|((_, of, at), samples)| {
            (*of, *at) == (workload, connections) && samples.len() == is_steady.len()
        }) {
            let mut steady = is_steady.iter();
            samples.retain(|_| *steady.next().unwrap_or(&true));
        }
        is_steady.iter().filter(|steady| **steady).count()
    }
}

fn cpu_of(sample: &Sample) -> f64 {
    (sample.cpu_nanos + sample.database_nanos) as f64 / sample.requests.max(1) as f64
}

#[cfg(test)]
mod tests;
