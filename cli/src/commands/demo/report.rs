//! What the demo says at its end. Sizes under a seal are computed by sealing the same content with the same code; what was
//! measured is called so.

use std::time::Duration;

use serde_json::{Value, json};

use super::conversation::{Played, Times};
use super::receiver::Receiver;
use super::scan::Found;
use super::sizes::Sizes;
use crate::output::Output;
use crate::table::table;

const FOOTNOTE: &str = "  Sizes are computed by sealing this content with the same code; \"measured\" was read from the gateway's own stream.
  What a process does with it is its design; that none keeps it in the clear is what the search below checks.";

/// Everything that the demo found out.
pub struct Report {
    booted: Duration,
    processes: Vec<(String, u32)>,
    times: Vec<Times>,
    sizes: Sizes,
    /// Header and body of the first answer, in bytes, as the gateway handed them out.
    measured: (usize, usize),
    webhooks: Webhooks,
    running: Found,
    at_rest: Option<Found>,
}

struct Webhooks {
    url_verified: bool,
    good: u64,
    bad: u64,
}

impl Report {
    /// Of a demo that went through.
    pub fn new(
        booted: Duration,
        processes: Vec<(String, u32)>,
        sizes: Sizes,
        measured: (usize, usize),
        played: &Played,
        receiver: &Receiver,
        running: Found,
    ) -> Self {
        Self {
            booted,
            processes,
            times: played.rounds.iter().map(|round| round.times).collect(),
            sizes,
            measured,
            webhooks: Webhooks {
                url_verified: receiver.was_verified(),
                good: receiver.good(),
                bad: receiver.bad(),
            },
            running,
            at_rest: None,
        }
    }

    /// Adds what was found when everything had stopped.
    pub fn at_rest(&mut self, found: Found) {
        self.at_rest = Some(found);
    }

    /// What is not as it must be.
    pub fn failures(&self) -> Vec<String> {
        let searches = [Some(&self.running), self.at_rest.as_ref()];
        let mut failures = Vec::new();
        for found in searches.into_iter().flatten() {
            failures.extend(found.hits().map(str::to_owned));
            if !found.finds_what_is_there() {
                failures.push("the search misses the phone number in the relay".to_owned());
            }
        }
        if self.webhooks.bad > 0 {
            failures.push(format!(
                "{} webhooks without a good signature",
                self.webhooks.bad
            ));
        }
        failures
    }

    /// Whether everything is as it must be.
    pub fn is_good(&self) -> bool {
        self.failures().is_empty()
    }

    /// Prints it.
    pub fn print(&self, output: Output) -> anyhow::Result<()> {
        output.say(&self.words(), &self.json())
    }

    fn words(&self) -> String {
        let hops: Vec<_> = self
            .processes
            .iter()
            .map(|(name, pid)| [format!("  {name}"), pid.to_string(), self.sees(name)])
            .collect();
        let mut times: Vec<[String; 3]> = Vec::new();
        for (label, of) in TIMES {
            let cell = |round: usize| {
                self.times.get(round).map_or_else(String::new, |times| {
                    format!("{:>7} ms", of(times).as_millis())
                })
            };
            times.push([format!("  {label}"), cell(0), cell(1)]);
        }
        format!(
            "\nThe suite was ready after {:.1} s. Two messages went out by REST, two answers came back as webhooks.\n\n\
             {}\n\n{}\n\n{}\n{}\n{}",
            self.booted.as_secs_f64(),
            table(["  elapsed", "first", "second"], &times),
            table(
                [
                    "  process",
                    "pid",
                    "what it had of the first message, or of its answer"
                ],
                &hops
            ),
            FOOTNOTE,
            self.webhook_words(),
            self.scan_words(),
        )
    }

    fn webhook_words(&self) -> String {
        format!(
            "\nWebhooks: {} with a good X-Hub-Signature-256, {} without; the connector {} the URL by the handshake.",
            self.webhooks.good,
            self.webhooks.bad,
            if self.webhooks.url_verified {
                "verified"
            } else {
                "did not verify"
            },
        )
    }

    fn scan_words(&self) -> String {
        let looked = |found: &Found| {
            format!(
                "{} files and pages, {} KiB",
                found.files(),
                found.bytes() / 1024
            )
        };
        let at_rest = self
            .at_rest
            .as_ref()
            .map_or_else(String::new, |found| format!("; stopped: {}", looked(found)));
        let failures = self.failures();
        let verdict = if failures.is_empty() {
            "The contents are in none of them; the consumer's phone number is in the relay, where it belongs, and in no other service, log or metric.".to_owned()
        } else {
            format!("FOUND: {}", failures.join("; "))
        };
        format!(
            "Searched data, logs, metrics and everything else, running: {}{at_rest}.\n{verdict}",
            looked(&self.running)
        )
    }

    /// What a process had of the first message, or of its answer.
    fn sees(&self, process: &str) -> String {
        let Sizes {
            content,
            header,
            body,
            wrap,
            frame,
        } = self.sizes;
        match process {
            "connector" => format!(
                "the content, {content} bytes: it is the business's own; sealed it, its key in a wrap of {wrap} bytes"
            ),
            "gateway" => format!(
                "header {header} bytes (the consumer's number, in memory only) + {body} bytes of sealed body; answer, measured: {} + {}",
                self.measured.0, self.measured.1
            ),
            "directory" => {
                "which token may send from which number; nothing of a message".to_owned()
            }
            "key-vault" => format!(
                "opened the seal in memory, encrypted a frame of {frame} bytes by Signal; keeps sessions, sealed"
            ),
            "store" => {
                "a record that only the vault opens, under a blind tag; no number, no content"
                    .to_owned()
            }
            "relay" => {
                format!("the consumer's number + a Signal ciphertext of a frame of {frame} bytes")
            }
            "retention" => "nothing: it deletes by epochs and blind tags".to_owned(),
            _ => format!("the content, {content} bytes: it is the consumer's own device"),
        }
    }

    fn json(&self) -> Value {
        let hops: Vec<_> = self
            .processes
            .iter()
            .map(|(name, pid)| json!({"process": name, "pid": pid, "had": self.sees(name)}))
            .collect();
        let rounds: Vec<_> = self.times.iter().map(times_json).collect();
        json!({
            "ok": self.is_good(),
            "failures": self.failures(),
            "ready_after_ms": millis(self.booted),
            "hops": hops,
            "computed_bytes": self.sizes.json(),
            "measured_bytes": {
                "answer_header_at_gateway": self.measured.0,
                "answer_sealed_body_at_gateway": self.measured.1,
            },
            "rounds": rounds,
            "webhooks": {
                "signatures_good": self.webhooks.good,
                "signatures_bad": self.webhooks.bad,
                "url_verified": self.webhooks.url_verified,
            },
            "searched": {
                "running": self.running.json(),
                "stopped": self.at_rest.as_ref().map(Found::json),
            },
        })
    }
}

type Pick = fn(&Times) -> Duration;

const TIMES: [(&str, Pick); 6] = [
    ("REST call answered: accepted, durable", |times| {
        times.accepted
    }),
    ("webhook \"sent\"", |times| times.sent),
    ("shown by the consumer's process", |times| times.shown),
    ("webhook \"delivered\"", |times| times.delivered),
    ("read → webhook \"read\"", |times| times.read),
    ("answer written → its webhook", |times| times.answer),
];

fn times_json(times: &Times) -> Value {
    json!({
        "accepted_ms": millis(times.accepted),
        "sent_ms": millis(times.sent),
        "shown_ms": millis(times.shown),
        "delivered_ms": millis(times.delivered),
        "read_to_webhook_ms": millis(times.read),
        "answer_to_webhook_ms": millis(times.answer),
    })
}

/// For machines: a demo that did not come to its end.
pub fn failure(error: &anyhow::Error) -> Value {
    json!({"ok": false, "failures": [format!("{error:#}")]})
}

/// Milliseconds with their fractions.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}
