//! Gateways' streams: order, what is given again, and how several share what waits.

use super::*;
use crate::datastore::{CHUNK, Handing, Offered};

const OTHER: &str = "4915187654321";

#[tokio::test]
async fn a_gateway_gets_everything_in_order_and_again_until_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..4).await;
    let mut first = Collecting::start(&fixture, "a").await;
    let taken = first.take(3).await;
    assert_eq!(first_bytes(&taken), [1, 2, 3]);
    first.acknowledge(&taken[..1]).await;
    hand_over(&fixture, &device, 4..5).await;
    assert!(first.is_quiet().await, "2 and 3 are not acknowledged");
    first.acknowledge(&taken[1..2]).await;
    first.acknowledge(&taken[2..]).await;
    assert_eq!(first_bytes(&first.take(1).await), [4]);
    drop(first);

    let mut second = Collecting::start(&fixture, "a").await;
    assert_eq!(first_bytes(&second.take(1).await), [4]);
}

#[tokio::test]
async fn a_newer_stream_of_a_gateway_ends_the_older_and_has_what_it_had_at_once() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..3).await;
    let mut first = Collecting::start(&fixture, "a").await;
    let taken = first.take(2).await;

    let mut second = Collecting::start(&fixture, "a").await;
    assert_eq!(
        refused(first.page().await),
        (Code::Aborted, "STREAM_REPLACED".into())
    );
    assert_eq!(first_bytes(&second.take(2).await), [1, 2]);
    // What was given on the older stream may be acknowledged on the newer one.
    second.acknowledge(&taken).await;
    hand_over(&fixture, &device, 3..4).await;
    assert_eq!(first_bytes(&second.take(1).await), [3]);
    assert_eq!(collected(&fixture).await.len(), 1);
}

#[tokio::test]
async fn two_gateways_share_the_conversations_and_never_one_of_them() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let (one, two) = (
        fixture.register(PEER, 1, 1).await,
        fixture.register(OTHER, 2, 1).await,
    );
    let mut a = Collecting::start(&fixture, "a").await;
    hand_over(&fixture, &one, 1..3).await;
    let first = a.take(2).await;
    let mut b = Collecting::start(&fixture, "b").await;
    hand_over(&fixture, &one, 3..4).await;
    assert!(b.is_quiet().await, "the conversation is a's");
    assert!(a.is_quiet().await, "a has not acknowledged");

    // Whoever is free takes the second conversation; the first goes on in order.
    hand_over(&fixture, &two, 4..5).await;
    let mut second = Vec::new();
    for stream in [&mut a, &mut b] {
        if let Ok(page) = timeout(Duration::from_secs(1), stream.page()).await {
            second.extend(page.unwrap());
        }
    }
    assert_eq!(first_bytes(&second), [4]);
    a.acknowledge(&first).await;
    let mut third = Vec::new();
    for stream in [&mut a, &mut b] {
        if let Ok(page) = timeout(Duration::from_secs(1), stream.page()).await {
            third.extend(page.unwrap());
        }
    }
    assert_eq!(first_bytes(&third), [3]);
}

#[tokio::test]
async fn what_a_gateway_had_goes_to_another_when_its_stream_ends() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..3).await;
    let mut a = Collecting::start(&fixture, "a").await;
    assert_eq!(a.take(2).await.len(), 2);
    let mut b = Collecting::start(&fixture, "b").await;
    assert!(b.is_quiet().await);
    drop(a);
    assert_eq!(first_bytes(&b.take(2).await), [1, 2]);
}

#[tokio::test]
async fn one_talkative_consumer_does_not_hold_up_the_others() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let talkative = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &talkative, 0..250).await;
    let quiet = fixture.register(OTHER, 2, 1).await;
    hand_over(&fixture, &quiet, 250..251).await;
    let mut stream = Collecting::start(&fixture, "a").await;
    let page = stream.take(CHUNK + 1).await;
    assert_eq!(page.len(), CHUNK + 1);
    assert_eq!(first_bytes(&page).last(), Some(&250));
    // The talkative one's turn comes again, in order, and the window never fills.
    let mut seen = first_bytes(&page[..CHUNK]);
    stream.acknowledge(&page).await;
    while seen.len() < 250 {
        let page = stream.page().await.unwrap();
        seen.extend(first_bytes(&page));
        stream.acknowledge(&page).await;
    }
    assert_eq!(seen, (0..250).collect::<Vec<u8>>());
}

#[tokio::test]
async fn what_a_gateway_could_not_be_rid_of_comes_behind_what_waited_meanwhile() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let (datastore, now) = (fixture.relay.datastore.clone(), fixture.now());
    let gateway = CollectorName::parse("a").unwrap();
    // A stream with room for one item.
    let given = async |token: i64| {
        let token = StreamToken(token);
        let opened = datastore.collector_open(gateway.clone(), token, now);
        opened.await.unwrap();
        let given = datastore.collect(gateway.clone(), token, 1, now).await;
        let peer = given.unwrap().0.remove(0).conversation.peer;
        peer.unwrap().as_str().to_owned()
    };
    let stuck = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &stuck, 0..1).await;
    assert_eq!(given(1).await, PEER);
    let fresh = fixture.register(OTHER, 2, 1).await;
    hand_over(&fixture, &fresh, 1..2).await;
    assert_eq!(given(2).await, OTHER);
    assert_eq!(given(3).await, PEER);
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes_and_the_rest_follows() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let message = |id: u8| wire::DeviceMessage {
        envelope_id: vec![id; 16].into(),
        phone_number_id: NUMBER.into(),
        r#type: 2,
        ciphertext: vec![id; 128 * 1024].into(),
        attempt: 0,
    };
    let messages = (0..12).map(message).collect();
    let request = wire::SubmitMessagesRequest { messages };
    let handed = fixture.device.submit_messages(of(&device, request)).await;
    handed.unwrap();
    let mut stream = Collecting::start(&fixture, "a").await;
    let mut seen = Vec::new();
    while seen.len() < 12 {
        let page = stream.page().await.unwrap();
        assert!(page.len() <= 5, "{}", page.len());
        seen.extend(first_bytes(&page));
        stream.acknowledge(&page).await;
    }
    assert_eq!(seen, (0..12).collect::<Vec<u8>>());
}

#[test]
fn a_gateway_has_a_name() {
    for name in ["", "a b", &"a".repeat(65)] {
        assert!(validate::collector(name).is_err(), "{name:?}");
    }
    assert!(validate::collector("gateway-2").is_ok());
}

#[tokio::test]
async fn only_conversations_that_begin_go_straight_to_a_stream_and_only_to_the_newest_that_has_all()
{
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let (one, two) = (
        fixture.register(PEER, 1, 1).await,
        fixture.register(OTHER, 2, 1).await,
    );
    let (datastore, now) = (fixture.relay.datastore.clone(), fixture.now());
    let collector = CollectorName::parse("a").unwrap();
    let opened = datastore.collector_open(collector.clone(), StreamToken(2), now);
    opened.await.unwrap();
    let handed = async |device: &DeviceIdentity, id: u8, stream, room| {
        let message = wire::DeviceMessage {
            envelope_id: vec![id; 16].into(),
            phone_number_id: NUMBER.into(),
            r#type: 2,
            ciphertext: vec![id; 40].into(),
            attempt: 0,
        };
        let call = Handing {
            device: device.clone(),
            messages: vec![validate::device_message(0, message).unwrap()],
        };
        let offered = Offered {
            collector: collector.clone(),
            stream: StreamToken(stream),
            room,
        };
        let calls = vec![call];
        let done = datastore.hand_over(calls, Some(offered), 100, now);
        done.await.unwrap().1.len()
    };
    assert_eq!(handed(&one, 1, 2, 1).await, 1);
    assert_eq!(handed(&one, 2, 2, 1).await, 0, "it is in hand already");
    assert_eq!(handed(&two, 3, 1, 1).await, 0, "not the newest stream");
    let third = fixture.register("4915100000003", 3, 1).await;
    assert_eq!(handed(&third, 4, 2, 1).await, 0, "another waits before it");
    let (given, more) = datastore
        .collect(collector.clone(), StreamToken(2), 10, now)
        .await
        .unwrap();
    let ids: Vec<_> = given.iter().map(|one| one.queue_id).collect();
    assert_eq!((ids.len(), more), (2, false), "those that were free");
    assert_eq!(
        handed(&fixture.register("4915100000004", 4, 1).await, 5, 2, 0).await,
        0
    );
}
