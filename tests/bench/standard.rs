//! The standard set: what `make bench` measures.

use clap::Args;
use serde_json::{Value, json};

use crate::call::{Bench, words};
use crate::results::Results;
use crate::server::{Database, Server};
use crate::value::at;

const SET: &str = "bench";
/// Parts of the best throughput at which the latency curve has a point.
const LOADS: [f64; 5] = [0.1, 0.25, 0.5, 0.75, 0.9];
/// Sessions that are established a second of the option, so that both grow with it.
const SESSIONS_A_SECOND: f64 = 100.0;
/// As many consumers as the largest window: a conversation has one message on its way to the gateway at a time.
const CONSUMERS: usize = 512;

/// Options of the standard set.
#[derive(Args)]
pub struct Standard {
    /// How long each run is measured
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// How long messages flow before they count
    #[arg(long, default_value_t = 3.0)]
    warm_up: f64,
    /// On what; leaving out one is said in the pages
    #[arg(long, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    databases: Vec<Database>,
}

impl Standard {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
        results.begin(SET, &format!("make bench SECONDS={}", self.seconds));
        for database in &self.databases {
            let server = Server::start(*database).await?;
            let mut best = 0.0;
            for (case, arguments) in self.cases() {
                let report = self.one(bench, &server, &arguments).await?;
                if case.starts_with("out") {
                    best = f64::max(best, at(&report, "/delivered_per_s"));
                }
                let run = json!({"case": case, "report": report});
                results.add(SET, "runs", run)?;
            }
            for load in LOADS {
                let rate = (best * load / 10.0).ceil() * 10.0;
                let arguments = format!("--rate {rate} --in-flight 4096 --consumers {CONSUMERS}");
                let report = self.one(bench, &server, &arguments).await?;
                let run = json!({"load": load, "report": report});
                results.add(SET, "rates", run)?;
            }
        }
        Ok(())
    }

    fn cases(&self) -> Vec<(&'static str, String)> {
        let out =
            |window: usize| format!("--direction out --in-flight {window} --consumers {CONSUMERS}");
        let sessions = (self.seconds * SESSIONS_A_SECOND).clamp(40.0, 10_000.0);
        vec![
            ("out, 1 in flight", out(1)),
            ("out, 64 in flight", out(64)),
            ("out, 512 in flight", out(512)),
            (
                "in, 64 in flight",
                format!("--direction in --in-flight 64 --consumers {CONSUMERS}"),
            ),
            (
                "new sessions",
                format!("--new-sessions --messages {sessions:.0}"),
            ),
        ]
    }

    async fn one(&self, bench: &Bench, server: &Server, arguments: &str) -> anyhow::Result<Value> {
        let times = format!("--seconds {} --warm-up {}", self.seconds, self.warm_up);
        let arguments = words(&format!("{arguments} {times}"));
        bench.run(&arguments, server.url()).await
    }
}
