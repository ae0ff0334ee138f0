//! From a consumer to the business.

use std::time::Duration;

use prost::Message;
use sealpost_envelope::{Direction, OsEntropy, SigningKey};
use sealpost_proto::{
    signal::v1::{BundleStatement, CiphertextType},
    vault::v1::{
        ConfirmItem, ConfirmRequest, DecryptItem, DeliverItem, DeliverRequest, Delivered,
        ListPendingRequest, Refusal, deliver_outcome,
    },
};

use crate::{
    consumer::{Consumer, PHONE, frame, sign},
    fixture::{Encryption, Fixture, NUMBER},
    outbound::{encrypted, item},
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
async fn state(fixture: &Fixture) -> (u64, u64, u64, u64) {
    let facts = fixture.facts(NUMBER).await;
    (
        facts.subjects,
        facts.sessions,
        facts.one_time_prekeys,
        facts.kem_prekeys,
    )
}

#[tokio::test]
async fn a_stranger_is_believed_on_the_relays_word_and_on_nobody_elses() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
    let mut stranger = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    stranger
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            now,
        )
        .await;
    let sent = stranger.send(1, "I am they", now).await;

    let honest = stranger.statement(vec![stranger.listed()], now);
    let other = Consumer::new(PHONE, NUMBER);
    let device = |id, registration| {
        let device = Consumer::device(PHONE, NUMBER, id, registration, stranger.identity);
        device.statement(vec![device.listed()], now)
    };
    let signed = |statement: &BundleStatement| Some(sign(&fixture.relay, statement));
    let gateways = SigningKey::generate(&mut OsEntropy).unwrap();
    let attempts = [
        ("nothing", None, Refusal::SenderUnverified),
        (
            "their true identity",
            signed(&other.statement(vec![other.listed()], now)),
            Refusal::SenderUnverified,
        ),
        (
            "another device",
            signed(&device(2, stranger.registration_id)),
            Refusal::SenderUnverified,
        ),
        (
            "another registration",
            signed(&device(1, 78)),
            Refusal::SenderUnverified,
        ),
        (
            "the gateway's signature",
            Some(sign(&gateways, &honest)),
            Refusal::BundleInvalid,
        ),
        (
            "for another number",
            signed(&BundleStatement {
                requester: "106540352242923".to_owned(),
                ..honest.clone()
            }),
            Refusal::BundleInvalid,
        ),
        (
            "about another peer",
            signed(&BundleStatement {
                peer: "15550000000".to_owned(),
                ..honest.clone()
            }),
            Refusal::BundleInvalid,
        ),
        (
            "an ended one",
            signed(&BundleStatement {
                expires_at_ms: now.as_millis(),
                issued_at_ms: now.as_millis() - 1,
                ..honest.clone()
            }),
            Refusal::BundleInvalid,
        ),
    ];
    for (what, bundle, refusal) in attempts {
        let attempt = DecryptItem {
            bundle,
            ..sent.clone()
        };
        assert_eq!(
            fixture.decrypt(attempt).await.err(),
            Some(refusal),
            "{what}"
        );
        assert_eq!(state(&fixture).await, (0, 0, 100, 100), "{what}");
    }
    let vouched = DecryptItem {
        bundle: signed(&honest),
        ..sent
    };
    fixture.decrypt(vouched).await.unwrap();
    let more = DecryptItem {
        bundle: None,
        ..stranger.send(2, "still they", now).await
    };
    assert_eq!(more.r#type(), CiphertextType::PrekeyMessage);
    assert!(fixture.decrypt(more).await.is_ok(), "pinned now");
}

#[tokio::test]
async fn a_forged_change_of_identity_is_refused_and_the_conversation_goes_on() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let now = fixture.now();
    let mut consumer = Consumer::new(PHONE, NUMBER);
    consumer.begin(&fixture.relay, &upload, Some(0), now).await;
    let sent = consumer.send(1, "it is me", now).await;
    fixture.decrypt(sent).await.unwrap();
    let before = state(&fixture).await;

    let mut forger = Consumer::new(PHONE, NUMBER);
    forger.begin(&fixture.relay, &upload, Some(1), now).await;
    let forged = forger.send(2, "I have a new phone", now).await;
    for bundle in [None, consumer.voucher.clone()] {
        let forged = DecryptItem {
            bundle,
            ..forged.clone()
        };
        assert_eq!(
            fixture.decrypt(forged).await.err(),
            Some(Refusal::SenderUnverified)
        );
    }
    assert_eq!(state(&fixture).await, before);
    let sealer = business.sealer(&fixture).await;
    let out = fixture
        .admit(sealer.seal(PHONE, 3, "good", now.as_millis()))
        .await
        .unwrap();
    assert_eq!(consumer.receive(&out.ciphertexts[0]).await.text, "good");
}

#[tokio::test]
async fn a_session_under_another_devices_name_is_never_sent_on() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let now = fixture.now();
    let mut first = Consumer::new(PHONE, NUMBER);
    let second = Consumer::device(PHONE, NUMBER, 2, 88, first.identity);
    first.begin(&fixture.relay, &upload, Some(0), now).await;
    let both = first.statement(vec![first.listed(), second.listed()], now);
    first.voucher = Some(sign(&fixture.relay, &both));
    let sent = first.send(1, "mine", now).await;
    fixture.decrypt(sent).await.unwrap();
    // The gateway names the wrong one of the consumer's own devices.
    let misnamed = DecryptItem {
        device_id: 2,
        ..first.send(2, "mine too", now).await
    };
    let _ = fixture.decrypt(misnamed).await;
    let sealer = business.sealer(&fixture).await;
    let out = fixture
        .admit(sealer.seal(PHONE, 3, "x", now.as_millis()))
        .await
        .unwrap();
    assert!(out.ciphertexts.is_empty());
    match fixture.encrypt(item(&out.record.unwrap(), None)).await {
        Ok(Encryption::Required(required)) => {
            let known: Vec<_> = required
                .known_devices
                .iter()
                .filter(|known| known.registration_id == 88)
                .collect();
            assert!(known.is_empty(), "its prekeys are asked for");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_changed_identity_is_reported_and_the_old_one_is_heard_no_more() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let mut before = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    let sealer = business.sealer(&fixture).await;
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let bundle = before.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle.clone()))).await);
    before.receive(&out.ciphertexts[0]).await;

    let later = now + Duration::from_secs(60);
    let mut after = Consumer::new(PHONE, NUMBER);
    after.begin(&fixture.relay, &upload, Some(0), later).await;
    let sent = after.send(2, "new phone", now).await;
    let decrypted = fixture.decrypt(sent.clone()).await.unwrap();
    assert!(decrypted.identity_changed);
    assert!(
        fixture.decrypt(sent).await.unwrap().identity_changed,
        "a repeat says so too"
    );
    let late = before.send(3, "old phone", now).await;
    assert_eq!(
        fixture.decrypt(late).await.err(),
        Some(Refusal::Undecryptable)
    );
    // Nor does the relay's earlier word bring it back, in either direction, though its time is not over.
    before.begin(&fixture.relay, &upload, Some(1), now).await;
    let sent = before.send(4, "old phone", now).await;
    assert_eq!(
        fixture.decrypt(sent).await.err(),
        Some(Refusal::BundleInvalid)
    );
    assert_eq!(
        fixture.encrypt(item(&record, Some(bundle))).await.err(),
        Some(Refusal::BundleInvalid)
    );
    let out = fixture
        .admit(sealer.seal(PHONE, 5, "y", now.as_millis()))
        .await
        .unwrap();
    assert_eq!(after.receive(&out.ciphertexts[0]).await.text, "y");
}

#[tokio::test]
async fn a_change_of_identity_met_on_the_way_out_is_told_once_with_the_next_message_in() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let upload = provisioned.upload.unwrap();
    let now = fixture.now();
    let mut before = Consumer::new(PHONE, NUMBER);
    before.begin(&fixture.relay, &upload, Some(0), now).await;
    let sent = before.send(1, "old phone", now).await;
    assert!(!fixture.decrypt(sent).await.unwrap().identity_changed);

    let mut after = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let out = fixture
        .admit(sealer.seal(PHONE, 2, "x", now.as_millis()))
        .await
        .unwrap();
    let bundle = after.bundle(&fixture.relay, now).await;
    let out = fixture.encrypt(item(&out.record.unwrap(), Some(bundle)));
    let out = encrypted(out.await);
    assert!(out.identity_changed);
    after.receive(&out.ciphertexts[0]).await;

    for (id, told) in [(3, true), (4, false)] {
        let sent = after.send(id, "new phone", now).await;
        assert_eq!(sent.r#type(), CiphertextType::Message);
        assert_eq!(fixture.decrypt(sent).await.unwrap().identity_changed, told);
    }
}

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
    let own = hex::encode(own.record.unwrap().encode_to_vec());
    fixture
        .tamper(&format!("UPDATE pending SET record = x'{own}'"))
        .await;
    assert_eq!(
        fixture.decrypt(sent).await.err(),
        Some(Refusal::Undecryptable)
    );
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
    let fixture = Fixture::new().await;
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
