//! A person's messages, exported: the business opens what went both ways, nobody else's is in it, and the operator's file tells nothing.

use std::fs;
use std::process::Command;

use anyhow::{Context, ensure};
use sealpost_tests::chat::Chat;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite, binaries};
use serde_json::Value;

use super::SOON;

const SAID: [&str; 2] = ["out, which is yours", "back, which is mine"];

#[tokio::test(flavor = "multi_thread")]
async fn an_export_opens_at_the_business_to_what_was_said_and_tells_the_operator_nothing()
-> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let number = suite.number(0).to_owned();
    let rest = Rest::of(&suite)?;
    let mut person = Chat::start(&suite, 0)?;
    let id = rest
        .send(&number, &rest::text(&person.phone, SAID[0]))
        .await?;
    person.wait_for_text(SAID[0], SOON).await?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    person.text(SAID[1]).await?;
    suite
        .webhook
        .wait_for_messages(&person.phone, 1, SOON)
        .await?;
    let other = suite.facts().consumers[1].phone_number.clone();
    let to_other = rest
        .send(&number, &rest::text(&other, "for somebody else"))
        .await?;
    suite
        .webhook
        .wait_for_status(&to_other, "sent", SOON)
        .await?;
    let phone = person.phone.clone();
    person.quit().await?;

    let file = suite.dir().with_file_name("person.export");
    let name = file.to_str().context("a path")?.to_owned();
    let said = suite
        .sealpost(&[
            "--json", "admin", "export", "--all", "--phone", &phone, "--out", &name,
        ])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    assert_eq!(
        (said["numbers"].as_u64(), said["records"].as_u64()),
        (Some(1), Some(2))
    );
    let written = fs::read_to_string(&file)?;
    for secret in [&phone, &other, SAID[0], SAID[1], "for somebody else"] {
        ensure!(!written.contains(secret), "{secret} is in the file");
    }

    let opened = open(&suite, &name)?;
    let mut heard: Vec<_> = opened
        .iter()
        .map(|line| {
            assert_eq!(line["peer"], phone.as_str());
            assert_eq!(line["phone_number_id"], number.as_str());
            (
                line["direction"].as_str(),
                line["content"]["text"]["body"].as_str(),
            )
        })
        .collect();
    heard.sort_unstable();
    let expected = [
        (Some("inbound"), Some(SAID[1])),
        (Some("outbound"), Some(SAID[0])),
    ];
    assert_eq!(heard, expected);
    ensure!(
        opened.iter().any(|line| line["id"] == id.as_str()),
        "the very message"
    );

    // A file that somebody changed on the way opens nothing.
    let at = written.find("sealed").context("a record")? + 40;
    let flipped = if &written[at..=at] == "A" { "B" } else { "A" };
    let changed = format!("{}{flipped}{}", &written[..at], &written[at + 1..]);
    fs::write(&file, changed)?;
    ensure!(open(&suite, &name).is_err(), "the control");
    Ok(())
}

/// What the connector says of the file, with the business's keys and its own configuration.
fn open(suite: &Suite, file: &str) -> anyhow::Result<Vec<Value>> {
    let connector = binaries::sealpost()?.with_file_name("sealpost-connector");
    let config = &suite.run_file()?.service("connector")?.config.clone();
    let said = Command::new(connector)
        .arg("--config")
        .arg(config)
        .args(["--open-export", file])
        .output()?;
    ensure!(
        said.status.success(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    let lines = String::from_utf8(said.stdout)?;
    Ok(lines
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?)
}
