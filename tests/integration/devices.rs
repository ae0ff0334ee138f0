//! Devices that are lost, replaced or restored from a backup, and programs that come later.

use std::time::Instant;

use anyhow::{Context, ensure};
use prost::Message;
use sealpost_consumer::EventKind;
use sealpost_proto::relay::v1::FetchBundleRequest;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::signal::v1::BundleStatement;
use sealpost_runtime::Role;
use sealpost_tests::chat::Chat;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::program::{Heard, Program};
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};

use super::{LATER, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn a_person_with_a_new_device_goes_on_and_the_business_learns_of_the_new_key()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let number = suite.number(0);
    let program = Program::start(suite, "new-device")?;
    let phone = "15550274001";
    let mut first = Chat::register(suite, phone)?;
    first.text("from the first device").await?;
    suite.webhook.wait_for_messages(phone, 1, SOON).await?;
    rest.send(number, &rest::text(phone, "to the first device"))
        .await?;
    first.wait_for_text("to the first device", SOON).await?;

    // The same number on a new device, with a state of its own; the first one is still there and is shut out.
    let state = suite.dir().join("consumers/new-device.state");
    let state = state.to_str().unwrap_or_default().to_owned();
    let mut second = Chat::register_at(suite, phone, &state)?;
    second.text("from the second device").await?;
    suite.webhook.wait_for_messages(phone, 2, LATER).await?;
    rest.send(number, &rest::text(phone, "to the second device"))
        .await?;
    second.wait_for_text("to the second device", LATER).await?;
    let changed = |heard: &Heard| matches!(heard, Heard::IdentityChange).then_some(());
    program
        .heard()
        .find("the change of identity at the program", SOON, changed)
        .await?;
    ensure!(
        first
            .said
            .pick(|line| (line["content"]["body"] == "to the second device").then_some(()))
            .is_empty(),
        "the replaced device still reads"
    );
    second.quit().await
}

/// Waits until the relay lists this device of a consumer.
async fn registered_as(suite: &Suite, phone: &str, device_id: u32) -> anyhow::Result<()> {
    let mut relay = PlatformServiceClient::new(suite.as_role(Role::Gateway, "relay").await?);
    let start = Instant::now();
    loop {
        let request = FetchBundleRequest {
            phone_number_id: suite.number(0).to_owned(),
            peer: phone.to_owned(),
            known_devices: Vec::new(),
            without_prekeys: true,
        };
        let bundle = relay.fetch_bundle(request).await?.into_inner().bundle;
        let statement = BundleStatement::decode(bundle.context("a bundle")?.statement)?;
        if statement
            .devices
            .iter()
            .any(|device| device.device_id == device_id)
        {
            return Ok(());
        }
        ensure!(
            start.elapsed() < SOON,
            "device {device_id} does not register"
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_that_writes_first_to_a_new_device_learns_of_the_new_key_with_its_answer()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let number = suite.number(0);
    let program = Program::start(suite, "new-device-unheard")?;
    let phone = "15550274002";
    let mut first = Chat::register(suite, phone)?;
    first.text("from the first device").await?;
    suite.webhook.wait_for_messages(phone, 1, SOON).await?;
    rest.send(number, &rest::text(phone, "to the first device"))
        .await?;
    first.wait_for_text("to the first device", SOON).await?;

    let state = suite.dir().join("consumers/new-device-unheard.state");
    let state = state.to_str().unwrap_or_default().to_owned();
    let mut second = Chat::register_at(suite, phone, &state)?;
    registered_as(suite, phone, 2).await?;
    let id = rest
        .send(number, &rest::text(phone, "to the second device"))
        .await?;
    second.wait_for_text("to the second device", LATER).await?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    second.text("from the second device").await?;
    suite.webhook.wait_for_messages(phone, 2, LATER).await?;
    let changed = |heard: &Heard| matches!(heard, Heard::IdentityChange).then_some(());
    program
        .heard()
        .find("the change of identity at the program", SOON, changed)
        .await?;
    second.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_is_restored_from_a_backup_asks_again_and_misses_nothing_new()
-> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    let number = suite.number(0);
    let consumer = Consumer::online(&suite, 0)?;
    let phone = consumer.phone.clone();
    // A session with a few turns of the ratchet, then a backup, then more turns.
    for round in 1..=2 {
        rest.send(
            number,
            &rest::text(&phone, &format!("before the backup {round}")),
        )
        .await?;
        consumer.wait_for(round, SOON).await?;
        consumer
            .text(&suite, 0, &format!("answer before {round}"))
            .await?;
        suite.webhook.wait_for_messages(&phone, round, SOON).await?;
    }
    consumer.offline().await?;
    let state = suite.facts().consumers[0].state.clone();
    let backup = state.with_extension("backup");
    std::fs::copy(&state, &backup)?;
    let consumer = Consumer::online(&suite, 0)?;
    for round in 1..=3 {
        rest.send(
            number,
            &rest::text(&phone, &format!("after the backup {round}")),
        )
        .await?;
        consumer.wait_for(round, SOON).await?;
        consumer
            .text(&suite, 0, &format!("answer after {round}"))
            .await?;
        suite
            .webhook
            .wait_for_messages(&phone, round + 2, SOON)
            .await?;
    }
    consumer.offline().await?;

    std::fs::copy(&backup, &state)?;
    let expected: Vec<_> = (1..=5)
        .map(|place| format!("to the restored device {place}"))
        .collect();
    for text in &expected {
        rest.send(number, &rest::text(&phone, text)).await?;
    }
    let consumer = Consumer::online(&suite, 0)?;
    consumer.wait_for(expected.len(), LATER).await?;
    let mut arrived = consumer.texts_from(number);
    let failed = consumer
        .inbox()
        .pick(|event| matches!(event, EventKind::Undecryptable { .. }).then_some(()));
    ensure!(
        !failed.is_empty(),
        "nothing had to be asked for again: the test proves nothing"
    );
    // Asked for one by one, they come in the order of the answers.
    arrived.sort();
    assert_eq!(arrived, expected);
    consumer.text(&suite, 0, "I am back").await?;
    let heard = suite.webhook.wait_for_messages(&phone, 6, LATER).await?;
    assert_eq!(heard[5].object["text"]["body"], "I am back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_subscribes_later_hears_everything_from_the_start_and_goes_on_where_it_was()
-> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let number = suite.number(0);
    let consumer = Consumer::online(&suite, 0)?;
    let mut expected = Vec::new();
    for place in 0..10 {
        expected.push(format!("early {place}"));
        consumer.text(&suite, 0, &expected[place]).await?;
    }
    suite
        .webhook
        .wait_for_messages(&consumer.phone, 10, SOON)
        .await?;
    let message = |heard: &Heard| matches!(heard, Heard::Message { .. }).then_some(());
    let late = Program::start(&suite, "late")?;
    late.heard()
        .at_least(10, "early messages at a late program", SOON, message)
        .await?;
    assert_eq!(late.texts_from(number, &consumer.phone), expected);
    // Acknowledgements travel behind the events.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    drop(late);

    for place in 0..5 {
        consumer.text(&suite, 0, &format!("later {place}")).await?;
    }
    suite.restart("gateway").await?;
    let again = Program::start(&suite, "late")?;
    again
        .heard()
        .at_least(5, "later messages at the same subscription", LATER, message)
        .await?;
    let expected: Vec<_> = (0..5).map(|place| format!("later {place}")).collect();
    assert_eq!(again.texts_from(number, &consumer.phone), expected);
    let warnings = again
        .heard()
        .pick(|heard| matches!(heard, Heard::Warning(_)).then_some(()));
    ensure!(
        warnings.is_empty(),
        "{} events were not accepted",
        warnings.len()
    );
    Ok(())
}
