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
/// Workloads that ways to write are compared under. Those that judge nothing can do no others.
pub(crate) const WRITES: [Workload; 2] = [Workload::Put, Workload::Batch];

/// What came out.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) ways: BTreeMap<(Way, Workload, usize), Vec<Sample>>,
    /// Of the same, and of each subject, with the traffic counted: only that means something.
    pub(crate) way_traffic: BTreeMap<(Way, Workload, usize), Sample>,
    pub(crate) traffic: BTreeMap<Key, Sample>,
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
}

fn pairs(workloads: &[Workload]) -> Vec<(Workload, usize)> {
    let all = |workload: &Workload| CONNECTIONS.map(|connections| (*workload, connections));
    workloads.iter().flat_map(all).collect()
}

// Without a warm-up, which would be counted as well.
fn count(options: &Options, workload: Workload, connections: usize) -> Plan {
    Plan { warm_up: Duration::ZERO, ..plan(options, workload, connections) }
}
