//! Neighbours that misbehave: what a consumer that never reads, or a number that floods, costs everybody else.

use serde_json::json;

use crate::call::{Bench, words};
use crate::overload::CONSUMERS;
use crate::results::Results;
use crate::server::Server;
use crate::suite::Place;

const SET: &str = "overload";
/// Numbers of those who behave.
const NUMBERS: usize = 32;
/// Who misbehaves beside them.
const BESIDE: [&str; 3] = ["nobody", "stuck", "flood"];

/// Runs it, with half of what the suite can take.
pub async fn run(
    bench: &Bench,
    server: &Server,
    results: &mut Results,
    best: f64,
    seconds: f64,
) -> anyhow::Result<()> {
    let rate = (best / 2.0).ceil();
    // Twice of what those who behave send; the flood has no more.
    let limit = (2.0 * rate / NUMBERS as f64).ceil().max(1.0);
    let numbers = NUMBERS + 1;
    for beside in BESIDE {
        // Another suite each: what one leaves in queues is not the next one's.
        let options = words(&format!("--numbers={numbers} --rate-limit={limit}"));
        let place = Place::new(bench, server, &options)?;
        let suite = place.up().await?;
        let arguments = words(&format!(
            "--rate {rate} --in-flight 4096 --consumers {CONSUMERS} --numbers {NUMBERS} --beside {beside} --seconds {seconds}"
        ));
        let report = bench.run(&place.arguments(&arguments), None).await?;
        suite.down().await?;
        let run = json!({
            "database": server.kind.name(),
            "beside": beside,
            "limit": limit,
            "report": report,
        });
        results.add(SET, "neighbours", run)?;
    }
    Ok(())
}
