use std::time::Duration;

use crate::histogram::{Histogram, bucket, middle};

#[test]
fn every_duration_falls_near_the_middle_of_its_bucket() {
    for power in 0..63 {
        for nanos in [1u64 << power, (1 << power) + (1 << power) / 3] {
            let error = (middle(bucket(nanos)) as f64 - nanos as f64).abs() / nanos as f64;
            assert!(error < 0.04, "{nanos} is told as {}", middle(bucket(nanos)));
        }
    }
}

#[test]
fn percentiles_are_those_of_the_sorted_list() {
    let mut low = Histogram::new();
    let mut high = Histogram::new();
    for micros in 1..=500 {
        low.record(Duration::from_micros(micros));
        high.record(Duration::from_micros(500 + micros));
    }
    low.merge(&high);
    let median = low.percentile(50.0).as_micros() as f64;
    let tail = low.percentile(99.0).as_micros() as f64;
    assert!((median - 500.0).abs() < 25.0, "{median}");
    assert!((tail - 990.0).abs() < 40.0, "{tail}");
}
