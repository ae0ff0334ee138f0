//! A consumer leaves, or is removed; a number is removed.

use super::*;

const OTHER: &str = "4915187654321";

async fn left(fixture: &Fixture, peer: &str) -> u64 {
    let request = wire::ErasePeerRequest {
        phone_number_id: NUMBER.into(),
        peer: peer.into(),
        dry_run: true,
    };
    let counted = fixture.platform.erase_peer(Request::new(request)).await;
    counted.unwrap().into_inner().deleted
}

/// A number and two consumers, each with a message that waits for them, one that they sent, and the memory of both.
async fn talked() -> (Fixture, DeviceIdentity, DeviceIdentity) {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let one = fixture.register(PEER, 1, 1).await;
    let two = fixture.register(OTHER, 2, 1).await;
    let now = fixture.now();
    let items = vec![
        submit_item(PEER, [1; 16], &[(1, 1)], now),
        submit_item(OTHER, [2; 16], &[(1, 2)], now),
    ];
    fixture.submit(items).await;
    hand_over(&fixture, &one, 1..2).await;
    hand_over(&fixture, &two, 2..3).await;
    assert_eq!(
        (left(&fixture, PEER).await, left(&fixture, OTHER).await),
        (4, 4)
    );
    (fixture, one, two)
}

#[tokio::test]
async fn a_consumer_who_leaves_is_unknown_and_what_they_had_sent_still_goes_out() {
    let (fixture, one, two) = talked().await;
    let token = fixture.register_for_token(PEER, 1).await;
    let device = fixture.relay.authenticate(&token).await.unwrap();
    let request = of(&device, wire::UnregisterRequest {});
    fixture.device.unregister(request).await.unwrap();

    let unknown = fixture.relay.authenticate(&token).await;
    assert!(matches!(unknown, Err(RelayError::DeviceUnknown)));
    assert_eq!(
        refused(fetch(&fixture.platform, Vec::new()).await),
        (Code::NotFound, "UNKNOWN_PEER".into())
    );
    assert!(waiting(&fixture, &one).await.is_empty());
    assert_eq!(left(&fixture, PEER).await, 1, "what no gateway has yet");
    assert_eq!(first_bytes(&collected(&fixture).await), [1, 2]);

    let mut gateway = Collecting::start(&fixture, "a").await;
    let taken = gateway.take(2).await;
    gateway.acknowledge(&taken).await;
    timeout(Duration::from_secs(10), async {
        while left(&fixture, PEER).await > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(waiting(&fixture, &two).await, [(2, 0)], "others stay");
    // The number is free for whoever has it next.
    assert_eq!(fixture.register(PEER, 3, 1).await.device_id, 1);
}

#[tokio::test]
async fn a_consumer_who_is_removed_leaves_nothing_and_may_be_removed_again() {
    let (fixture, _, two) = talked().await;
    let remove = || {
        let request = wire::RemoveConsumerRequest { peer: PEER.into() };
        fixture.platform.remove_consumer(Request::new(request))
    };
    // The device, what waits for it, and three rows of what it and the number had.
    assert_eq!(remove().await.unwrap().into_inner().deleted, 5);
    assert_eq!(remove().await.unwrap().into_inner().deleted, 0);
    assert_eq!(left(&fixture, PEER).await, 0);
    assert_eq!(first_bytes(&collected(&fixture).await), [2]);
    assert_eq!(waiting(&fixture, &two).await, [(2, 0)]);
}

#[tokio::test]
async fn a_number_goes_in_bounded_batches_and_with_it_all_that_it_had() {
    let (fixture, one, _) = talked().await;
    let remove = |limit| {
        let request = wire::RemoveNumberRequest {
            phone_number_id: NUMBER.into(),
            limit,
        };
        fixture.platform.remove_number(Request::new(request))
    };
    let first = remove(5).await.unwrap().into_inner();
    assert_eq!((first.deleted, first.more), (5, true));
    let second = remove(5).await.unwrap().into_inner();
    assert_eq!((second.deleted, second.more), (4, false));
    let third = remove(5).await.unwrap().into_inner();
    assert_eq!((third.deleted, third.more), (0, false));
    assert!(waiting(&fixture, &one).await.is_empty());
    assert_eq!(
        (left(&fixture, PEER).await, left(&fixture, OTHER).await),
        (0, 0)
    );
    let now = fixture.now();
    let late = submit_item(PEER, [3; 16], &[(1, 1)], now);
    assert_eq!(fixture.submit(vec![late]).await, [Malformed]);
    assert!(remove(0).await.is_err());
    // It can be made anew.
    fixture.number(1, 1).await;
}
