//! Every service may be stopped and started in the middle of a conversation.

use std::time::Duration;

use sealpost_tests::binaries::SERVICES;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

#[tokio::test(flavor = "multi_thread")]
async fn each_service_is_stopped_and_started_in_the_middle_and_nothing_is_lost_doubled_or_out_of_order()
-> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let consumers = [Consumer::online(&suite, 0)?, Consumer::online(&suite, 1)?];
    for name in SERVICES {
        let traffic = Traffic::new(&suite, &consumers, &format!("restart-{name}"))?;
        let away = async {
            traffic.until_accepted(25).await;
            suite.stop(name).await?;
            sleep(Duration::from_secs(1)).await;
            suite.start(name).await
        };
        let (accepted, ()) = tokio::try_join!(traffic.send(25, Duration::from_millis(30)), away)?;
        let checked = traffic.check(&accepted, LATER).await;
        checked.map_err(|error| error.context(format!("{name} was stopped and started")))?;
        progress(&format!(
            "{name} was away in the middle of {} texts",
            accepted.len()
        ));
    }
    assert_eq!(
        suite.webhook.repeats(),
        0,
        "a stop in order posts nothing twice"
    );
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_suite_that_is_stopped_and_started_goes_on_where_it_was() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let consumers = [Consumer::online(&suite, 0)?];
    let traffic = Traffic::new(&suite, &consumers, "before")?;
    let accepted = traffic.send(10, Duration::ZERO).await?;
    traffic.check(&accepted, LATER).await?;
    for name in SERVICES.iter().rev() {
        suite.stop(name).await?;
    }
    for name in SERVICES {
        suite.start(name).await?;
    }
    let traffic = Traffic::new(&suite, &consumers, "after")?;
    let accepted = traffic.send(10, Duration::ZERO).await?;
    traffic.check(&accepted, LATER).await
}
