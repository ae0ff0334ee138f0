//! How long messages took, from when they were meant to leave.
//!
//! Coordinated omission does not show in it: with a rate, a message that leaves late because earlier ones hold the window counts
//! from when its turn was.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The longest that is told apart, in microseconds: ten minutes.
const LONGEST: u64 = 600_000_000;
/// Decimal digits that are kept of each.
const DIGITS: u8 = 3;

/// Latencies of one kind.
pub struct Latency(Histogram<u64>);

/// Percentiles, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Latency {
    /// None yet.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, LONGEST, DIGITS)?))
    }

    /// One took from `intended` to `at`, both in nanoseconds.
    pub fn record(&mut self, intended: u64, at: u64) {
        let micros = at.saturating_sub(intended) / 1000;
        self.0.saturating_record(micros.max(1));
    }

    /// What they come to.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max() as f64 / 1000.0,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn percentiles_are_milliseconds_from_the_intended_time() {
        let mut latency = Latency::new().unwrap();
        for message in 1..=1000 {
            latency.record(5 * MS, 5 * MS + message * MS);
        }
        let found = latency.percentiles();
        for (found, expected) in [
            (found.p50, 500.0),
            (found.p90, 900.0),
            (found.p99, 990.0),
            (found.p999, 999.0),
            (found.max, 1000.0),
        ] {
            assert!((found - expected).abs() / expected < 0.002, "{found}");
        }
    }

    #[test]
    fn a_stall_counts_for_every_message_whose_turn_it_held_up() {
        // One a millisecond is meant to leave; nothing leaves for 100 ms, then all at once.
        let mut latency = Latency::new().unwrap();
        for message in 0..100 {
            latency.record(message * MS, 100 * MS);
        }
        assert!((latency.percentiles().p50 - 50.0).abs() < 1.5);
    }

    #[test]
    fn no_messages_have_no_latency_and_clocks_never_make_one_negative() {
        let mut latency = Latency::new().unwrap();
        assert_eq!(latency.percentiles(), Percentiles::default());
        latency.record(2, 1);
        assert!(latency.percentiles().max <= 0.001);
    }
}
