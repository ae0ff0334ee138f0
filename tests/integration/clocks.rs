//! Clocks that jump under traffic: a little forward passes, back stands still, far forward waits for an operator; nothing is lost by
//! any of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use serde_json::Value;
use tokio::time::sleep;

use super::LATER;

const CONSUMERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// How long the clock stays back.
const STILL: Duration = Duration::from_secs(4);

/// What the clock does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jump {
    /// As if nothing had happened.
    Passes,
    /// Nothing is admitted until the operator has said that the time is right.
    WaitsForOperator,
    /// The vault's time stands still. What is sealed under a key that both ends have already passes; the rest waits for its time.
    StandsStill,
}

/// From the time before, as `sealpost admin clock advance` names it.
const JUMPS: [(&str, Jump); 5] = [
    ("9m", Jump::Passes),
    ("11m", Jump::WaitsForOperator),
    ("-1d", Jump::StandsStill),
    ("25h", Jump::WaitsForOperator),
    ("-30s", Jump::Passes),
];

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_jump_under_traffic_cost_no_text() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: CONSUMERS,
        clock_file: true,
        ..Options::default()
    })
    .await?;
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        consumers.push(Consumer::online(&suite, index)?);
    }
    let traffic = Traffic::new(&suite, &consumers, "clock")?;
    let over = AtomicBool::new(false);
    let jumping = async {
        for (by, jump) in JUMPS {
            traffic.until_accepted(traffic.count() + 10).await;
            advance(&suite, by).await?;
            match jump {
                Jump::Passes => {}
                Jump::WaitsForOperator => {
                    refused(&suite).await?;
                    ensure!(unconfirmed(&suite).await?, "the vault says why it waits");
                    // A new process takes the word of the clock no sooner.
                    if by == "25h" {
                        suite.restart("key-vault").await?;
                        refused(&suite).await?;
                    }
                    confirm(&suite).await?;
                }
                Jump::StandsStill => {
                    sleep(STILL).await;
                    advance(&suite, "1d").await?;
                }
            }
            let begun = Instant::now();
            traffic.until_accepted(traffic.count() + 10).await;
            traffic.caught_up(LATER).await?;
            progress(&format!(
                "{by} {jump:?}: all arrived after {} ms",
                begun.elapsed().as_millis()
            ));
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        jumping
    )?;
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()
}

/// Moves the suite's clock; whether the vault believes it is left to the operator.
async fn advance(suite: &Suite, by: &str) -> anyhow::Result<()> {
    let command = ["admin", "clock", "advance", by, "--back", "--no-confirm"];
    suite.sealpost(&command).await.map(drop)
}

async fn confirm(suite: &Suite) -> anyhow::Result<()> {
    suite
        .sealpost(&["admin", "vault", "confirm-clock"])
        .await
        .map(drop)
}

/// Waits until an app is told that nothing is accepted now.
async fn refused(suite: &Suite) -> anyhow::Result<()> {
    let rest = Rest::of(suite)?;
    let message = rest::text("15550009999", "while the clock is wrong");
    let begun = Instant::now();
    loop {
        let answer = rest.post(suite.number(0), None, &message).await?;
        if answer.status != 200 {
            ensure!(answer.status >= 500, "{} {}", answer.status, answer.body);
            return Ok(());
        }
        ensure!(
            begun.elapsed() < LATER,
            "messages are accepted all the while"
        );
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether the vault's log says that the clock needs a word.
async fn unconfirmed(suite: &Suite) -> anyhow::Result<bool> {
    let begun = Instant::now();
    while begun.elapsed() < LATER {
        let said = suite.log("key-vault")?;
        let last = said.lines().rev().find(|line| line.contains("WARN"));
        let line: Value = serde_json::from_str(last.context("a warning")?)?;
        if line.to_string().contains("CLOCK_UNCONFIRMED") {
            return Ok(true);
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(false)
}
