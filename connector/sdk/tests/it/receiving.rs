//! Receiving from an honest gateway, over streams that break.

use std::sync::Arc;

use sealpost_connector_sdk::{
    CallerRemembers, Delivery, DeliveryStatus, EventStream, Incoming, Message, Subscription,
    UnixMillis, content,
};
use sealpost_proto::gateway::v1 as pb;

use crate::{
    double::{Gateway, NUMBER, PEER},
    eventually, pair, soon,
};

pub(crate) fn now() -> UnixMillis {
    UnixMillis(sealpost_runtime::Clock::system().now().as_millis())
}

/// Feeds messages with these cursors, each under its cursor as message id.
fn feed(gateway: &Gateway, cursors: &[u64]) {
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let events = cursors
        .iter()
        .map(|cursor| {
            let text = content::text(cursor.to_string());
            inbound.message(NUMBER, *cursor, PEER, [*cursor as u8; 16], &text, now())
        })
        .collect();
    gateway.state.feed(inbound.response(events));
}

pub(crate) async fn next(events: &mut EventStream) -> Delivery {
    soon(events.next()).await.unwrap()
}

pub(crate) fn message(delivery: &Delivery) -> &Message {
    match &delivery.incoming {
        Incoming::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

fn subscription() -> Subscription {
    Subscription::new("test").unwrap()
}

#[tokio::test]
async fn a_message_is_opened_and_acknowledged_when_done() {
    let (gateway, client) = pair().await;
    feed(&gateway, &[7]);
    let mut events = client.subscribe(subscription()).unwrap();
    let delivery = next(&mut events).await;
    let opened = message(&delivery);
    assert_eq!(opened.peer.expose(), PEER);
    assert_eq!(opened.content, content::text("7"));
    assert!(gateway.state.lock().acknowledgements.is_empty());
    delivery.ack.done();
    eventually(|| gateway.state.lock().acknowledged.get(NUMBER) == Some(&7)).await;
    let opened = gateway.state.lock().subscriptions[0].clone();
    assert_eq!(opened.name, "test");
    assert_eq!(opened.phone_number_ids, [NUMBER]);
}

#[tokio::test]
async fn an_acknowledgement_waits_for_the_events_before_it() {
    let (gateway, client) = pair().await;
    feed(&gateway, &[1, 2, 3]);
    let mut events = client.subscribe(subscription()).unwrap();
    let batch = {
        let mut batch = soon(events.next_batch(8)).await;
        while batch.len() < 3 {
            batch.extend(soon(events.next_batch(8)).await);
        }
        batch
    };
    let mut acks: Vec<_> = batch.into_iter().map(|delivery| delivery.ack).collect();
    acks.pop().unwrap().done();
    acks.pop().unwrap().done();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(gateway.state.lock().acknowledgements.is_empty());
    acks.pop().unwrap().done();
    eventually(|| gateway.state.lock().acknowledged.get(NUMBER) == Some(&3)).await;
}

#[tokio::test]
async fn a_broken_stream_loses_nothing_and_repeats_nothing() {
    let (gateway, client) = pair().await;
    feed(&gateway, &[1, 2]);
    let mut events = client
        .subscribe(subscription().seen(Arc::new(CallerRemembers)))
        .unwrap();
    let first = next(&mut events).await;
    let second = next(&mut events).await;
    first.ack.done();
    gateway.state.break_streams();
    feed(&gateway, &[3]);
    let third = next(&mut events).await;
    assert_eq!(message(&third).content, content::text("3"));
    third.ack.done();
    second.ack.done();
    eventually(|| gateway.state.lock().acknowledged.get(NUMBER) == Some(&3)).await;
    assert_eq!(gateway.state.lock().subscriptions.len(), 2);
}

#[tokio::test]
async fn what_was_not_done_comes_again_to_the_next_subscriber() {
    let (gateway, client) = pair().await;
    feed(&gateway, &[1, 2]);
    let mut events = client.subscribe(subscription()).unwrap();
    next(&mut events).await.ack.done();
    let lost = next(&mut events).await;
    eventually(|| gateway.state.lock().acknowledged.get(NUMBER) == Some(&1)).await;
    drop((lost, events));
    let mut events = client.subscribe(subscription()).unwrap();
    assert_eq!(
        message(&next(&mut events).await).content,
        content::text("2")
    );
}

#[tokio::test]
async fn a_status_names_its_peer_while_its_record_lives() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let whole = inbound.status(NUMBER, 1, PEER, [9; 16], pb::Status::Failed, now());
    let mut late = inbound.status(NUMBER, 2, PEER, [9; 16], pb::Status::Read, now());
    if let Some(pb::event::Event::Status(change)) = &mut late.event {
        change.header = None;
    }
    gateway.state.feed(inbound.response(vec![whole, late]));
    let mut events = client.subscribe(subscription()).unwrap();
    let Incoming::Status(failed) = next(&mut events).await.incoming else {
        panic!()
    };
    assert_eq!(failed.peer.unwrap().expose(), PEER);
    assert_eq!(
        (failed.status, failed.error_code),
        (DeliveryStatus::Failed, 131_026)
    );
    let Incoming::Status(read) = next(&mut events).await.incoming else {
        panic!()
    };
    assert_eq!((read.peer, read.status), (None, DeliveryStatus::Read));
}

#[tokio::test]
async fn content_that_this_version_cannot_read_is_handed_out_without_a_body() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let mut event = inbound.message(NUMBER, 1, PEER, [9; 16], &content::text("x"), now());
    event.event = Some(pb::event::Event::Message(pb::InboundMessage {
        message: Some(inbound.seal(
            sealpost_connector_sdk::Direction::Inbound,
            PEER,
            [9; 16],
            &[0xff; 40],
            now(),
        )),
    }));
    gateway.state.feed(inbound.response(vec![event]));
    let mut events = client.subscribe(subscription()).unwrap();
    let delivery = next(&mut events).await;
    assert!(message(&delivery).content.body.is_none());
}

#[tokio::test]
async fn an_event_whose_wrap_comes_with_the_next_stream_is_not_lost() {
    let (gateway, client) = pair().await;
    let inbound = gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let event = inbound.message(NUMBER, 1, PEER, [9; 16], &content::text("late"), now());
    gateway.state.feed(pb::SubscribeEventsResponse {
        wraps: Vec::new(),
        events: vec![event],
    });
    let mut events = client.subscribe(subscription()).unwrap();
    eventually(|| !gateway.state.lock().subscriptions.is_empty()).await;
    gateway.state.lock().feed[0].wraps = vec![inbound.wrap.clone().into()];
    assert_eq!(
        message(&next(&mut events).await).content,
        content::text("late")
    );
}

#[tokio::test]
async fn a_subscription_that_another_process_took_over_is_left_to_it_for_a_while() {
    let (gateway, client) = pair().await;
    let _events = client.subscribe(subscription()).unwrap();
    eventually(|| gateway.state.lock().subscriptions.len() == 1).await;
    gateway.state.lock().farewell = Some(sealpost_runtime::status::reason_status(
        tonic::Code::Aborted,
        "SUBSCRIPTION_REPLACED",
        "replaced",
    ));
    gateway.state.break_streams();
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert_eq!(gateway.state.lock().subscriptions.len(), 1);
}
