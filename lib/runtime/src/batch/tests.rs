//! Both halves of a hop against each other, over real connections.

#![allow(clippy::unwrap_used)]

mod doubler;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{BatchLane, LaneError, LaneSettings};
use doubler::{Batch, DoublerHop, Peer, double};

fn settings() -> LaneSettings {
    LaneSettings {
        deadline: Duration::from_secs(5),
        open_deadline: Duration::from_secs(2),
        ..LaneSettings::new("test")
    }
}

fn lane(peer: &Peer, settings: LaneSettings) -> BatchLane<DoublerHop> {
    BatchLane::start(peer.hop(), settings, CancellationToken::new())
}

#[tokio::test]
async fn what_queues_while_a_batch_is_in_flight_travels_together_and_in_order() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let peer = Peer::start(move |batch: Batch| {
        let gate = opened.clone();
        async move {
            if batch.values == [0] {
                gate.notified().await;
            }
            Ok(double(batch))
        }
    })
    .await;
    let lane = lane(&peer, settings());
    let first = lane.send(0).await.unwrap();
    peer.wait_for_batches(1).await;
    let mut replies = Vec::new();
    for value in 1..=100 {
        replies.push(lane.send(value).await.unwrap());
    }
    gate.notify_one();
    assert_eq!(first.outcome().await.unwrap(), 0);
    for (reply, value) in replies.into_iter().zip(1..) {
        assert_eq!(reply.outcome().await.unwrap(), value * 2);
    }
    let seen = peer.batches();
    assert_eq!(seen.concat(), (0..=100).collect::<Vec<u64>>());
    assert_eq!(seen.len(), 2, "one alone, then all that queued");
}

/// Values in batches of one, up to three in flight.
async fn three_in_flight(
    peer: &Peer,
    values: std::ops::Range<u64>,
) -> Vec<super::Reply<DoublerHop>> {
    let lane = lane(
        peer,
        LaneSettings {
            max_items: 1,
            in_flight: 3,
            ..settings()
        },
    );
    let mut replies = Vec::new();
    for value in values {
        replies.push(lane.send(value).await.unwrap());
    }
    replies
}

#[tokio::test]
async fn several_batches_may_be_in_flight_and_keep_their_order() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    let replies = three_in_flight(&peer, 0..50).await;
    for (reply, value) in replies.into_iter().zip(0..) {
        assert_eq!(reply.outcome().await.unwrap(), value * 2);
    }
    assert_eq!(peer.batches().concat(), (0..50).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_cut_connection_breaks_all_that_was_in_flight_and_nothing_behind_it() {
    let peer = Peer::start(|batch: Batch| async move {
        if batch.values == [0] {
            std::future::pending::<()>().await;
        }
        Ok(double(batch))
    })
    .await;
    let replies = three_in_flight(&peer, 0..5).await;
    peer.wait_for_batches(1).await;
    // The others are on the wire, or about to be.
    tokio::time::sleep(Duration::from_millis(100)).await;
    peer.cut();
    for (reply, value) in replies.into_iter().zip(0..5) {
        match reply.outcome().await {
            Err(error) => assert!(
                value < 3 && error.is_outcome_unknown(),
                "{value}: {error:?}"
            ),
            Ok(doubled) => assert!(value >= 3 && doubled == value * 2, "{value}"),
        }
    }
}

#[tokio::test]
async fn what_was_in_flight_and_not_begun_when_a_stream_ended_with_ok_is_sent_again_in_order() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    peer.stop_next_streams(2);
    let replies = three_in_flight(&peer, 0..6).await;
    for (reply, value) in replies.into_iter().zip(0..) {
        assert_eq!(reply.outcome().await.unwrap(), value * 2);
    }
    assert_eq!(peer.batches().concat(), (0..6).collect::<Vec<u64>>());
}

#[tokio::test]
async fn when_one_batch_cannot_be_sent_again_none_behind_it_is() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    peer.stop_next_streams(usize::MAX);
    for reply in three_in_flight(&peer, 0..3).await {
        let error = reply.outcome().await.unwrap_err();
        assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
    }
    assert!(peer.batches().is_empty());
}

#[tokio::test]
async fn batches_stay_within_their_bounds() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    let lane = lane(
        &peer,
        LaneSettings {
            max_items: 7,
            max_bytes: 5 * DoublerHop::ITEM_BYTES,
            ..settings()
        },
    );
    let mut replies = Vec::new();
    for value in 0..100 {
        replies.push(lane.send(value).await.unwrap());
    }
    for reply in replies {
        reply.outcome().await.unwrap();
    }
    assert_eq!(peer.batches().concat(), (0..100).collect::<Vec<u64>>());
    assert!(peer.batches().iter().all(|batch| batch.len() <= 5));
}

#[tokio::test]
async fn a_full_queue_makes_senders_wait() {
    let peer = Peer::start(|_| std::future::pending()).await;
    let lane = lane(
        &peer,
        LaneSettings {
            capacity: 2,
            ..settings()
        },
    );
    let _flying = lane.send(0).await.unwrap();
    peer.wait_for_batches(1).await;
    let _first = lane.send(1).await.unwrap();
    let _second = lane.send(2).await.unwrap();
    let third = timeout(Duration::from_millis(200), lane.send(3)).await;
    assert!(third.is_err());
}

#[tokio::test]
async fn a_cut_connection_breaks_what_was_in_flight_and_the_lane_goes_on() {
    let peer = Peer::start(|batch: Batch| async move {
        if batch.values.contains(&13) {
            std::future::pending::<()>().await;
        }
        Ok(double(batch))
    })
    .await;
    let lane = lane(&peer, settings());
    assert_eq!(lane.call(1).await.unwrap(), 2);

    let flying = lane.send(13).await.unwrap();
    peer.wait_for_batches(2).await;
    peer.cut();
    let error = flying.outcome().await.unwrap_err();
    assert!(matches!(error, LaneError::Broken(_)), "{error:?}");
    assert!(error.is_outcome_unknown());

    assert_eq!(lane.call(2).await.unwrap(), 4);
}

#[tokio::test]
async fn a_connection_cut_while_idle_costs_no_item() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    let lane = lane(&peer, settings());
    for value in 0..5 {
        assert_eq!(lane.call(value).await.unwrap(), value * 2);
        peer.cut();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_handler_that_panics_never_looks_like_a_clean_end() {
    let peer = Peer::start(|batch: Batch| async move {
        assert!(!batch.values.contains(&13), "thirteen");
        Ok(double(batch))
    })
    .await;
    let lane = lane(&peer, settings());
    let error = lane.call(13).await.unwrap_err();
    assert!(matches!(&error, LaneError::Broken(status) if status.code() == Code::Internal));
    assert_eq!(peer.batches().len(), 1, "a begun batch is not sent again");
    assert_eq!(lane.call(2).await.unwrap(), 4);
}

#[tokio::test]
async fn a_refused_batch_tells_its_items_why() {
    let peer = Peer::start(|_| async { Err(Status::invalid_argument("no")) }).await;
    let error = lane(&peer, settings()).call(1).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_stream_that_ends_with_ok_before_a_batch_began_costs_no_item() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    // The next stream ends at once, whatever has been sent on it.
    peer.stop_next_streams(1);
    let lane = lane(&peer, settings());
    assert_eq!(lane.call(21).await.unwrap(), 42);
    assert_eq!(peer.batches(), [[21]]);

    peer.stop_next_streams(usize::MAX);
    peer.cut();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = lane.call(1).await.unwrap_err();
    assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
}

#[tokio::test]
async fn a_batch_without_an_answer_in_time_gets_deadline_and_a_new_stream_follows() {
    let peer = Peer::start(|batch: Batch| async move {
        if batch.values.contains(&13) {
            std::future::pending::<()>().await;
        }
        Ok(double(batch))
    })
    .await;
    let lane = lane(
        &peer,
        LaneSettings {
            deadline: Duration::from_millis(200),
            ..settings()
        },
    );
    let error = lane.call(13).await.unwrap_err();
    assert!(matches!(error, LaneError::Deadline), "{error:?}");
    assert_eq!(lane.call(2).await.unwrap(), 4);
}

#[tokio::test]
async fn an_answer_of_the_wrong_length_breaks_the_batch() {
    let peer = Peer::start(|mut batch: Batch| async move {
        batch.values.push(0);
        Ok(batch)
    })
    .await;
    let error = lane(&peer, settings()).call(1).await.unwrap_err();
    assert!(matches!(error, LaneError::Broken(_)), "{error:?}");
}

#[tokio::test]
async fn an_absent_peer_makes_items_unavailable_and_known_unsent() {
    let peer = Peer::absent().await;
    let lane = lane(
        &peer,
        LaneSettings {
            open_deadline: Duration::from_millis(300),
            ..settings()
        },
    );
    let error = lane.call(1).await.unwrap_err();
    assert!(matches!(error, LaneError::Unavailable(_)), "{error:?}");
    assert!(!error.is_outcome_unknown());
}

#[tokio::test]
async fn an_item_whose_caller_left_the_queue_is_not_sent() {
    let gate = Arc::new(Notify::new());
    let opened = gate.clone();
    let peer = Peer::start(move |batch: Batch| {
        let gate = opened.clone();
        async move {
            if batch.values == [0] {
                gate.notified().await;
            }
            Ok(double(batch))
        }
    })
    .await;
    let lane = lane(&peer, settings());
    let first = lane.send(0).await.unwrap();
    peer.wait_for_batches(1).await;
    drop(lane.send(1).await.unwrap());
    let second = lane.send(2).await.unwrap();
    gate.notify_one();
    first.outcome().await.unwrap();
    assert_eq!(second.outcome().await.unwrap(), 4);
    assert_eq!(peer.batches(), [[0], [2]]);
}

#[tokio::test]
async fn a_begun_batch_is_finished_though_its_client_is_gone() {
    let finished = Arc::new(AtomicUsize::new(0));
    let count = finished.clone();
    let peer = Peer::start(move |batch| {
        let count = count.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            count.fetch_add(1, Ordering::SeqCst);
            Ok(double(batch))
        }
    })
    .await;
    let lane = lane(&peer, settings());
    let flying = lane.send(1).await.unwrap();
    peer.wait_for_batches(1).await;
    peer.cut();
    flying.outcome().await.unwrap_err();
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(finished.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_stopped_lane_refuses_what_is_queued() {
    let peer = Peer::start(|batch| async { Ok(double(batch)) }).await;
    let stop = CancellationToken::new();
    let lane = BatchLane::start(peer.hop(), settings(), stop.clone());
    assert_eq!(lane.call(1).await.unwrap(), 2);
    stop.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = lane.call(2).await.unwrap_err();
    assert!(!error.is_outcome_unknown(), "{error:?}");
    assert_eq!(peer.batches(), [[1]]);
}
