//! From the business to a consumer.

use libsignal_protocol::IdentityKeyPair;
use rand::{TryRngCore, rngs::OsRng};
use sealpost_proto::{
    record::v1::Record,
    signal::v1::{CiphertextType, SignedBundle},
    vault::v1::{EncryptItem, Encrypted, Refusal},
};

use crate::{
    consumer::{Consumer, PHONE, sign},
    fixture::{Encryption, Fixture, NUMBER},
};

pub fn item(record: &Record, bundle: Option<SignedBundle>) -> EncryptItem {
    EncryptItem {
        record: Some(record.clone()),
        bundle,
        attempt: 0,
        only_device_id: 0,
    }
}

pub fn encrypted(outcome: Result<Encryption, Refusal>) -> Encrypted {
    match outcome {
        Ok(Encryption::Encrypted(encrypted)) => encrypted,
        other => panic!("not encrypted: {other:?}"),
    }
}

fn required(outcome: Result<Encryption, Refusal>) -> Vec<u32> {
    match outcome {
        Ok(Encryption::Required(required)) => {
            assert_eq!(required.peer, PHONE);
            required
                .known_devices
                .iter()
                .map(|device| device.device_id)
                .collect()
        }
        other => panic!("no session required: {other:?}"),
    }
}

#[tokio::test]
async fn the_first_message_goes_out_through_a_bundle_and_the_second_at_once() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();

    let first = fixture
        .admit(sealer.seal(PHONE, 1, "hello", now.as_millis()))
        .await
        .unwrap();
    assert!(first.ciphertexts.is_empty());
    assert_eq!(
        (first.peer.as_str(), first.category, first.time_ms),
        (PHONE, 2, now.as_millis())
    );
    let record = first.record.unwrap();
    assert_eq!(record.sequence, 1);
    assert!(required(fixture.encrypt(item(&record, None)).await).is_empty());

    let bundle = consumer.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    assert_eq!((out.peer.as_str(), out.identity_changed), (PHONE, false));
    assert_eq!(out.ciphertexts[0].r#type(), CiphertextType::PrekeyMessage);
    let frame = consumer.receive(&out.ciphertexts[0]).await;
    assert_eq!(
        (frame.from.as_str(), frame.to.as_str(), frame.text.as_str()),
        (NUMBER, PHONE, "hello")
    );
    assert_eq!(
        (frame.message_id, frame.time_ms, frame.category),
        ([1; 16], now.as_millis(), 2)
    );
    let identity = provisioned.upload.unwrap().identity_key;
    assert_eq!(consumer.pinned().await.unwrap(), identity);

    let second = fixture
        .admit(sealer.seal(PHONE, 2, "again", now.as_millis()))
        .await
        .unwrap();
    assert_eq!(second.record.unwrap().sequence, 2);
    assert_eq!(consumer.receive(&second.ciphertexts[0]).await.text, "again");
}

#[tokio::test]
async fn a_message_waits_while_one_before_it_does() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let batch = (1..=3)
        .map(|id| sealer.seal(PHONE, id, &format!("message {id}"), now.as_millis()))
        .collect();
    let admitted: Vec<_> = fixture
        .admit_all(batch)
        .await
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert!(
        admitted
            .iter()
            .all(|message| message.ciphertexts.is_empty())
    );
    let records: Vec<_> = admitted
        .into_iter()
        .map(|message| message.record.unwrap())
        .collect();
    assert_eq!(
        records
            .iter()
            .map(|record| record.sequence)
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );

    let mut bundle = Some(consumer.bundle(&fixture.relay, now).await);
    for record in &records[..2] {
        let out = encrypted(fixture.encrypt(item(record, bundle.take())).await);
        consumer.receive(&out.ciphertexts[0]).await;
        // The third still waits, so a fourth must not overtake it.
        let fourth = fixture
            .admit(sealer.seal(PHONE, 4, "fourth", now.as_millis()))
            .await
            .unwrap();
        assert!(fourth.ciphertexts.is_empty());
    }
    let out = encrypted(fixture.encrypt(item(&records[2], None)).await);
    assert_eq!(
        consumer.receive(&out.ciphertexts[0]).await.text,
        "message 3"
    );
}

#[tokio::test]
async fn items_of_one_conversation_chain_within_a_batch() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let first = fixture
        .admit(sealer.seal(PHONE, 1, "0", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let bundle = consumer.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&first, Some(bundle))).await);
    consumer.receive(&out.ciphertexts[0]).await;

    let batch = (2..=20)
        .map(|id| sealer.seal(PHONE, id, &id.to_string(), now.as_millis()))
        .collect();
    for (admitted, id) in fixture
        .admit_all(batch)
        .await
        .unwrap()
        .into_iter()
        .zip(2..=20)
    {
        let admitted = admitted.unwrap();
        assert_eq!(
            consumer.receive(&admitted.ciphertexts[0]).await.text,
            format!("{id}")
        );
    }
}

#[tokio::test]
async fn every_device_of_a_peer_gets_its_own_ciphertext_and_one_that_left_gets_none() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut phone = Consumer::new(PHONE, NUMBER);
    let mut desk = Consumer::device(PHONE, NUMBER, 2, 88, phone.identity);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "both", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let devices = vec![phone.offer(now).await, desk.offer(now).await];
    let bundle = sign(&fixture.relay, &phone.statement(devices, now));
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    assert_eq!(phone.receive(&out.ciphertexts[0]).await.text, "both");
    assert_eq!(desk.receive(&out.ciphertexts[1]).await.text, "both");
    assert_eq!(fixture.facts(NUMBER).await.sessions, 2);

    let left = sign(&fixture.relay, &phone.statement(vec![phone.listed()], now));
    let out = encrypted(fixture.encrypt(item(&record, Some(left))).await);
    assert_eq!(out.ciphertexts.len(), 1);
    assert_eq!(phone.receive(&out.ciphertexts[0]).await.text, "both");
    assert_eq!(fixture.facts(NUMBER).await.sessions, 1);

    // Registered anew: the old session is with nobody, and a bundle without prekeys does not do.
    let mut anew = Consumer::device(PHONE, NUMBER, 1, 99, phone.identity);
    let listed = sign(&fixture.relay, &anew.statement(vec![anew.listed()], now));
    assert_eq!(
        fixture.encrypt(item(&record, Some(listed))).await.err(),
        Some(Refusal::BundleInvalid)
    );
    let bundle = anew.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    assert_eq!(anew.receive(&out.ciphertexts[0]).await.text, "both");
}

#[tokio::test]
async fn a_retry_is_recognised_by_its_digest_though_its_bytes_differ() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now().as_millis();
    let first = fixture
        .admit(sealer.seal(PHONE, 1, "same", now))
        .await
        .unwrap();
    let other_key = business.sealer(&fixture).await;
    let retry = fixture
        .admit(other_key.seal(PHONE, 1, "same", now + 5000))
        .await
        .unwrap();
    assert_eq!(first.digest, retry.digest);
    assert_eq!(first.digest.len(), 32);
    let other = fixture
        .admit(sealer.seal(PHONE, 1, "another", now))
        .await
        .unwrap();
    assert_ne!(first.digest, other.digest);
}

#[tokio::test]
async fn a_second_try_makes_the_session_anew_for_the_device_that_asked() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut phone = Consumer::new(PHONE, NUMBER);
    let mut desk = Consumer::device(PHONE, NUMBER, 2, 88, phone.identity);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let devices = vec![phone.offer(now).await, desk.offer(now).await];
    let bundle = sign(&fixture.relay, &phone.statement(devices, now));
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    phone.receive(&out.ciphertexts[0]).await;

    // The desk lost everything: the first try would still use the old session, the second does not.
    let mut lost = Consumer::device(PHONE, NUMBER, 2, 88, phone.identity);
    let again = |attempt, bundle| EncryptItem {
        attempt,
        only_device_id: 2,
        ..item(&record, bundle)
    };
    let out = encrypted(fixture.encrypt(again(1, None)).await);
    assert_eq!(out.ciphertexts.len(), 1);
    assert!(lost.try_receive(&out.ciphertexts[0]).await.is_none());
    assert_eq!(required(fixture.encrypt(again(2, None)).await), [1]);
    let devices = vec![phone.listed(), lost.offer(now).await];
    let bundle = sign(&fixture.relay, &phone.statement(devices, now));
    let out = encrypted(fixture.encrypt(again(2, Some(bundle))).await);
    assert_eq!(lost.receive(&out.ciphertexts[0]).await.text, "x");
    assert_eq!(
        fixture.encrypt(again(6, None)).await.err(),
        Some(Refusal::Malformed)
    );
}

#[tokio::test]
async fn a_changed_identity_in_a_bundle_is_reported_and_ends_the_old_sessions() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut before = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let bundle = before.bundle(&fixture.relay, now).await;
    encrypted(fixture.encrypt(item(&record, Some(bundle))).await);

    let other = IdentityKeyPair::generate(&mut OsRng.unwrap_err());
    let mut after = Consumer::device(PHONE, NUMBER, 1, 77, other);
    let listed = sign(&fixture.relay, &after.statement(vec![after.listed()], now));
    assert_eq!(
        fixture.encrypt(item(&record, Some(listed))).await.err(),
        Some(Refusal::BundleInvalid)
    );
    let bundle = after.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    assert!(out.identity_changed);
    assert_eq!(after.receive(&out.ciphertexts[0]).await.text, "x");
    let out = encrypted(fixture.encrypt(item(&record, None)).await);
    assert!(!out.identity_changed);
}
