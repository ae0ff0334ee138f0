//! What is over, and what is erased.

use super::*;
use crate::upkeep;

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

async fn retain(fixture: &Fixture, seconds: u32) {
    let request = wire::SetNumberRetentionRequest {
        phone_number_id: NUMBER.into(),
        retention_seconds: seconds,
    };
    let set = fixture.platform.set_number_retention(Request::new(request));
    set.await.unwrap();
}

async fn left(fixture: &Fixture) -> u64 {
    let request = wire::ErasePeerRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        dry_run: true,
    };
    let counted = fixture.platform.erase_peer(Request::new(request)).await;
    counted.unwrap().into_inner().deleted
}

#[tokio::test]
async fn after_its_hour_a_number_of_an_hour_has_nothing_of_a_consumer_though_nobody_calls() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    retain(&fixture, 3600).await;
    let device = fixture.register(PEER, 1, 1).await;
    // The gateway asks for thirty days: the number's class is shorter.
    let mut item = submit_item(PEER, [1; 16], &[(1, 1)], fixture.now());
    item.expires_at_ms = u64::MAX;
    fixture.submit(vec![item]).await;
    hand_over(&fixture, &device, 1..2).await;
    let stop = CancellationToken::new();
    let deleted = upkeep::delete_expired(&fixture.relay, &stop).await.unwrap();
    assert_eq!((deleted, left(&fixture).await), (0, 4), "the control");

    fixture.clock.advance(Duration::from_secs(3599));
    assert_eq!(waiting(&fixture, &device).await.len(), 1);
    fixture.clock.advance(Duration::from_secs(1));
    assert!(waiting(&fixture, &device).await.is_empty());
    assert!(collected(&fixture).await.is_empty());
    let deleted = upkeep::delete_expired(&fixture.relay, &stop).await.unwrap();
    assert_eq!((deleted, left(&fixture).await), (4, 0));
}

#[tokio::test]
async fn a_class_is_kept_when_keys_are_made_anew_and_refused_out_of_range() {
    let fixture = Fixture::new().await;
    let class = || async {
        let request = wire::GetNumberRequest {
            phone_number_id: NUMBER.into(),
        };
        let found = fixture.platform.get_number(Request::new(request)).await;
        found.map(|found| found.into_inner().retention_seconds)
    };
    assert_eq!(
        refused(class().await),
        (Code::NotFound, "NUMBER_UNKNOWN".into())
    );
    fixture.number(1, 1).await;
    assert_eq!(class().await.unwrap(), 2_592_000);
    retain(&fixture, 7200).await;
    fixture.number(1, 1).await;
    assert_eq!(class().await.unwrap(), 7200);
    for seconds in [0, 3599, 2_592_001] {
        let request = wire::SetNumberRetentionRequest {
            phone_number_id: NUMBER.into(),
            retention_seconds: seconds,
        };
        let set = fixture.platform.set_number_retention(Request::new(request));
        assert_eq!(set.await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn what_is_over_is_forgotten_before_it_is_deleted() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    retain(&fixture, 3600).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = || submit_item(PEER, [1; 16], &[(1, 1)], fixture.now());
    assert_eq!(fixture.submit(vec![item()]).await, [Accepted]);
    hand_over(&fixture, &device, 1..2).await;
    fixture.clock.advance(Duration::from_secs(3600));

    let retry = wire::RequestRetryRequest {
        phone_number_id: NUMBER.into(),
        message_id: vec![1; 16].into(),
        failed_attempt: 0,
    };
    let asked = fixture.device.request_retry(of(&device, retry)).await;
    assert_eq!(refused(asked).1, "MESSAGE_UNKNOWN");
    // Neither is a repeat any more, and the rows that lie there are no obstacle.
    assert_eq!(fixture.submit(vec![item()]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);
    hand_over(&fixture, &device, 1..2).await;
    assert_eq!(first_bytes(&collected(&fixture).await), [1]);
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

    let erase = |dry_run| {
        let request = wire::ErasePeerRequest {
            phone_number_id: NUMBER.into(),
            peer: PEER.into(),
            dry_run,
        };
        fixture.platform.erase_peer(Request::new(request))
    };
    // Queued, remembered, inbound, envelope.
    assert_eq!(erase(true).await.unwrap().into_inner().deleted, 4);
    assert_eq!(erase(false).await.unwrap().into_inner().deleted, 4);
    assert_eq!(erase(true).await.unwrap().into_inner().deleted, 0);
    assert_eq!(erase(false).await.unwrap().into_inner().deleted, 0);
    assert!(waiting(&fixture, &gone).await.is_empty());
    assert_eq!(waiting(&fixture, &stays).await, [(2, 0)]);
    assert_eq!(first_bytes(&collected(&fixture).await), [2]);
}
