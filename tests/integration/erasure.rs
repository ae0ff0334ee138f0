//! A person who was erased: gone from store and relay, and what a copy of the store still has of them opens no more. Another
//! person's records are as they were.

use std::fs;

use anyhow::{Context, ensure};
use sealpost_proto::record::v1::Record;
use sealpost_proto::relay::v1::ErasePeerRequest;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::vault::v1::Refusal;
use sealpost_runtime::Role;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::chat::Chat;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use serde_json::Value;

use super::SOON;
use super::at_rest::{
    all_open, keyring, none_opens, on_disk, receipts, records, restore, snapshot,
};

/// Removes a consumer's registration at the relay; how many rows that took.
async fn unregister(suite: &Suite, phone: &str) -> anyhow::Result<u64> {
    let said = suite
        .sealpost(&["--json", "admin", "consumer", "remove", phone])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    said["relay_rows_deleted"].as_u64().context("a count")
}

/// Says something both ways; the business hears of the `nth` message of this consumer.
async fn talk(suite: &Suite, number: usize, chat: &mut Chat, nth: usize) -> anyhow::Result<()> {
    let (number, out) = (suite.number(number).to_owned(), format!("out {nth}"));
    let id = Rest::of(suite)?
        .send(&number, &rest::text(&chat.phone, &out))
        .await?;
    chat.wait_for_text(&out, SOON).await?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    chat.text(&format!("back {nth}")).await?;
    suite
        .webhook
        .wait_for_messages(&chat.phone, nth, SOON)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_gone_and_an_earlier_copy_of_the_store_opens_for_others_alone()
-> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let number = suite.number(0).to_owned();
    let rest = Rest::of(&suite)?;
    let mut chats = [Chat::start(&suite, 0)?, Chat::start(&suite, 1)?];
    for chat in &mut chats {
        talk(&suite, 0, chat, 1).await?;
    }
    let [person, other] = chats;
    let phone = person.phone.clone();
    person.quit().await?;
    let before = records(&suite, 0).await?;
    assert_eq!(before.len(), 4);
    all_open(&suite, &before).await?;
    let backup = suite.dir().with_file_name("backup");
    snapshot(&suite, "data/store", &backup)?;

    let said = suite
        .sealpost(&[
            "--json", "admin", "erase", "--number", &number, "--phone", &phone,
        ])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    ensure!(
        !said.to_string().contains(&phone),
        "the phone number: {said}"
    );
    assert_eq!(said["receipts"][0]["signature_is_good"], true);
    assert_eq!(said["subjects"][0]["signature_is_good"], true);
    let subject = &said["subjects"][0]["destroyed"]["subject"];
    let person = &said["receipts"][0]["destroyed"]["person"];
    assert_eq!(person["subjects"][0], *subject);
    assert_eq!(subject["phone_number_id"], number.as_str());
    let tag = hex::decode(subject["tag"].as_str().context("a tag")?)?;
    let is_theirs = |record: &Record| record.tag == tag;
    let (theirs, others): (Vec<_>, Vec<_>) = before.iter().cloned().partition(is_theirs);
    assert_eq!((theirs.len(), others.len()), (2, 2));
    ensure!(said["store_rows_deleted"].as_u64() >= Some(2), "{said}");
    ensure!(said["relay_rows_deleted"].as_u64() >= Some(1), "{said}");
    let kept = receipts(&suite).await?;
    let kept = kept
        .iter()
        .find(|kept| kept["destroyed"]["subject"] == *subject);
    let kept = kept.context("retention keeps the receipt")?;
    assert_eq!(kept["signature_is_good"], true);
    assert_ne!(kept["rows_deleted_at_ms"], 0);

    // Now: their rows are gone, the other's are there, and what somebody has kept of theirs opens nowhere.
    assert_eq!(records(&suite, 0).await?, others);
    none_opens(&suite, &theirs, Refusal::SubjectErased).await?;
    all_open(&suite, &others).await?;
    let mut relay = PlatformServiceClient::new(suite.as_role(Role::Operator, "relay").await?);
    let request = ErasePeerRequest {
        phone_number_id: number.clone(),
        peer: phone.clone(),
        dry_run: true,
    };
    let left = relay.erase_peer(request).await?.into_inner().deleted;
    assert_eq!(left, 0, "nothing is left in the relay");
    for name in ["gateway", "relay", "store"] {
        suite.stop(name).await?;
    }
    ensure!(
        !on_disk(&suite, "store", &tag)?,
        "the tag is on the store's disk"
    );
    for record in &theirs {
        ensure!(!on_disk(&suite, "store", &record.sealed)?, "{record:?}");
        ensure!(!on_disk(&suite, "relay", &record.message_id)?, "{record:?}");
    }
    for record in &others {
        ensure!(on_disk(&suite, "store", &record.sealed)?, "the control");
    }

    // The store as it was before the erasure, beside the vault as it is after.
    restore(&suite, "data/store", &backup)?;
    suite.start("store").await?;
    assert_eq!(
        records(&suite, 0).await?,
        before,
        "the store is the old one"
    );
    none_opens(&suite, &theirs, Refusal::SubjectErased).await?;
    all_open(&suite, &others).await?;

    // The other one's conversation goes on.
    suite.start("relay").await?;
    suite.start("gateway").await?;
    rest.text_until_accepted(&number, &other.phone, "and on", "goes-on", SOON)
        .await?;
    other.wait_for_text("and on", SOON).await?;
    other.quit().await?;
    ensure!(
        unregister(&suite, &phone).await? > 0,
        "who was erased at one number may speak with others"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vault_restored_from_a_backup_forgets_again_whom_it_had_erased() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let mut chats = [Chat::start(&suite, 0)?, Chat::start(&suite, 1)?];
    for chat in &mut chats {
        talk(&suite, 0, chat, 1).await?;
    }
    let [person, other] = chats;
    let phone = person.phone.clone();
    person.quit().await?;
    other.quit().await?;
    let before = records(&suite, 0).await?;
    let backup = suite.dir().with_file_name("backup");
    snapshot(&suite, "data", &backup)?;
    let said = suite
        .sealpost(&["--json", "admin", "erase", "--all", "--phone", &phone])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    ensure!(said["relay_rows_deleted"].as_u64() >= Some(1), "{said}");
    assert_eq!(
        unregister(&suite, &phone).await?,
        0,
        "the relay has neither rows nor a device of theirs"
    );
    let tag = said["subjects"][0]["destroyed"]["subject"]["tag"].as_str();
    let tag = hex::decode(tag.context("a tag")?)?;
    let is_theirs = |record: &Record| record.tag == tag;
    let (theirs, others): (Vec<_>, Vec<_>) = before.iter().cloned().partition(is_theirs);
    assert_eq!((theirs.len(), others.len()), (2, 2));

    // Every database as it was before the erasure; the keyring's folder, which no backup has, as it is.
    let stop = async || -> anyhow::Result<()> {
        for name in SERVICES.iter().rev() {
            suite.stop(name).await?;
        }
        Ok(())
    };
    stop().await?;
    for needed in ["key-vault", "store"] {
        restore(&suite, &format!("data/{needed}"), &backup.join(needed))?;
        suite.start(needed).await?;
    }
    assert_eq!(
        records(&suite, 0).await?,
        before,
        "the store is the old one"
    );
    none_opens(&suite, &theirs, Refusal::SubjectErased).await?;
    all_open(&suite, &others).await?;
    // The old store's rows are taken up again when the operator says that it is an old one.
    for name in ["retention", "relay"] {
        suite.start(name).await?;
    }
    suite
        .sealpost(&["admin", "retention", "run", "--again"])
        .await?;
    assert_eq!(records(&suite, 0).await?, others);

    // The control: the same without the journal.
    for name in ["relay", "retention", "store", "key-vault"] {
        suite.stop(name).await?;
    }
    fs::remove_file(keyring(&suite).join("erasures.journal"))?;
    for needed in ["key-vault", "store"] {
        restore(&suite, &format!("data/{needed}"), &backup.join(needed))?;
        suite.start(needed).await?;
    }
    all_open(&suite, &theirs).await?;
    all_open(&suite, &others).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_erased_across_numbers_and_what_a_stopped_service_kept_goes_with_the_next_run()
-> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 1,
        ..Options::default()
    })
    .await?;
    let mut chat = Chat::start(&suite, 0)?;
    talk(&suite, 0, &mut chat, 1).await?;
    let to_second = Rest::of(&suite)?
        .send(suite.number(1), &rest::text(&chat.phone, "from the second"))
        .await?;
    chat.wait_for_text("from the second", SOON).await?;
    suite
        .webhook
        .wait_for_status(&to_second, "delivered", SOON)
        .await?;
    let phone = chat.phone.clone();
    chat.quit().await?;
    let kept = async || -> anyhow::Result<usize> {
        Ok(records(&suite, 0).await?.len() + records(&suite, 1).await?.len())
    };
    assert_eq!(kept().await?, 3);

    // The relay is away: the command says so, and the vault has forgotten all the same.
    suite.stop("relay").await?;
    let business = suite.facts().business.id.clone();
    let arguments = [
        "--json",
        "admin",
        "erase",
        "--business",
        &business,
        "--phone",
        &phone,
    ];
    let failed = suite.sealpost(&arguments).await;
    let error = format!("{:#}", failed.err().context("something is left")?);
    ensure!(error.contains("run the same command again"), "{error}");
    assert_eq!(kept().await?, 0);
    suite.start("relay").await?;
    let said: Value = serde_json::from_str(&suite.sealpost(&arguments).await?)?;
    assert_eq!(said["left"].as_array().map(Vec::len), Some(0), "{said}");
    let person = &said["receipts"][0]["destroyed"]["person"];
    assert_eq!(
        person["subjects"].as_array().map(Vec::len),
        Some(2),
        "{said}"
    );
    ensure!(said["relay_rows_deleted"].as_u64() >= Some(1), "{said}");
    Ok(())
}
