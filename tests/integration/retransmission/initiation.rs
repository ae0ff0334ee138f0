//! Both sides begin at once; ciphertexts out of order and repeated. The test takes the gateway's place while that one is stopped.

use anyhow::{Context, bail};
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::relay::v1::{
    CollectRequest, FetchBundleRequest, InboundEnvelope, SubmitItem, SubmitOutcome, SubmitRequest,
    inbound::Item,
};
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::{
    DecryptItem, DecryptRequest, EncryptItem, EncryptRequest, Encrypted, admit_outcome,
    decrypt_outcome, encrypt_outcome,
};
use sealpost_runtime::Role;
use sealpost_tests::business::{Sealer, admit};
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::Rest;
use sealpost_tests::{Options, Suite};
use tonic::transport::Channel;

use super::{SOON, nothing_lost_or_doubled, turns, words};

/// The business's first message, by hand: sealed, admitted, encrypted from the relay's bundle and handed over.
async fn business_begins(suite: &Suite, phone: &str, text: &str) -> anyhow::Result<()> {
    let mut vault = KeyVaultServiceClient::new(suite.as_role(Role::Gateway, "key-vault").await?);
    let mut relay = PlatformServiceClient::new(suite.as_role(Role::Gateway, "relay").await?);
    let sealer = Sealer::new(suite, &mut vault, 0).await?;
    let admit_outcome::Outcome::Admitted(admitted) =
        admit(&mut vault, sealer.text(phone, text)?).await?
    else {
        bail!("not admitted");
    };
    let number = suite.number(0).to_owned();
    let request = FetchBundleRequest {
        phone_number_id: number.clone(),
        peer: phone.to_owned(),
        known_devices: Vec::new(),
        without_prekeys: false,
    };
    let bundle = relay.fetch_bundle(request).await?.into_inner().bundle;
    let record = admitted.record.context("a record")?;
    let request = EncryptRequest {
        batch_id: 1,
        items: vec![EncryptItem {
            record: Some(record.clone()),
            bundle,
            attempt: 0,
            only_device_id: 0,
        }],
    };
    let mut answers = vault
        .encrypt(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    let Some(encrypt_outcome::Outcome::Encrypted(encrypted)) = answer.outcomes[0].outcome.clone()
    else {
        bail!("not encrypted: {answer:?}");
    };
    let Encrypted {
        peer,
        category,
        ciphertexts,
        ..
    } = encrypted;
    let epoch = record.epoch.context("an epoch")?;
    let request = SubmitRequest {
        batch_id: 1,
        items: vec![SubmitItem {
            phone_number_id: number,
            peer,
            message_id: record.message_id,
            attempt: 0,
            category,
            ciphertexts,
            expires_at_ms: (epoch.start_seconds + u64::from(epoch.retention_seconds)) * 1000,
            one_device: false,
        }],
    };
    let mut answers = relay
        .submit(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    let outcomes: Vec<_> = answer.outcomes().collect();
    assert_eq!(outcomes, [SubmitOutcome::Accepted]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_may_begin_at_once_and_their_sessions_become_one() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    suite.stop("gateway").await?;
    let consumer = Consumer::online(&suite, 0)?;
    consumer.text(&suite, 0, "the consumer begins").await?;
    consumer.client().flush().await?;
    let phone = consumer.phone.clone();
    let inbox = consumer.offline().await?;
    business_begins(&suite, &phone, "the business begins").await?;

    let consumer = Consumer::again(&suite, 0, inbox)?;
    consumer.wait_for(1, SOON).await?;
    suite.start("gateway").await?;
    let heard = suite.webhook.wait_for_messages(&phone, 1, SOON).await?;
    assert_eq!(heard[0].object["text"]["body"], "the consumer begins");
    assert_eq!(consumer.inbox().pick(words), ["the business begins"]);
    turns(&suite, &rest, &consumer, 1, "and on").await?;
    let undecryptable = |event: &sealpost_consumer::EventKind| {
        matches!(event, sealpost_consumer::EventKind::Undecryptable { .. }).then_some(())
    };
    assert_eq!(consumer.inbox().pick(undecryptable), []);
    assert_eq!(super::asked_again(&suite)?, 0);
    nothing_lost_or_doubled(&suite, &consumer)
}

/// Everything that waits for the gateway, unacknowledged.
async fn collected(
    relay: &mut PlatformServiceClient<Channel>,
    count: usize,
) -> anyhow::Result<Vec<InboundEnvelope>> {
    let (_open, requests) = tokio::sync::mpsc::channel(1);
    let opening = CollectRequest {
        collector: "a-test".into(),
        ..CollectRequest::default()
    };
    _open.send(opening).await?;
    let stream = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut pages = relay.collect(stream).await?.into_inner();
    let mut found = Vec::new();
    while found.len() < count {
        let page = pages.message().await?.context("a page")?;
        for inbound in page.items {
            if let Some(Item::Envelope(envelope)) = inbound.item {
                found.push(envelope);
            }
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn ciphertexts_out_of_order_and_repeated_are_each_one_message() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    turns(&suite, &rest, &consumer, 0, "before").await?;
    suite.stop("gateway").await?;
    let expected: Vec<_> = (1..=5).map(|place| format!("in order {place}")).collect();
    for text in &expected {
        consumer.text(&suite, 0, text).await?;
    }
    consumer.client().flush().await?;

    // The vault gets them backwards, one of them twice; then the gateway comes back and brings them again, in order.
    let mut relay = PlatformServiceClient::new(suite.as_role(Role::Gateway, "relay").await?);
    let mut vault = KeyVaultServiceClient::new(suite.as_role(Role::Gateway, "key-vault").await?);
    let envelopes = collected(&mut relay, expected.len()).await?;
    let item = |envelope: &InboundEnvelope| DecryptItem {
        phone_number_id: suite.number(0).to_owned(),
        peer: envelope.peer.clone(),
        device_id: envelope.device_id,
        r#type: envelope.r#type,
        ciphertext: envelope.ciphertext.clone(),
        bundle: None,
    };
    let mut records = Vec::new();
    for envelope in envelopes.iter().rev().chain([&envelopes[2]]) {
        let request = DecryptRequest {
            batch_id: 1,
            items: vec![item(envelope)],
        };
        let mut answers = vault
            .decrypt(tokio_stream::iter([request]))
            .await?
            .into_inner();
        let answer = answers.message().await?.context("an answer")?;
        match answer.outcomes[0].outcome.clone() {
            Some(decrypt_outcome::Outcome::Decrypted(decrypted)) => {
                records.push(decrypted.record.context("a record")?);
            }
            other => bail!("not decrypted: {other:?}"),
        }
    }
    assert_eq!(records[2], records[5], "a repeat is the same record");
    suite.start("gateway").await?;
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 3 + expected.len(), SOON)
        .await?;
    let texts: Vec<_> = heard[3..]
        .iter()
        .map(|message| message.object["text"]["body"].as_str().unwrap())
        .collect();
    assert_eq!(texts, expected);
    turns(&suite, &rest, &consumer, 8, "and on").await?;
    nothing_lost_or_doubled(&suite, &consumer)
}
