//! Calls that share a transaction, and what is handed on without a look at the tables.

use std::collections::HashSet;

use sealpost_database::testing::TestDatabase;

use super::*;
use crate::{datastore::Queued, validate};

fn receipts(messages: &[u8]) -> Vec<wire::DeviceReceipt> {
    let receipt = |message: &u8| wire::DeviceReceipt {
        phone_number_id: NUMBER.into(),
        message_id: vec![*message; 16].into(),
        kind: wire::ReceiptKind::Delivered.into(),
        time_ms: 1,
    };
    messages.iter().map(receipt).collect()
}

fn whole(device: &DeviceIdentity, messages: &[u8]) -> Said {
    Said::receipts(
        device.clone(),
        validate::receipts(&receipts(messages)).unwrap(),
    )
}

/// The messages of which receipts wait for the gateways.
async fn passed(fixture: &Fixture) -> Vec<u8> {
    let all = fixture.relay.datastore.all_inbound(fixture.now()).await;
    let message = |one: &wire::Inbound| match &one.item {
        Some(wire::inbound::Item::Receipt(receipt)) => receipt.message_id[0],
        other => panic!("{other:?}"),
    };
    all.iter().map(message).collect()
}

#[tokio::test]
async fn a_receipt_call_with_an_unknown_message_fails_alone_inside_a_transaction_of_many() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let (one, two) = (
        fixture.register(PEER, 1, 1).await,
        fixture.register(OTHER, 2, 1).await,
    );
    send(&fixture, &one, 1, 1..4).await;
    send(&fixture, &two, 2, 4..5).await;
    let calls = vec![
        whole(&one, &[1]),
        whole(&one, &[2, 9]),
        whole(&two, &[1]),
        whole(&two, &[4]),
        whole(&one, &[3]),
    ];
    let now = fixture.now();
    let heard = fixture.relay.datastore.hear_devices(calls, None, 100, now);
    let (outcomes, _) = heard.await.unwrap();
    let refused: Vec<_> = outcomes
        .iter()
        .map(|outcome| matches!(outcome, Err(RelayError::MessageUnknown)))
        .collect();
    assert_eq!(refused, [false, true, true, false, false]);
    assert_eq!(passed(&fixture).await, [1, 4, 3]);
}

#[tokio::test]
async fn a_call_without_room_for_all_its_receipts_passes_none_and_others_go_on() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 1..5).await;
    let calls = vec![
        whole(&device, &[1]),
        whole(&device, &[2, 3]),
        whole(&device, &[4]),
    ];
    let now = fixture.now();
    let heard = fixture.relay.datastore.hear_devices(calls, None, 2, now);
    let (outcomes, _) = heard.await.unwrap();
    assert!(matches!(outcomes[1], Err(RelayError::QueueFull)));
    assert_eq!(passed(&fixture).await, [1, 4]);
}

#[tokio::test]
async fn a_device_that_was_replaced_says_nothing_any_more() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let old = fixture.register(PEER, 1, 1).await;
    send(&fixture, &old, 1, 1..2).await;
    fixture.register(PEER, 2, 1).await;
    let said = fixture.relay.hear(whole(&old, &[1])).await;
    assert!(matches!(said, Err(RelayError::DeviceUnknown)), "{said:?}");
}

#[tokio::test]
async fn receipts_on_the_stream_are_told_of_one_by_one_and_in_order() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 1..4).await;
    let mut receiving = Receiving::start(&fixture, &device).await;
    let page = receiving.pages.next().await.unwrap().unwrap();
    assert!(page.takes_receipts);
    let request = wire::ReceiveRequest {
        acknowledge: page.envelopes.iter().map(|one| one.queue_id).collect(),
        receipts: receipts(&[1, 9, 2]),
    };
    receiving.say(request).await;
    let told = receiving.pages.next().await.unwrap().unwrap();
    use wire::ReceiptOutcome::{MessageUnknown, Taken};
    assert_eq!(
        told.receipts().collect::<Vec<_>>(),
        [Taken, MessageUnknown, Taken]
    );
    assert_eq!(passed(&fixture).await, [1, 2]);
    let now = fixture.now();
    let left = fixture.relay.datastore.waiting(device.holder, 0, 10, now);
    assert!(left.await.unwrap().is_empty());
}

/// What a submission queued, handed to nobody.
async fn queue(fixture: &Fixture, messages: std::ops::Range<u8>) -> Vec<Queued> {
    let now = fixture.now();
    let item = |id| validate::submit_item(submit_item(PEER, [id; 16], &[(1, 1)], now), now);
    let items = messages.map(item).collect();
    let (_, queued) = fixture
        .relay
        .datastore
        .submit(items, 1000, now)
        .await
        .unwrap();
    queued
}

#[tokio::test]
async fn a_stream_that_is_not_caught_up_gets_everything_in_order() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let mut receiving = Receiving::start(&fixture, &device).await;
    assert!(receiving.is_quiet().await);
    // Handed late, out of order, twice, and one not at all.
    let mut batches = Vec::new();
    for first in [1, 3, 5, 7] {
        batches.push(queue(&fixture, first..first + 2).await);
    }
    for batch in [3, 0, 3, 2] {
        fixture.relay.hub.hand_devices(batches[batch].clone());
    }
    assert_eq!(ids(&receiving.take(8).await), [1, 2, 3, 4, 5, 6, 7, 8]);
    send(&fixture, &device, 1, 9..10).await;
    assert_eq!(ids(&receiving.take(1).await), [9]);
    assert!(receiving.is_quiet().await);
}

#[tokio::test]
async fn a_device_that_does_not_read_has_a_bounded_tray_and_misses_nothing() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let mut receiving = Receiving::start(&fixture, &device).await;
    assert!(receiving.is_quiet().await);
    for id in 0..12 {
        let mut item = submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
        item.ciphertexts[0].ciphertext = vec![id; 128 * 1024].into();
        fixture.submit(vec![item]).await;
    }
    assert_eq!(ids(&receiving.take(12).await), (0..12).collect::<Vec<u8>>());
}

#[tokio::test]
async fn what_one_statement_queues_takes_its_places_in_the_order_of_its_rows_in_both_dialects() {
    sealpost_database::testing::on_both(async |place: TestDatabase| {
        let fixture = Fixture::at(place).await;
        fixture.number(1, 1).await;
        fixture.register(PEER, 1, 1).await;
        let queued = queue(&fixture, 0..200).await;
        let now = fixture.now();
        let holder = queued[0].holder;
        let waiting = fixture.relay.datastore.waiting(holder, 0, 1000, now);
        let waiting = waiting.await.unwrap();
        let place = |one: &crate::datastore::Waiting| (one.queue_id, one.message);
        let handed: Vec<_> = queued.iter().map(|one| place(&one.waiting)).collect();
        assert_eq!(handed, waiting.iter().map(place).collect::<Vec<_>>());
        assert_eq!(
            waiting
                .iter()
                .map(|one| one.message)
                .collect::<HashSet<_>>()
                .len(),
            200
        );
        assert!(
            queued
                .windows(2)
                .all(|two| two[1].after == two[0].waiting.queue_id)
        );
        assert!(
            waiting
                .iter()
                .map(|one| one.message.as_bytes()[0])
                .eq(0..200)
        );
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_fails_hands_nothing_on() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let mut receiving = Receiving::start(&fixture, &device).await;
    assert!(receiving.is_quiet().await);
    fixture.relay.datastore.close().await.unwrap();
    let items = vec![submit_item(PEER, [1; 16], &[(1, 1)], fixture.now())];
    let request = wire::SubmitRequest { batch_id: 7, items };
    assert!(fixture.relay.submit(request).await.is_err());
    let seat = fixture.relay.hub.sit_device(device.holder);
    assert!(seat.take().handed.is_empty());
    let said = fixture.relay.hear(whole(&device, &[1])).await;
    assert!(matches!(said, Err(RelayError::Together(_))), "{said:?}");
}
