//! Redirected, renamed and misdirected messages.

use anyhow::{Context, ensure};
use sealpost_proto::record::v1::{EpochId, Record};
use sealpost_proto::signal::v1::SignedBundle;
use sealpost_proto::vault::v1::{DecryptItem, Refusal, decrypt_outcome};
use sealpost_tests::business::Sealer;
use sealpost_tests::{Options, Suite};

use super::gateway::{Gateway, decrypt};

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
    let opening = CollectRequest {
        collector: "adversary".to_owned(),
        ..CollectRequest::default()
    };
    let open = futures::stream::iter([opening]).chain(futures::stream::pending());
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
