//! What is past its time: no key, no row, no answer. With retention stopped, too, the vault opens nothing of it and the relay keeps
//! nothing. And what can no longer be sent in its time: the business hears of it before the end.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_connector_sdk::{Client, MessageId, Progress, SdkError};
use sealpost_proto::record::v1::{Direction, Record};
use sealpost_proto::relay::v1::ErasePeerRequest;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::vault::v1::Refusal;
use sealpost_runtime::Role;
use sealpost_tests::chat::Chat;
use sealpost_tests::program::settings;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use serde_json::Value;
use tokio::time::sleep;

use super::at_rest::{all_open, all_receipted, epoch_files, keyring, none_opens, on_disk, records};
use super::{LATER, SOON};

/// A suite whose number keeps messages for an hour.
async fn an_hour() -> anyhow::Result<Suite> {
    let suite = Suite::up(Options {
        consumers: 2,
        clock_file: true,
        ..Options::default()
    })
    .await?;
    let number = suite.number(0).to_owned();
    suite
        .sealpost(&["admin", "number", "set-retention", &number, "1h"])
        .await?;
    Ok(suite)
}

/// Says something both ways; the business has heard that its own text arrived.
async fn talk(suite: &Suite, chat: &mut Chat, nth: usize) -> anyhow::Result<()> {
    let (out, back) = (format!("out {nth}"), format!("back {nth}"));
    let id = Rest::of(suite)?
        .send(suite.number(0), &rest::text(&chat.phone, &out))
        .await?;
    chat.wait_for_text(&out, SOON).await?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    chat.text(&back).await?;
    let heard = suite
        .webhook
        .wait_for_messages(&chat.phone, nth, SOON)
        .await?;
    assert_eq!(heard[nth - 1].object["text"]["body"], back.as_str());
    Ok(())
}

/// What the gateway answers to a program that asks how far these messages of the business are.
async fn statuses(
    suite: &Suite,
    records: &[Record],
) -> anyhow::Result<Vec<Result<Progress, SdkError>>> {
    let client = Client::connect(settings(suite, suite.facts().public("gateway")?)?)?;
    let number = suite.number(0).parse()?;
    let mut found = Vec::new();
    for record in records
        .iter()
        .filter(|record| record.direction() == Direction::Outbound)
    {
        let id = MessageId::try_from(record.message_id.as_ref())?;
        found.push(client.status(&number, id).await);
    }
    Ok(found)
}

async fn run_retention(suite: &Suite) -> anyhow::Result<Value> {
    let said = suite
        .sealpost(&["--json", "admin", "retention", "run"])
        .await?;
    Ok(serde_json::from_str(&said)?)
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_hour_a_conversation_opens_nowhere_and_is_gone_from_store_and_vault()
-> anyhow::Result<()> {
    let suite = an_hour().await?;
    let rest = Rest::of(&suite)?;
    let mut chat = Chat::start(&suite, 0)?;
    talk(&suite, &mut chat, 1).await?;
    // The second consumer is offline: this waits in the relay.
    let away = suite.facts().consumers[1].phone_number.clone();
    let waiting = rest
        .send(
            suite.number(0),
            &rest::text(&away, "to somebody who is away"),
        )
        .await?;
    suite
        .webhook
        .wait_for_status(&waiting, "sent", SOON)
        .await?;

    let aged = records(&suite, 0).await?;
    assert_eq!(aged.len(), 3);
    for record in &aged {
        let class = record.epoch.as_ref().context("an epoch")?.retention_seconds;
        assert_eq!(class, 3600);
        ensure!(on_disk(&suite, "store", &record.message_id)?, "the control");
        ensure!(on_disk(&suite, "store", &record.sealed)?, "the control");
    }
    let outbound: Vec<_> = aged
        .iter()
        .filter(|record| record.direction() == Direction::Outbound)
        .collect();
    for record in &outbound {
        ensure!(on_disk(&suite, "relay", &record.message_id)?, "the control");
    }
    all_open(&suite, &aged).await?;
    let keys = epoch_files(&suite)?;
    ensure!(!keys.is_empty(), "an epoch has its key");

    // Nobody destroys anything, and still nothing opens once its time has passed.
    suite.stop("retention").await?;
    suite
        .sealpost(&["admin", "clock", "advance", "61m"])
        .await?;
    none_opens(&suite, &aged, Refusal::EpochExpired).await?;
    for key in &keys {
        ensure!(key.exists(), "the vault waits for retention a while");
    }

    suite.start("retention").await?;
    let run = run_retention(&suite).await?;
    assert_eq!(run["failure"], "");
    all_receipted(&suite, &aged).await?;
    for key in &keys {
        ensure!(!key.exists(), "{} is there", key.display());
    }
    assert_eq!(records(&suite, 0).await?, []);
    none_opens(&suite, &aged, Refusal::EpochExpired).await?;
    for status in statuses(&suite, &aged).await? {
        ensure!(matches!(status, Err(SdkError::NotFound)), "{status:?}");
    }

    // Life goes on, and who was away gets what is new alone.
    talk(&suite, &mut chat, 2).await?;
    let late = Chat::start(&suite, 1)?;
    rest.send(suite.number(0), &rest::text(&away, "something new"))
        .await?;
    late.wait_for_text("something new", SOON).await?;
    let texts = late
        .said
        .pick(|line| line["content"]["body"].as_str().map(str::to_owned));
    assert_eq!(texts, ["something new"]);

    // On the disks: when a database is closed, its log is folded in.
    for name in ["gateway", "store", "relay"] {
        suite.stop(name).await?;
    }
    for record in &aged {
        ensure!(!on_disk(&suite, "store", &record.message_id)?, "{record:?}");
        ensure!(!on_disk(&suite, "store", &record.sealed)?, "{record:?}");
    }
    for record in &outbound {
        ensure!(!on_disk(&suite, "relay", &record.message_id)?, "{record:?}");
    }
    ensure!(keyring(&suite).join("time.mark").exists(), "the mark stays");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_past_its_hour_answers_expired_though_retention_is_late() -> anyhow::Result<()> {
    let suite = an_hour().await?;
    let mut chat = Chat::start(&suite, 0)?;
    talk(&suite, &mut chat, 1).await?;
    let aged = records(&suite, 0).await?;
    for status in statuses(&suite, &aged).await? {
        ensure!(status.is_ok(), "the control: {status:?}");
    }
    suite.stop("retention").await?;
    suite
        .sealpost(&["admin", "clock", "advance", "61m"])
        .await?;
    // The store drops the rows by itself soon after: then there is no such message any more.
    for status in statuses(&suite, &aged).await? {
        ensure!(
            matches!(status, Err(SdkError::NotFound | SdkError::Expired)),
            "{status:?}"
        );
    }
    Ok(())
}

/// Rows of the relay that a consumer and the first number have with each other.
async fn rows_at_relay(suite: &Suite, peer: &str) -> anyhow::Result<u64> {
    let mut relay = PlatformServiceClient::new(suite.as_role(Role::Operator, "relay").await?);
    let request = ErasePeerRequest {
        phone_number_id: suite.number(0).to_owned(),
        peer: peer.to_owned(),
        dry_run: true,
    };
    Ok(relay.erase_peer(request).await?.into_inner().deleted)
}

#[tokio::test(flavor = "multi_thread")]
async fn past_its_hour_the_relay_has_nothing_left_of_a_conversation_though_retention_is_stopped()
-> anyhow::Result<()> {
    let suite = an_hour().await?;
    let mut chat = Chat::start(&suite, 0)?;
    talk(&suite, &mut chat, 1).await?;
    // The second consumer is offline: this waits in the relay.
    let away = suite.facts().consumers[1].phone_number.clone();
    let text = rest::text(&away, "to somebody who is away");
    let waiting = Rest::of(&suite)?.send(suite.number(0), &text).await?;
    suite
        .webhook
        .wait_for_status(&waiting, "sent", SOON)
        .await?;
    suite.stop("retention").await?;
    suite
        .sealpost(&["admin", "clock", "advance", "50m"])
        .await?;
    // What was handed over for the device, and what it handed over; what waits is two rows.
    ensure!(
        rows_at_relay(&suite, &chat.phone).await? >= 2,
        "the control"
    );
    ensure!(rows_at_relay(&suite, &away).await? == 2, "the control");

    suite
        .sealpost(&["admin", "clock", "advance", "11m"])
        .await?;
    let start = Instant::now();
    for peer in [&chat.phone, &away] {
        while rows_at_relay(&suite, peer).await? > 0 {
            ensure!(start.elapsed() < SOON, "rows with a phone number are left");
            sleep(Duration::from_millis(200)).await;
        }
    }
    let said = suite.log("relay")?;
    ensure!(said.contains("rows past their time were deleted"), "{said}");
    chat.quit().await
}

/// The epochs of an hour's class are so long, in seconds.
const EPOCH: u64 = 300;

/// Sends a text while the relay is away; answers its id and when its epoch ends, in seconds.
async fn send_to_nowhere(suite: &Suite, to: &str, body: &str) -> anyhow::Result<(String, u64)> {
    if suite.clock().now().as_secs() % EPOCH > EPOCH - 30 {
        // Which epoch takes it must be plain.
        suite
            .sealpost(&["admin", "clock", "advance", "40s"])
            .await?;
    }
    let epoch = suite.clock().now().as_secs() / EPOCH * EPOCH;
    let id = Rest::of(suite)?
        .send(suite.number(0), &rest::text(to, body))
        .await?;
    Ok((id, epoch + 3600))
}

/// Moves the clock to so many seconds before a time.
async fn move_to(suite: &Suite, time: u64, before: u64) -> anyhow::Result<()> {
    let left = time.checked_sub(suite.clock().now().as_secs() + before);
    let by = format!("{}s", left.context("it is later already")?);
    suite.sealpost(&["admin", "clock", "advance", &by]).await?;
    Ok(())
}

/// The relay is back: of what waited the consumer gets these texts and no others.
async fn gets_only(suite: &Suite, to: &str, waited: &[&str]) -> anyhow::Result<()> {
    suite.start("relay").await?;
    let chat = Chat::start(suite, 0)?;
    for body in waited {
        chat.wait_for_text(body, LATER).await?;
    }
    // One conversation's texts come in order: before this one there was room for whatever had been sent.
    Rest::of(suite)?
        .send(suite.number(0), &rest::text(to, "the last"))
        .await?;
    chat.wait_for_text("the last", LATER).await?;
    let texts = chat
        .said
        .pick(|line| line["content"]["body"].as_str().map(str::to_owned));
    assert_eq!(texts, [waited, &["the last"]].concat());
    chat.quit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_the_relay_would_not_take_in_its_hour_has_failed_before_the_end_and_goes_nowhere()
-> anyhow::Result<()> {
    let suite = an_hour().await?;
    let to = suite.facts().consumers[0].phone_number.clone();
    suite.stop("relay").await?;
    let (early, end) = send_to_nowhere(&suite, &to, "too late").await?;
    move_to(&suite, end, 300).await?;
    let (late, _) = send_to_nowhere(&suite, &to, "in time").await?;
    sleep(Duration::from_secs(12)).await;
    assert_eq!(suite.webhook.statuses_of(&early), Vec::<String>::new());

    move_to(&suite, end, 115).await?;
    let failed = suite.webhook.wait_for_status(&early, "failed", LATER);
    let failed = failed.await?;
    assert_eq!(failed.object["errors"][0]["code"], 131_036);
    assert_eq!(failed.object["recipient_id"], to.as_str());
    ensure!(suite.clock().now().as_secs() < end, "before its end");
    assert_eq!(suite.webhook.statuses_of(&late), Vec::<String>::new());

    gets_only(&suite, &to, &["in time"]).await?;
    assert_eq!(suite.webhook.statuses_of(&early), ["failed"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_that_no_gateway_came_to_send_is_failed_by_the_store_and_told_when_one_comes()
-> anyhow::Result<()> {
    let suite = an_hour().await?;
    let to = suite.facts().consumers[0].phone_number.clone();
    suite.stop("relay").await?;
    let (id, end) = send_to_nowhere(&suite, &to, "left behind").await?;
    suite.stop("gateway").await?;
    // The control: the store looks every ten seconds, and two and a half minutes before the end it lets it wait.
    move_to(&suite, end, 150).await?;
    sleep(Duration::from_secs(15)).await;
    let gave_up = || -> anyhow::Result<bool> {
        let said = suite.log("store")?;
        Ok(said.contains("could not be sent within their time"))
    };
    ensure!(!gave_up()?, "it may be sent yet");

    move_to(&suite, end, 88).await?;
    let start = Instant::now();
    while !gave_up()? {
        ensure!(start.elapsed() < SOON, "it still waits");
        sleep(Duration::from_millis(200)).await;
    }
    suite.start("gateway").await?;
    let failed = suite.webhook.wait_for_status(&id, "failed", SOON).await?;
    assert_eq!(failed.object["errors"][0]["code"], 131_036);
    assert_eq!(failed.object["recipient_id"], to.as_str());
    gets_only(&suite, &to, &[]).await
}
