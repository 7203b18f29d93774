//! The section about PostgreSQL: what the database does, and how often it is asked.

use std::fmt::Write;

use crate::load::Sample;
use crate::options::Subject;
use crate::raw::Way;
use crate::report::{
    Report, Section, cpu_us, database_us, grouped, median, micros, millis_text, ratio_text,
    throughput,
};
use crate::run::PUT_CONNECTIONS;
use crate::run::postgres::{CONNECTIONS, HOT, HOT_CONNECTIONS, WRITES};
use crate::workload::Workload;

impl Report<'_> {
    pub(super) fn postgres_section(&self) -> String {
        let mut out = self.introduction();
        let columns = self.subjects(Section::Postgres);
        let counts = self.counts();
        self.write_cpu(&mut out, &columns);
        self.write_traffic(&mut out);
        self.write_hot(&mut out);
        self.write_ways(&mut out);
        let title = format!("CPU of server + database in \u{b5}s per request, at {counts}");
        self.write_table(&mut out, &columns, &title, cpu_parts);
        self.write_tables(&mut out, &columns);
        self.write_figures(&mut out, &columns);
        out.trim_end().to_owned()
    }

    // The figures that count.
    fn write_cpu(&self, out: &mut String, columns: &[Subject]) {
        let connections = self.main_connections();
        let _ = write!(
            out,
            "\n### CPU of server + database in \u{b5}s per request, at {connections} \
             connections\n\n| |"
        );
        for subject in columns {
            let _ = write!(out, " {} |", subject.title());
        }
        out.push_str(" Nuage / tokio-postgres | Kinto / Nuage |\n|---|");
        out.push_str(&"--:|".repeat(columns.len() + 2));
        out.push('\n');
        for workload in self.options.workloads() {
            let sample = |subject| self.median(subject, workload, connections);
            let _ = write!(out, "| {} |", workload.title());
            for subject in columns {
                let cell = sample(*subject).map_or(String::new(), |sample| cpu_parts(&sample));
                let _ = write!(out, " {cell} |");
            }
            let ratio = |over, under| match (sample(over), sample(under)) {
                (Some(over), Some(under)) => ratio_text(cpu_us(&over) / cpu_us(&under)),
                _ => String::new(),
            };
            let _ = writeln!(
                out,
                " {} | {} |",
                ratio(Subject::Postgres, Subject::PostgresRaw),
                ratio(Subject::KintoPostgresql, Subject::Postgres),
            );
        }
    }

    fn write_traffic(&self, out: &mut String) {
        let traffic = &self.results.postgres.traffic;
        if traffic.is_empty() {
            return;
        }
        let counts = CONNECTIONS.map(|n| n.to_string()).join(" / ");
        let subjects = [Subject::PostgresRaw, Subject::Postgres];
        let _ = writeln!(
            out,
            "\n### Round trips and statements per request, at {counts} connections\n\n\
             | | {0}: round trips | statements | {1}: round trips | statements |\n\
             |---|--:|--:|--:|--:|",
            subjects[0].title(),
            subjects[1].title()
        );
        for workload in self.options.workloads() {
            let _ = write!(out, "| {} |", workload.title());
            for subject in subjects {
                let of = |n| traffic.get(&(subject, workload, n));
                let [round_trips, statements] = traffic_cells(CONNECTIONS.map(of));
                let _ = write!(out, " {round_trips} | {statements} |");
            }
            out.push('\n');
        }
    }

    // Once with as many clients in all, once with as many for each process.
    fn write_hot(&self, out: &mut String) {
        let mut lines = String::new();
        let mut write = |workload: Workload, clients: String, samples: [Option<Sample>; 2]| {
            if let [Some(one), Some(three)] = samples.map(|sample| sample.map(|s| throughput(&s))) {
                let _ = writeln!(
                    lines,
                    "| {} | {clients} | {} | {} | {:.2} |",
                    workload.title(),
                    grouped(one),
                    grouped(three),
                    three / one
                );
            }
        };
        let subjects = [Subject::Postgres, Subject::PostgresThree];
        for workload in HOT {
            for each in HOT_CONNECTIONS {
                let of = |subject| self.results.postgres.hot.get(&(subject, workload, each));
                let samples = subjects.map(|subject| of(subject).map(|samples| median(samples)));
                write(workload, format!("{each} to each process"), samples);
            }
            for all in [self.main_connections(), PUT_CONNECTIONS, 64] {
                let samples = subjects.map(|subject| self.median(subject, workload, all));
                write(workload, format!("{all} in all"), samples);
            }
        }
        if !lines.is_empty() {
            let _ = write!(
                out,
                "\n### One hot collection: requests per second\n\n\
                 | | connections | 1 process | 3 processes | ratio |\n|---|---|--:|--:|--:|\n\
                 {lines}"
            );
        }
    }

    fn write_ways(&self, out: &mut String) {
        let postgres = &self.results.postgres;
        if postgres.ways.is_empty() {
            return;
        }
        let [one, many] = CONNECTIONS;
        for workload in WRITES {
            let _ = writeln!(
                out,
                "\n### Ways to write with tokio-postgres: {}, at {one} / {many} connections\n\n\
                 | | CPU: driver + database, \u{b5}s | per second | median, ms | round trips | \
                 statements |\n|---|--:|--:|--:|--:|--:|",
                workload.title()
            );
            for way in Way::ALL {
                let samples = CONNECTIONS.map(|n| postgres.ways.get(&(way, workload, n)));
                let cells = |cell: fn(&Sample) -> String| {
                    samples
                        .map(|samples| samples.map_or(String::new(), |s| cell(&median(s))))
                        .join(" / ")
                };
                let of = |n| postgres.way_traffic.get(&(way, workload, n));
                let [round_trips, statements] = traffic_cells(CONNECTIONS.map(of));
                let _ = writeln!(
                    out,
                    "| {} | {} | {} | {} | {round_trips} | {statements} |",
                    way.title(),
                    cells(cpu_parts),
                    cells(|sample| grouped(throughput(sample))),
                    cells(|sample| millis_text(sample.p50)),
                );
            }
        }
    }
}

// Of the server and of its database, where it has one.
fn cpu_parts(sample: &Sample) -> String {
    let (all, database) = (cpu_us(sample), database_us(sample));
    if database == 0.0 {
        return micros(all);
    }
    format!("{} + {}", micros(all - database), micros(database))
}

// Round trips and statements per request.
fn traffic_cells(samples: [Option<&Sample>; 2]) -> [String; 2] {
    let cells = |count: fn(&Sample) -> u64| {
        samples
            .map(|sample| {
                sample.map_or("\u{2013}".to_owned(), |sample| {
                    format!("{:.2}", count(sample) as f64 / sample.requests.max(1) as f64)
                })
            })
            .join(" / ")
    };
    [cells(|sample| sample.traffic.round_trips), cells(|sample| sample.traffic.statements)]
}
