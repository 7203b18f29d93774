use std::time::Duration;

use crate::load::Sample;
use crate::report::{Section, cpu_us, grouped, median, replace, throughput};

fn sample(requests: u64, cpu_nanos: u64) -> Sample {
    Sample {
        requests,
        errors: 0,
        elapsed: Duration::from_secs(1),
        database_nanos: 0,
        cpu_nanos,
        p50: Duration::from_micros(requests),
        p99: Duration::from_micros(cpu_nanos),
        traffic: crate::meter::Traffic::default(),
    }
}

#[test]
fn each_figure_has_its_own_median() {
    let middle = median(&[sample(100, 9_000_000), sample(300, 3_000_000), sample(200, 1_000_000)]);
    assert_eq!(throughput(&middle), 200.0);
    assert_eq!(cpu_us(&middle), 10.0);
    assert_eq!(middle.p50, Duration::from_micros(200));
    assert_eq!(middle.p99, Duration::from_micros(3_000_000));
}

#[test]
fn only_what_is_between_the_markers_changes() {
    let page = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n";
    let new = replace(page, Section::Main.name(), "new").unwrap_or_default();
    assert_eq!(new, "before\n<!-- bench:begin -->\nnew\n<!-- bench:end -->\nafter\n");
    assert_eq!(replace(page, Section::Postgres.name(), "new"), None);
}

#[test]
fn thousands_are_set_apart() {
    assert_eq!([0.4, 999.0, 1000.0, 1234567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
}
