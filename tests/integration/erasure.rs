//! A person who was erased: gone from store and relay, and what a copy of the store still has of them opens no more. Another
//! person's records are as they were.

use anyhow::{Context, ensure};
use sealpost_proto::record::v1::Record;
use sealpost_proto::relay::v1::ErasePeerRequest;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::vault::v1::Refusal;
use sealpost_runtime::Role;
use sealpost_tests::chat::Chat;
use sealpost_tests::database::Kind;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use serde_json::Value;

use super::SOON;
use super::at_rest::{all_open, none_opens, on_disk, receipts, records, restore, snapshot};

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_person_is_gone_and_an_earlier_copy_of_the_store_opens_for_others_alone()
-> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: 2,
        // Copies of files are what is stolen here.
        database: Some(Kind::Sqlite),
        ..Options::default()
    })
    .await?;
    let number = suite.number(0).to_owned();
    let rest = Rest::of(&suite)?;
    let mut chats = [Chat::start(&suite, 0)?, Chat::start(&suite, 1)?];
    for chat in &mut chats {
        let id = rest.send(&number, &rest::text(&chat.phone, "out")).await?;
        chat.wait_for_text("out", SOON).await?;
        suite
            .webhook
            .wait_for_status(&id, "delivered", SOON)
            .await?;
        chat.text("back").await?;
        suite
            .webhook
            .wait_for_messages(&chat.phone, 1, SOON)
            .await?;
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
            "--json", "admin", "erase", "--number", &number, "--peer", &phone,
        ])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    ensure!(
        !said.to_string().contains(&phone),
        "the phone number: {said}"
    );
    assert_eq!(said["receipt"]["signature_is_good"], true);
    let subject = &said["receipt"]["destroyed"]["subject"];
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
        peer: phone,
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
    other.quit().await
}
