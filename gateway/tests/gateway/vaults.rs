//! Several vaults: the gateway asks the holder, follows the shards, and keeps each conversation's order.

use std::time::Duration;

use sealpost_proto::{
    gateway::v1::{SendStreamRequest, send_outcome::Outcome},
    store::v1::MessageStatus,
};
use tokio::{sync::mpsc, task::JoinHandle, time::sleep};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    doubles::{lock, shards::Place},
    harness::{ANNA, BERT, Running, Suite, TOKEN, message, message_id, until, within},
};

const MESSAGES: u64 = 150;

/// Two vaults on one state; the first holds everything.
async fn two(suite: &Suite) -> (Running, Place) {
    let first = Place {
        name: "a".to_owned(),
        ..Place::default()
    };
    first.give("a");
    let second = Place {
        name: "b".to_owned(),
        ..first.clone()
    };
    let running = suite.start_among(&[first.clone(), second]).await;
    (running, first)
}

/// Sends to two consumers at once, batch after batch without waiting; all are accepted.
fn send_all(gateway: &Running) -> JoinHandle<()> {
    let mut client = gateway.client(TOKEN);
    tokio::spawn(async move {
        let (requests, stream) = mpsc::channel(4);
        let sending = tokio::spawn(async move {
            for batch_id in 0..MESSAGES / 5 {
                let numbers = batch_id * 5..(batch_id + 1) * 5;
                let items = numbers
                    .flat_map(|n| [message(ANNA, n), message(BERT, n)])
                    .collect();
                requests
                    .send(SendStreamRequest { batch_id, items })
                    .await
                    .unwrap();
                sleep(Duration::from_millis(3)).await;
            }
        });
        let mut answers = client
            .send_stream(ReceiverStream::new(stream))
            .await
            .unwrap()
            .into_inner();
        let mut accepted = 0;
        while let Some(answer) = answers.message().await.unwrap() {
            for outcome in answer.outcomes {
                assert!(
                    matches!(outcome.outcome, Some(Outcome::Accepted(_))),
                    "{outcome:?}"
                );
                accepted += 1;
            }
        }
        assert_eq!(accepted, 2 * MESSAGES);
        sending.await.unwrap();
    })
}

/// What the relay took of a conversation, in its order, is what was sent, once each.
async fn arrived_in_order(suite: &Suite) {
    for peer in [ANNA, BERT] {
        let last = message_id(peer, MESSAGES - 1);
        until(|| suite.store.status(&last) == Some((MessageStatus::Sent, 0))).await;
        let taken = lock(&suite.relay.state).taken.clone();
        let ids: Vec<_> = taken
            .into_iter()
            .filter(|one| one.0 == peer)
            .map(|one| one.1)
            .collect();
        let sent: Vec<_> = (0..MESSAGES).map(|n| message_id(peer, n)).collect();
        assert_eq!(ids, sent);
    }
}

#[tokio::test]
async fn shards_that_move_to_and_fro_cost_no_message_and_no_order() {
    let suite = Suite::new();
    let (gateway, place) = two(&suite).await;
    let sending = send_all(&gateway);
    for turn in 0..10 {
        sleep(Duration::from_millis(10)).await;
        place.give(["b", "a"][turn % 2]);
    }
    within(sending).await.unwrap();
    arrived_in_order(&suite).await;
}

#[tokio::test]
async fn a_vault_that_hangs_holds_nobody_up_once_another_has_its_shards() {
    let suite = Suite::new();
    let (gateway, place) = two(&suite).await;
    let sending = send_all(&gateway);
    sleep(Duration::from_millis(30)).await;
    place.silence("a");
    sleep(Duration::from_millis(200)).await;
    assert!(
        !sending.is_finished(),
        "the vault hangs before everything is sent"
    );
    place.give("b");
    within(sending).await.unwrap();
    arrived_in_order(&suite).await;
}
