//! What a request over REST promises: one message for one key, statuses that only move forward, limits that lose nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use futures::future;
use sealpost_consumer::MessageId;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use tokio::time::sleep;

use super::{LATER, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn statuses_arrive_as_webhooks_and_only_move_forward() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let index = suite.free_consumer()?;
    let phone = suite.facts().consumers[index].phone_number.clone();
    let id = rest
        .send(suite.number(0), &rest::text(&phone, "Where are you?"))
        .await?;
    let sent = suite.webhook.wait_for_status(&id, "sent", SOON).await?;
    assert_eq!(
        (sent.recipient.as_str(), sent.number.as_str()),
        (phone.as_str(), suite.number(0))
    );
    assert_eq!(
        suite.webhook.statuses_of(&id),
        ["sent"],
        "nobody is there to receive it"
    );

    let consumer = Consumer::online(suite, index)?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    let message = consumer.wait_for(1, SOON).await?.remove(0);
    assert_eq!(message.message_id, id.parse::<MessageId>()?);
    consumer
        .client()
        .mark_read(&message.phone_number_id, message.message_id)
        .await?;
    suite.webhook.wait_for_status(&id, "read", SOON).await?;
    assert_eq!(
        suite.webhook.statuses_of(&id),
        ["sent", "delivered", "read"]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_nobody_fails_with_the_clouds_code() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let id = Rest::of(suite)?
        .send(
            suite.number(0),
            &rest::text("15550299999", "Is anybody there?"),
        )
        .await?;
    let failed = suite.webhook.wait_for_status(&id, "failed", SOON).await?;
    assert_eq!(
        failed.object["errors"][0]["code"], 131_026,
        "{}",
        failed.object
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_twice_is_one_message_and_another_content_under_it_is_refused()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let number = suite.number(0);
    let message = rest::text(&consumer.phone, "Once.");
    let posts = (0..5).map(|_| rest.post(number, Some("order-1"), &message));
    let mut ids = BTreeSet::new();
    for answer in future::try_join_all(posts).await? {
        ids.insert(answer.message_id()?);
    }
    ids.insert(
        rest.post(number, Some("order-1"), &message)
            .await?
            .message_id()?,
    );
    assert_eq!(ids.len(), 1, "one message, one id: {ids:?}");

    let other = rest
        .post(
            number,
            Some("order-1"),
            &rest::text(&consumer.phone, "Twice."),
        )
        .await?;
    ensure!(
        other.status == 409 || other.status == 400,
        "another content: {} {}",
        other.status,
        other.body
    );
    ensure!(
        other.body["error"]["message"].is_string() && other.body["error"]["code"].is_number(),
        "{}",
        other.body
    );

    rest.post(
        number,
        Some("order-2"),
        &rest::text(&consumer.phone, "After."),
    )
    .await?
    .message_id()?;
    consumer.wait_for(2, SOON).await?;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(consumer.texts_from(number), ["Once.", "After."]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_over_its_rate_is_slowed_down_and_loses_nothing() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        rate_limit: 5,
        ..Options::default()
    })
    .await?;
    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    let start = tokio::time::Instant::now();
    let posts = (0..30).map(|place| {
        let (rest, number, to) = (rest.clone(), suite.number(0), consumer.phone.clone());
        async move {
            let key = format!("limited-{place}");
            rest.text_until_accepted(number, &to, &format!("limited {place}"), &key, LATER)
                .await
        }
    });
    future::try_join_all(posts).await?;
    // A burst of at most a second's worth, then five a second.
    ensure!(
        start.elapsed() > Duration::from_secs(3),
        "30 messages at 5 a second took {:?}",
        start.elapsed()
    );
    consumer.wait_for(30, SOON).await?;
    let arrived: BTreeSet<_> = consumer.texts_from(suite.number(0)).into_iter().collect();
    assert_eq!(arrived.len(), 30);
    Ok(())
}
