//! Leases: one owner a conversation, in order, back when they end.

use bytes::Bytes;
use sealpost_proto::store::v1::{
    AppendOutboundItem, LeasedRecord, MessageStatus, append_outbound_outcome::Outcome,
};

use crate::bench::{Bench, MONTH, epoch, outbound};

/// The first byte of each leased message, in order.
fn messages(leased: &[LeasedRecord]) -> Vec<u8> {
    let ids = leased.iter().map(|one| one.record.as_ref().unwrap());
    ids.map(|record| record.message_id[0]).collect()
}

#[tokio::test]
async fn an_appended_record_is_its_gateways_for_half_a_minute_and_then_anybodys() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.advance(29);
    assert!(bench.lease("a", 10, false).await.is_empty());
    assert!(bench.lease("b", 10, false).await.is_empty());
    bench.advance(1);
    assert_eq!(messages(&bench.lease("b", 10, false).await), [1]);
    assert!(bench.lease("a", 10, false).await.is_empty());
}

#[tokio::test]
async fn a_gateway_that_starts_anew_takes_back_its_own_at_once_and_nobody_elses() {
    let bench = Bench::new().await;
    let mut others = outbound(9, 9, 1);
    others.lease_owner = "b".into();
    bench
        .append(vec![outbound(1, 1, 1), outbound(2, 1, 2), others])
        .await;
    let leased = bench.lease("a", 10, true).await;
    assert_eq!(messages(&leased), [1, 2]);
    assert_eq!(leased[0].appended_at_ms, bench.now_ms());
    assert!(bench.lease("a", 10, false).await.is_empty());
}

#[tokio::test]
async fn a_takeover_beyond_the_limit_comes_with_the_next_calls() {
    let bench = Bench::new().await;
    bench
        .append((1..=5).map(|n| outbound(n, 1, n.into())).collect())
        .await;
    assert_eq!(messages(&bench.lease("a", 2, true).await), [1, 2]);
    assert_eq!(messages(&bench.lease("a", 2, false).await), [3, 4]);
    assert!(bench.lease("b", 10, false).await.is_empty());
    assert_eq!(messages(&bench.lease("a", 2, false).await), [5]);
}

#[tokio::test]
async fn a_conversation_leaves_through_one_owner_at_a_time() {
    let bench = Bench::new().await;
    bench
        .append(vec![outbound(1, 1, 1), outbound(2, 2, 1)])
        .await;
    bench.advance(20);
    // Another gateway gets a message of a conversation that the first has in hand, and a repeat of one of the first's.
    let of_b = |mut item: AppendOutboundItem| {
        item.lease_owner = "b".into();
        item
    };
    let outcomes = bench
        .append(vec![
            of_b(outbound(3, 1, 2)),
            of_b(outbound(1, 1, 1)),
            of_b(outbound(4, 4, 1)),
        ])
        .await;
    let hands: Vec<bool> = outcomes.into_iter().map(in_other_hands).collect();
    assert_eq!(hands, [true, true, false]);
    assert!(bench.lease("b", 10, false).await.is_empty());
    // What the first accepts now stands behind the second's message, and comes to the first by its turn.
    let outcomes = bench.append(vec![outbound(5, 1, 3)]).await;
    assert!(outcomes.into_iter().all(in_other_hands));
    assert_eq!(messages(&bench.lease("a", 10, false).await), [3, 5]);
    // The first dies: all of the conversation goes to the second, in its order.
    bench.advance(60);
    let mut leased = messages(&bench.lease("b", 10, false).await);
    assert_eq!(leased.len(), 5);
    leased.retain(|message| ![2, 4].contains(message));
    assert_eq!(leased, [1, 3, 5]);
}

fn in_other_hands(outcome: Outcome) -> bool {
    match outcome {
        Outcome::Appended(kept) | Outcome::Repeated(kept) => kept.in_other_hands,
        other => panic!("not kept: {other:?}"),
    }
}

#[tokio::test]
async fn a_conversation_comes_in_sequence_whatever_order_it_was_kept_in() {
    let bench = Bench::new().await;
    bench
        .append(vec![outbound(3, 1, 3), outbound(1, 1, 1)])
        .await;
    bench.advance(1);
    bench.append(vec![outbound(2, 1, 2)]).await;
    bench.advance(60);
    assert_eq!(messages(&bench.lease("b", 10, false).await), [1, 2, 3]);
}

#[tokio::test]
async fn what_was_sent_or_failed_is_leased_no_more() {
    let bench = Bench::new().await;
    bench
        .append((1..=3).map(|n| outbound(n, 1, n.into())).collect())
        .await;
    bench.move_to(1, MessageStatus::Sent).await;
    bench.move_to(2, MessageStatus::Failed).await;
    bench.advance(60);
    assert_eq!(messages(&bench.lease("b", 10, false).await), [3]);
}

#[tokio::test]
async fn an_epochs_records_are_leased_until_its_last_call_and_not_after() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    let end = epoch().start_seconds + u64::from(MONTH);
    let left = end - bench.clock.now().as_secs();
    // The last call is an hour before the end.
    bench.advance(left - 3_661);
    assert_eq!(messages(&bench.lease("b", 10, false).await), [1]);
    bench.advance(61);
    assert!(bench.lease("b", 10, false).await.is_empty());
    assert!(bench.lease("b", 10, true).await.is_empty());
}

#[tokio::test]
async fn an_answer_is_no_larger_than_its_reader_takes_and_the_rest_follows() {
    let bench = Bench::new().await;
    let large = |n: u8| {
        let mut item = outbound(n, 1, n.into());
        item.record.as_mut().unwrap().sealed = Bytes::from(vec![n; 128 * 1024]);
        item
    };
    bench.append((1..=20).map(large).collect()).await;
    bench.append((21..=40).map(large).collect()).await;
    bench.advance(60);
    let first = messages(&bench.lease("b", 1_024, false).await);
    let second = messages(&bench.lease("b", 1_024, false).await);
    assert!(first.len() < 40 && !second.is_empty());
    let all: Vec<u8> = first.into_iter().chain(second).collect();
    assert_eq!(all, (1..=40).collect::<Vec<u8>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_that_lease_at_once_share_conversations_and_never_one_of_them() {
    let bench = Bench::new().await;
    let records = (0..200_u8).map(|n| outbound(n, n / 4, u64::from(n) + 1));
    bench.append(records.collect()).await;
    bench.advance(60);
    let bench = &bench;
    let gateways = ["a", "b", "c", "d"].map(|owner| async move {
        let mut mine = Vec::new();
        loop {
            let leased = bench.lease(owner, 8, false).await;
            if leased.is_empty() {
                return mine;
            }
            mine.extend(messages(&leased));
        }
    });
    let shares = futures::future::join_all(gateways).await;
    let mut owner_of = std::collections::HashMap::new();
    let mut all = Vec::new();
    for (owner, share) in shares.iter().enumerate() {
        for message in share {
            let first = owner_of.entry(message / 4).or_insert(owner);
            assert_eq!(*first, owner, "conversation {} is shared", message / 4);
            all.push(*message);
        }
    }
    all.sort_unstable();
    assert_eq!(all, (0..200).collect::<Vec<u8>>());
}
