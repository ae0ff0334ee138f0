//! What a malicious gateway may try. Each attempt ends in a warning or a refusal, and honest events still come.

use sealpost_connector_sdk::{
    Direction, EnvelopeError, Incoming, Refusal, SdkError, Subscription, TrustError, content,
};
use sealpost_envelope::{OsEntropy, SigningKey, SigningKeyRotation};
use sealpost_proto::gateway::v1::{self as pb, event};

use crate::{
    PATIENCE, Seeds,
    double::{Gateway, NUMBER, PEER, Vault},
    eventually, outbound, pair,
    receiving::{message, next, now},
};
use sealpost_connector_sdk::{Client, EventStream};

const OTHER_NUMBER: &str = "200000000000000";

fn subscribe(client: &Client) -> EventStream {
    client
        .subscribe(Subscription::new("test").unwrap())
        .unwrap()
}

/// Feeds an honest message after whatever was fed before.
fn feed_honest(gateway: &Gateway, cursor: u64) {
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let event = inbound.message(
        NUMBER,
        cursor,
        PEER,
        [0xee; 16],
        &content::text("honest"),
        now(),
    );
    gateway.state.feed(inbound.response(vec![event]));
}

/// The response leads to this refusal, is acknowledged like any event, and an honest one after it arrives.
async fn assert_refused(
    gateway: &Gateway,
    client: &Client,
    response: pb::SubscribeEventsResponse,
    expected: Refusal,
) {
    gateway.state.feed(response);
    feed_honest(gateway, 50);
    let mut events = subscribe(client);
    let delivery = next(&mut events).await;
    match &delivery.incoming {
        Incoming::Warning(warning) => assert_eq!(warning.refusal, expected),
        other => panic!("{other:?}"),
    }
    delivery.ack.done();
    let delivery = next(&mut events).await;
    assert_eq!(message(&delivery).content, content::text("honest"));
    delivery.ack.done();
    eventually(|| gateway.state.lock().acknowledged.get(NUMBER) == Some(&50)).await;
}

#[tokio::test]
async fn a_gateways_own_vault_key_seals_nothing() {
    let (gateway, client) = pair().await;
    let forger = Vault::new(NUMBER, &Seeds::OURS);
    gateway.state.lock().forged_key = Some(forger.publish(now()));
    let refused = client.send(outbound("secret", "1"), PATIENCE).await;
    assert!(
        matches!(refused, Err(SdkError::Untrusted(TrustError::PinMismatch))),
        "{refused:?}"
    );
    assert!(matches!(
        client.verify_pins().await,
        Err(SdkError::Untrusted(_))
    ));
    assert_eq!(gateway.state.lock().send_streams, 0);
}

#[tokio::test]
async fn a_vault_key_swapped_in_later_seals_nothing() {
    let (gateway, client) = pair().await;
    client.send(outbound("one", "1"), PATIENCE).await.unwrap();
    let forger = Vault::new(NUMBER, &Seeds::OURS);
    let mut key = forger.publish(now());
    key.signing_key_rotations = vec![
        SigningKeyRotation {
            number: NUMBER.parse().unwrap(),
            new_key: forger.signing.verifying_key(),
        }
        .sign(&forger.signing)
        .into(),
    ];
    gateway.state.lock().forged_key = Some(key);
    gateway
        .state
        .lock()
        .refusals
        .push_back((pb::SendError::KeyExpired, 0));
    let refused = client.send(outbound("two", "2"), PATIENCE).await;
    assert!(
        matches!(refused, Err(SdkError::Untrusted(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn events_of_an_untrusted_vault_are_not_even_fetched() {
    let (gateway, client) = pair().await;
    let forger = Vault::new(NUMBER, &Seeds::OURS);
    gateway.state.lock().forged_key = Some(forger.publish(now()));
    let forged = forger.own_inbound(now());
    let event = forged.message(NUMBER, 1, PEER, [1; 16], &content::text("forged"), now());
    gateway.state.feed(forged.response(vec![event]));
    let mut events = subscribe(&client);
    let Incoming::Warning(warning) = next(&mut events).await.incoming else {
        panic!()
    };
    assert_eq!(warning.refusal, Refusal::UntrustedVault);
    assert!(gateway.state.lock().subscriptions.is_empty());
}

#[tokio::test]
async fn a_wrap_of_the_gateways_own_signature_is_refused() {
    let (gateway, client) = pair().await;
    let forger = SigningKey::generate(&mut OsEntropy).unwrap();
    let forged = gateway.state.lock().vaults[NUMBER].inbound(NUMBER, &forger, now());
    let event = forged.message(NUMBER, 1, PEER, [1; 16], &content::text("forged"), now());
    let refusal = Refusal::Wrap(EnvelopeError::WrongSender);
    assert_refused(&gateway, &client, forged.response(vec![event]), refusal).await;
}

#[tokio::test]
async fn a_wrap_with_a_broken_signature_is_refused() {
    let (gateway, client) = pair().await;
    let forged = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let event = forged.message(NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    let mut response = forged.response(vec![event.clone()]);
    let mut wrap = forged.wrap.clone();
    *wrap.last_mut().unwrap() ^= 1;
    response.wraps = vec![wrap.into()];
    // The broken wrap has another content-key id, so the event's own never comes.
    assert_refused(&gateway, &client, response, Refusal::UnknownContentKey).await;
}

#[tokio::test]
async fn a_wrap_of_a_number_that_is_not_ours_opens_nothing() {
    let (gateway, client) = pair().await;
    let (own, other) = {
        let state = gateway.state.lock();
        let vault = &state.vaults[NUMBER];
        (
            vault.own_inbound(now()),
            vault.inbound(OTHER_NUMBER, &vault.signing, now()),
        )
    };
    let event = other.message(NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    let mut response = own.response(vec![event]);
    response.wraps.push(other.wrap.clone().into());
    assert_refused(&gateway, &client, response, Refusal::UnknownContentKey).await;
}

#[tokio::test]
async fn a_message_with_another_peer_in_its_header_is_refused() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let mut event = inbound.message(NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    let other = inbound.message(
        NUMBER,
        1,
        "15557654321",
        [1; 16],
        &content::text("x"),
        now(),
    );
    let (Some(event::Event::Message(message)), Some(event::Event::Message(from))) =
        (&mut event.event, &other.event)
    else {
        unreachable!()
    };
    message.message.as_mut().unwrap().header = from.message.as_ref().unwrap().header.clone();
    let refusal = Refusal::Message(EnvelopeError::Undecryptable);
    assert_refused(&gateway, &client, inbound.response(vec![event]), refusal).await;
}

#[tokio::test]
async fn a_header_of_another_number_is_refused() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let mut event = inbound.message(NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    let Some(event::Event::Message(message)) = &mut event.event else {
        unreachable!()
    };
    let sealed = message.message.as_mut().unwrap();
    let mut header = sealed.header.to_vec();
    // FIELD8(number) begins at offset 2.
    header[3] = b'9';
    sealed.header = header.into();
    let refusal = Refusal::Message(EnvelopeError::WrongNumber);
    assert_refused(&gateway, &client, inbound.response(vec![event]), refusal).await;
}

#[tokio::test]
async fn a_status_passed_off_as_a_message_is_refused() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let mut event = inbound.message(NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    event.event = Some(event::Event::Message(pb::InboundMessage {
        message: Some(inbound.seal(Direction::Status, PEER, [1; 16], b"", now())),
    }));
    let refusal = Refusal::Message(EnvelopeError::WrongDirection);
    assert_refused(&gateway, &client, inbound.response(vec![event]), refusal).await;
}

#[tokio::test]
async fn a_status_with_the_header_of_another_message_is_refused() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let mut event = inbound.status(NUMBER, 1, PEER, [1; 16], pb::Status::Read, now());
    let Some(event::Event::Status(change)) = &mut event.event else {
        unreachable!()
    };
    change.message_id = vec![2; 16].into();
    assert_refused(
        &gateway,
        &client,
        inbound.response(vec![event]),
        Refusal::WrongMessage,
    )
    .await;
}

#[tokio::test]
async fn garbage_is_refused() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let mut event = inbound.message(NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    event.event = None;
    let mut response = inbound.response(vec![event]);
    response.wraps.insert(0, vec![0xff; 3000].into());
    response.wraps.insert(0, Vec::new().into());
    assert_refused(&gateway, &client, response, Refusal::Malformed).await;
}

#[tokio::test]
async fn a_replayed_message_is_dropped_and_does_not_hold_the_stream() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let first = inbound.message(NUMBER, 1, PEER, [1; 16], &content::text("pay 5"), now());
    let mut replay = first.clone();
    replay.cursor = 2;
    // Sealed anew by the vault, as a redelivery is: still the same message.
    let resealed = inbound.message(NUMBER, 3, PEER, [1; 16], &content::text("pay 5"), now());
    gateway
        .state
        .feed(inbound.response(vec![first, replay, resealed]));
    feed_honest(&gateway, 50);
    let mut events = subscribe(&client);
    let delivery = next(&mut events).await;
    assert_eq!(message(&delivery).content, content::text("pay 5"));
    delivery.ack.done();
    let delivery = next(&mut events).await;
    assert_eq!(message(&delivery).content, content::text("honest"));
    delivery.ack.done();
    eventually(|| gateway.state.lock().acknowledged.get(NUMBER) == Some(&50)).await;
}

#[tokio::test]
async fn an_event_of_a_number_that_is_not_ours_is_a_warning() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let event = inbound.message(OTHER_NUMBER, 1, PEER, [1; 16], &content::text("x"), now());
    assert_refused(
        &gateway,
        &client,
        inbound.response(vec![event]),
        Refusal::UnknownNumber,
    )
    .await;
}

#[tokio::test]
async fn a_rotated_signing_key_is_followed_in_the_middle_of_a_stream() {
    let (gateway, client) = pair().await;
    feed_honest(&gateway, 1);
    let mut events = subscribe(&client);
    next(&mut events).await.ack.done();
    let next_key = SigningKey::generate(&mut OsEntropy).unwrap();
    let inbound = {
        let mut state = gateway.state.lock();
        let vault = state.vaults.get_mut(NUMBER).unwrap();
        let rotation = SigningKeyRotation {
            number: NUMBER.parse().unwrap(),
            new_key: next_key.verifying_key(),
        }
        .sign(&vault.signing);
        vault.signing = next_key;
        let mut key = vault.publish(now());
        key.signing_key_rotations = vec![rotation.into()];
        let inbound = vault.own_inbound(now());
        state.forged_key = Some(key);
        inbound
    };
    let event = inbound.message(NUMBER, 2, PEER, [7; 16], &content::text("rotated"), now());
    gateway.state.feed(inbound.response(vec![event]));
    assert_eq!(
        message(&next(&mut events).await).content,
        content::text("rotated")
    );
}
