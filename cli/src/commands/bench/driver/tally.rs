//! What a driver counts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::commands::bench::header::Header;
use crate::commands::bench::latency::Latency;
use crate::commands::bench::order::{Came, Order};
use crate::commands::bench::plan::Plan;
use crate::commands::bench::talk::{Counted, Outcome, Progress};
use crate::commands::bench::time;

/// Reasons that are kept.
const REFUSALS: usize = 5;

/// Counts of one driver, as sender and as receiver.
pub struct Tally {
    run: u32,
    from: AtomicU64,
    until: AtomicU64,
    end: AtomicU64,
    counts: Mutex<Counts>,
}

struct Counts {
    progress: Progress,
    accepted: Timed,
    delivered: Timed,
    refused: Timed,
    refused_by: BTreeMap<String, u64>,
    statuses: u64,
    order: Order,
    refusals: Vec<String>,
}

struct Timed {
    count: u64,
    latency: Latency,
}

impl Tally {
    /// Nothing happened yet.
    pub fn new(plan: &Plan) -> anyhow::Result<Self> {
        let counts = Counts {
            progress: Progress::default(),
            accepted: Timed::new()?,
            delivered: Timed::new()?,
            refused: Timed::new()?,
            refused_by: BTreeMap::new(),
            statuses: 0,
            order: Order::new(plan.conversations()),
            refusals: Vec::new(),
        };
        Ok(Self {
            run: plan.run,
            from: AtomicU64::new(u64::MAX),
            until: AtomicU64::new(u64::MAX),
            end: AtomicU64::new(u64::MAX),
            counts: Mutex::new(counts),
        })
    }

    /// What counts: from then until then.
    pub fn stretch(&self, from: u64, until: u64) {
        self.from.store(from, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
    }

    /// When it begins.
    pub fn from(&self) -> u64 {
        self.from.load(Ordering::Relaxed)
    }

    /// When it ends.
    pub fn until(&self) -> u64 {
        self.until.load(Ordering::Relaxed)
    }

    /// The last message leaves then.
    pub fn ends_at(&self, end: u64) {
        self.end.store(end, Ordering::Relaxed);
    }

    /// When the last message leaves.
    pub fn end(&self) -> u64 {
        self.end.load(Ordering::Relaxed)
    }

    fn counts_at(&self, time: u64) -> bool {
        (self.from()..self.until()).contains(&time)
    }

    /// A message leaves.
    pub fn sends(&self) {
        self.lock().progress.sent += 1;
    }

    /// None leaves any more.
    pub fn has_sent_all(&self) {
        self.lock().progress.has_sent_all = true;
    }

    /// One was accepted.
    pub fn accepted(&self, intended: u64) {
        let now = time::now();
        let mut counts = self.lock();
        counts.progress.accepted += 1;
        counts.accepted.happened(self, intended, now);
    }

    /// One was refused for good.
    pub fn refused(&self, why: String) {
        let mut counts = self.lock();
        counts.progress.refused += 1;
        if counts.refusals.len() < REFUSALS {
            counts.refusals.push(why);
        }
    }

    /// One was turned away with that code, which is what was to be counted.
    pub fn turned_away(&self, intended: u64, code: &str) {
        let now = time::now();
        let mut counts = self.lock();
        counts.progress.refused += 1;
        counts.refused.happened(self, intended, now);
        *counts.refused_by.entry(code.to_owned()).or_default() += 1;
    }

    /// One was received and decrypted. Answers whether it is a new one of this run.
    pub fn received(&self, header: &Header) -> bool {
        let now = time::now();
        let mut counts = self.lock();
        if header.run != self.run {
            // What an earlier run of a suite left on its way is nobody's fault here.
            return false;
        }
        let came = counts.order.came(header.conversation, header.sequence);
        let is_new = matches!(came, Came::InOrder | Came::Late);
        if is_new {
            counts.progress.delivered += 1;
            counts.delivered.happened(self, header.intended, now);
        }
        is_new
    }

    /// The business was told a status.
    pub fn status(&self) {
        if self.counts_at(time::now()) {
            self.lock().statuses += 1;
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.lock().progress
    }

    /// What came of it.
    pub fn outcome(&self) -> Outcome {
        let counts = self.lock();
        Outcome {
            progress: counts.progress,
            accepted: counts.accepted.counted(),
            delivered: counts.delivered.counted(),
            refused: counts.refused.counted(),
            refused_by: counts.refused_by.clone(),
            statuses: counts.statuses,
            received: counts.order.counts(),
            refusals: counts.refusals.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Timed {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            count: 0,
            latency: Latency::new()?,
        })
    }

    fn happened(&mut self, tally: &Tally, intended: u64, now: u64) {
        if tally.counts_at(now) {
            self.count += 1;
        }
        // One that was under way at the end counts too: leaving the slow ones out would make all look fast.
        if tally.counts_at(intended) {
            self.latency.record(intended, now);
        }
    }

    fn counted(&self) -> Counted {
        Counted {
            count: self.count,
            latency: self.latency.percentiles(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tally() -> Tally {
        let plan = serde_json::json!({
            "run": 7, "dir": "", "link": "", "flows": ["out"], "consumers": 1, "numbers": 1, "size": 0, "in_flight": 1,
            "rate": null, "messages": null, "new_sessions": false, "turns": 1, "first_phone": 1,
        });
        Tally::new(&serde_json::from_value(plan).unwrap()).unwrap()
    }

    fn header(run: u32, sequence: u32, intended: u64) -> Header {
        Header {
            run,
            conversation: 0,
            sequence,
            intended,
        }
    }

    #[test]
    fn what_was_meant_to_leave_in_the_stretch_has_a_latency_whenever_it_arrives() {
        let (tally, now) = (tally(), time::now());
        tally.stretch(now - 100 * time::SECOND, now - 50 * time::SECOND);
        assert!(tally.received(&header(7, 1, now - 90 * time::SECOND)));
        assert!(tally.received(&header(7, 2, now)));
        let outcome = tally.outcome();
        assert_eq!(
            (outcome.delivered.count, outcome.received.delivered),
            (0, 2)
        );
        assert!(outcome.delivered.latency.p50 >= 90_000.0 - 100.0);
        assert!(outcome.delivered.latency.max < 100_000.0);
    }

    #[test]
    fn other_runs_and_repeats_release_nothing() {
        let tally = tally();
        assert!(!tally.received(&header(6, 1, 0)));
        assert!(tally.received(&header(7, 1, 0)));
        assert!(!tally.received(&header(7, 1, 0)));
        let received = tally.outcome().received;
        assert_eq!((received.delivered, received.duplicates), (1, 1));
    }
}
