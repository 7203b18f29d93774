use std::time::Duration;

use super::{Results, Subject, Workload};
use crate::load::Sample;

fn sample(cpu_us: u64) -> Sample {
    Sample {
        requests: 1,
        errors: 0,
        elapsed: Duration::from_secs(1),
        database_nanos: 0,
        cpu_nanos: cpu_us * 1_000,
        p50: Duration::ZERO,
        p99: Duration::ZERO,
        traffic: crate::meter::Traffic::default(),
    }
}

#[test]
fn rounds_of_a_busy_machine_do_not_count_for_anybody() {
    let mut results = Results::default();
    let mut add = |subject, workload, figures: &[u64]| {
        for figure in figures {
            results.add((subject, workload, 16), sample(*figure));
        }
    };
    add(Subject::Hyper, Workload::Get, &[10, 10, 20, 11, 10]);
    add(Subject::Rusqlite, Workload::Get, &[5, 5, 5, 5, 9]);
    add(Subject::Nuage, Workload::Get, &[1, 2, 3, 4, 5]);
    add(Subject::Kinto, Workload::Get, &[7]);
    add(Subject::Nuage, Workload::Put, &[1, 2]);
    assert_eq!(results.keep_steady(Workload::Get, 16), 3);
    let kept = |subject, workload| {
        let samples = results.samples[&(subject, workload, 16)].iter();
        samples.map(|sample| sample.cpu_nanos / 1_000).collect::<Vec<_>>()
    };
    assert_eq!(kept(Subject::Nuage, Workload::Get), [1, 2, 4]);
    assert_eq!(kept(Subject::Hyper, Workload::Get), [10, 10, 11]);
    assert_eq!(kept(Subject::Kinto, Workload::Get), [7]);
    assert_eq!(results.keep_steady(Workload::Put, 16), usize::MAX, "no floor tells");
}
