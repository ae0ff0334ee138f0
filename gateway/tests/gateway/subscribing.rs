//! What the business is told.

use std::time::Duration;

use bytes::Bytes;
use sealpost_proto::{
    gateway::v1::{
        AcknowledgeEvents, Event, OpenSubscription, SendRequest, Status, SubscribeEventsRequest,
        SubscribeEventsResponse, event, subscribe_events_request::Request,
    },
    record::v1::{Direction, EpochId, Record},
    relay::v1::{InboundEnvelope, inbound::Item},
    store::v1::EventKind,
};
use sealpost_runtime::status::reason_of;
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming};

use crate::{
    doubles::{lock, vault::WRAP},
    harness::{ANNA, NUMBER, Running, Suite, TOKEN, message, message_id, until, within},
};

struct Subscriber {
    requests: mpsc::Sender<SubscribeEventsRequest>,
    answers: Streaming<SubscribeEventsResponse>,
    wraps: Vec<Bytes>,
}

impl Subscriber {
    async fn open(gateway: &Running, max_unacknowledged: u32) -> Self {
        let (requests, stream) = mpsc::channel(16);
        let open = Request::Open(OpenSubscription {
            name: "main".into(),
            max_unacknowledged,
            ..OpenSubscription::default()
        });
        requests
            .send(SubscribeEventsRequest {
                request: Some(open),
            })
            .await
            .unwrap();
        let answers = gateway
            .client(TOKEN)
            .subscribe_events(ReceiverStream::new(stream))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            answers,
            wraps: Vec::new(),
        }
    }

    async fn events(&mut self, count: usize) -> Vec<Event> {
        let mut events = Vec::new();
        while events.len() < count {
            let answer = within(self.answers.message()).await.unwrap().unwrap();
            self.wraps.extend(answer.wraps);
            assert!(!self.wraps.is_empty(), "a wrap precedes its first use");
            events.extend(answer.events);
        }
        assert_eq!(events.len(), count);
        events
    }

    async fn is_silent(&mut self) -> bool {
        timeout(Duration::from_millis(150), self.answers.message())
            .await
            .is_err()
    }

    async fn acknowledge(&self, cursor: u64) {
        let acknowledge = Request::Acknowledge(AcknowledgeEvents {
            phone_number_id: NUMBER.into(),
            cursor,
        });
        let request = SubscribeEventsRequest {
            request: Some(acknowledge),
        };
        self.requests.send(request).await.unwrap();
    }
}

fn record(n: u8, peer: &str) -> Record {
    Record {
        phone_number_id: NUMBER.into(),
        tag: Bytes::from_static(&[1; 16]),
        message_id: Bytes::copy_from_slice(&[n; 16]),
        direction: Direction::Inbound.into(),
        epoch: Some(EpochId::default()),
        sequence: n.into(),
        sealed: [peer.as_bytes(), &[0, n]].concat().into(),
    }
}

fn cursors(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.cursor).collect()
}

#[tokio::test]
async fn events_come_again_until_they_are_acknowledged() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    for n in 1..=3 {
        suite
            .store
            .add_event(EventKind::Message, Some(record(n, ANNA)));
    }
    let mut first = Subscriber::open(&gateway, 0).await;
    assert_eq!(cursors(&first.events(3).await), [1, 2, 3]);
    assert_eq!(
        first.wraps,
        [Bytes::from_static(WRAP)],
        "each wrap goes once"
    );
    first.acknowledge(1).await;
    let saved = ("business/main".to_owned(), NUMBER.to_owned());
    until(|| lock(&suite.store.state).cursors.get(&saved) == Some(&1)).await;
    drop(first);

    let mut second = Subscriber::open(&gateway, 0).await;
    assert_eq!(cursors(&second.events(2).await), [2, 3]);
    suite
        .store
        .add_event(EventKind::Message, Some(record(4, ANNA)));
    assert_eq!(cursors(&second.events(1).await), [4]);
}

#[tokio::test]
async fn no_more_is_sent_than_may_be_unacknowledged() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    for n in 1..=5 {
        suite
            .store
            .add_event(EventKind::Message, Some(record(n, ANNA)));
    }
    let mut subscriber = Subscriber::open(&gateway, 2).await;
    assert_eq!(cursors(&subscriber.events(2).await), [1, 2]);
    assert!(subscriber.is_silent().await);
    subscriber.acknowledge(2).await;
    assert_eq!(cursors(&subscriber.events(2).await), [3, 4]);
    subscriber.acknowledge(3).await;
    assert_eq!(cursors(&subscriber.events(1).await), [5]);
}

#[tokio::test]
async fn a_second_stream_of_one_name_takes_over() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    suite
        .store
        .add_event(EventKind::Message, Some(record(1, ANNA)));
    let mut first = Subscriber::open(&gateway, 0).await;
    first.events(1).await;
    let mut second = Subscriber::open(&gateway, 0).await;
    second.events(1).await;
    is_replaced(&mut first).await;
}

async fn is_replaced(subscriber: &mut Subscriber) {
    let status = loop {
        match within(subscriber.answers.message()).await {
            Ok(answer) => assert!(answer.is_some(), "it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::Aborted);
    assert_eq!(reason_of(&status).as_deref(), Some("SUBSCRIPTION_REPLACED"));
}

#[tokio::test]
async fn a_stream_at_another_gateway_takes_over() {
    let suite = Suite::new();
    let (one, two) = (suite.start().await, suite.start().await);
    let record = Some(record(1, ANNA));
    suite.store.add_event(EventKind::Message, record);
    let mut first = Subscriber::open(&one, 0).await;
    first.events(1).await;
    let mut second = Subscriber::open(&two, 0).await;
    second.events(1).await;
    is_replaced(&mut first).await;
    let mut third = Subscriber::open(&one, 0).await;
    third.events(1).await;
    is_replaced(&mut second).await;
}

#[tokio::test]
async fn an_older_stream_ends_at_its_next_acknowledgement_though_no_word_of_the_newer_came() {
    let suite = Suite::new();
    lock(&suite.store.state).hides_openings = true;
    let (one, two) = (suite.start().await, suite.start().await);
    for n in 1..=2 {
        let record = Some(record(n, ANNA));
        suite.store.add_event(EventKind::Message, record);
    }
    let mut first = Subscriber::open(&one, 0).await;
    first.events(2).await;
    let mut second = Subscriber::open(&two, 0).await;
    second.events(2).await;
    first.acknowledge(1).await;
    is_replaced(&mut first).await;
    let saved = ("business/main".to_owned(), NUMBER.to_owned());
    assert_eq!(lock(&suite.store.state).cursors.get(&saved), Some(&1));
    second.acknowledge(2).await;
    until(|| lock(&suite.store.state).cursors.get(&saved) == Some(&2)).await;
}

#[tokio::test]
async fn content_that_was_just_decrypted_is_sealed_anew_only_when_it_is_asked_for_again() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let mut subscriber = Subscriber::open(&gateway, 0).await;
    suite.relay.queue(Item::Envelope(InboundEnvelope {
        peer: ANNA.into(),
        device_id: 1,
        ciphertext: "hello".into(),
        ..InboundEnvelope::default()
    }));
    let events = subscriber.events(1).await;
    let Some(event::Event::Message(inbound)) = &events[0].event else {
        panic!("not a message");
    };
    assert!(inbound.message.as_ref().unwrap().body.ends_with(b"hello"));
    assert_eq!(lock(&suite.vault.state).delivered, 0);

    drop(subscriber);
    Subscriber::open(&gateway, 0).await.events(1).await;
    assert_eq!(lock(&suite.vault.state).delivered, 1);
}

#[tokio::test]
async fn a_message_whose_person_was_erased_is_passed_over_and_a_status_comes_without_header() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    suite.store.add_event(EventKind::Message, None);
    suite
        .store
        .add_event(EventKind::Message, Some(record(2, "erased")));
    let mut subscriber = Subscriber::open(&gateway, 0).await;
    let saved = ("business/main".to_owned(), NUMBER.to_owned());
    until(|| lock(&suite.store.state).cursors.get(&saved) == Some(&2)).await;

    suite
        .store
        .add_event(EventKind::Status, Some(record(3, "erased")));
    suite
        .store
        .add_event(EventKind::Message, Some(record(4, ANNA)));
    let events = subscriber.events(2).await;
    assert_eq!(cursors(&events), [3, 4]);
    let Some(event::Event::Status(change)) = &events[0].event else {
        panic!("not a status");
    };
    assert_eq!(change.header, None);
    assert_eq!(change.message_id, Bytes::copy_from_slice(&[3; 16]));
}

#[tokio::test]
async fn a_sent_message_tells_its_status_and_whom_it_is_about() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let mut subscriber = Subscriber::open(&gateway, 0).await;
    let request = SendRequest {
        message: Some(message(ANNA, 1)),
    };
    gateway.client(TOKEN).send(request).await.unwrap();
    let events = subscriber.events(1).await;
    let Some(event::Event::Status(change)) = &events[0].event else {
        panic!("not a status");
    };
    assert_eq!(change.status(), Status::Sent);
    assert_eq!(change.message_id, message_id(ANNA, 1));
    assert!(change.header.as_ref().unwrap().body.is_empty());
}

#[tokio::test]
async fn a_stream_that_does_not_open_first_is_refused() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let first = SubscribeEventsRequest {
        request: Some(Request::Acknowledge(AcknowledgeEvents::default())),
    };
    let mut answers = gateway
        .client(TOKEN)
        .subscribe_events(tokio_stream::iter([first]))
        .await
        .unwrap()
        .into_inner();
    let status = within(answers.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}
