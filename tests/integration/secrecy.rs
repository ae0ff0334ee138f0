//! What must be nowhere: content on no disk and in no log, consumers' phone numbers in no service that may not have them.

use std::path::PathBuf;

use anyhow::ensure;
use sealpost_consumer::content_v1::content::Body;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::database::Kind;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::search::{bytes, bytes_of, files, holders};
use sealpost_tests::{Options, Suite};

use super::SOON;

/// Words that occur nowhere else.
fn random_words() -> String {
    use rand::TryRngCore;
    let mut bytes = [0; 24];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).unwrap();
    format!("secret words {}", hex::encode(bytes))
}

fn folders(suite: &Suite, below: &str) -> Vec<PathBuf> {
    vec![suite.dir().join(below)]
}

#[tokio::test(flavor = "multi_thread")]
async fn content_phone_numbers_and_tokens_are_only_where_the_design_says() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 3,
        ..Options::default()
    })
    .await?;
    let rest = Rest::of(&suite)?;
    let number = suite.number(0);
    let phones: Vec<_> = suite
        .facts()
        .consumers
        .iter()
        .map(|consumer| consumer.phone_number.clone())
        .collect();
    let mut secrets = Vec::new();

    // Two consumers talk; what goes to the third waits in every queue on the way. The app is down at the end, so that
    // events wait in the connector's queue as well.
    let consumers = [Consumer::online(&suite, 0)?, Consumer::online(&suite, 1)?];
    for consumer in &consumers {
        for round in 1..=5 {
            let (out, into) = (random_words(), random_words());
            rest.send(number, &rest::text(&consumer.phone, &out))
                .await?;
            consumer.wait_for(round, SOON).await?;
            consumer.text(&suite, 0, &into).await?;
            suite
                .webhook
                .wait_for_messages(&consumer.phone, round, SOON)
                .await?;
            secrets.extend([out, into]);
        }
    }
    let waiting = random_words();
    let id = rest.send(number, &rest::text(&phones[2], &waiting)).await?;
    suite.webhook.wait_for_status(&id, "sent", SOON).await?;
    suite.webhook.fail(true);
    let unheard = random_words();
    consumers[0].text(&suite, 0, &unheard).await?;
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    secrets.extend([waiting, unheard]);
    let seen = consumers[0].wait_for(5, SOON).await?;
    ensure!(
        matches!(&seen[0].content.body, Some(Body::Text(text)) if text.body == secrets[0]),
        "the words arrived"
    );

    // While everything runs, write-ahead logs and all.
    look(&suite, &secrets, &phones)?;
    // And after it was stopped, when databases have folded their logs in.
    for name in SERVICES.iter().rev() {
        suite.stop(name).await?;
    }
    look(&suite, &secrets, &phones)
}

fn look(suite: &Suite, secrets: &[String], phones: &[String]) -> anyhow::Result<()> {
    let data = bytes(suite)?;
    let logs = files(&folders(suite, "logs"))?;
    let configs = files(&folders(suite, "config"))?;
    let consumers = files(&folders(suite, "consumers"))?;

    // The search finds what is there: the number's id stands in the store's and the vault's databases.
    for name in ["store", "key-vault"] {
        ensure!(
            !holders(&bytes_of(suite, name)?, suite.number(0).as_bytes()).is_empty(),
            "{name}'s files do not even have the number's id"
        );
    }
    ensure!(
        !holders(&data, phones[0].as_bytes()).is_empty(),
        "the relay has consumers' numbers"
    );

    // The server's log of changes is all databases' own: the relay's phone numbers are in it.
    let changes = match suite.kind() {
        Kind::Sqlite => Vec::new(),
        Kind::Postgres => suite.write_ahead_log()?,
    };
    ensure!(
        suite.kind() == Kind::Sqlite || !holders(&changes, phones[0].as_bytes()).is_empty(),
        "the control: changes are found"
    );
    for words in secrets {
        for searched in [&data, &logs, &configs, &consumers, &changes] {
            let found = holders(searched, words.as_bytes());
            ensure!(found.is_empty(), "content is in {found:?}");
        }
    }
    for phone in phones {
        let found = holders(&logs, phone.as_bytes());
        ensure!(
            found.is_empty(),
            "a consumer's phone number is in {found:?}"
        );
        for path in holders(&data, phone.as_bytes()) {
            ensure!(
                path.starts_with(suite.dir().join("data/relay")),
                "a consumer's phone number is in {}",
                path.display()
            );
        }
    }
    let facts = suite.facts();
    for number in &facts.numbers {
        let found = holders(&logs, number.phone_number.as_bytes());
        ensure!(
            found.is_empty(),
            "the business's phone number is in {found:?}"
        );
    }
    for (what, token) in [
        ("the gateway's token", &facts.gateway.token),
        ("the REST token", &facts.connector.token),
        ("the app secret", &facts.connector.app_secret),
        ("the verify token", &facts.connector.verify_token),
    ] {
        let found = holders(&logs, token.as_bytes());
        ensure!(found.is_empty(), "{what} is in {found:?}");
        // The connector has them in files of its own.
        for path in holders(&data, token.as_bytes()) {
            ensure!(
                path.starts_with(suite.dir().join("data/connector")),
                "{what} is in {}",
                path.display()
            );
        }
        ensure!(
            holders(&configs, token.as_bytes()).is_empty(),
            "{what} is in a configuration"
        );
    }
    for key in [
        &facts.business.hpke_private_key,
        &facts.business.signing_private_key,
    ] {
        let seed = std::fs::read(key)?;
        for searched in [&data, &logs, &configs, &changes] {
            ensure!(
                holders(searched, &seed).is_empty(),
                "a key of the business is outside its folder"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_token_is_kept_by_its_device_alone() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 1,
        ..Options::default()
    })
    .await?;
    let device = suite.register("15550272001").await?;
    let code = suite.codes_for(&device.phone).pop().unwrap();
    let mut all = bytes(&suite)?;
    all.extend(files(&folders(&suite, "logs"))?);
    ensure!(
        holders(&all, device.token.as_bytes()).is_empty(),
        "the relay keeps a device's token"
    );
    let codes = suite.facts().relay.codes_file.clone();
    // Six digits occur anywhere; as a word of a log they would be the code.
    for (path, bytes) in files(&folders(&suite, "logs"))? {
        let text = String::from_utf8_lossy(&bytes);
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
        ensure!(
            words.into_iter().all(|word| word != code),
            "a code is in {}",
            path.display()
        );
    }
    ensure!(
        codes.starts_with(suite.dir().join("data/relay")),
        "codes are the relay's"
    );
    Ok(())
}
