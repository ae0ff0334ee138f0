//! Numbers and businesses that are removed: keys, records and tokens go, and other numbers speak on.

use anyhow::{Context, ensure};
use sealpost_tests::chat::Chat;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use serde_json::Value;

use super::SOON;
use super::at_rest::{on_disk, receipts, records};

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_number_is_gone_everywhere_and_another_speaks_on() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let rest = Rest::of(&suite)?;
    let chat = Chat::start(&suite, 0)?;
    let other = Consumer::online(&suite, 1)?;
    for (number, text) in [(0, "from the first"), (1, "from the second")] {
        let id = rest
            .send(suite.number(number), &rest::text(&chat.phone, text))
            .await?;
        chat.wait_for_text(text, SOON).await?;
        suite
            .webhook
            .wait_for_status(&id, "delivered", SOON)
            .await?;
    }
    let theirs = records(&suite, 0).await?;
    let others = records(&suite, 1).await?;
    assert_eq!((theirs.len(), others.len()), (1, 1));

    let gone = suite.number(0).to_owned();
    let said = suite
        .sealpost(&["--json", "admin", "number", "remove", &gone])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    ensure!(
        said["numbers"][0]["relay_rows_deleted"].as_u64() >= Some(1),
        "{said}"
    );
    let receipt = &said["numbers"][0]["receipt"];
    assert_eq!(receipt["signature_is_good"], true);
    assert_eq!(
        receipt["destroyed"]["number"]["phone_number_id"],
        gone.as_str()
    );
    ensure!(
        receipts(&suite)
            .await?
            .iter()
            .any(|kept| kept["destroyed"]["number"]["phone_number_id"] == gone.as_str()),
        "retention keeps the receipt"
    );
    assert_eq!(records(&suite, 0).await?, []);
    assert_eq!(records(&suite, 1).await?, others);
    // Again: everything is gone already, and the receipt is told once more.
    suite
        .sealpost(&["admin", "number", "remove", &gone])
        .await?;
    let listed = suite
        .sealpost(&["--json", "admin", "number", "list"])
        .await?;
    ensure!(!listed.contains(&gone), "{listed}");

    let refused = rest
        .send(&gone, &rest::text(&chat.phone, "nobody speaks"))
        .await;
    ensure!(refused.is_err(), "a removed number sends nothing");
    rest.send(suite.number(1), &rest::text(&chat.phone, "and on"))
        .await?;
    chat.wait_for_text("and on", SOON).await?;
    chat.quit().await?;
    // The connector still names the removed number: its stream goes on with the other.
    other.text(&suite, 1, "heard all the same").await?;
    let heard = suite.webhook.wait_for_messages(&other.phone, 1, SOON);
    assert_eq!(heard.await?[0].object["text"]["body"], "heard all the same");
    other.offline().await?;
    for name in ["gateway", "relay", "store", "directory", "key-vault"] {
        suite.stop(name).await?;
    }
    for record in &theirs {
        ensure!(!on_disk(&suite, "store", &record.sealed)?, "{record:?}");
        ensure!(!on_disk(&suite, "key-vault", &record.tag)?, "{record:?}");
    }
    let numbers = &suite.facts().numbers;
    for service in ["directory", "relay"] {
        let has = |number: usize| {
            let phone_number = numbers[number].phone_number.as_bytes();
            on_disk(&suite, service, phone_number)
        };
        ensure!(!has(0)?, "{service} still has it");
        ensure!(has(1)?, "{service} lost the other, the control");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_business_is_removed_with_its_numbers_and_tokens() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 0,
        ..Options::default()
    })
    .await?;
    let business = suite.facts().business.id.clone();
    let said = suite
        .sealpost(&["--json", "admin", "business", "remove", &business])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    let numbers = said["numbers"].as_array().context("numbers")?;
    assert_eq!(numbers.len(), 2);
    let listed = suite
        .sealpost(&["--json", "admin", "business", "list"])
        .await?;
    ensure!(!listed.contains(&business), "{listed}");
    Ok(())
}
