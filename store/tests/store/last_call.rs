//! Before an epoch ends: no lease from its last call on, and what still waits then fails while the business can be told.

use std::time::Duration;

use sealpost_database::testing::on_both;
use sealpost_proto::{
    record::v1::EpochId,
    store::v1::{AppendOutboundItem, MessageStatus},
};
use sealpost_runtime::Timestamp;
use sealpost_store::{epoch::Epoch, upkeep};

use crate::bench::{Bench, MONTH, NUMBER, START, id, outbound};

const HOUR: u32 = 3600;

fn in_epoch(mut item: AppendOutboundItem, epoch: Epoch) -> AppendOutboundItem {
    item.record.as_mut().unwrap().epoch = Some(EpochId {
        retention_seconds: epoch.retention_seconds,
        start_seconds: epoch.start_seconds,
    });
    item
}

/// An epoch of a class in which the bench's time lies.
fn of_class(retention_seconds: u32) -> Epoch {
    Epoch {
        retention_seconds,
        start_seconds: START,
    }
}

fn move_clock(bench: &Bench, to: Timestamp) {
    bench.clock.advance(to.since(bench.clock.now()));
}

async fn fail(bench: &Bench) -> u64 {
    upkeep::fail_unsent(&bench.datastore, &bench.clock)
        .await
        .unwrap()
}

/// Message and code of each failure that the business is told, with the record that it needs for it.
async fn failures(bench: &Bench) -> Vec<(u8, u32)> {
    let events = bench.events(0, 100).await;
    let failed = events
        .iter()
        .filter(|event| event.status() == MessageStatus::Failed);
    failed
        .map(|event| {
            (
                event.record.as_ref().unwrap().message_id[0],
                event.error_code,
            )
        })
        .collect()
}

#[tokio::test]
async fn what_waits_fails_after_the_last_call_once_and_is_told_with_its_record() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        let (ending, later) = (
            of_class(MONTH),
            Epoch {
                start_seconds: START + 3600,
                ..of_class(MONTH)
            },
        );
        let waiting = outbound(1, 1, 1);
        bench
            .append(vec![
                waiting,
                outbound(2, 2, 1),
                in_epoch(outbound(3, 1, 2), later),
            ])
            .await;
        assert!(bench.move_to(2, MessageStatus::Sent).await);

        move_clock(&bench, ending.last_call() + Duration::from_secs(29));
        assert_eq!(fail(&bench).await, 0, "leases may be under way yet");
        bench.advance(1);
        assert_eq!(fail(&bench).await, 1);
        assert_eq!(fail(&bench).await, 0);
        assert_eq!(failures(&bench).await, [(1, 131_036)]);
        let leased = bench.lease("b", 10, true).await;
        let leased: Vec<_> = leased.into_iter().map(|one| one.record.unwrap()).collect();
        assert_eq!(leased.len(), 1, "the later epoch's alone");
        assert_eq!(leased[0].message_id, id(3));
        assert!(!bench.move_to(1, MessageStatus::Sent).await, "it is final");
    })
    .await;
}

#[tokio::test]
async fn an_hours_message_fails_a_minute_and_a_half_before_its_end() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        let hour = of_class(HOUR);
        bench.append(vec![in_epoch(outbound(1, 1, 1), hour)]).await;
        move_clock(&bench, hour.ends_at() - Duration::from_secs(91));
        assert_eq!(fail(&bench).await, 0);
        bench.advance(1);
        assert_eq!(fail(&bench).await, 1);
        assert_eq!(failures(&bench).await, [(1, 131_036)]);
    })
    .await;
}

#[tokio::test]
async fn after_the_end_nothing_is_told_that_nobody_could_open() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        bench.append(vec![outbound(1, 1, 1)]).await;
        move_clock(&bench, of_class(MONTH).ends_at());
        assert_eq!(fail(&bench).await, 0);
        assert_eq!(failures(&bench).await, []);
    })
    .await;
}

#[tokio::test]
async fn a_record_under_a_live_lease_is_its_gateways_to_end() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        bench.append(vec![outbound(1, 1, 1)]).await;
        // The bench's leases last for a minute.
        move_clock(
            &bench,
            of_class(MONTH).last_call() - Duration::from_millis(1),
        );
        assert_eq!(bench.lease("a", 10, false).await.len(), 1);
        bench.advance(59);
        assert_eq!(fail(&bench).await, 0);
        // Its gateway begins anew: the lease is given up, and not given again.
        assert!(bench.lease("a", 10, true).await.is_empty());
        assert_eq!(fail(&bench).await, 1);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_leased_from_the_last_call_on_in_any_class() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        for class in [HOUR, 86_399, 86_400, 86_401, 604_801, MONTH] {
            let epoch = Epoch {
                retention_seconds: class,
                start_seconds: bench.clock.now().as_secs(),
            };
            let message = u8::try_from(class % 251).unwrap();
            bench
                .append(vec![in_epoch(outbound(message, message, 1), epoch)])
                .await;
            let last_call = epoch.last_call();
            move_clock(&bench, last_call - Duration::from_secs(100));
            assert_eq!(bench.lease("b", 10, false).await.len(), 1, "{class}");
            move_clock(&bench, last_call - Duration::from_millis(1));
            assert_eq!(bench.lease("b", 10, true).await.len(), 1, "{class}");
            bench.clock.advance(Duration::from_millis(1));
            assert!(bench.lease("b", 10, true).await.is_empty(), "{class}");
        }
    })
    .await;
}

#[tokio::test]
async fn failing_is_bounded_and_the_epoch_that_ends_first_goes_first() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        let hour = of_class(HOUR);
        let day = Epoch {
            retention_seconds: HOUR + 30,
            ..hour
        };
        for message in 1..=2 {
            bench
                .append(vec![
                    in_epoch(outbound(message, message, 1), day),
                    in_epoch(outbound(message + 10, message + 10, 1), hour),
                ])
                .await;
        }
        move_clock(&bench, hour.ends_at() - Duration::from_secs(20));
        let now = bench.clock.now();
        for expected in [3, 1, 0] {
            let failed = bench.datastore.fail_unsent(3, now).await.unwrap();
            assert_eq!(failed, expected);
        }
        let mut first = failures(&bench).await;
        first.truncate(2);
        first.sort_unstable();
        assert_eq!(first, [(11, 131_036), (12, 131_036)]);
    })
    .await;
}

#[tokio::test]
async fn a_departed_numbers_messages_are_another_stores_to_fail() {
    on_both(async |place| {
        let bench = Bench::on(place).await;
        bench.append(vec![outbound(1, 1, 1)]).await;
        let number = sealpost_store::ids::PhoneNumberId::parse(NUMBER).unwrap();
        let mark = async |departed| {
            let marked = bench
                .datastore
                .mark_number(number.clone(), departed, bench.clock.now());
            marked.await.unwrap();
        };
        mark(true).await;
        move_clock(&bench, of_class(MONTH).ends_at() - Duration::from_secs(1));
        assert_eq!(fail(&bench).await, 0);
        mark(false).await;
        assert_eq!(fail(&bench).await, 1);
    })
    .await;
}
