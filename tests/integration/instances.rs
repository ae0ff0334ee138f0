//! A suite of more than one process of a service: regions, each with a store of its own.

use std::collections::BTreeSet;

use anyhow::ensure;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use serde_json::Value;

use super::SOON;

#[tokio::test(flavor = "multi_thread")]
async fn with_regions_each_has_a_store_that_stops_and_starts_by_its_name() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        regions: &["eu", "na"],
        ..Options::default()
    })
    .await?;
    let names: BTreeSet<_> = suite.names().collect();
    ensure!(names.contains("store-eu") && names.contains("store-na"));
    ensure!(!names.contains("store") && names.len() == 8, "{names:?}");
    let regions: Vec<_> = suite
        .facts()
        .numbers
        .iter()
        .map(|number| number.region.as_str())
        .collect();
    assert_eq!(regions, ["eu", "na"]);

    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    for (index, region) in regions.iter().enumerate() {
        let name = format!("store-{region}");
        suite.restart(&name).await?;
        let text = format!("through {name}");
        let key = format!("key-{index}");
        rest.text_until_accepted(suite.number(index), &consumer.phone, &text, &key, SOON)
            .await?;
        consumer.wait_for(index + 1, SOON).await?;
        assert_eq!(consumer.texts_from(suite.number(index)), [text]);
    }

    // The other region's store may be down.
    suite.stop("store-na").await?;
    rest.send(suite.number(0), &rest::text(&consumer.phone, "in Europe"))
        .await?;
    consumer.wait_for(3, SOON).await?;
    let status = suite.sealpost(&["--json", "admin", "status"]).await;
    ensure!(status.is_err(), "one is stopped: {status:?}");
    suite.start("store-na").await?;
    let status: Value =
        serde_json::from_str(&suite.sealpost(&["--json", "admin", "status"]).await?)?;
    assert_eq!(status["services"].as_array().map(Vec::len), Some(8));
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_may_be_started_while_the_vault_is_down() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    suite.stop("gateway").await?;
    suite.stop("key-vault").await?;
    let said: Value =
        serde_json::from_str(&suite.sealpost(&["--json", "start", "gateway"]).await?)?;
    // Whether it says that it serves depends on what it has to take up again; it answers, and that is all that a start waits for.
    ensure!(
        said["pid"].is_u64() && suite.is_running("gateway")?,
        "{said}"
    );
    suite.start("key-vault").await?;
    suite.restart("gateway").await?;
    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    rest.text_until_accepted(suite.number(0), &consumer.phone, "again", "again", SOON)
        .await?;
    consumer.wait_for(1, SOON).await?;
    Ok(())
}
