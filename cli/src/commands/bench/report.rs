//! What a run came to: JSON for machines, a table for people.

use std::collections::BTreeMap;

use serde::Serialize;

use super::measure::{Sample, Subject};
use super::plan::{Flow, Plan};
use super::talk::{Counted, Outcome};
use crate::table::table;

/// A finished run.
pub struct Measured {
    /// What was done.
    pub plan: Plan,
    /// Seconds from the end of the stretch until all that was accepted had arrived.
    pub drained: f64,
    /// What had happened at times, when the rate changed.
    pub timeline: Vec<Moment>,
    /// How long the stretch that counts was.
    pub seconds: f64,
    /// Whose time was measured.
    pub subjects: Vec<Subject>,
    /// At its beginning.
    pub before: Sample,
    /// At its end.
    pub after: Sample,
    /// What the business's driver counted.
    pub business: Outcome,
    /// What the consumers' did.
    pub consumers: Outcome,
}

/// One direction of a run. The names are an interface: see `sealpost bench --help`.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    direction: &'static str,
    database: String,
    in_flight: usize,
    accepted_per_s: f64,
    delivered_per_s: f64,
    statuses_per_s: f64,
    latency_ms: Latencies,
    processes: Vec<Process>,
    libsignal_us: f64,
    cpu_ratio: f64,
    server_cpu_us_per_message: f64,
    verified: Verified,
    refused: u64,
    refused_per_s: f64,
    refusals: BTreeMap<String, u64>,
    drained_s: f64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timeline: Vec<Moment>,
    seconds: f64,
    consumers: usize,
    numbers: usize,
    size: usize,
    rate: Option<f64>,
    new_sessions: bool,
    turns: u32,
    counts_refusals: bool,
    then_rate: Option<f64>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Latencies {
    accepted: super::latency::Percentiles,
    delivered: super::latency::Percentiles,
    refused: super::latency::Percentiles,
}

/// What had happened so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the beginning of the stretch.
    pub at: f64,
    /// Messages whose turn had come.
    pub offered: u64,
    /// Of these, accepted.
    pub accepted: u64,
    /// Of these, refused.
    pub refused: u64,
    /// Messages received.
    pub delivered: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Process {
    name: String,
    cpu_us_per_message: f64,
    peak_rss_mb: f64,
    written_bytes_per_message: Option<f64>,
    counted: bool,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct Verified {
    sent: u64,
    accepted: u64,
    delivered: u64,
    duplicates: u64,
    out_of_order: u64,
}

/// What does not depend on the direction.
pub struct Around {
    /// `sqlite` or `postgres`.
    pub database: String,
    /// The yardstick.
    pub libsignal_us: f64,
    /// What a reader must know.
    pub notes: Vec<String>,
}

impl Report {
    /// Of each direction of a run.
    pub fn of(run: &Measured, around: &Around) -> Vec<Self> {
        let flows = &run.plan.flows;
        let one = |flow: &Flow| Self::one(run, *flow, around);
        flows.iter().map(one).collect()
    }

    fn one(run: &Measured, flow: Flow, around: &Around) -> Self {
        let (sender, receiver) = run.ends(flow);
        let processes = run.processes();
        let counted = processes.iter().filter(|process| process.counted);
        let server: f64 = counted.map(|process| process.cpu_us_per_message).sum();
        let mut notes = around.notes.clone();
        let refusals = sender.refusals.iter().chain(&receiver.refusals);
        notes.extend(refusals.map(|why| format!("went wrong: {why}")));
        let plan = &run.plan;
        Self {
            direction: flow.name(),
            database: around.database.clone(),
            in_flight: plan.in_flight,
            accepted_per_s: round(sender.accepted.count as f64 / run.seconds),
            delivered_per_s: round(receiver.delivered.count as f64 / run.seconds),
            statuses_per_s: round(run.business.statuses as f64 / run.seconds),
            latency_ms: Latencies {
                accepted: sender.accepted.latency,
                delivered: receiver.delivered.latency,
                refused: sender.refused.latency,
            },
            libsignal_us: round(around.libsignal_us),
            cpu_ratio: round(server / around.libsignal_us),
            server_cpu_us_per_message: round(server),
            processes,
            verified: Verified {
                sent: sender.progress.sent,
                accepted: sender.progress.accepted,
                delivered: receiver.received.delivered,
                duplicates: receiver.received.duplicates,
                out_of_order: receiver.received.out_of_order,
            },
            refused: sender.progress.refused,
            refused_per_s: round(sender.refused.count as f64 / run.seconds),
            refusals: sender.refused_by.clone(),
            drained_s: round(run.drained),
            timeline: run.timeline.clone(),
            counts_refusals: plan.counts_refusals,
            seconds: round(run.seconds),
            consumers: plan.consumers,
            numbers: plan.numbers,
            size: plan.size,
            rate: plan.rate,
            new_sessions: plan.new_sessions,
            turns: plan.turns,
            then_rate: plan.then_rate,
            notes,
        }
    }

    /// Whether every message came, once and in order; of a run that counts refusals, every one that was accepted.
    pub fn is_verified(&self) -> bool {
        let Verified {
            sent,
            accepted,
            delivered,
            duplicates,
            out_of_order,
        } = self.verified;
        let due = if self.counts_refusals { accepted } else { sent };
        sent > 0 && due == delivered && duplicates == 0 && out_of_order == 0
    }

    /// For people.
    pub fn words(&self) -> String {
        let Self {
            direction,
            database,
            in_flight,
            consumers,
            numbers,
            size,
            seconds,
            ..
        } = self;
        let mut words = format!(
            "{direction}: {seconds:.1} s on {database}, {consumers} consumers, {numbers} number(s), {size} bytes, {in_flight} in flight\n\
             accepted   {:>9.1}/s   {}\n\
             delivered  {:>9.1}/s   {}\n\
             statuses   {:>9.1}/s   told to the business\n\n",
            self.accepted_per_s,
            shown(&self.latency_ms.accepted),
            self.delivered_per_s,
            shown(&self.latency_ms.delivered),
            self.statuses_per_s,
        );
        let headings = ["process", "CPU us/message", "peak MB", "written B/message"];
        let rows: Vec<_> = self.processes.iter().map(Process::row).collect();
        words.push_str(&table(headings, &rows));
        words.push_str(&format!(
            "\n\nlibsignal alone: {:.1} us a message; the services: {:.1} us, {:.2} times as much\n",
            self.libsignal_us, self.server_cpu_us_per_message, self.cpu_ratio
        ));
        let Verified {
            sent,
            delivered,
            duplicates,
            out_of_order,
            ..
        } = self.verified;
        words.push_str(&format!(
            "sent {sent}, delivered {delivered}, repeated {duplicates}, out of order {out_of_order}, refused {} ({:.1}/s)",
            self.refused, self.refused_per_s
        ));
        for note in &self.notes {
            words.push_str(&format!("\nnote: {note}"));
        }
        words
    }
}

impl Measured {
    /// The sender's counts and the receiver's.
    fn ends(&self, flow: Flow) -> (&Outcome, &Outcome) {
        match flow {
            Flow::Out => (&self.business, &self.consumers),
            Flow::In => (&self.consumers, &self.business),
        }
    }

    /// Per message delivered, in both directions together.
    fn processes(&self) -> Vec<Process> {
        let delivered = |flow: &Flow| -> Counted { self.ends(*flow).1.delivered };
        let messages: u64 = self
            .plan
            .flows
            .iter()
            .map(|flow| delivered(flow).count)
            .sum();
        let messages = messages.max(1) as f64;
        let process = |subject: &Subject| {
            let taken = self.after.since(&self.before, &subject.name)?;
            Some(Process {
                name: subject.name.clone(),
                cpu_us_per_message: round(taken.cpu_us / messages),
                peak_rss_mb: round(taken.peak_mb),
                written_bytes_per_message: taken
                    .written
                    .map(|bytes| round(bytes as f64 / messages)),
                counted: subject.is_counted,
            })
        };
        self.subjects.iter().filter_map(process).collect()
    }
}

impl Process {
    fn row(&self) -> [String; 4] {
        let written = self.written_bytes_per_message;
        let aside = if self.counted { "" } else { " (not counted)" };
        [
            format!("{}{aside}", self.name),
            format!("{:.1}", self.cpu_us_per_message),
            format!("{:.1}", self.peak_rss_mb),
            written.map_or_else(|| "?".to_owned(), |written| format!("{written:.0}")),
        ]
    }
}

fn shown(latency: &super::latency::Percentiles) -> String {
    format!(
        "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms",
        latency.p50, latency.p90, latency.p99, latency.p999
    )
}

/// Two decimals: more is noise.
fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
