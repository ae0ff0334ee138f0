//! From a consumer to the business.

use sealpost_envelope::Direction;
use sealpost_proto::{
    signal::v1::CiphertextType,
    vault::v1::{
        ConfirmItem, ConfirmRequest, DecryptItem, DeliverItem, DeliverRequest, Delivered,
        ListPendingRequest, Refusal, deliver_outcome,
    },
};

use crate::{
    consumer::{Consumer, PHONE, frame},
    fixture::{Fixture, NUMBER},
};

async fn confirm(fixture: &Fixture, ciphertext: &[u8]) {
    let digest = ring::digest::digest(&ring::digest::SHA256, ciphertext);
    let item = ConfirmItem {
        phone_number_id: NUMBER.to_owned(),
        ciphertext_sha256: digest.as_ref().to_vec().into(),
    };
    let response = fixture
        .vault
        .confirm(ConfirmRequest {
            batch_id: 9,
            items: vec![item],
        })
        .await
        .unwrap();
    assert_eq!((response.batch_id, response.outcomes.len()), (9, 1));
}

async fn pending(fixture: &Fixture) -> usize {
    let request = ListPendingRequest {
        limit: 256,
        ..ListPendingRequest::default()
    };
    fixture
        .vault
        .list_pending(request)
        .await
        .unwrap()
        .pending
        .len()
}

pub async fn deliver(fixture: &Fixture, item: DeliverItem) -> Result<Delivered, Refusal> {
    let request = DeliverRequest {
        batch_id: 1,
        items: vec![item],
    };
    let mut response = fixture
        .vault
        .deliver(&fixture.stream, request)
        .await
        .unwrap();
    match response.outcomes.remove(0).outcome.unwrap() {
        deliver_outcome::Outcome::Delivered(delivered) => Ok(delivered),
        deliver_outcome::Outcome::Refused(refusal) => Err(Refusal::try_from(refusal).unwrap()),
    }
}

#[tokio::test]
async fn a_first_message_reaches_the_business_and_spends_its_prekeys() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    let before = fixture.facts(NUMBER).await;
    assert_eq!((before.one_time_prekeys, before.kem_prekeys), (100, 100));
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(3),
            now,
        )
        .await;

    let sent = consumer.send(1, "good day", now).await;
    assert_eq!(sent.r#type(), CiphertextType::PrekeyMessage);
    let decrypted = fixture.decrypt(sent).await.unwrap();
    let opened = business
        .open(
            &decrypted.message.unwrap(),
            &decrypted.wrap,
            now.as_millis(),
        )
        .unwrap();
    assert_eq!(opened.content.as_bytes(), b"good day");
    assert_eq!(
        (opened.header.direction(), opened.header.peer().expose()),
        (Direction::Inbound, PHONE)
    );
    assert_eq!(opened.header.message_id().as_bytes(), &[1; 16]);
    let after = fixture.facts(NUMBER).await;
    assert_eq!(
        (
            after.one_time_prekeys,
            after.kem_prekeys,
            after.sessions,
            after.subjects
        ),
        (99, 99, 1, 1)
    );

    let second = consumer.send(2, "more", now).await;
    let decrypted = fixture.decrypt(second).await.unwrap();
    assert!(
        decrypted.wrap.is_empty(),
        "the wrap went over this stream before"
    );
    assert_eq!(decrypted.record.as_ref().unwrap().sequence, 2);
    let opened = business
        .open(
            &decrypted.message.unwrap(),
            &decrypted.wrap,
            now.as_millis(),
        )
        .unwrap();
    assert_eq!(opened.content.as_bytes(), b"more");
    assert_eq!(fixture.facts(NUMBER).await.one_time_prekeys, 99);
}

#[tokio::test]
async fn a_repeat_answers_the_pending_record_until_it_is_confirmed_and_then_duplicate() {
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
    let sent = consumer.send(1, "once", now).await;
    // Twice in one batch, and again later.
    let both = fixture.decrypt_all(vec![sent.clone(), sent.clone()]).await;
    let first = both[0].clone().unwrap();
    assert_eq!(first.record, both[1].clone().unwrap().record);
    let again = fixture.decrypt(sent.clone()).await.unwrap();
    assert_eq!(first.record, again.record);
    assert_ne!(first.message, again.message, "sealed anew");
    for decrypted in [&first, &again] {
        let message = decrypted.message.as_ref().unwrap();
        let opened = business
            .open(message, &decrypted.wrap, now.as_millis())
            .unwrap();
        assert_eq!(opened.content.as_bytes(), b"once");
    }
    let stranger = DecryptItem {
        peer: "15550000000".to_owned(),
        ..sent.clone()
    };
    assert_eq!(
        fixture.decrypt(stranger).await.err(),
        Some(Refusal::Undecryptable)
    );
    assert_eq!(pending(&fixture).await, 1);
    confirm(&fixture, &sent.ciphertext).await;
    confirm(&fixture, &sent.ciphertext).await;
    assert_eq!(pending(&fixture).await, 0);
    assert_eq!(fixture.decrypt(sent).await.err(), Some(Refusal::Duplicate));
}

#[tokio::test]
async fn conversations_interleave_both_ways() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let phones = ["15551230001", "15551230002", "15551230003"];
    let mut consumers = Vec::new();
    for (at, phone) in phones.into_iter().enumerate() {
        let mut consumer = Consumer::new(phone, NUMBER);
        consumer.begin(&fixture.relay, &upload, Some(at), now).await;
        consumers.push(consumer);
    }
    for round in 0..6_u8 {
        let mut batch = Vec::new();
        for consumer in &mut consumers {
            batch.push(
                consumer
                    .send(round, &format!("in {round} {}", consumer.phone), now)
                    .await,
            );
        }
        for (decrypted, phone) in fixture.decrypt_all(batch).await.into_iter().zip(phones) {
            let decrypted = decrypted.unwrap();
            let opened = business
                .open(
                    &decrypted.message.unwrap(),
                    &decrypted.wrap,
                    now.as_millis(),
                )
                .unwrap();
            assert_eq!(
                opened.content.as_bytes(),
                format!("in {round} {phone}").as_bytes()
            );
        }
        let batch = phones.map(|phone| {
            sealer.seal(
                phone,
                100 + round,
                &format!("out {round} {phone}"),
                now.as_millis(),
            )
        });
        let admitted = fixture.admit_all(batch.to_vec()).await.unwrap();
        for (admitted, consumer) in admitted.into_iter().zip(&mut consumers) {
            let admitted = admitted.unwrap();
            assert_eq!(admitted.ciphertexts[0].r#type(), CiphertextType::Message);
            let received = consumer.receive(&admitted.ciphertexts[0]).await;
            assert_eq!(received.text, format!("out {round} {}", consumer.phone));
        }
    }
}

/// What a decryption must leave alone.
pub async fn state(fixture: &Fixture) -> (u64, u64, u64, u64) {
    let facts = fixture.facts(NUMBER).await;
    (
        facts.subjects,
        facts.sessions,
        facts.one_time_prekeys,
        facts.kem_prekeys,
    )
}

#[tokio::test]
async fn a_failed_decryption_leaves_the_session_unchanged() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
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
    let sent = consumer.send(1, "true", now).await;
    for at in [0, 40, sent.ciphertext.len() / 2, sent.ciphertext.len() - 1] {
        let mut forged = sent.clone();
        let mut bytes = forged.ciphertext.to_vec();
        bytes[at] ^= 0x55;
        forged.ciphertext = bytes.into();
        let refused = fixture.decrypt(forged).await.err();
        assert!(
            matches!(refused, Some(Refusal::Undecryptable | Refusal::Malformed)),
            "{at}: {refused:?}"
        );
    }
    let facts = fixture.facts(NUMBER).await;
    assert_eq!(
        (
            facts.subjects,
            facts.sessions,
            facts.one_time_prekeys,
            facts.kem_prekeys
        ),
        (0, 0, 100, 100)
    );
    fixture.decrypt(sent).await.unwrap();
}

#[tokio::test]
async fn a_frame_that_names_another_sender_or_receiver_is_refused_whole() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
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
    let bad = [
        frame(1, "15550000000", NUMBER, now, "x"),
        frame(1, PHONE, "106540352242923", now, "x"),
        frame(1, PHONE, NUMBER, now, "x")[..40].to_vec(),
        [&frame(1, PHONE, NUMBER, now, "x")[..], &[0]].concat(),
        Vec::new(),
    ];
    for plaintext in bad {
        let sent = consumer.send_raw(&plaintext, now).await;
        assert_eq!(
            fixture.decrypt(sent).await.err(),
            Some(Refusal::Undecryptable)
        );
    }
    assert_eq!(fixture.facts(NUMBER).await.subjects, 0);
    let good = consumer.send(2, "right", now).await;
    fixture.decrypt(good).await.unwrap();
}

#[tokio::test]
async fn a_base_key_serves_the_last_resort_prekey_once_even_after_the_session_is_gone() {
    let fixture = Fixture::forgetful().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            None,
            now,
        )
        .await;
    let sent = consumer.send(1, "once", now).await;
    fixture.decrypt(sent.clone()).await.unwrap();
    assert_eq!(fixture.count("kem_used").await, 1);
    assert_eq!(fixture.facts(NUMBER).await.kem_prekeys, 100);
    // Without the mark nothing would be left to tell a replay by.
    for table in ["sessions", "pending", "subjects"] {
        fixture.tamper(&format!("DELETE FROM {table}")).await;
    }
    assert_eq!(
        fixture.decrypt(sent.clone()).await.err(),
        Some(Refusal::Undecryptable)
    );
    assert_eq!(fixture.facts(NUMBER).await.subjects, 0);
    fixture.tamper("DELETE FROM kem_used").await;
    assert!(
        fixture.decrypt(sent).await.is_ok(),
        "it was the mark and nothing else"
    );
}

#[tokio::test]
async fn a_stored_record_is_delivered_again_and_a_status_names_the_peer_alone() {
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
    let sent = consumer.send(1, "kept", now).await;
    let decrypted = fixture.decrypt(sent).await.unwrap();
    let whole = DeliverItem {
        record: decrypted.record.clone(),
        header_only: false,
        with_wrap: true,
    };
    let delivered = deliver(&fixture, whole.clone()).await.unwrap();
    assert!(!delivered.wrap.is_empty(), "asked for");
    let opened = business
        .open(
            &delivered.message.unwrap(),
            &delivered.wrap,
            now.as_millis(),
        )
        .unwrap();
    assert_eq!(opened.content.as_bytes(), b"kept");

    let sealer = business.sealer(&fixture).await;
    let out = fixture
        .admit(sealer.seal(PHONE, 9, "out", now.as_millis()))
        .await
        .unwrap();
    let status = DeliverItem {
        record: out.record.clone(),
        header_only: true,
        with_wrap: false,
    };
    let delivered = deliver(&fixture, status).await.unwrap();
    assert!(delivered.wrap.is_empty());
    let opened = business
        .open(
            &delivered.message.unwrap(),
            &delivered.wrap,
            now.as_millis(),
        )
        .unwrap();
    assert_eq!(
        (opened.header.direction(), opened.content.as_bytes()),
        (Direction::Status, &b""[..])
    );
    assert_eq!(opened.header.message_id().as_bytes(), &[9; 16]);
    let whole_out = DeliverItem {
        record: out.record,
        header_only: false,
        with_wrap: false,
    };
    assert_eq!(
        deliver(&fixture, whole_out).await.err(),
        Some(Refusal::Malformed)
    );
}

#[tokio::test]
async fn one_prekey_serves_one_of_two_streams_that_bring_messages_for_it_at_once() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let now = fixture.now();
    let mut sent = Vec::new();
    for phone in ["15551230001", "15551230002"] {
        let mut consumer = Consumer::new(phone, NUMBER);
        consumer.begin(&fixture.relay, &upload, Some(0), now).await;
        sent.push(consumer.send(1, "mine", now).await);
    }
    let other = sent.remove(1);
    let (one, two) = tokio::join!(
        fixture.decrypt(sent.remove(0)),
        fixture.decrypt(other.clone())
    );
    let refused: Vec<_> = [one, two].into_iter().filter_map(Result::err).collect();
    assert_eq!(refused, [Refusal::Undecryptable]);
    assert_eq!(state(&fixture).await, (1, 1, 99, 99));
}
