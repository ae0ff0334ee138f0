//! What the coordinator and its drivers say to each other: one JSON value a line, orders in, reports out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::latency::Percentiles;
use super::order::Counts;

/// What a driver is told after its plan.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Messages flow from now on; those count that are meant to leave from `from` until `until`, by the shared clock.
    Go {
        /// Nanoseconds.
        from: u64,
        /// Nanoseconds; the end of time when a number of messages decides.
        until: u64,
        /// Nanoseconds: when the last message leaves. Later than `until` when the rate changes then.
        end: u64,
    },
    /// Send no more.
    Stop,
    /// Tell what came of it, and end.
    Finish,
}

/// What a driver tells.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// Every consumer is registered, every conversation primed.
    Ready,
    /// How far it is.
    Progress(Progress),
    /// What came of it.
    Done(Box<Outcome>),
}

/// How far a driver is, as sender and as receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Messages that it sent.
    pub sent: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// Of these, refused for good.
    pub refused: u64,
    /// Whether it sends no more.
    pub has_sent_all: bool,
    /// Different messages that it received.
    pub delivered: u64,
}

/// What came of a driver's part.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// In the end.
    pub progress: Progress,
    /// Acceptances within the stretch that counts.
    pub accepted: Counted,
    /// Deliveries within it.
    pub delivered: Counted,
    /// Statuses that the business was told within it.
    pub statuses: u64,
    /// What was received, in all.
    pub received: Counts,
    /// Refusals of messages that were meant to leave within it.
    pub refused: Counted,
    /// All refusals, by their code.
    pub refused_by: BTreeMap<String, u64>,
    /// The first reasons why messages were refused.
    pub refusals: Vec<String>,
}

/// What happened within the stretch that counts.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// How often it happened within it.
    pub count: u64,
    /// How long it took, for messages that were meant to leave within it.
    pub latency: Percentiles,
}
