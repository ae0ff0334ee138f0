//! Statuses: forward only, one event a step.

use sealpost_proto::{
    record::v1::Direction,
    store::v1::{EventKind, GetRecordRequest, GetRecordResponse, MessageStatus},
};

use crate::bench::{Bench, NUMBER, id, outbound, status_item};

async fn state(bench: &Bench, message: u8) -> GetRecordResponse {
    let request = GetRecordRequest {
        phone_number_id: NUMBER.into(),
        message_id: id(message),
        direction: Direction::Outbound.into(),
    };
    bench
        .client
        .clone()
        .get_record(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn a_status_moves_forward_with_one_event_a_step() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    for (status, moves) in [
        (MessageStatus::Accepted, false),
        (MessageStatus::Sent, true),
        (MessageStatus::Sent, false),
        (MessageStatus::Read, true),
        (MessageStatus::Delivered, false),
        (MessageStatus::Failed, false),
    ] {
        assert_eq!(bench.move_to(1, status).await, moves, "{status:?}");
    }
    let found = state(&bench, 1).await;
    assert_eq!(found.status(), MessageStatus::Read);
    assert_eq!(found.error_code, 0);
    let events = bench.events(0, 10).await;
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.kind(), event.status()))
        .collect();
    assert_eq!(
        told,
        [
            (EventKind::Status, MessageStatus::Sent),
            (EventKind::Status, MessageStatus::Read)
        ]
    );
    assert!(events.iter().all(|event| event.record == found.record));
}

#[tokio::test]
async fn a_failure_carries_its_code_and_ends_the_message() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    assert!(bench.move_to(1, MessageStatus::Failed).await);
    assert!(!bench.move_to(1, MessageStatus::Delivered).await);
    assert_eq!(state(&bench, 1).await.error_code, 131_036);
    let events = bench.events(0, 10).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].error_code, 131_036);
}

#[tokio::test]
async fn an_attempt_is_raised_without_a_step_and_never_lowered() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.move_to(1, MessageStatus::Delivered).await;
    for (attempt, kept) in [(2, 2), (1, 2), (3, 3)] {
        let mut item = status_item(1, MessageStatus::Sent, bench.now_ms());
        item.attempt = attempt;
        assert!(!bench.advance_item(item).await);
        assert_eq!(state(&bench, 1).await.attempt, kept);
    }
}

#[tokio::test]
async fn an_unknown_message_does_not_move() {
    let bench = Bench::new().await;
    assert!(!bench.move_to(1, MessageStatus::Sent).await);
    assert!(bench.events(0, 10).await.is_empty());
}
