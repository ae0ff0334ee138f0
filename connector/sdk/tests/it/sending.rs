//! Sending through honest and failing gateways.

use std::time::Duration;

use sealpost_connector_sdk::{
    DeliveryStatus, NumberId, Peer, SdkError, Token, content, parse_wamid, wamid,
};
use sealpost_proto::gateway::v1::SendError;
use sealpost_runtime::{Clock, Timestamp};

use crate::{
    PATIENCE, Seeds,
    double::{Gateway, NUMBER},
    outbound, pair, pair_at, settings,
};
use sealpost_connector_sdk::Client;

#[tokio::test]
async fn a_message_arrives_as_it_was_written() {
    let (gateway, client) = pair().await;
    let accepted = client.send(outbound("hello", "1"), PATIENCE).await.unwrap();
    assert_eq!(accepted.status, DeliveryStatus::Accepted);
    let state = gateway.state.lock();
    assert_eq!(state.accepted[0].content, content::text("hello"));
    assert_eq!(state.accepted[0].message_id, accepted.message_id);
    assert_eq!(
        parse_wamid(&wamid(accepted.message_id)).unwrap(),
        accepted.message_id
    );
}

#[tokio::test]
async fn one_wrap_serves_many_messages_and_every_conversation_keeps_its_order() {
    let (gateway, client) = pair().await;
    let sends = (0..200).map(|index| {
        let mut message = outbound(&index.to_string(), &format!("k{index}"));
        message.to = Peer::new(&format!("1555123456{}", index % 5)).unwrap();
        client.send(message, PATIENCE)
    });
    for result in futures::future::join_all(sends).await {
        result.unwrap();
    }
    let state = gateway.state.lock();
    assert_eq!(state.accepted.len(), 200);
    assert_eq!(state.wraps_received, 1);
    for peer in 0..5 {
        let peer = format!("1555123456{peer}");
        let order: Vec<u32> = state
            .accepted
            .iter()
            .filter(|message| message.peer == peer)
            .map(|message| match &message.content.body {
                Some(content::Body::Text(text)) => text.body.parse().unwrap(),
                _ => unreachable!(),
            })
            .collect();
        assert!(order.is_sorted() && order.len() == 40, "{order:?}");
    }
}

#[tokio::test]
async fn the_same_idempotency_key_is_the_same_message() {
    let (gateway, client) = pair().await;
    let first = client
        .send(outbound("once", "same"), PATIENCE)
        .await
        .unwrap();
    let again = client
        .send(outbound("once", "same"), PATIENCE)
        .await
        .unwrap();
    assert!(!first.is_repeated && again.is_repeated);
    assert_eq!(first.message_id, again.message_id);
    let other = client.send(outbound("twice", "same"), PATIENCE).await;
    assert!(matches!(other, Err(SdkError::Conflict)), "{other:?}");
    assert_eq!(gateway.state.lock().accepted.len(), 1);
}

#[tokio::test]
async fn a_message_survives_refusals_that_time_or_a_wrap_heals() {
    let (gateway, client) = pair().await;
    for error in [
        SendError::RateLimited,
        SendError::Unavailable,
        SendError::UnknownContentKey,
        SendError::KeyExpired,
    ] {
        gateway.state.lock().refusals.push_back((error, 10));
    }
    client
        .send(outbound("at last", "1"), PATIENCE)
        .await
        .unwrap();
    assert_eq!(gateway.state.lock().accepted.len(), 1);
}

#[tokio::test]
async fn a_vault_that_lost_its_content_keys_gets_the_wrap_again() {
    let (gateway, client) = pair().await;
    client.send(outbound("one", "1"), PATIENCE).await.unwrap();
    for vault in gateway.state.lock().vaults.values_mut() {
        vault.forget();
    }
    client.send(outbound("two", "2"), PATIENCE).await.unwrap();
    let state = gateway.state.lock();
    assert_eq!((state.accepted.len(), state.wraps_received), (2, 2));
    assert_eq!(state.key_fetches, 1);
}

#[tokio::test]
async fn a_vault_with_a_new_key_gets_the_same_message_sealed_anew() {
    let (gateway, client) = pair().await;
    client.send(outbound("one", "1"), PATIENCE).await.unwrap();
    for vault in gateway.state.lock().vaults.values_mut() {
        vault.rotate_hpke();
    }
    let id = client.message_id(&NUMBER.parse().unwrap(), &outbound("", "2").idempotency_key);
    let accepted = client.send(outbound("two", "2"), PATIENCE).await.unwrap();
    assert_eq!(accepted.message_id, id);
    assert_eq!(gateway.state.lock().accepted.len(), 2);
}

#[tokio::test]
async fn a_content_key_is_made_anew_after_an_hour() {
    let clock = Clock::manual(Timestamp::from_secs(1_800_000_000));
    let (gateway, client) = pair_at(clock.clone()).await;
    client.send(outbound("one", "1"), PATIENCE).await.unwrap();
    clock.advance(Duration::from_secs(3599));
    client.send(outbound("two", "2"), PATIENCE).await.unwrap();
    assert_eq!(gateway.state.lock().wraps_received, 1);
    clock.advance(Duration::from_secs(1));
    client.send(outbound("three", "3"), PATIENCE).await.unwrap();
    let state = gateway.state.lock();
    assert_eq!((state.wraps_received, state.key_fetches), (2, 2));
}

#[tokio::test]
async fn a_stream_that_breaks_before_the_answer_doubles_nothing() {
    let (gateway, client) = pair().await;
    gateway.state.lock().break_after = Some(1);
    let accepted = client.send(outbound("one", "1"), PATIENCE).await.unwrap();
    assert!(accepted.is_repeated);
    gateway.state.break_streams();
    client.send(outbound("two", "2"), PATIENCE).await.unwrap();
    assert_eq!(gateway.state.lock().accepted.len(), 2);
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_it_said() {
    let (gateway, client) = pair().await;
    gateway
        .state
        .lock()
        .refusals
        .extend([(SendError::RateLimited, 60_000); 3]);
    let limited = client
        .send(outbound("one", "1"), Duration::from_secs(2))
        .await;
    assert!(
        matches!(limited, Err(SdkError::RateLimited { retry_after }) if retry_after == Duration::from_secs(60)),
        "{limited:?}"
    );
    assert!(limited.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_message_beyond_what_may_wait_is_refused_at_once_and_taken_again_later() {
    const WAITING: usize = 4096;
    let (gateway, client) = pair().await;
    gateway
        .state
        .lock()
        .refusals
        .push_back((SendError::Overloaded, 40));
    let full = client.send(outbound("one", "1"), PATIENCE).await;
    assert!(
        matches!(full, Err(SdkError::Overloaded { retry_after }) if retry_after == Duration::from_millis(40)),
        "{full:?}"
    );
    // All of one conversation: each waits for its turn.
    let mut sends: Vec<_> = (0..=WAITING)
        .map(|index| Box::pin(client.send(outbound("many", &format!("k{index}")), PATIENCE)))
        .collect();
    let mut last = sends.pop().unwrap();
    for send in &mut sends {
        assert!(futures::poll!(send).is_pending());
    }
    let std::task::Poll::Ready(Err(error)) = futures::poll!(&mut last) else {
        panic!("it was not refused at once");
    };
    assert!(matches!(error, SdkError::Overloaded { .. }) && error.is_transient());
    drop(sends);
    client.send(outbound("one", "1"), PATIENCE).await.unwrap();
}

#[tokio::test]
async fn what_can_never_succeed_fails_at_once() {
    let (gateway, client) = pair().await;
    let mut message = outbound("one", "1");
    message.phone_number_id = NumberId::new("999").unwrap();
    let unknown = client.send(message, PATIENCE).await;
    assert!(
        matches!(unknown, Err(SdkError::UnknownNumber)),
        "{unknown:?}"
    );
    for (error, expected) in [
        (SendError::NotAllowed, "NotAllowed"),
        (SendError::NotProvisioned, "NotProvisioned"),
        (SendError::Malformed, "Malformed"),
    ] {
        gateway.state.lock().refusals.push_back((error, 0));
        let refused = client
            .send(outbound("one", "1"), PATIENCE)
            .await
            .unwrap_err();
        assert_eq!(format!("{refused:?}"), expected);
    }
    let silent = client.send(outbound("", "1"), PATIENCE).await;
    assert!(matches!(silent, Err(SdkError::Content(_))), "{silent:?}");
    assert!(gateway.state.lock().accepted.is_empty());
}

#[tokio::test]
async fn a_foreign_token_is_refused_as_such() {
    let clock = Clock::system();
    let gateway = Gateway::start(clock.clone(), &Seeds::OURS).await;
    let mut settings = settings(&gateway, clock);
    settings.token = Token::new("another".to_owned());
    let client = Client::connect(settings).unwrap();
    let refused = client.send(outbound("one", "1"), PATIENCE).await;
    assert!(
        matches!(refused, Err(SdkError::Unauthenticated)),
        "{refused:?}"
    );
    let numbers = client.numbers().await;
    assert!(
        matches!(numbers, Err(SdkError::Unauthenticated)),
        "{numbers:?}"
    );
}

#[tokio::test]
async fn a_gateway_that_another_authority_vouches_for_hears_nothing() {
    let clock = Clock::system();
    let gateway = Gateway::start(clock.clone(), &Seeds::OURS).await;
    let other = Gateway::start(clock.clone(), &Seeds::OURS).await;
    let mut settings = settings(&gateway, clock);
    settings.ca = other.ca();
    let client = Client::connect(settings).unwrap();
    let refused = client
        .send(outbound("one", "1"), Duration::from_secs(1))
        .await;
    assert!(refused.unwrap_err().is_transient());
    assert_eq!(gateway.state.lock().key_fetches, 0);
}

#[tokio::test]
async fn a_message_can_be_asked_after() {
    let (_gateway, client) = pair().await;
    let accepted = client.send(outbound("one", "1"), PATIENCE).await.unwrap();
    let number = NUMBER.parse().unwrap();
    let progress = client.status(&number, accepted.message_id).await.unwrap();
    assert_eq!(progress.status, DeliveryStatus::Sent);
    let key = outbound("", "never sent").idempotency_key;
    let unknown = client
        .status(&number, client.message_id(&number, &key))
        .await;
    assert!(matches!(unknown, Err(SdkError::NotFound)), "{unknown:?}");
    assert_eq!(
        client.numbers().await.unwrap()[0].phone_number,
        "15550783881"
    );
}
