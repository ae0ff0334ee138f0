//! Twice of what a suite can take: it keeps its throughput, refuses the rest at once, and recovers by itself.

use anyhow::ensure;
use clap::Args;
use sealpost_tests::progress;
use serde_json::{Value, json};

use crate::call::{Bench, words};
use crate::fairness;
use crate::results::Results;
use crate::server::{Database, Server};
use crate::suite::Place;
use crate::value::{at, entries};

const SET: &str = "overload";
/// Conversations: more than any window, since each has one message on its way to the gateway at a time.
pub const CONSUMERS: usize = 256;
/// What must be kept of the best throughput.
const KEPT: f64 = 0.9;

/// Options of the overload set.
#[derive(Args)]
pub struct Overload {
    /// How long each run is measured
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// On what
    #[arg(long, value_delimiter = ',', default_values = ["sqlite", "postgres"])]
    databases: Vec<Database>,
    /// Leave out the neighbours that misbehave
    #[arg(long)]
    without_neighbours: bool,
    /// Fail when the requirement is not met, after the results are kept
    #[arg(long)]
    strict: bool,
}

impl Overload {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
        results.begin(SET, &format!("make overload SECONDS={}", self.seconds));
        let mut is_met = true;
        for database in &self.databases {
            let server = Server::start(*database).await?;
            let place = Place::new(bench, &server, &["--numbers=1".to_owned()])?;
            let suite = place.up().await?;
            let mut best = 0.0;
            for window in [64, 256] {
                let how = format!("--in-flight {window}");
                let report = self.one(bench, &place, &how).await?;
                best = f64::max(best, at(&report, "/delivered_per_s"));
                let run = json!({"database": database.name(), "phase": "best", "report": report});
                results.add(SET, "runs", run)?;
            }
            let (twice, half) = ((2.0 * best).ceil(), (best / 2.0).ceil());
            let how = format!("--rate {twice} --on-refusal count --then-rate {half}");
            let report = self.one(bench, &place, &how).await?;
            let verdict = verdict(&report, best, half, self.seconds);
            is_met &= verdict["met"] == true;
            progress(&format!("{}: {verdict}", database.name()));
            let run = json!({"database": database.name(), "phase": "twice", "report": report, "verdict": verdict});
            results.add(SET, "runs", run)?;
            let how = format!("--rate {half} --in-flight 4096");
            let report = self.one(bench, &place, &how).await?;
            let run = json!({"database": database.name(), "phase": "half", "report": report});
            results.add(SET, "runs", run)?;
            suite.down().await?;
            if !self.without_neighbours {
                fairness::run(bench, &server, results, best, self.seconds).await?;
            }
        }
        ensure!(!self.strict || is_met, "the requirement is not met");
        Ok(())
    }

    async fn one(&self, bench: &Bench, place: &Place<'_>, how: &str) -> anyhow::Result<Value> {
        let arguments = words(&format!(
            "{how} --consumers {CONSUMERS} --seconds {}",
            self.seconds
        ));
        bench.run(&place.arguments(&arguments), None).await
    }
}

/// What the requirement asks, found in a report.
fn verdict(report: &Value, best: f64, half: f64, seconds: f64) -> Value {
    let kept = at(report, "/delivered_per_s") / best;
    let refused = report["refused"].as_u64().unwrap_or(0);
    let exhausted = report["refusals"]["RESOURCE_EXHAUSTED"]
        .as_u64()
        .unwrap_or(0);
    let recovered = recovery(entries(report, "/timeline"), half, seconds);
    json!({
        "kept_of_best": kept,
        "refused_otherwise": refused - exhausted.min(refused),
        "refusal_p99_ms": at(report, "/latency_ms/refused/p99"),
        "recovered_after_s": recovered,
        "met": kept >= KEPT && refused == exhausted && recovered.is_some(),
    })
}

/// Seconds after the rate fell until no more is on its way than half a second brings. `seconds` is when it fell.
fn recovery(timeline: &[Value], rate: f64, seconds: f64) -> Option<f64> {
    let on_its_way =
        |moment: &Value| at(moment, "/offered") - at(moment, "/refused") - at(moment, "/delivered");
    let after = timeline
        .iter()
        .filter(|moment| at(moment, "/at") >= seconds);
    let mut calm = after.skip_while(|moment| on_its_way(moment) > rate / 2.0);
    Some(at(calm.next()?, "/at") - seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_has_recovered_when_little_is_on_its_way_after_the_rate_fell() {
        let moment = |at: f64, on_its_way: u64| json!({"at": at, "offered": 1000 + on_its_way, "refused": 400, "delivered": 600});
        // Little on its way before the rate fell is no recovery.
        let timeline = [
            moment(1.0, 0),
            moment(2.0, 900),
            moment(3.0, 300),
            moment(3.5, 50),
        ];
        assert_eq!(recovery(&timeline, 100.0, 2.0), Some(1.5));
        assert_eq!(recovery(&timeline[..3], 100.0, 2.0), None);
    }
}
