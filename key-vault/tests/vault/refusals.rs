//! What is refused, and that it leaves nothing behind.

use libsignal_protocol::IdentityKeyPair;
use rand::{TryRngCore, rngs::OsRng};
use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_key_vault::{VaultError, service::StreamState};
use sealpost_proto::{
    signal::v1::BundleStatement,
    vault::v1::{
        AdmitItem, AdmitRequest, DecryptItem, DecryptRequest, GetNumberRequest, Refusal,
        ReplenishPrekeysRequest, SetRetentionRequest,
    },
};

use crate::{
    business::Business,
    consumer::{Consumer, PHONE, sign},
    fixture::{Fixture, NUMBER, OTHER_NUMBER},
    outbound::{encrypted, item},
};

#[tokio::test]
async fn a_content_key_is_asked_for_once_and_kept() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now().as_millis();
    let with_wrap = sealer.seal(PHONE, 1, "x", now);
    let without = AdmitItem {
        wrap: bytes::Bytes::new(),
        ..with_wrap.clone()
    };
    assert_eq!(
        fixture.admit(without.clone()).await.err(),
        Some(Refusal::UnknownContentKey)
    );
    fixture.admit(with_wrap).await.unwrap();
    fixture.admit(without).await.unwrap();
}

#[tokio::test]
async fn expired_content_keys_and_vault_keys_that_are_gone_answer_key_expired() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let second = business.sealer(&fixture).await;
    let start = fixture.now().as_millis();
    fixture
        .admit(sealer.seal(PHONE, 1, "x", start))
        .await
        .unwrap();
    fixture.advance(7_200).await;
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(
        fixture.count("hpke_keys").await,
        0,
        "the private half is destroyed after two hours"
    );
    fixture.advance(1).await;
    // Known content key, expired; and a wrap never seen, to a key that is gone.
    for sealer in [&sealer, &second] {
        let late = sealer.seal(PHONE, 2, "x", start);
        assert_eq!(fixture.admit(late).await.err(), Some(Refusal::KeyExpired));
    }
    let fresh = business.sealer(&fixture).await;
    fixture
        .admit(fresh.seal(PHONE, 2, "x", start))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_published_key_changes_after_an_hour_and_the_old_one_still_opens_for_another() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let old = business.sealer(&fixture).await;
    fixture.advance(3_600).await;
    let new = business.sealer(&fixture).await;
    assert_eq!(fixture.count("hpke_keys").await, 2);
    let now = fixture.now().as_millis();
    fixture.admit(old.seal(PHONE, 1, "x", now)).await.unwrap();
    fixture.admit(new.seal(PHONE, 2, "x", now)).await.unwrap();
}

#[tokio::test]
async fn a_wrap_or_message_for_another_number_is_refused() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let (_, _) = fixture.number(OTHER_NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now().as_millis();
    let moved = AdmitItem {
        phone_number_id: OTHER_NUMBER.to_owned(),
        ..sealer.seal(PHONE, 1, "x", now)
    };
    // The other number has no key of that name.
    assert_eq!(
        fixture.admit(moved.clone()).await.err(),
        Some(Refusal::KeyExpired)
    );
    fixture
        .admit(sealer.seal(PHONE, 1, "x", now))
        .await
        .unwrap();
    let without = AdmitItem {
        wrap: bytes::Bytes::new(),
        ..moved
    };
    assert_eq!(
        fixture.admit(without).await.err(),
        Some(Refusal::UnknownContentKey)
    );
}

#[tokio::test]
async fn a_changed_byte_anywhere_in_a_sealed_message_is_refused() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let good = sealer.seal(PHONE, 1, "x", fixture.now().as_millis());
    fixture.admit(good.clone()).await.unwrap();
    let message = good.message.clone().unwrap();
    let mut bad = Vec::new();
    for at in 0..message.header.len() {
        let mut changed = good.clone();
        let mut header = message.header.to_vec();
        header[at] ^= 1;
        changed.message.as_mut().unwrap().header = header.into();
        bad.push(changed);
    }
    for at in [0, 12, message.body.len() - 1] {
        let mut changed = good.clone();
        let mut body = message.body.to_vec();
        body[at] ^= 1;
        changed.message.as_mut().unwrap().body = body.into();
        bad.push(changed);
    }
    for outcome in fixture.admit_all(bad).await.unwrap() {
        assert!(
            matches!(
                outcome.clone().err(),
                Some(Refusal::Undecryptable | Refusal::Malformed | Refusal::UnknownContentKey)
            ),
            "{outcome:?}"
        );
    }
    assert_eq!(fixture.facts(NUMBER).await.subjects, 1);
}

#[tokio::test]
async fn new_business_keys_replace_the_old_at_once() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now().as_millis();
    fixture
        .admit(sealer.seal(PHONE, 1, "x", now))
        .await
        .unwrap();
    let next = Business::new(NUMBER).pin(&provisioned);
    fixture
        .vault
        .register_business_keys(next.register())
        .await
        .unwrap();
    assert_eq!(
        fixture.admit(sealer.seal(PHONE, 2, "x", now)).await.err(),
        Some(Refusal::Undecryptable)
    );
    let sealer = next.sealer(&fixture).await;
    fixture
        .admit(sealer.seal(PHONE, 2, "x", now))
        .await
        .unwrap();
    // And what comes in is sealed to the new key.
    let mut consumer = Consumer::new(PHONE, NUMBER);
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            fixture.now(),
        )
        .await;
    let sent = consumer.send(1, "in", fixture.now()).await;
    let decrypted = fixture.decrypt(sent).await.unwrap();
    assert!(
        business
            .open(decrypted.message.as_ref().unwrap(), &decrypted.wrap, now)
            .is_err()
    );
    next.open(&decrypted.message.unwrap(), &decrypted.wrap, now)
        .unwrap();
}

#[tokio::test]
async fn bundles_for_another_requester_or_peer_expired_or_signed_by_another_key_are_refused() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let offer = consumer.offer(now).await;
    let good = consumer.statement(vec![offer], now);
    let stranger = SigningKey::generate(&mut OsEntropy).unwrap();
    let mut forged_prekey = good.clone();
    let signature = &mut forged_prekey.devices[0]
        .signed_prekey
        .as_mut()
        .unwrap()
        .signature;
    *signature = vec![1; 64].into();
    let mut forged_kem = good.clone();
    forged_kem.devices[0].kem_prekey.as_mut().unwrap().signature = vec![1; 64].into();
    let someone = IdentityKeyPair::generate(&mut OsRng.unwrap_err());
    let swapped = BundleStatement {
        identity_key: someone.public_key().serialize().to_vec().into(),
        ..good.clone()
    };
    let mut cut = sign(&fixture.relay, &good);
    cut.signature = cut.signature.slice(..63);
    for bundle in [
        sign(&stranger, &good),
        sign(
            &fixture.relay,
            &BundleStatement {
                requester: OTHER_NUMBER.to_owned(),
                ..good.clone()
            },
        ),
        sign(
            &fixture.relay,
            &BundleStatement {
                peer: "15550000000".to_owned(),
                ..good.clone()
            },
        ),
        sign(
            &fixture.relay,
            &BundleStatement {
                expires_at_ms: now.as_millis(),
                ..good.clone()
            },
        ),
        sign(&fixture.relay, &forged_prekey),
        sign(&fixture.relay, &forged_kem),
        sign(&fixture.relay, &swapped),
        cut,
    ] {
        assert_eq!(
            fixture.encrypt(item(&record, Some(bundle))).await.err(),
            Some(Refusal::BundleInvalid)
        );
        assert_eq!(fixture.facts(NUMBER).await.sessions, 0);
    }
    let out = encrypted(
        fixture
            .encrypt(item(&record, Some(sign(&fixture.relay, &good))))
            .await,
    );
    assert_eq!(consumer.receive(&out.ciphertexts[0]).await.text, "x");
}

#[tokio::test]
async fn malformed_and_unknown_things_are_refused_one_by_one_in_their_places() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let good = sealer.seal(PHONE, 1, "x", fixture.now().as_millis());
    let batch = vec![
        AdmitItem::default(),
        AdmitItem {
            phone_number_id: "12345".to_owned(),
            ..good.clone()
        },
        good.clone(),
        AdmitItem {
            message: None,
            ..good.clone()
        },
        AdmitItem {
            wrap: vec![1, 2, 3].into(),
            ..good.clone()
        },
    ];
    let outcomes = fixture.admit_all(batch).await.unwrap();
    let refusals: Vec<_> = outcomes.into_iter().map(Result::err).collect();
    let expected = [
        Some(Refusal::Malformed),
        Some(Refusal::NumberUnknown),
        None,
        Some(Refusal::Malformed),
        Some(Refusal::Malformed),
    ];
    assert_eq!(refusals, expected);

    let inbound = DecryptItem {
        phone_number_id: NUMBER.to_owned(),
        peer: PHONE.to_owned(),
        device_id: 1,
        r#type: 2,
        ciphertext: vec![0x44; 100].into(),
        bundle: None,
    };
    let batch = vec![
        DecryptItem {
            device_id: 0,
            ..inbound.clone()
        },
        DecryptItem {
            device_id: 128,
            ..inbound.clone()
        },
        DecryptItem {
            peer: "+15551234567".to_owned(),
            ..inbound.clone()
        },
        DecryptItem {
            r#type: 7,
            ..inbound.clone()
        },
        DecryptItem {
            ciphertext: vec![0x44; 128 * 1024 + 1].into(),
            ..inbound.clone()
        },
        inbound,
    ];
    assert!(
        fixture
            .decrypt_all(batch)
            .await
            .iter()
            .all(|outcome| outcome.clone().err() == Some(Refusal::Malformed))
    );
}

#[tokio::test]
async fn calls_out_of_range_are_malformed_and_unknown_numbers_unknown() {
    let fixture = Fixture::new().await;
    fixture.number(NUMBER, 0).await;
    let malformed =
        |error: VaultError| assert!(matches!(error, VaultError::Malformed { .. }), "{error:?}");
    let items = vec![AdmitItem::default(); 257];
    malformed(
        fixture
            .vault
            .admit(AdmitRequest { batch_id: 1, items })
            .await
            .unwrap_err(),
    );
    let items = vec![DecryptItem::default(); 257];
    let request = DecryptRequest { batch_id: 1, items };
    malformed(
        fixture
            .vault
            .decrypt(&StreamState::new(), request)
            .await
            .unwrap_err(),
    );
    for retention_seconds in [0, 3_599, 2_592_001] {
        let request = SetRetentionRequest {
            phone_number_id: NUMBER.to_owned(),
            retention_seconds,
        };
        malformed(fixture.vault.set_retention(request).await.unwrap_err());
    }
    let request = ReplenishPrekeysRequest {
        phone_number_id: NUMBER.to_owned(),
        one_time_prekeys: 201,
        kem_prekeys: 0,
    };
    malformed(fixture.vault.replenish_prekeys(request).await.unwrap_err());
    malformed(
        fixture
            .vault
            .provision_number(Business::new("12").provision(60))
            .await
            .unwrap_err(),
    );
    let request = GetNumberRequest {
        phone_number_id: "12345".to_owned(),
    };
    assert!(matches!(
        fixture.vault.get_number(request).await,
        Err(VaultError::NumberUnknown)
    ));
}

#[tokio::test]
async fn replenished_prekeys_have_new_ids_and_work() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 0).await;
    let request = ReplenishPrekeysRequest {
        phone_number_id: NUMBER.to_owned(),
        one_time_prekeys: 3,
        kem_prekeys: 3,
    };
    let mut more = fixture
        .vault
        .replenish_prekeys(request)
        .await
        .unwrap()
        .upload
        .unwrap();
    assert_eq!(
        more.one_time_prekeys
            .iter()
            .map(|prekey| prekey.id)
            .collect::<Vec<_>>(),
        [101, 102, 103]
    );
    assert_eq!(
        more.kem_prekeys
            .iter()
            .map(|prekey| prekey.id)
            .collect::<Vec<_>>(),
        [101, 102, 103]
    );
    assert!(more.signed_prekey.is_none() && more.last_resort_kem_prekey.is_none());
    more.signed_prekey = provisioned.upload.unwrap().signed_prekey;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    consumer
        .begin(&fixture.relay, &more, Some(2), fixture.now())
        .await;
    let sent = consumer.send(1, "x", fixture.now()).await;
    fixture.decrypt(sent).await.unwrap();
    let facts = fixture.facts(NUMBER).await;
    assert_eq!((facts.one_time_prekeys, facts.kem_prekeys), (102, 102));
}

#[tokio::test]
async fn provisioning_again_answers_the_same_number_without_handing_prekeys_out_twice() {
    let fixture = Fixture::new().await;
    let business = Business::new(NUMBER);
    let first = fixture
        .vault
        .provision_number(business.provision(0))
        .await
        .unwrap();
    let again = fixture
        .vault
        .provision_number(business.provision(0))
        .await
        .unwrap();
    assert_eq!(first.vault_fingerprint, again.vault_fingerprint);
    let (first, again) = (first.upload.unwrap(), again.upload.unwrap());
    assert_eq!(
        (first.one_time_prekeys.len(), first.kem_prekeys.len()),
        (100, 100)
    );
    assert_eq!(
        (first.identity_key, first.signed_prekey),
        (again.identity_key, again.signed_prekey)
    );
    assert_eq!(first.last_resort_kem_prekey, again.last_resort_kem_prekey);
    assert!(again.one_time_prekeys.is_empty() && again.kem_prekeys.is_empty());
}
