//! Messages that could not be decrypted: asked for again on either side, and never lost without a word. Real libsignal is on
//! both ends.

mod by_hand;
mod initiation;
mod prekeys;

use std::sync::Arc;

use anyhow::ensure;
use sealpost_consumer::EventKind;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};

use super::at_rest::{restore, snapshot};
use super::{LATER, SOON};

/// A few turns of the ratchet, both ways; `from` counts the texts at the webhook so far.
async fn turns(
    suite: &Suite,
    rest: &Rest,
    consumer: &Consumer,
    from: usize,
    what: &str,
) -> anyhow::Result<()> {
    for round in 1..=3 {
        let (out, back) = (
            format!("{what} out {round}"),
            format!("{what} back {round}"),
        );
        rest.send(suite.number(0), &rest::text(&consumer.phone, &out))
            .await?;
        let has = |event: &EventKind| (words(event)? == out).then_some(());
        consumer.inbox().find("a text", LATER, has).await?;
        consumer.text(suite, 0, &back).await?;
        let heard = suite
            .webhook
            .wait_for_messages(&consumer.phone, from + round, LATER)
            .await?;
        assert_eq!(heard[from + round - 1].object["text"]["body"], back);
    }
    Ok(())
}

fn words(event: &EventKind) -> Option<String> {
    use sealpost_consumer::content_v1::content::Body;
    match event {
        EventKind::Message(message) => match &message.content.body {
            Some(Body::Text(text)) => Some(text.body.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// That the consumer heard of no message of its own that will not arrive, and got each text once.
fn nothing_lost_or_doubled(suite: &Suite, consumer: &Consumer) -> anyhow::Result<()> {
    let failed = consumer
        .inbox()
        .pick(|event| matches!(event, EventKind::SendFailed { .. }).then_some(()));
    ensure!(failed.is_empty(), "{} messages failed", failed.len());
    let mut texts = consumer.inbox().pick(words);
    let count = texts.len();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), count, "each text once");
    assert_eq!(suite.webhook.repeats(), 0, "each text once at the business");
    Ok(())
}

/// Sends texts without waiting for any, and waits for all of them at the business, in whatever order.
async fn all_arrive(
    suite: &Suite,
    consumer: &Consumer,
    before: usize,
    what: &str,
) -> anyhow::Result<()> {
    let mut expected: Vec<_> = (1..=3).map(|place| format!("{what} {place}")).collect();
    for text in &expected {
        consumer.text(suite, 0, text).await?;
    }
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, before + expected.len(), LATER)
        .await?;
    let mut heard: Vec<_> = heard[before..]
        .iter()
        .map(|message| message.object["text"]["body"].as_str().unwrap().to_owned())
        .collect();
    heard.sort();
    expected.sort();
    assert_eq!(heard, expected);
    Ok(())
}

/// How often the gateway asked a device for a message again.
fn asked_again(suite: &Suite) -> anyhow::Result<usize> {
    let spent = suite.log("gateway")?;
    Ok(spent
        .matches("a consumer's message is asked for again")
        .count())
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_erasure_the_next_message_over_the_dead_session_arrives_as_a_first_contact()
-> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    turns(&suite, &rest, &consumer, 0, "before").await?;
    suite
        .sealpost(&[
            "admin",
            "erase",
            "--number",
            suite.number(0),
            "--peer",
            &consumer.phone,
        ])
        .await?;
    all_arrive(&suite, &consumer, 3, "after the erasure").await?;
    ensure!(asked_again(&suite)? > 0, "the test proves nothing");
    turns(&suite, &rest, &consumer, 6, "and on").await?;
    nothing_lost_or_doubled(&suite, &consumer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_that_was_restored_gets_again_what_it_cannot_decrypt() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    let copies = suite.dir().with_file_name("copies");
    let (early, late) = (copies.join("early"), copies.join("late"));
    snapshot(&suite, "data/key-vault", &early)?;
    let consumer = Consumer::online(&suite, 0)?;
    turns(&suite, &rest, &consumer, 0, "first").await?;
    snapshot(&suite, "data/key-vault", &late)?;
    turns(&suite, &rest, &consumer, 3, "second").await?;

    // Its sessions are behind the consumer's: new words both ways.
    put_back(&suite, &late).await?;
    all_arrive(&suite, &consumer, 6, "to the vault that is behind").await?;
    turns(&suite, &rest, &consumer, 9, "third").await?;

    // It has never met the consumer.
    put_back(&suite, &early).await?;
    let asked = asked_again(&suite)?;
    all_arrive(&suite, &consumer, 12, "to the vault that lost the session").await?;
    ensure!(asked_again(&suite)? > asked, "the test proves nothing");
    turns(&suite, &rest, &consumer, 15, "fourth").await?;
    nothing_lost_or_doubled(&suite, &consumer)
}

async fn put_back(suite: &Suite, copy: &std::path::Path) -> anyhow::Result<()> {
    suite.stop("key-vault").await?;
    restore(suite, "data/key-vault", copy)?;
    suite.start("key-vault").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_restored_from_a_backup_is_heard_though_its_message_keys_are_spent()
-> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    turns(&suite, &rest, &consumer, 0, "before").await?;
    let inbox = consumer.offline().await?;
    let state = suite.facts().consumers[0].state.clone();
    let backup = state.with_extension("backup");
    std::fs::copy(&state, &backup)?;
    let consumer = Consumer::again(&suite, 0, inbox)?;
    all_arrive(&suite, &consumer, 3, "with these keys").await?;
    let inbox = consumer.offline().await?;
    std::fs::copy(&backup, &state)?;
    // The same message keys once more, for other words: the vault calls them duplicates, and has no such message.
    let consumer = Consumer::again(&suite, 0, Arc::clone(&inbox))?;
    all_arrive(&suite, &consumer, 6, "with the same keys again").await?;
    ensure!(asked_again(&suite)? > 0, "the test proves nothing");
    turns(&suite, &rest, &consumer, 9, "and on").await?;
    nothing_lost_or_doubled(&suite, &consumer)
}
