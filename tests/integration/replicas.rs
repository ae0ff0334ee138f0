//! Two of each service on PostgreSQL, under load both ways: a rolling restart of every process, and a crash of one of each service
//! that nobody mends. Every accepted text arrives once and in order.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

const CONSUMERS: usize = 4;
/// Between two texts of a conversation.
const PAUSE: Duration = Duration::from_millis(30);
/// How long traffic may stand still after a process has gone for good: dead vaults' shards are taken over after seconds.
const GAP: Duration = Duration::from_secs(45);
/// Texts that show that traffic goes on, of all conversations.
const ENOUGH: usize = 40;

async fn boot() -> anyhow::Result<(Suite, Vec<Consumer>)> {
    let suite = Suite::up(Options {
        consumers: CONSUMERS,
        replicas: 2,
        ..Options::default()
    })
    .await?;
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        consumers.push(Consumer::online(&suite, index)?);
    }
    Ok((suite, consumers))
}

/// Lets texts flow for as long as `trouble` takes, and counts them.
async fn survives(
    suite: &Suite,
    traffic: &Traffic<'_>,
    trouble: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let is_over = AtomicBool::new(false);
    let trouble = async {
        let done = trouble.await;
        is_over.store(true, Ordering::SeqCst);
        done
    };
    let send = traffic.send_while(|_| !is_over.load(Ordering::SeqCst), PAUSE);
    let (accepted, ()) = tokio::try_join!(send, trouble)?;
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()
}

/// Waits until `more` further texts of the business were accepted. Answers how long that took.
async fn until_further(traffic: &Traffic<'_>, more: usize) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let wanted = traffic.accepted_out.load(Ordering::SeqCst) + more;
    while traffic.accepted_out.load(Ordering::SeqCst) < wanted {
        ensure!(start.elapsed() < GAP, "nothing goes on after {GAP:?}");
        sleep(Duration::from_millis(10)).await;
    }
    Ok(start.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_of_every_process_loses_doubles_and_misorders_nothing()
-> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    let traffic = Traffic::new(&suite, &consumers, "rolling")?;
    let restarts = async {
        let mut names: Vec<_> = suite.names().collect();
        names.sort_unstable();
        ensure!(names.len() == 13, "two of each, and a connector: {names:?}");
        for name in names {
            until_further(&traffic, ENOUGH).await?;
            suite.restart(name).await?;
        }
        until_further(&traffic, ENOUGH).await.map(drop)
    };
    survives(&suite, &traffic, restarts).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_each_service_may_crash_for_good_and_traffic_goes_on_within_seconds()
-> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    let traffic = Traffic::new(&suite, &consumers, "crashed")?;
    let crashes = async {
        until_further(&traffic, ENOUGH).await?;
        for name in [
            "directory",
            "key-vault",
            "store-2",
            "relay",
            "retention-2",
            "gateway",
        ] {
            suite.kill9(name).await?;
            let gap = until_further(&traffic, ENOUGH).await?;
            progress(&format!(
                "{name} is gone: {ENOUGH} texts more within {:.1} s",
                gap.as_secs_f32()
            ));
        }
        Ok(())
    };
    survives(&suite, &traffic, crashes).await
}
