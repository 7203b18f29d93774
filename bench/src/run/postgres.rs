//! What is measured on PostgreSQL alone: several ways to write side by side, and how often a
//! request makes the server wait for the database.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use crate::load::{Plan, Sample};
use crate::options::{Options, Subject};
use crate::raw::Way;
use crate::run::{Key, plan};
use crate::servers::{self, Places, Raw, Server};
use crate::workload::Workload;

/// Connections at which ways to write are compared, and traffic is counted.
pub(crate) const CONNECTIONS: [usize; 2] = [1, 16];
/// Connections to each process where one process and three write to one collection.
pub(crate) const HOT_CONNECTIONS: [usize; 2] = [16, 64];
/// Workloads of that.
pub(crate) const HOT: [Workload; 3] = [Workload::Put, Workload::Update, Workload::Batch];
/// Workloads that ways to write are compared under. Those that judge nothing can do no others.
pub(crate) const WRITES: [Workload; 2] = [Workload::Put, Workload::Batch];

/// What came out.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) ways: BTreeMap<(Way, Workload, usize), Vec<Sample>>,
    /// Of the same, and of each subject, with the traffic counted: only that means something.
    pub(crate) way_traffic: BTreeMap<(Way, Workload, usize), Sample>,
    pub(crate) traffic: BTreeMap<Key, Sample>,
    /// At so many connections to each process.
    pub(crate) hot: BTreeMap<Key, Vec<Sample>>,
}

impl Comparison {
    /// Measures who takes part, after all else: it leaves many records behind.
    pub(crate) async fn measure(
        &mut self,
        options: &Options,
        places: &Places,
        servers: &[(Subject, Server)],
        raw: &mut [(Subject, Raw)],
    ) -> Result<()> {
        self.measure_hot(options, servers).await?;
        if let Some((_, server)) = servers.iter().find(|(s, _)| *s == Subject::Postgres) {
            println!("counting round trips of Nuage");
            let metered = servers::start_metered(places, server)?;
            for (workload, connections) in pairs(&options.workloads()) {
                let sample = metered.target.measure(count(options, workload, connections)).await?;
                self.traffic.insert((Subject::Postgres, workload, connections), sample);
            }
            metered.finish();
        }
        let Some((_, raw)) = raw.iter_mut().find(|(s, _)| *s == Subject::PostgresRaw) else {
            return Ok(());
        };
        let mut writes = options.workloads();
        writes.retain(|workload| WRITES.contains(workload));
        for round in 1..=options.rounds() {
            for (workload, connections) in pairs(&writes) {
                println!("round {round}: ways to {}, {connections} connections", workload.name());
                for way in Way::ALL {
                    let sample = raw.measure(way, plan(options, workload, connections))?;
                    self.ways.entry((way, workload, connections)).or_default().push(sample);
                }
            }
        }
        println!("counting round trips of tokio-postgres");
        let mut metered = raw.metered(places, options.records())?;
        for (workload, connections) in pairs(&options.workloads()) {
            let plan = count(options, workload, connections);
            let sample = metered.measure(Way::Grouped, plan)?;
            self.traffic.insert((Subject::PostgresRaw, workload, connections), sample);
            for way in Way::ALL.into_iter().filter(|_| writes.contains(&workload)) {
                let sample = metered.measure(way, plan)?;
                self.way_traffic.insert((way, workload, connections), sample);
            }
        }
        metered.finish();
        Ok(())
    }

    // As many clients to each of three processes as to one.
    async fn measure_hot(
        &mut self,
        options: &Options,
        servers: &[(Subject, Server)],
    ) -> Result<()> {
        let processes = [(Subject::Postgres, 1), (Subject::PostgresThree, 3)];
        for round in 1..=options.rounds() {
            for workload in options.workloads().into_iter().filter(|w| HOT.contains(w)) {
                for each in HOT_CONNECTIONS {
                    println!("round {round}: {}, {each} connections each", workload.title());
                    for (subject, count) in processes {
                        let Some((_, server)) = servers.iter().find(|(s, _)| *s == subject) else {
                            continue;
                        };
                        let plan = plan(options, workload, each * count);
                        let sample = server.target.measure(plan).await?;
                        self.hot.entry((subject, workload, each)).or_default().push(sample);
                    }
                }
            }
        }
        Ok(())
    }
}

fn pairs(workloads: &[Workload]) -> Vec<(Workload, usize)> {
    let all = |workload: &Workload| CONNECTIONS.map(|connections| (*workload, connections));
    workloads.iter().flat_map(all).collect()
}

// Without a warm-up, which would be counted as well.
fn count(options: &Options, workload: Workload, connections: usize) -> Plan {
    Plan { warm_up: Duration::ZERO, ..plan(options, workload, connections) }
}
