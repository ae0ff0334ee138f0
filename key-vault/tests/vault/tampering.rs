//! What whoever can write to the database or the keyring cannot do.

use std::{fs, time::Duration};

use prost::Message;
use sealpost_key_vault::{
    Vault,
    custody::{
        init::{InitError, init},
        unseal::NewSeal,
    },
};
use sealpost_proto::vault::v1::{GetPublishedKeyRequest, Refusal};
use sealpost_runtime::Clock;

use crate::{
    consumer::{Consumer, PHONE},
    custody::admitted,
    fixture::{Fixture, NUMBER, START},
    outbound::{encrypted, item},
};

#[tokio::test]
async fn an_outbound_record_put_in_a_pending_row_is_never_given_out_as_a_consumers_word() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            now,
        )
        .await;
    let sent = consumer.send(1, "no", now).await;
    fixture.decrypt(sent.clone()).await.unwrap();
    let sealer = business.sealer(&fixture).await;
    let own = fixture
        .admit(sealer.seal(PHONE, 2, "yes, I agree", now.as_millis()))
        .await
        .unwrap();
    let own = fixture.literal(&own.record.unwrap().encode_to_vec());
    fixture
        .tamper(&format!("UPDATE pending SET record = {own}"))
        .await;
    assert_eq!(
        fixture.decrypt(sent).await.err(),
        Some(Refusal::Undecryptable)
    );
}

#[tokio::test]
async fn a_one_time_kem_prekey_is_not_made_a_lasting_one_by_its_column() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let now = fixture.now();
    fixture
        .tamper("UPDATE kem_prekeys SET last_resort = 1")
        .await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    consumer.begin(&fixture.relay, &upload, Some(0), now).await;
    let sent = consumer.send(1, "x", now).await;
    assert_eq!(fixture.decrypt(sent).await.err(), Some(Refusal::Contention));
    assert_eq!(fixture.count("kem_used").await, 0);
    assert_eq!(fixture.facts(NUMBER).await.sessions, 0);
}

#[tokio::test]
async fn the_life_of_a_key_that_connectors_wrap_to_cannot_be_lengthened_in_its_table() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    fixture
        .tamper("UPDATE hpke_keys SET not_after_ms = not_after_ms + 3600000")
        .await;
    let sealed = sealer.seal(PHONE, 1, "x", fixture.now().as_millis());
    assert_eq!(
        fixture.admit(sealed).await.err(),
        Some(Refusal::Undecryptable)
    );
    let request = GetPublishedKeyRequest {
        phone_number_id: NUMBER.to_owned(),
    };
    assert!(fixture.vault.published_key(request).await.is_err());
}

#[tokio::test]
async fn a_time_mark_that_was_taken_is_not_made_anew_beside_epoch_keys() {
    let fixture = Fixture::new().await;
    admitted(&fixture, 3_600).await;
    fixture.vault.close().await.unwrap();
    fs::remove_file(fixture.config.keyring.join("time.mark")).unwrap();
    let earlier = Clock::manual(START - Duration::from_secs(1));
    let refused = init(&fixture.config, &earlier, &NewSeal::KeyFile).await;
    assert!(
        matches!(refused, Err(InitError::MarkMissing)),
        "{refused:?}"
    );
    assert!(Vault::open(&fixture.config, earlier.clone()).await.is_err());
    // Without a key that could outlive its time, as after a restored backup, a new keyring is right.
    for file in fixture.keyring_files() {
        fs::remove_file(file).unwrap();
    }
    init(&fixture.config, &earlier, &NewSeal::KeyFile)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_session_put_back_to_an_earlier_one_costs_its_conversation_and_never_a_key_twice() {
    let fixture = Fixture::forgetful().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            now,
        )
        .await;
    let sent = consumer.send(1, "hello", now).await;
    fixture.decrypt(sent).await.unwrap();
    fixture
        .tamper("CREATE TABLE copy AS SELECT * FROM sessions")
        .await;
    let out = fixture
        .admit(sealer.seal(PHONE, 2, "x", now.as_millis()))
        .await
        .unwrap();
    consumer.receive(&out.ciphertexts[0]).await;

    // Whole rows, each true in its place at its time; the subject's row is the present one.
    fixture
        .tamper(
            "UPDATE sessions SET row_version = copy.row_version, sealed = copy.sealed FROM copy \
             WHERE sessions.number = copy.number AND sessions.subject_id = copy.subject_id \
             AND sessions.device_id = copy.device_id",
        )
        .await;
    assert_eq!(
        fixture
            .admit(sealer.seal(PHONE, 3, "y", now.as_millis()))
            .await
            .err(),
        Some(Refusal::Undecryptable)
    );
    // An operator can give the session up.
    fixture.tamper("DELETE FROM sessions").await;
    let out = fixture
        .admit(sealer.seal(PHONE, 3, "y", now.as_millis()))
        .await
        .unwrap();
    assert!(out.ciphertexts.is_empty());
    let bundle = consumer.bundle(&fixture.relay, now).await;
    let out = fixture.encrypt(item(&out.record.unwrap(), Some(bundle)));
    let out = encrypted(out.await);
    assert_eq!(consumer.receive(&out.ciphertexts[0]).await.text, "y");
}
