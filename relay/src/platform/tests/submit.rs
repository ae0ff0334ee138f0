//! Batches of the gateway.

use super::*;

#[tokio::test]
async fn a_device_list_must_be_the_current_one() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let now = fixture.now();
    let item = |devices: &[(u32, u32)]| submit_item(PEER, [1; 16], devices, now);
    assert_eq!(fixture.submit(vec![item(&[(1, 1)])]).await, [UnknownPeer]);
    let device = fixture.register(PEER, 1, 1).await;
    let stale = [item(&[(1, 2)]), item(&[(2, 1)]), item(&[(1, 1), (2, 1)])];
    assert_eq!(fixture.submit(stale.to_vec()).await, [StaleDevices; 3]);
    assert!(waiting(&fixture, &device).await.is_empty());
    assert_eq!(fixture.submit(vec![item(&[(1, 1)])]).await, [Accepted]);

    let device = fixture.register(PEER, 2, 1).await;
    assert_eq!(fixture.submit(vec![item(&[(1, 1)])]).await, [StaleDevices]);
    let mut retry = item(&[(1, 1)]);
    retry.one_device = true;
    assert_eq!(fixture.submit(vec![retry]).await, [StaleDevices]);
    assert_eq!(fixture.submit(vec![item(&[(2, 2)])]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);
}

#[tokio::test]
async fn a_repeat_is_dropped_even_after_its_acknowledgement_and_another_attempt_is_not() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |attempt| wire::SubmitItem {
        attempt,
        one_device: attempt > 0,
        ..submit_item(PEER, [1; 16], &[(1, 1)], fixture.now())
    };
    assert_eq!(
        fixture.submit(vec![item(0), item(0)]).await,
        [Accepted, Accepted]
    );
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);

    let queued = fixture
        .relay
        .datastore
        .waiting(device.holder, 0, 10, fixture.now())
        .await
        .unwrap();
    let ids = vec![queued[0].queue_id];
    let datastore = &fixture.relay.datastore;
    datastore.forget_waiting(&device, ids).await;
    assert_eq!(fixture.submit(vec![item(0)]).await, [Accepted]);
    assert!(waiting(&fixture, &device).await.is_empty());
    assert_eq!(fixture.submit(vec![item(1)]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 1)]);
}

#[tokio::test]
async fn a_full_device_queue_takes_nothing_new_but_knows_what_it_has() {
    let limits = LimitsConfig {
        device_queue: 2,
        ..LimitsConfig::default()
    };
    let fixture = Fixture::with_limits(limits).await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |id| submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
    assert_eq!(
        fixture.submit(vec![item(1), item(2), item(3)]).await,
        [Accepted, Accepted, QueueFull]
    );
    assert_eq!(
        fixture.submit(vec![item(2), item(3)]).await,
        [Accepted, QueueFull]
    );
    let queued = fixture
        .relay
        .datastore
        .waiting(device.holder, 0, 10, fixture.now())
        .await
        .unwrap();
    let ids = vec![queued[0].queue_id];
    let datastore = &fixture.relay.datastore;
    datastore.forget_waiting(&device, ids).await;
    assert_eq!(fixture.submit(vec![item(3)]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(2, 0), (3, 0)]);
}

#[tokio::test]
async fn a_malformed_item_spoils_neither_its_batch_nor_its_order() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |id| submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
    let mut bad = item(2);
    bad.message_id = vec![2; 3].into();
    let mut unknown_number = item(3);
    unknown_number.phone_number_id = "1".into();
    let outcomes = fixture
        .submit(vec![item(1), bad, unknown_number, item(4)])
        .await;
    assert_eq!(outcomes, [Accepted, Malformed, Malformed, Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0), (4, 0)]);

    let request = wire::SubmitRequest {
        batch_id: 1,
        items: vec![item(5); 257],
    };
    let status = Status::from(fixture.relay.submit(request).await.unwrap_err());
    let details = status.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "items"
    );
}

#[tokio::test]
async fn a_message_is_billed_once_by_category_and_day() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 1).await;
    let item = |id, category| wire::SubmitItem {
        category,
        ..submit_item(PEER, [id; 16], &[(1, 1)], fixture.now())
    };
    fixture
        .submit(vec![item(1, 2), item(2, 2), item(3, 4), item(1, 2)])
        .await;
    let mut retry = item(1, 2);
    (retry.attempt, retry.one_device) = (1, true);
    fixture.submit(vec![retry, item(2, 2)]).await;
    let now = fixture.now();
    assert_eq!(
        fixture.relay.datastore.billed(NUMBER, now).await,
        [(2, 2), (4, 1)]
    );

    fixture.clock.advance(Duration::from_secs(24 * 3600));
    fixture.submit(vec![item(4, 2)]).await;
    assert_eq!(
        fixture.relay.datastore.billed(NUMBER, fixture.now()).await,
        [(2, 1)]
    );
}
