//! What waits for the gateway, what is over, and what is erased.

use super::*;

#[tokio::test]
async fn the_gateway_gets_everything_in_order_and_again_until_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..4).await;
    let mut first = Collecting::start(&fixture);
    let taken = first.take(3).await;
    assert_eq!(first_bytes(&taken), [1, 2, 3]);
    first.said.send(Ok(vec![taken[0].queue_id])).await.unwrap();
    hand_over(&fixture, &device, 4..5).await;
    assert_eq!(first_bytes(&first.take(1).await), [4]);

    let mut second = Collecting::start(&fixture);
    assert_eq!(
        refused(first.page().await),
        (Code::Aborted, "STREAM_REPLACED".into())
    );
    assert_eq!(first_bytes(&second.take(3).await), [2, 3, 4]);
}

async fn expire(fixture: &Fixture, limit: u32, dry_run: bool) -> (u64, bool) {
    let request = wire::DeleteExpiredRequest { limit, dry_run };
    let answer = fixture
        .platform
        .delete_expired(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    (answer.deleted, answer.more)
}

#[tokio::test]
async fn what_is_over_is_neither_given_nor_kept() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |id| submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
    fixture.submit(vec![item(1), item(2), item(3)]).await;
    assert_eq!(expire(&fixture, 100, false).await, (0, false));

    fixture.clock.advance(Duration::from_secs(3600));
    assert!(waiting(&fixture, &device).await.is_empty());
    // Three queued, three remembered.
    assert_eq!(expire(&fixture, 4, true).await, (4, true));
    assert_eq!(expire(&fixture, 4, false).await, (4, true));
    assert_eq!(expire(&fixture, 4, false).await, (2, false));
    assert_eq!(expire(&fixture, 4, false).await, (0, false));
    // Nothing is remembered of the first, so it is new, with a new end.
    assert_eq!(fixture.submit(vec![item(1)]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);

    hand_over(&fixture, &device, 1..2).await;
    fixture.clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert!(collected(&fixture).await.is_empty());
    // One queued, one remembered, one inbound, one envelope.
    assert_eq!(expire(&fixture, 10_000, false).await, (4, false));
    for limit in [0, 10_001] {
        let request = wire::DeleteExpiredRequest {
            limit,
            dry_run: false,
        };
        let status = fixture
            .platform
            .delete_expired(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn erasing_a_consumer_leaves_others_alone() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let gone = fixture.register(PEER, 1, 1).await;
    let stays = fixture.register("4915187654321", 2, 1).await;
    let now = fixture.now();
    let items = vec![
        submit_item(PEER, [1; 16], &[(1, 1)], now),
        submit_item("4915187654321", [2; 16], &[(1, 2)], now),
    ];
    assert_eq!(fixture.submit(items).await, [Accepted, Accepted]);
    hand_over(&fixture, &gone, 1..2).await;
    hand_over(&fixture, &stays, 2..3).await;

    let erase = || {
        let request = wire::ErasePeerRequest {
            phone_number_id: NUMBER.into(),
            peer: PEER.into(),
        };
        fixture.platform.erase_peer(Request::new(request))
    };
    // Queued, remembered, inbound, envelope.
    assert_eq!(erase().await.unwrap().into_inner().deleted, 4);
    assert_eq!(erase().await.unwrap().into_inner().deleted, 0);
    assert!(waiting(&fixture, &gone).await.is_empty());
    assert_eq!(waiting(&fixture, &stays).await, [(2, 0)]);
    assert_eq!(first_bytes(&collected(&fixture).await), [2]);
}
