//! From a business to consumers.

use std::time::Duration;

use sealpost_gateway::config::LimitsConfig;
use sealpost_proto::{
    gateway::v1::{
        GetMessageStatusRequest, OutboundMessage, SendError, SendRequest, SendStreamRequest,
        Status, send_outcome::Outcome,
    },
    relay::v1::SubmitOutcome,
    store::v1::MessageStatus,
};
use sealpost_runtime::status::{reason_of, retry_delay_of};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{
    doubles::lock,
    harness::{ANNA, BERT, NUMBER, Running, Suite, TOKEN, message, message_id, until, within},
};

async fn send(gateway: &Running, message: OutboundMessage) -> Result<bool, tonic::Status> {
    let request = SendRequest {
        message: Some(message),
    };
    let answer = within(gateway.client(TOKEN).send(request)).await?;
    Ok(answer.into_inner().accepted.unwrap().repeated)
}

#[tokio::test]
async fn a_message_without_a_session_is_accepted_encrypted_with_a_bundle_and_sent() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    assert!(!send(&gateway, message(BERT, 1)).await.unwrap());
    let id = message_id(BERT, 1);
    until(|| suite.store.status(&id) == Some((MessageStatus::Sent, 0))).await;
    let taken = lock(&suite.relay.state).taken.clone();
    assert_eq!(taken, [(BERT.to_owned(), id.clone(), 0, vec![1, 2])]);

    let request = GetMessageStatusRequest {
        phone_number_id: NUMBER.into(),
        message_id: id,
    };
    let status = gateway
        .client(TOKEN)
        .get_message_status(request)
        .await
        .unwrap();
    assert_eq!(status.into_inner().status(), Status::Sent);
}

#[tokio::test]
async fn a_stream_keeps_each_conversations_order_while_the_relay_stumbles() {
    const MESSAGES: u64 = 200;
    let suite = Suite::new();
    let stumbles = [
        SubmitOutcome::QueueFull,
        SubmitOutcome::Unspecified,
        SubmitOutcome::StaleDevices,
        SubmitOutcome::QueueFull,
        SubmitOutcome::StaleDevices,
        SubmitOutcome::StaleDevices,
    ];
    lock(&suite.relay.state).answers = stumbles.into();
    let gateway = suite.start().await;
    let (requests, stream) = mpsc::channel(4);
    let mut client = gateway.client(TOKEN);
    let mut answers = client
        .send_stream(ReceiverStream::new(stream))
        .await
        .unwrap()
        .into_inner();
    let asking = tokio::spawn(async move {
        for batch_id in 0..MESSAGES / 10 {
            let numbers = batch_id * 10..(batch_id + 1) * 10;
            let items = numbers
                .flat_map(|n| [message(ANNA, n), message(BERT, n)])
                .collect();
            requests
                .send(SendStreamRequest { batch_id, items })
                .await
                .unwrap();
        }
    });
    for batch_id in 0..MESSAGES / 10 {
        let answer = within(answers.message()).await.unwrap().unwrap();
        assert_eq!(answer.batch_id, batch_id);
        for (place, outcome) in answer.outcomes.into_iter().enumerate() {
            let n = batch_id * 10 + place as u64 / 2;
            let peer = if place % 2 == 0 { ANNA } else { BERT };
            let Some(Outcome::Accepted(accepted)) = outcome.outcome else {
                panic!("message {n} was refused");
            };
            assert_eq!(accepted.message_id, message_id(peer, n));
        }
    }
    assert!(
        within(answers.message()).await.unwrap().is_none(),
        "the stream ends with OK"
    );
    asking.await.unwrap();
    for peer in [ANNA, BERT] {
        until(|| suite.relay.taken_for(peer).len() as u64 == MESSAGES).await;
        let expected: Vec<_> = (0..MESSAGES).map(|n| message_id(peer, n)).collect();
        assert_eq!(suite.relay.taken_for(peer), expected);
    }
}

#[tokio::test]
async fn a_retry_after_a_broken_append_is_sent_before_what_is_accepted_after_it() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    lock(&suite.store.state).break_append = true;
    let status = send(&gateway, message(ANNA, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(reason_of(&status).as_deref(), Some("UNAVAILABLE"));
    assert!(retry_delay_of(&status).is_some());

    assert!(
        send(&gateway, message(ANNA, 1)).await.unwrap(),
        "it was kept the first time"
    );
    send(&gateway, message(ANNA, 2)).await.unwrap();
    for n in [1, 2] {
        until(|| suite.store.status(&message_id(ANNA, n)) == Some((MessageStatus::Sent, 0))).await;
    }
    assert_eq!(
        suite.relay.taken_for(ANNA),
        [message_id(ANNA, 1), message_id(ANNA, 2)]
    );
}

#[tokio::test]
async fn another_content_under_the_same_message_id_is_a_conflict() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    send(&gateway, message(ANNA, 1)).await.unwrap();
    let mut other = message(ANNA, 1);
    other.message.as_mut().unwrap().body = "another".into();
    let status = send(&gateway, other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(reason_of(&status).as_deref(), Some("CONFLICT"));
}

#[tokio::test]
async fn a_changed_device_list_is_fetched_and_the_message_sent_again() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    send(&gateway, message(ANNA, 1)).await.unwrap();
    until(|| suite.relay.taken_for(ANNA).len() == 1).await;
    suite.relay.set_devices(ANNA, &[1, 3]);
    send(&gateway, message(ANNA, 2)).await.unwrap();
    until(|| suite.relay.taken_for(ANNA).len() == 2).await;
    let taken = lock(&suite.relay.state).taken[1].clone();
    assert_eq!(taken, (ANNA.to_owned(), message_id(ANNA, 2), 0, vec![1, 3]));
}

#[tokio::test]
async fn a_message_to_nobody_fails_with_131026() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    send(&gateway, message("4915199999999", 1)).await.unwrap();
    let id = message_id("4915199999999", 1);
    until(|| suite.store.status(&id) == Some((MessageStatus::Failed, 131_026))).await;
}

#[tokio::test]
async fn a_message_that_waits_until_its_last_call_fails_with_131036_and_not_before() {
    const FULL: usize = 1000;
    let suite = Suite::new();
    let gateway = suite.start().await;
    let full = std::iter::repeat_n(SubmitOutcome::QueueFull, FULL);
    lock(&suite.relay.state).answers = full.collect();
    // A second before the last call of an hour's epoch, which is two minutes before its end.
    suite.clock.advance(Duration::from_secs(3479));
    send(&gateway, message(ANNA, 1)).await.unwrap();
    let id = message_id(ANNA, 1);
    until(|| lock(&suite.relay.state).answers.len() <= FULL - 3).await;
    assert_eq!(suite.store.status(&id), Some((MessageStatus::Accepted, 0)));
    suite.clock.advance(Duration::from_secs(1));
    until(|| suite.store.status(&id) == Some((MessageStatus::Failed, 131_036))).await;
    assert!(suite.relay.taken_for(ANNA).is_empty());
}

#[tokio::test]
async fn what_an_earlier_run_accepted_is_sent_in_order_before_new_messages() {
    const LEFT: u64 = 300;
    let suite = Suite::new();
    {
        // An earlier run whose relay took nothing.
        let full = std::iter::repeat_n(SubmitOutcome::QueueFull, 100_000);
        lock(&suite.relay.state).answers = full.collect();
        let gateway = suite.start().await;
        for n in 0..LEFT {
            send(&gateway, message(ANNA, n)).await.unwrap();
        }
        gateway.stop.cancel();
        within(gateway.gateway.drain()).await;
    }
    lock(&suite.relay.state).answers.clear();
    let gateway = suite.start().await;
    send(&gateway, message(ANNA, LEFT)).await.unwrap();
    until(|| suite.relay.taken_for(ANNA).len() as u64 == LEFT + 1).await;
    let expected: Vec<_> = (0..=LEFT).map(|n| message_id(ANNA, n)).collect();
    assert_eq!(suite.relay.taken_for(ANNA), expected);
}

#[tokio::test]
async fn a_full_gateway_refuses_at_once_with_a_wait_and_takes_messages_again_by_itself() {
    const PLACES: usize = 3;
    let suite = Suite::new();
    // The relay takes nothing: what is accepted keeps its place.
    let full = std::iter::repeat_n(SubmitOutcome::QueueFull, 100_000);
    lock(&suite.relay.state).answers = full.collect();
    let limits = LimitsConfig {
        messages_per_second: 0,
        queued_messages: PLACES,
        ..LimitsConfig::default()
    };
    let gateway = suite.start_with(limits).await;
    for n in 0..PLACES as u64 {
        send(&gateway, message(ANNA, n)).await.unwrap();
    }
    let status = send(&gateway, message(BERT, 1)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&status).as_deref(), Some("OVERLOADED"));
    assert!(retry_delay_of(&status).is_some());
    assert_eq!(suite.store.status(&message_id(BERT, 1)), None);

    lock(&suite.relay.state).answers.clear();
    until(|| suite.relay.taken_for(ANNA).len() == PLACES).await;
    // A place is given back after the status is kept.
    within(async {
        while send(&gateway, message(BERT, 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    until(|| suite.relay.taken_for(BERT).len() == 1).await;
}

#[tokio::test]
async fn a_number_over_its_pace_is_told_how_long_to_wait() {
    let suite = Suite::new();
    let limits = LimitsConfig {
        messages_per_second: 2,
        ..LimitsConfig::default()
    };
    let gateway = suite.start_with(limits).await;
    let batch = SendStreamRequest {
        batch_id: 1,
        items: (0..4).map(|n| message(ANNA, n)).collect(),
    };
    let mut client = gateway.client(TOKEN);
    let answers = client
        .send_stream(tokio_stream::iter([batch]))
        .await
        .unwrap();
    let answer = within(answers.into_inner().message())
        .await
        .unwrap()
        .unwrap();
    let outcomes: Vec<_> = answer
        .outcomes
        .into_iter()
        .map(|one| one.outcome.unwrap())
        .collect();
    assert!(matches!(
        outcomes[..2],
        [Outcome::Accepted(_), Outcome::Accepted(_)]
    ));
    for outcome in &outcomes[2..] {
        let Outcome::Refused(refused) = outcome else {
            panic!("it was accepted");
        };
        assert_eq!(refused.error(), SendError::RateLimited);
        assert!(
            (1..=1000).contains(&refused.retry_after_ms),
            "{}",
            refused.retry_after_ms
        );
    }
}
