//! From consumers to the business.

use std::time::Duration;

use bytes::Bytes;
use sealpost_proto::{
    gateway::v1::SendRequest,
    relay::v1::{
        InboundEnvelope, InboundReceipt, InboundRetry, PrekeysLow, ReceiptKind, inbound::Item,
    },
    store::v1::MessageStatus,
};
use sealpost_runtime::status::{reason_of, retry_delay_of};

use crate::{
    doubles::lock,
    harness::{ANNA, BERT, NAME, Running, Suite, TOKEN, message, message_id, until},
};

fn envelope(peer: &str, ciphertext: &'static str) -> Item {
    Item::Envelope(InboundEnvelope {
        peer: peer.into(),
        device_id: 1,
        ciphertext: Bytes::from_static(ciphertext.as_bytes()),
        ..InboundEnvelope::default()
    })
}

async fn sent(suite: &Suite, gateway: &Running) {
    let request = SendRequest {
        message: Some(message(ANNA, 1)),
    };
    gateway.client(TOKEN).send(request).await.unwrap();
    until(|| suite.store.status(&message_id(ANNA, 1)) == Some((MessageStatus::Sent, 0))).await;
}

#[tokio::test]
async fn a_message_is_kept_then_acknowledged_then_confirmed() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    let first = suite.relay.queue(envelope(ANNA, "one"));
    let second = suite.relay.queue(envelope(ANNA, "two"));
    let other = suite.relay.queue(envelope(BERT, "three"));
    for queue_id in [first, second, other] {
        until(|| suite.relay.has_acknowledgement(queue_id)).await;
    }
    until(|| lock(&suite.vault.state).confirmed.len() == 3).await;
    assert!(lock(&suite.vault.state).pending.is_empty());
    let state = lock(&suite.store.state);
    let annas: Vec<&[u8]> = state
        .events
        .iter()
        .map(|event| event.record.as_ref().unwrap().sealed.as_ref())
        .filter(|sealed| sealed.starts_with(ANNA.as_bytes()))
        .collect();
    assert_eq!(lock(&suite.relay.state).collectors, [NAME]);
    assert_eq!(annas.len(), 2);
    assert!(annas[0].ends_with(b"one") && annas[1].ends_with(b"two"));
}

#[tokio::test]
async fn a_stranger_is_vouched_for_once_and_at_no_prekeys_cost() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    for text in ["one", "two"] {
        let queue_id = suite.relay.queue(envelope(ANNA, text));
        until(|| suite.relay.has_acknowledgement(queue_id)).await;
    }
    assert_eq!(lock(&suite.store.state).events.len(), 2);
    assert_eq!(lock(&suite.vault.state).unverified, 1);
    assert_eq!(lock(&suite.relay.state).prekeys_spent, 0);
}

#[tokio::test]
async fn whom_the_relay_does_not_vouch_for_is_acknowledged_and_reaches_nobody() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    // The relay knows other devices of Anna's, and nobody by the other number.
    suite.relay.set_devices(ANNA, &[2]);
    let unlisted = suite.relay.queue(envelope(ANNA, "one"));
    let nobody = suite.relay.queue(envelope("4915199999999", "two"));
    for queue_id in [unlisted, nobody] {
        until(|| suite.relay.has_acknowledgement(queue_id)).await;
    }
    assert!(lock(&suite.vault.state).pending.is_empty());
    assert!(lock(&suite.store.state).events.is_empty());
}

#[tokio::test]
async fn a_repeat_is_acknowledged_and_makes_no_second_event() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    let first = suite.relay.queue(envelope(ANNA, "one"));
    until(|| suite.relay.has_acknowledgement(first)).await;
    until(|| lock(&suite.vault.state).confirmed.len() == 1).await;
    let again = suite.relay.queue(envelope(ANNA, "one"));
    until(|| suite.relay.has_acknowledgement(again)).await;
    assert_eq!(lock(&suite.store.state).events.len(), 1);
}

#[tokio::test]
async fn garbage_is_acknowledged_and_holds_up_nobody() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    let garbage = suite.relay.queue(envelope(ANNA, "garbage"));
    let good = suite.relay.queue(envelope(ANNA, "good"));
    until(|| suite.relay.has_acknowledgement(garbage)).await;
    until(|| suite.relay.has_acknowledgement(good)).await;
    assert_eq!(lock(&suite.store.state).events.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_decrypted_is_asked_of_the_device_that_sent_it_before_it_is_acknowledged() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    let named = |ciphertext, id: u8, attempt| {
        let Item::Envelope(envelope) = envelope(ANNA, ciphertext) else {
            unreachable!("an envelope")
        };
        Item::Envelope(InboundEnvelope {
            envelope_id: vec![id; 16].into(),
            attempt,
            ..envelope
        })
    };
    for attempt in [0, 5] {
        let garbage = suite.relay.queue(named("garbage", 1, attempt));
        until(|| suite.relay.has_acknowledgement(garbage)).await;
    }
    let id = Bytes::from(vec![1; 16]);
    assert_eq!(
        lock(&suite.relay.state).requested,
        [(id.clone(), 0), (id, 5)]
    );

    // A ciphertext whose key is spent: nothing is asked for when the message is here, and it is when it is not.
    let first = suite.relay.queue(named("one", 2, 0));
    until(|| suite.relay.has_acknowledgement(first)).await;
    until(|| lock(&suite.vault.state).confirmed.len() == 1).await;
    let again = suite.relay.queue(named("one", 2, 0));
    until(|| suite.relay.has_acknowledgement(again)).await;
    assert_eq!(lock(&suite.relay.state).requested.len(), 2);
    lock(&suite.store.state).inbound.clear();
    let absent = suite.relay.queue(named("one", 2, 0));
    until(|| suite.relay.has_acknowledgement(absent)).await;
    let asked = lock(&suite.relay.state).requested.pop();
    assert_eq!(asked, Some((vec![2; 16].into(), 0)));
}

#[tokio::test]
async fn what_cannot_be_read_is_acknowledged_and_reaches_nobody() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    let nobody = suite.relay.queue(envelope("not a number", "one"));
    until(|| suite.relay.has_acknowledgement(nobody)).await;
    assert!(lock(&suite.vault.state).pending.is_empty());
    assert!(lock(&suite.store.state).events.is_empty());
}

#[tokio::test]
async fn receipts_move_the_status_forward_only() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    sent(&suite, &gateway).await;
    for kind in [ReceiptKind::Read, ReceiptKind::Delivered] {
        let receipt = Item::Receipt(InboundReceipt {
            peer: ANNA.into(),
            message_id: message_id(ANNA, 1),
            kind: kind.into(),
            time_ms: 1,
        });
        let queue_id = suite.relay.queue(receipt);
        until(|| suite.relay.has_acknowledgement(queue_id)).await;
    }
    let status = suite.store.status(&message_id(ANNA, 1));
    assert_eq!(status, Some((MessageStatus::Read, 0)));
}

fn retry(failed_attempt: u32) -> Item {
    Item::Retry(InboundRetry {
        peer: ANNA.into(),
        device_id: 1,
        message_id: message_id(ANNA, 1),
        failed_attempt,
    })
}

#[tokio::test]
async fn a_device_that_could_not_decrypt_gets_the_message_again_five_times_at_most() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    sent(&suite, &gateway).await;
    for failed_attempt in 0..5 {
        let queue_id = suite.relay.queue(retry(failed_attempt));
        until(|| suite.relay.has_acknowledgement(queue_id)).await;
    }
    let attempts: Vec<u32> = lock(&suite.relay.state)
        .taken
        .iter()
        .map(|taken| taken.2)
        .collect();
    assert_eq!(attempts, [0, 1, 2, 3, 4, 5]);
    assert_eq!(
        lock(&suite.store.state).outbound[&message_id(ANNA, 1)].attempt,
        5
    );

    let queue_id = suite.relay.queue(retry(5));
    until(|| suite.relay.has_acknowledgement(queue_id)).await;
    let status = suite.store.status(&message_id(ANNA, 1));
    assert_eq!(status, Some((MessageStatus::Failed, 131_036)));
    assert_eq!(lock(&suite.relay.state).taken.len(), 6);
}

#[tokio::test]
async fn a_retry_request_of_somebody_else_gets_nothing() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    sent(&suite, &gateway).await;
    let theirs = Item::Retry(InboundRetry {
        peer: BERT.into(),
        device_id: 1,
        message_id: message_id(ANNA, 1),
        failed_attempt: 0,
    });
    let queue_id = suite.relay.queue(theirs);
    until(|| suite.relay.has_acknowledgement(queue_id)).await;
    assert_eq!(lock(&suite.relay.state).taken.len(), 1);
}

#[tokio::test]
async fn prekeys_that_run_out_are_replenished() {
    let suite = Suite::new();
    let _gateway = suite.start().await;
    let low = suite.relay.queue(Item::PrekeysLow(PrekeysLow {
        one_time_prekeys: 3,
        kem_prekeys: 100,
    }));
    until(|| suite.relay.has_acknowledgement(low)).await;
    assert_eq!(lock(&suite.relay.state).uploads, 1);
}

#[tokio::test]
async fn what_comes_for_a_number_that_moves_waits_until_a_store_takes_it() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    sent(&suite, &gateway).await;
    lock(&suite.store.state).departed = true;
    let request = SendRequest {
        message: Some(message(ANNA, 2)),
    };
    let status = gateway.client(TOKEN).send(request).await.unwrap_err();
    assert_eq!(reason_of(&status).unwrap(), "NUMBER_MOVING");
    assert!(retry_delay_of(&status).is_some());

    let read = Item::Receipt(InboundReceipt {
        peer: ANNA.into(),
        message_id: message_id(ANNA, 1),
        kind: ReceiptKind::Read.into(),
        time_ms: 1,
    });
    let (envelope, receipt) = (
        suite.relay.queue(envelope(BERT, "one")),
        suite.relay.queue(read),
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    for queue_id in [envelope, receipt] {
        assert!(!suite.relay.has_acknowledgement(queue_id));
    }
    lock(&suite.store.state).departed = false;
    for queue_id in [envelope, receipt] {
        until(|| suite.relay.has_acknowledgement(queue_id)).await;
    }
    let status = suite.store.status(&message_id(ANNA, 1));
    assert_eq!(status, Some((MessageStatus::Read, 0)));
    assert!(!lock(&suite.store.state).inbound.is_empty());
}
