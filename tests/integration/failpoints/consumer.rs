//! A consumer's device dies as a process of its own, `sealpost chat`, at every point of receiving and of sending.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_tests::chat::Chat;
use sealpost_tests::failpoints::Order;
use sealpost_tests::rest::Rest;
use sealpost_tests::{Options, Suite};
use serde_json::Value;
use tokio::time::sleep;

use crate::LATER;

/// A chat's own instance: it has no configuration.
const CHAT: &str = "sealpost";
const RECEIVING: [&str; 3] = [
    "receive.decrypted",
    "receive.committed",
    "receive.acknowledged",
];
/// And whether a text that was not answered before a death there is sent all the same. `None`: the device dies for an earlier text,
/// at any moment of this one.
const SENDING: [(&str, Option<bool>); 3] = [
    ("send.sealed", Some(false)),
    ("send.committed", Some(true)),
    ("courier.answered", None),
];

async fn boot() -> anyhow::Result<Suite> {
    Suite::up(Options {
        failpoints: true,
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_die_at_every_point_of_receiving() -> anyhow::Result<()> {
    let suite = boot().await?;
    let rest = Rest::of(&suite)?;
    let mut chat = Chat::start(&suite, 0)?;
    let (mut sent, mut shown) = (Vec::new(), Vec::new());
    for point in RECEIVING {
        suite.orders().give(CHAT, point, &Order::Kill(2, vec![]))?;
        let mut index = 0;
        while !suite.orders().is_reached(CHAT, point) {
            let text = format!("{point} {index}");
            let key = format!("{point}-{index}");
            rest.text_until_accepted(suite.number(0), &chat.phone, &text, &key, LATER)
                .await?;
            sent.push(text.clone());
            index += 1;
            ensure!(index < 50, "the chat never came to {point}");
            // One batch for each, until it dies.
            let _ = chat.wait_for_text(&text, Duration::from_secs(1)).await;
        }
        let said = chat.ended().await?;
        let last = sent.last().context("some were sent")?;
        // It may have died of hearing that the relay has its receipt: the text was then shown, and may not come again.
        let was_shown = said.iter().any(|line| line["content"]["body"] == **last);
        shown.extend(said);
        chat = Chat::start(&suite, 0)?;
        if !was_shown {
            chat.wait_for_text(last, LATER).await?;
        }
    }
    shown.extend(chat.said.all());
    let mut seen = BTreeSet::new();
    let mut texts = Vec::new();
    for line in shown.iter().filter(|line| line["event"] == "message") {
        let id = line["message_id"].as_str().context("an id")?;
        if seen.insert(id) {
            texts.push(line["content"]["body"].as_str().unwrap_or_default());
        } else {
            ensure!(line["redelivered"] == true, "shown twice as new: {line}");
        }
    }
    ensure!(texts == sent, "sent {sent:?}, shown {texts:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_may_die_at_every_point_of_sending() -> anyhow::Result<()> {
    let suite = boot().await?;
    let mut chat = Chat::start(&suite, 0)?;
    let (mut due, mut perhaps) = (Vec::new(), BTreeSet::new());
    for (point, is_sent) in SENDING {
        suite.orders().give(CHAT, point, &Order::Kill(2, vec![]))?;
        let mut index = 0;
        while !suite.orders().is_reached(CHAT, point) {
            let text = format!("{point} {index}");
            index += 1;
            ensure!(index < 50, "the chat never came to {point}");
            match (send(&mut chat, &text).await, is_sent) {
                (true, _) | (false, Some(true)) => due.push(text),
                (false, Some(false)) => {}
                (false, None) => drop(perhaps.insert(text)),
            }
        }
        chat.ended().await?;
        chat = Chat::start(&suite, 0)?;
    }
    ensure!(send(&mut chat, "the last").await, "life goes on");
    due.push("the last".to_owned());
    let heard = || {
        let heard = suite.webhook.messages_from(&chat.phone).into_iter();
        let texts = heard.map(|message| message.object["text"]["body"].as_str().map(str::to_owned));
        texts.flatten().collect::<Vec<_>>()
    };
    // In order: whatever is sent comes before it.
    let begun = Instant::now();
    while heard().last() != due.last() && begun.elapsed() < LATER {
        sleep(Duration::from_millis(50)).await;
    }
    let texts = heard();
    let once: BTreeSet<_> = texts.iter().collect();
    let sure = texts.iter().filter(|text| !perhaps.contains(*text));
    ensure!(
        once.len() == texts.len() && sure.eq(&due),
        "sent {due:?} and perhaps {perhaps:?}, heard {texts:?}"
    );
    Ok(())
}

/// Whether the chat said that it has kept the text, before it died.
async fn send(chat: &mut Chat, text: &str) -> bool {
    let said = |line: &Value| (line["event"] == "sent").then_some(());
    let before = chat.said.pick(said).len();
    if chat.text(text).await.is_err() {
        return false;
    }
    let journal = chat.said.clone();
    let limit = Duration::from_secs(10);
    let answered = journal.at_least(before + 1, "answers", limit, said);
    tokio::select! {
        answered = answered => answered.is_ok(),
        // What it said before its death is read to the end.
        () = chat.silent() => chat.said.pick(said).len() > before,
    }
}
