//! Whose word says who a consumer is.

use std::time::Duration;

use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_proto::{
    signal::v1::{BundleStatement, CiphertextType},
    vault::v1::{DecryptItem, Refusal},
};

use crate::{
    consumer::{Consumer, PHONE, sign},
    fixture::{Encryption, Fixture, NUMBER},
    inbound::state,
    outbound::{encrypted, item},
};

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
    // The gateway names the wrong one of the consumer's own devices for a new session of the first.
    first.begin(&fixture.relay, &upload, Some(1), now).await;
    let misnamed = DecryptItem {
        device_id: 2,
        ..first.send(2, "mine too", now).await
    };
    fixture.decrypt(misnamed).await.unwrap();
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
