#![allow(clippy::unwrap_used)]

use std::{fs, time::Duration};

use sealpost_connector_sdk::Secret;
use sealpost_database::testing::{TestDatabase, on_both};
use serde_json::json;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

async fn queue(place: &TestDatabase) -> Queue {
    let key = QueueKey::new(&Secret::from_bytes([5; 32])).unwrap();
    Queue::open(place.config(), key).await.unwrap()
}

fn arrival(conversation: u8, text: &str) -> Arrival {
    Arrival {
        once: None,
        sender: None,
        callback: None,
        conversation: [conversation; 32],
        body: Some(json!({ "text": text })),
    }
}

async fn bodies(queue: &Queue, now: Timestamp) -> Vec<String> {
    let due = queue.due(10, now).await.unwrap();
    due.iter()
        .map(|due| String::from_utf8(queue.body(due).unwrap().to_vec()).unwrap())
        .collect()
}

async fn settle(queue: &Queue, index: usize, again_at: Option<Timestamp>) {
    let due = queue.due(10, NOW).await.unwrap();
    let id = due[index].id.clone();
    queue
        .settle(vec![Settled { id, again_at }], NOW)
        .await
        .unwrap();
}

#[tokio::test]
async fn one_delivery_of_a_conversation_is_due_at_a_time_and_in_order() {
    on_both(async |place| {
        let queue = queue(&place).await;
        let arrivals = vec![
            arrival(1, "a1"),
            arrival(2, "b1"),
            arrival(1, "a2"),
            arrival(1, "a3"),
        ];
        assert_eq!(queue.keep(arrivals, NOW).await.unwrap(), 4);
        assert_eq!(
            bodies(&queue, NOW).await,
            [r#"{"text":"a1"}"#, r#"{"text":"b1"}"#]
        );
        settle(&queue, 0, None).await;
        assert_eq!(
            bodies(&queue, NOW).await,
            [r#"{"text":"b1"}"#, r#"{"text":"a2"}"#]
        );
        assert_eq!(queue.count().await.unwrap(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_delivery_that_waits_holds_its_conversation_and_no_other() {
    on_both(async |place| {
        let queue = queue(&place).await;
        let arrivals = vec![arrival(1, "a1"), arrival(1, "a2"), arrival(2, "b1")];
        queue.keep(arrivals, NOW).await.unwrap();
        let later = NOW + Duration::from_secs(60);
        settle(&queue, 0, Some(later)).await;
        assert_eq!(bodies(&queue, NOW).await, [r#"{"text":"b1"}"#]);
        assert_eq!(queue.next_due(NOW).await.unwrap(), Some(later));
        assert_eq!(
            bodies(&queue, later).await,
            [r#"{"text":"b1"}"#, r#"{"text":"a1"}"#]
        );
        assert_eq!(queue.due(10, later).await.unwrap()[1].attempts, 1);
    })
    .await;
}

#[tokio::test]
async fn an_event_is_queued_once_within_its_memory() {
    on_both(async |place| {
        let queue = queue(&place).await;
        let once = || Arrival {
            once: Some([9; 32]),
            ..arrival(1, "a")
        };
        assert_eq!(queue.keep(vec![once(), once()], NOW).await.unwrap(), 1);
        assert_eq!(queue.keep(vec![once()], NOW).await.unwrap(), 0);
        queue.forget(NOW + MEMORY).await.unwrap();
        assert_eq!(queue.keep(vec![once()], NOW).await.unwrap(), 0);
        queue
            .forget(NOW + MEMORY + Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!(queue.keep(vec![once()], NOW).await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn the_first_sender_of_a_message_id_is_the_one_that_is_remembered() {
    on_both(async |place| {
        let queue = queue(&place).await;
        let number: NumberId = "1".parse().unwrap();
        let id = MessageId::from_bytes([1; 16]);
        assert_eq!(queue.sender(&number, id).await.unwrap(), None);
        for digits in ["15551234567", "15557654321"] {
            let sender = (queue.key().sender(&number, id), Peer::new(digits).unwrap());
            let arrival = Arrival {
                sender: Some(sender),
                ..arrival(1, "a")
            };
            queue.keep(vec![arrival], NOW).await.unwrap();
        }
        let sender = queue.sender(&number, id).await.unwrap().unwrap();
        assert_eq!(sender.expose(), "15551234567");
    })
    .await;
}

#[tokio::test]
async fn an_apps_own_data_comes_back_with_the_status() {
    on_both(async |place| {
        let queue = queue(&place).await;
        let number: NumberId = "1".parse().unwrap();
        let id = MessageId::from_bytes([1; 16]);
        queue
            .callback_keep(&number, id, "order-1", NOW)
            .await
            .unwrap();
        queue
            .callback_keep(&number, id, "order-2", NOW)
            .await
            .unwrap();
        let status = Arrival {
            callback: Some(queue.key().callback(&number, id)),
            body: Some(json!({"entry":[{"changes":[{"value":{"statuses":[{"id":"x"}]}}]}]})),
            ..arrival(1, "")
        };
        queue.keep(vec![status], NOW).await.unwrap();
        assert!(bodies(&queue, NOW).await[0].contains(r#""biz_opaque_callback_data":"order-2""#));
    })
    .await;
}

#[tokio::test]
async fn neither_content_nor_phone_numbers_are_on_the_disk() {
    let place = TestDatabase::sqlite();
    let queue = queue(&place).await;
    let number: NumberId = "1".parse().unwrap();
    let id = MessageId::from_bytes([1; 16]);
    let secret = Arrival {
        sender: Some((
            queue.key().sender(&number, id),
            Peer::new("15551234567").unwrap(),
        )),
        ..arrival(1, "the quick brown secret")
    };
    queue.keep(vec![secret], NOW).await.unwrap();
    queue
        .callback_keep(&number, id, "opaque-to-us", NOW)
        .await
        .unwrap();
    let mut looked_at = 0;
    for checkpointed in [false, true] {
        if checkpointed {
            queue.tidy().await.unwrap();
        }
        for entry in fs::read_dir(place.folder()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            looked_at += bytes.len();
            for needle in ["quick brown", "15551234567", "opaque-to-us"] {
                assert!(
                    !bytes
                        .windows(needle.len())
                        .any(|window| window == needle.as_bytes())
                );
            }
        }
    }
    assert!(looked_at > 4096);
    assert_eq!(
        bodies(&queue, NOW).await,
        [r#"{"text":"the quick brown secret"}"#]
    );
}

#[tokio::test]
async fn both_dialects_make_the_same_tables() {
    sealpost_database::testing::assert_same_schema(MIGRATIONS).await;
}
