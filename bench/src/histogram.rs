//! Latencies in buckets that are each about 3 % wide: cheap to record, small to keep, exact
//! enough for a percentile.

use std::time::Duration;

const SUB_BITS: u32 = 5;
const SUB_COUNT: usize = 1 << SUB_BITS;

/// Counts of durations.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 * SUB_COUNT], total: 0 }
    }

    pub(crate) fn record(&mut self, duration: Duration) {
        self.counts[bucket(duration.as_nanos() as u64)] += 1;
        self.total += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// The duration that this share of all did not exceed; zero when there are none.
    pub(crate) fn percentile(&self, percent: f64) -> Duration {
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return Duration::from_nanos(middle(index));
            }
        }
        Duration::ZERO
    }
}

// Small values have a bucket each; above, the leading bits choose the bucket.
fn bucket(nanos: u64) -> usize {
    if nanos < SUB_COUNT as u64 {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - SUB_BITS;
    let sub = (nanos >> shift) as usize & (SUB_COUNT - 1);
    (shift as usize + 1) * SUB_COUNT + sub
}

fn middle(index: usize) -> u64 {
    if index < SUB_COUNT {
        return index as u64;
    }
    let shift = (index / SUB_COUNT - 1) as u32;
    let low = (SUB_COUNT as u64 + (index % SUB_COUNT) as u64) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests;
