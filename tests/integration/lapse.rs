//! Consumers who write no more: the vault forgets them, and whoever speaks first afterwards begins a conversation like any other.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_tests::chat::Chat;
use sealpost_tests::rest::Rest;
use sealpost_tests::{Options, Suite};
use serde_json::Value;
use tokio::time::sleep;

use super::{LATER, SOON};

/// Consumers and sessions that the vault knows at the first number.
async fn known(suite: &Suite) -> anyhow::Result<(u64, u64)> {
    let said = suite
        .sealpost(&["--json", "admin", "number", "show", suite.number(0)])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    let count = |name: &str| said["vault"][name].as_u64().context("a count");
    Ok((count("subjects")?, count("sessions")?))
}

/// The business says something and hears that it arrived.
async fn tell(suite: &Suite, chat: &Chat, body: &str) -> anyhow::Result<()> {
    let key = format!("{}-{}", chat.phone, body.replace(' ', "-"));
    let id = Rest::of(suite)?
        .text_until_accepted(suite.number(0), &chat.phone, body, &key, SOON)
        .await?;
    chat.wait_for_text(body, LATER).await?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    Ok(())
}

/// The consumer says something, which is the `nth` that the business hears of them.
async fn answer(suite: &Suite, chat: &mut Chat, body: &str, nth: usize) -> anyhow::Result<()> {
    chat.text(body).await?;
    let heard = suite
        .webhook
        .wait_for_messages(&chat.phone, nth, LATER)
        .await?;
    assert_eq!(heard.len(), nth);
    assert_eq!(heard[nth - 1].object["text"]["body"], body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_silent_for_long_is_forgotten_and_a_word_from_either_side_begins_anew()
-> anyhow::Result<()> {
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
    for index in 0..2 {
        let mut chat = Chat::start(&suite, index)?;
        tell(&suite, &chat, "out 1").await?;
        answer(&suite, &mut chat, "back 1", 1).await?;
        chat.quit().await?;
    }
    assert_eq!(known(&suite).await?, (2, 2));

    // The control: not yet. The vault looks within seconds once an hour has passed.
    suite
        .sealpost(&["admin", "clock", "advance", "29d"])
        .await?;
    sleep(Duration::from_secs(12)).await;
    assert_eq!(known(&suite).await?, (2, 2));
    suite.sealpost(&["admin", "clock", "advance", "3d"]).await?;
    let start = Instant::now();
    while known(&suite).await? != (0, 0) {
        ensure!(start.elapsed() < SOON, "somebody is remembered");
        sleep(Duration::from_millis(500)).await;
    }

    // To one the business speaks first; the other writes first, by the session that it has kept.
    let mut one = Chat::start(&suite, 0)?;
    tell(&suite, &one, "out 2").await?;
    answer(&suite, &mut one, "back 2", 2).await?;
    one.quit().await?;
    let mut other = Chat::start(&suite, 1)?;
    answer(&suite, &mut other, "back 2", 2).await?;
    tell(&suite, &other, "out 2").await?;
    answer(&suite, &mut other, "back 3", 3).await?;
    other.quit().await?;
    assert_eq!(known(&suite).await?, (2, 2));
    Ok(())
}
