//! Conversations over REST and webhooks on one side, Signal on the other, both ways.

use std::time::Duration;

use anyhow::{Context, ensure};
use sealpost_tests::chat::Chat;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite};
use tokio::time::sleep;

use super::{LATER, SOON};

#[tokio::test(flavor = "multi_thread")]
async fn a_text_out_over_rest_reaches_a_consumer_process_and_its_answer_comes_back_as_a_webhook()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut chat = Chat::start(suite, suite.free_consumer()?)?;
    let id = Rest::of(suite)?
        .send(
            suite.number(0),
            &rest::text(&chat.phone, "Your order is on its way"),
        )
        .await?;
    let seen = chat.wait_for_text("Your order is on its way", SOON).await?;
    assert_eq!(seen["message_id"], id.as_str());
    assert_eq!(seen["phone_number_id"], suite.number(0));

    chat.text("Thank you!").await?;
    let answers = suite
        .webhook
        .wait_for_messages(&chat.phone, 1, SOON)
        .await?;
    let object = &answers[0].object;
    assert_eq!(answers[0].number, suite.number(0));
    assert_eq!(object["type"], "text");
    assert_eq!(object["text"]["body"], "Thank you!");
    ensure!(
        object["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("wamid.")),
        "an id: {object}"
    );
    let time: u64 = object["timestamp"]
        .as_str()
        .context("a timestamp in seconds, as text")?
        .parse()?;
    ensure!(
        time > 1_700_000_000 && time < 10_000_000_000,
        "seconds: {time}"
    );
    chat.quit().await?;
    assert_eq!(suite.webhook.badly_signed(), 0);
    assert_eq!(
        suite.webhook.verifications(),
        [suite.facts().connector.verify_token.as_str()]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_who_writes_first_is_heard_and_answered() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    consumer.text(suite, 1, "Are you open today?").await?;
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 1, SOON)
        .await?;
    assert_eq!(heard[0].number, suite.number(1));
    assert_eq!(heard[0].object["text"]["body"], "Are you open today?");
    Rest::of(suite)?
        .send(suite.number(1), &rest::text(&consumer.phone, "Until six."))
        .await?;
    consumer.wait_for(1, SOON).await?;
    assert_eq!(consumer.texts_from(suite.number(1)), ["Until six."]);
    consumer.offline().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_conversations_interleave_both_ways_each_in_order() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut consumers = Vec::new();
    for _ in 0..4 {
        consumers.push(Consumer::online(suite, suite.free_consumer()?)?);
    }
    let traffic = Traffic::new(suite, &consumers, "interleaved")?;
    let accepted = traffic.send(25, Duration::ZERO).await?;
    assert_eq!(accepted.len(), 200);
    traffic.check(&accepted, LATER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_300_messages_in_one_conversation_keeps_its_order_both_ways()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let consumers = [Consumer::online(suite, suite.free_consumer()?)?];
    let traffic = Traffic::new(suite, &consumers, "burst")?;
    let accepted = traffic.send(300, Duration::ZERO).await?;
    traffic.check(&accepted, LATER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_consumer_talks_with_two_numbers_and_they_do_not_mix() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    for round in 0..5 {
        for number in 0..2 {
            let text = format!("round {round} from number {number}");
            rest.send(suite.number(number), &rest::text(&consumer.phone, &text))
                .await?;
            consumer
                .text(suite, number, &format!("round {round} to number {number}"))
                .await?;
        }
    }
    consumer.wait_for(10, SOON).await?;
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 10, SOON)
        .await?;
    for number in 0..2 {
        let expected: Vec<_> = (0..5)
            .map(|round| format!("round {round} from number {number}"))
            .collect();
        assert_eq!(consumer.texts_from(suite.number(number)), expected);
        let said = heard
            .iter()
            .filter(|message| message.number == suite.number(number));
        let said: Vec<_> = said
            .filter_map(|message| message.object["text"]["body"].as_str())
            .collect();
        let expected: Vec<_> = (0..5)
            .map(|round| format!("round {round} to number {number}"))
            .collect();
        assert_eq!(said, expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_while_a_consumer_was_offline_arrives_in_order_when_it_is_back()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let index = suite.free_consumer()?;
    let phone = suite.facts().consumers[index].phone_number.clone();
    let mut expected = Vec::new();
    for part in 0..2 {
        // Offline before the first session, and offline with one.
        for place in 0..20 {
            let text = format!("while away {part}, {place}");
            rest.send(suite.number(0), &rest::text(&phone, &text))
                .await?;
            expected.push(text);
        }
        let consumer = Consumer::online(suite, index)?;
        consumer.wait_for(20, SOON).await?;
        assert_eq!(consumer.texts_from(suite.number(0)), expected[part * 20..]);
        consumer.text(suite, 0, &format!("back {part}")).await?;
        suite
            .webhook
            .wait_for_messages(&phone, part + 1, SOON)
            .await?;
        let inbox = consumer.offline().await?;
        assert_eq!(inbox.all().len(), 20, "nothing came twice");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_down_gets_every_event_once_it_is_back() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let consumer = Consumer::online(&suite, 0)?;
    suite.webhook.fail(true);
    let expected: Vec<_> = (0..10)
        .map(|place| format!("while the app is down {place}"))
        .collect();
    for text in &expected {
        consumer.text(&suite, 0, text).await?;
    }
    sleep(Duration::from_secs(3)).await;
    assert!(suite.webhook.messages_from(&consumer.phone).is_empty());
    suite.webhook.fail(false);
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 10, LATER)
        .await?;
    let heard: Vec<_> = heard
        .iter()
        .filter_map(|message| message.object["text"]["body"].as_str())
        .collect();
    assert_eq!(heard, expected);
    assert_eq!(suite.webhook.repeats(), 0);
    Ok(())
}
