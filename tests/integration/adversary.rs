//! The gateway as the adversary: it has its own certificate and everything that passes through it, and is refused.

mod fake_gateway;

use anyhow::{Context, ensure};
use prost::Message;
use sealpost_envelope::{OsEntropy, SigningKey};
use sealpost_proto::record::v1::{EpochId, Record};
use sealpost_proto::relay::v1::FetchBundleRequest;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::signal::v1::{BundleStatement, SignedBundle};
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::{
    AdmitItem, Admitted, CheckRequest, DecryptItem, DecryptRequest, DeliverItem, DeliverRequest,
    EncryptItem, EncryptRequest, Refusal, admit_outcome, decrypt_outcome, deliver_outcome,
    encrypt_outcome,
};
use sealpost_runtime::Role;
use sealpost_tests::business::{Sealer, admit};
use sealpost_tests::device::device_bundle;
use sealpost_tests::{Options, Suite};
use tonic::transport::Channel;

use fake_gateway::FakeGateway;

/// A dishonest gateway's means: its certificate, and the business's messages as they pass.
struct Gateway {
    vault: KeyVaultServiceClient<Channel>,
    relay: PlatformServiceClient<Channel>,
    auditor: KeyVaultServiceClient<Channel>,
    sealer: Sealer,
    numbers: [String; 2],
    consumers: [String; 2],
}

impl Gateway {
    async fn of(suite: &Suite) -> anyhow::Result<Self> {
        let mut vault =
            KeyVaultServiceClient::new(suite.as_role(Role::Gateway, "key-vault").await?);
        let phone = |index: usize| suite.facts().consumers[index].phone_number.clone();
        Ok(Self {
            sealer: Sealer::new(suite, &mut vault, 0).await?,
            vault,
            relay: PlatformServiceClient::new(suite.as_role(Role::Gateway, "relay").await?),
            auditor: KeyVaultServiceClient::new(suite.as_role(Role::Auditor, "key-vault").await?),
            numbers: [suite.number(0).to_owned(), suite.number(1).to_owned()],
            consumers: [phone(suite.free_consumer()?), phone(suite.free_consumer()?)],
        })
    }

    async fn admit(&mut self, item: AdmitItem) -> anyhow::Result<Result<Admitted, Refusal>> {
        Ok(match admit(&mut self.vault, item).await? {
            admit_outcome::Outcome::Admitted(admitted) => Ok(admitted),
            admit_outcome::Outcome::Refused(refusal) => Err(refusal.try_into()?),
        })
    }

    /// A record of a message to the first consumer.
    async fn record(&mut self) -> anyhow::Result<Record> {
        let item = self.sealer.text(&self.consumers[0], "to the first")?;
        let admitted = self
            .admit(item)
            .await?
            .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        admitted.record.context("a record")
    }

    async fn encrypt(
        &mut self,
        record: Record,
        bundle: Option<SignedBundle>,
    ) -> anyhow::Result<Result<usize, Refusal>> {
        let item = EncryptItem {
            record: Some(record),
            bundle,
            attempt: 0,
            only_device_id: 0,
        };
        let request = EncryptRequest {
            batch_id: 1,
            items: vec![item],
        };
        let mut answers = self
            .vault
            .encrypt(tokio_stream::iter([request]))
            .await?
            .into_inner();
        let answer = answers.message().await?.context("an answer")?;
        Ok(
            match answer
                .outcomes
                .into_iter()
                .next()
                .and_then(|item| item.outcome)
                .context("an outcome")?
            {
                encrypt_outcome::Outcome::Encrypted(encrypted) => Ok(encrypted.ciphertexts.len()),
                encrypt_outcome::Outcome::SessionRequired(_) => Ok(0),
                encrypt_outcome::Outcome::Refused(refusal) => Err(refusal.try_into()?),
            },
        )
    }

    async fn bundle(&mut self, number: usize, consumer: usize) -> anyhow::Result<SignedBundle> {
        let request = FetchBundleRequest {
            phone_number_id: self.numbers[number].clone(),
            peer: self.consumers[consumer].clone(),
            ..FetchBundleRequest::default()
        };
        self.relay
            .fetch_bundle(request)
            .await?
            .into_inner()
            .bundle
            .context("a bundle")
    }

    async fn deliver(&mut self, record: Record) -> anyhow::Result<Option<Refusal>> {
        let item = DeliverItem {
            record: Some(record),
            header_only: false,
            with_wrap: true,
        };
        let request = DeliverRequest {
            batch_id: 1,
            items: vec![item],
        };
        let mut answers = self
            .vault
            .deliver(tokio_stream::iter([request]))
            .await?
            .into_inner();
        let answer = answers.message().await?.context("an answer")?;
        match answer
            .outcomes
            .into_iter()
            .next()
            .and_then(|item| item.outcome)
            .context("an outcome")?
        {
            deliver_outcome::Outcome::Delivered(_) => Ok(None),
            deliver_outcome::Outcome::Refused(refusal) => Ok(Some(refusal.try_into()?)),
        }
    }

    async fn check(&mut self, record: Record) -> anyhow::Result<Refusal> {
        let findings = self
            .auditor
            .check(CheckRequest {
                records: vec![record],
            })
            .await?
            .into_inner()
            .findings;
        Ok(findings.first().copied().context("a finding")?.try_into()?)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_vault_key_is_refused_by_the_sdk_and_nothing_is_sent() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    for swap in fake_gateway::Swap::ALL {
        let gateway = FakeGateway::start(suite, swap).await?;
        let refused = gateway.try_to_send(suite).await;
        ensure!(refused.is_err(), "{swap:?}: the SDK trusted it");
        ensure!(gateway.messages_seen() == 0, "{swap:?}: a message left");
    }
    // The same gateway with the vault's own key is trusted, so that what was refused above is the key.
    let honest = FakeGateway::start(suite, fake_gateway::Swap::Nothing).await?;
    let _ = honest.try_to_send(suite).await;
    ensure!(
        honest.messages_seen() > 0,
        "the control: nothing came to the honest one"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_bundle_or_an_added_device_is_refused() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let record = gateway.record().await?;
    let good = gateway.bundle(0, 0).await?;
    let statement = BundleStatement::decode(good.statement.as_ref())?;

    let edited = |edit: &dyn Fn(&mut BundleStatement)| {
        let mut statement = statement.clone();
        edit(&mut statement);
        SignedBundle {
            statement: statement.encode_to_vec().into(),
            signature: good.signature.clone(),
        }
    };
    let own_key = SigningKey::generate(&mut OsEntropy)?;
    let signed_by_itself = SignedBundle {
        signature: own_key.sign(&good.statement).to_vec().into(),
        statement: good.statement.clone(),
    };
    let attempts = [
        (
            "a device of its own",
            edited(&|statement| statement.devices.push(device_bundle(2))),
        ),
        (
            "a device replaced",
            edited(&|statement| statement.devices = vec![device_bundle(1)]),
        ),
        (
            "another identity key",
            edited(&|statement| {
                statement.identity_key = sealpost_tests::device::device_keys().identity_key;
            }),
        ),
        ("no devices", edited(&|statement| statement.devices.clear())),
        (
            "a longer life",
            edited(&|statement| statement.expires_at_ms += 1),
        ),
        ("its own signature", signed_by_itself),
        (
            "no signature",
            SignedBundle {
                signature: bytes::Bytes::new(),
                ..good.clone()
            },
        ),
        ("another consumer's bundle", gateway.bundle(0, 1).await?),
        ("a bundle for another number", gateway.bundle(1, 0).await?),
    ];
    for (what, bundle) in attempts {
        let outcome = gateway.encrypt(record.clone(), Some(bundle)).await?;
        ensure!(
            outcome == Err(Refusal::BundleInvalid),
            "{what}: {outcome:?}"
        );
    }
    // The relay's own answer passes: one device, one ciphertext.
    let outcome = gateway.encrypt(record, Some(good)).await?;
    ensure!(outcome == Ok(1), "the control: {outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_bundle_is_refused_once_a_newer_one_was_seen() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let phone = "15550275001";
    gateway.consumers[0] = phone.to_owned();
    suite.register(phone).await?;
    let record = gateway.record().await?;
    let old = gateway.bundle(0, 0).await?;
    let outcome = gateway.encrypt(record, Some(old.clone())).await?;
    ensure!(outcome == Ok(1), "the first device: {outcome:?}");
    // Whoever had the lost device's keys would like the old bundle back.
    suite.register(phone).await?;
    let new = gateway.bundle(0, 0).await?;
    let record = gateway.record().await?;
    let outcome = gateway.encrypt(record, Some(new.clone())).await?;
    ensure!(outcome == Ok(1), "the second device: {outcome:?}");
    let record = gateway.record().await?;
    let outcome = gateway.encrypt(record.clone(), Some(old)).await?;
    ensure!(
        outcome == Err(Refusal::BundleInvalid),
        "the first device again: {outcome:?}"
    );
    let outcome = gateway.encrypt(record, Some(new)).await?;
    ensure!(outcome == Ok(1), "the control: {outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_bundle_is_refused() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 2,
        clock_file: true,
        ..Options::default()
    })
    .await?;
    let mut gateway = Gateway::of(&suite).await?;
    let record = gateway.record().await?;
    let old = gateway.bundle(0, 0).await?;
    // A day later the statement has ended. The vault's clock asks an operator about such a jump first.
    let day = 24 * 3600 + 600;
    suite.set_clock(day).await?;
    confirm_clock(&suite, day).await?;
    let outcome = gateway.encrypt(record.clone(), Some(old)).await?;
    ensure!(outcome == Err(Refusal::BundleInvalid), "{outcome:?}");
    let fresh = gateway.bundle(0, 0).await?;
    let outcome = gateway.encrypt(record, Some(fresh)).await?;
    ensure!(outcome == Ok(1), "the control: {outcome:?}");
    Ok(())
}

async fn confirm_clock(suite: &Suite, ahead: i64) -> anyhow::Result<()> {
    use sealpost_proto::vault::v1::ConfirmClockRequest;
    let mut operator =
        KeyVaultServiceClient::new(suite.as_role(Role::Operator, "key-vault").await?);
    let now_ms = sealpost_tests::business::now().0 + u64::try_from(ahead)? * 1000;
    operator
        .confirm_clock(ConfirmClockRequest { now_ms })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_message_cannot_be_redirected_or_changed() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let good = gateway.sealer.text(&gateway.consumers[0], "to the first")?;
    let message = good.message.clone().context("a message")?;
    let replaced = |from: &str, to: &str| {
        let header = String::from_utf8_lossy(&message.header).into_owned();
        assert_eq!(from.len(), to.len());
        assert!(header.contains(from));
        let at = message
            .header
            .windows(from.len())
            .position(|window| window == from.as_bytes())
            .unwrap();
        let mut bytes = message.header.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        bytes
    };
    let with_header = |header: Vec<u8>| {
        let mut item = good.clone();
        item.message.as_mut().unwrap().header = header.into();
        item
    };
    let (number, other) = (gateway.numbers[0].clone(), gateway.numbers[1].clone());
    let (peer, other_peer) = (gateway.consumers[0].clone(), gateway.consumers[1].clone());

    let mut renumbered = with_header(replaced(&number, &other));
    renumbered.phone_number_id.clone_from(&other);
    let mut readdressed = good.clone();
    readdressed.phone_number_id = other;
    let mut attempts = vec![
        (
            "another consumer",
            with_header(replaced(&peer, &other_peer)),
        ),
        ("another number, inside and out", renumbered),
        ("another number outside", readdressed),
        (
            "a header cut short",
            with_header(message.header[..message.header.len() - 1].to_vec()),
        ),
    ];
    // Every byte of the header counts, and the body's too.
    for at in 0..message.header.len() {
        let mut header = message.header.to_vec();
        header[at] ^= 1;
        attempts.push(("a changed header", with_header(header)));
    }
    for at in [0, 12, message.body.len() / 2, message.body.len() - 1] {
        let mut item = good.clone();
        let mut body = message.body.to_vec();
        body[at] ^= 1;
        item.message.as_mut().unwrap().body = body.into();
        attempts.push(("a changed body", item));
    }
    for (what, item) in attempts {
        let outcome = gateway.admit(item).await?;
        ensure!(outcome.is_err(), "{what} was admitted");
    }
    let outcome = gateway.admit(good).await?;
    ensure!(outcome.is_ok(), "the control: {outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrap_serves_one_number_and_no_changed_wrap_serves_any() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let foreign = Sealer::new(suite, &mut gateway.vault, 1).await?;
    let peer = gateway.consumers[0].clone();
    // Each message with the wrap of the other number, and with every part of its own wrap changed.
    let mut crossed = gateway.sealer.text(&peer, "x")?;
    crossed.wrap = foreign.wrap.clone();
    ensure!(
        gateway.admit(crossed).await?.is_err(),
        "a wrap of another number was taken"
    );
    let mut moved = foreign.text(&peer, "x")?;
    moved.phone_number_id = gateway.numbers[0].clone();
    ensure!(
        gateway.admit(moved).await?.is_err(),
        "a message of another number was taken"
    );

    let good = gateway.sealer.text(&peer, "x")?;
    for at in (0..good.wrap.len())
        .step_by(37)
        .chain([good.wrap.len() - 1])
    {
        let mut item = good.clone();
        let mut wrap = item.wrap.to_vec();
        wrap[at] ^= 1;
        item.wrap = wrap.into();
        ensure!(
            gateway.admit(item).await?.is_err(),
            "a wrap changed at byte {at} was taken"
        );
    }
    ensure!(gateway.admit(good).await?.is_ok(), "the control");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_under_another_name_opens_nowhere() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut gateway = Gateway::of(suite).await?;
    let good = gateway.record().await?;
    let to_other = gateway
        .sealer
        .text(&gateway.consumers[1], "to the second")?;
    let other = gateway
        .admit(to_other)
        .await?
        .map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    let other = other.record.context("a record")?;
    let epoch = good.epoch.context("an epoch")?;
    let earlier = EpochId {
        start_seconds: epoch.start_seconds - 3600,
        ..epoch
    };
    let another_class = EpochId {
        retention_seconds: 3600,
        start_seconds: epoch.start_seconds,
    };
    let mut flipped = good.sealed.to_vec();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;

    let attempts = [
        (
            "another tag",
            Record {
                tag: other.tag.clone(),
                ..good.clone()
            },
        ),
        (
            "a tag of nobody",
            Record {
                tag: vec![7; 16].into(),
                ..good.clone()
            },
        ),
        (
            "another epoch",
            Record {
                epoch: Some(earlier),
                ..good.clone()
            },
        ),
        (
            "another class",
            Record {
                epoch: Some(another_class),
                ..good.clone()
            },
        ),
        (
            "another message id",
            Record {
                message_id: other.message_id.clone(),
                ..good.clone()
            },
        ),
        (
            "another number",
            Record {
                phone_number_id: gateway.numbers[1].clone(),
                ..good.clone()
            },
        ),
        (
            "another direction",
            Record {
                direction: 2,
                ..good.clone()
            },
        ),
        (
            "another's content",
            Record {
                sealed: other.sealed.clone(),
                ..good.clone()
            },
        ),
        (
            "a changed byte",
            Record {
                sealed: flipped.into(),
                ..good.clone()
            },
        ),
    ];
    let bundle = gateway.bundle(0, 0).await?;
    for (what, record) in attempts {
        let outcome = gateway
            .encrypt(record.clone(), Some(bundle.clone()))
            .await?;
        ensure!(outcome.is_err(), "{what}: encrypted");
        ensure!(
            gateway.deliver(record.clone()).await?.is_some(),
            "{what}: delivered"
        );
        let finding = gateway.check(record).await?;
        ensure!(finding != Refusal::Unspecified, "{what}: opens");
    }
    ensure!(
        gateway.check(good.clone()).await? == Refusal::Unspecified,
        "the control"
    );
    ensure!(
        gateway.encrypt(good, Some(bundle)).await? == Ok(1),
        "the control"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumers_ciphertext_opens_for_its_own_number_and_sender_alone() -> anyhow::Result<()> {
    use futures::StreamExt;
    use sealpost_proto::relay::v1::{CollectRequest, inbound};
    use sealpost_tests::consumer::Consumer;
    let suite = Suite::up(Options {
        numbers: 2,
        consumers: 2,
        ..Options::default()
    })
    .await?;
    let mut gateway = Gateway::of(&suite).await?;
    // The honest gateway is away; this one collects what consumers send.
    suite.stop("gateway").await?;
    let consumers = [Consumer::online(&suite, 0)?, Consumer::online(&suite, 1)?];
    for consumer in &consumers {
        consumer.text(&suite, 0, "to the first number").await?;
        consumer.client().flush().await?;
    }
    let open = futures::stream::iter([CollectRequest::default()]).chain(futures::stream::pending());
    let mut collected = gateway.relay.collect(open).await?.into_inner();
    let mut envelopes = Vec::new();
    while envelopes.len() < 2 {
        let answer = collected.message().await?.context("what consumers sent")?;
        envelopes.extend(answer.items.into_iter().filter_map(|item| match item.item {
            Some(inbound::Item::Envelope(envelope)) => Some(envelope),
            _ => None,
        }));
    }
    let [first, second] = [&envelopes[0], &envelopes[1]];
    // The vault believes a first contact on the relay's word alone.
    let of_first = usize::from(first.peer != gateway.consumers[0]);
    let vouched = gateway.bundle(0, of_first).await?;
    let of_second = gateway.bundle(0, 1 - of_first).await?;
    let good = DecryptItem {
        phone_number_id: gateway.numbers[0].clone(),
        peer: first.peer.clone(),
        device_id: first.device_id,
        r#type: first.r#type,
        ciphertext: first.ciphertext.clone(),
        bundle: Some(vouched),
    };
    let mut flipped = first.ciphertext.to_vec();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    let unsigned = good.bundle.clone().map(|bundle| SignedBundle {
        signature: bytes::Bytes::new(),
        ..bundle
    });
    let attempts = [
        (
            "another sender",
            DecryptItem {
                peer: second.peer.clone(),
                ..good.clone()
            },
        ),
        (
            "another sender, vouched for",
            DecryptItem {
                peer: second.peer.clone(),
                bundle: Some(of_second.clone()),
                ..good.clone()
            },
        ),
        (
            "another number",
            DecryptItem {
                phone_number_id: gateway.numbers[1].clone(),
                ..good.clone()
            },
        ),
        (
            "a changed byte",
            DecryptItem {
                ciphertext: flipped.into(),
                ..good.clone()
            },
        ),
        (
            "a first contact that nobody vouches for",
            DecryptItem {
                bundle: None,
                ..good.clone()
            },
        ),
        (
            "a first contact under another's name",
            DecryptItem {
                bundle: Some(of_second),
                ..good.clone()
            },
        ),
        (
            "a first contact on the gateway's word",
            DecryptItem {
                bundle: unsigned,
                ..good.clone()
            },
        ),
    ];
    for (what, item) in attempts {
        let outcome = decrypt(&mut gateway.vault, item).await?;
        ensure!(
            matches!(outcome, decrypt_outcome::Outcome::Refused(_)),
            "{what}: decrypted"
        );
    }
    let outcome = decrypt(&mut gateway.vault, good).await?;
    ensure!(
        matches!(outcome, decrypt_outcome::Outcome::Decrypted(_)),
        "the control: {outcome:?}"
    );
    Ok(())
}

async fn decrypt(
    vault: &mut KeyVaultServiceClient<Channel>,
    item: DecryptItem,
) -> anyhow::Result<decrypt_outcome::Outcome> {
    let request = DecryptRequest {
        batch_id: 1,
        items: vec![item],
    };
    let mut answers = vault
        .decrypt(tokio_stream::iter([request]))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    answer
        .outcomes
        .into_iter()
        .next()
        .and_then(|item| item.outcome)
        .context("an outcome")
}
