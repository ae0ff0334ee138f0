//! What is counted and timed of every unit of work.
//!
//! Owns the metric names. Labels are a unit's static name and a fixed outcome: never data.

use std::time::Instant;

const TRANSACTIONS: &str = "sealpost_database_transactions_total";
const SECONDS: &str = "sealpost_database_transaction_seconds";
const RETRIES: &str = "sealpost_database_transaction_retries_total";

/// Units that share a transaction.
pub(crate) fn group(units: usize) {
    metrics::histogram!("sealpost_database_group_units").record(units as f64);
}

/// How a unit of work ended.
#[derive(Clone, Copy)]
pub(crate) enum Outcome {
    /// Committed, or read to its end.
    Done,
    /// The work itself gave up and was rolled back.
    RolledBack,
    /// The database failed it, and nothing was written.
    Failed,
    /// The commit's outcome is unknown.
    Unknown,
    /// The work panicked, or the process is stopping.
    Abandoned,
}

impl Outcome {
    fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
            Self::Abandoned => "abandoned",
        }
    }
}

/// A running unit of work; reports once, when it is dropped, so that a panic is counted too.
pub(crate) struct Stopwatch {
    name: &'static str,
    started: Instant,
    outcome: Outcome,
}

impl Stopwatch {
    // A duration for a metric decides nothing, so it need not come from the process's clock.
    #[allow(clippy::disallowed_methods)]
    pub(crate) fn start(name: &'static str) -> Self {
        Self {
            name,
            started: Instant::now(),
            outcome: Outcome::Abandoned,
        }
    }

    pub(crate) fn retried(&self) {
        metrics::counter!(RETRIES, "name" => self.name).increment(1);
    }

    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Stopwatch {
    fn drop(&mut self) {
        let seconds = self.started.elapsed().as_secs_f64();
        metrics::counter!(TRANSACTIONS, "name" => self.name, "outcome" => self.outcome.label())
            .increment(1);
        metrics::histogram!(SECONDS, "name" => self.name).record(seconds);
    }
}
