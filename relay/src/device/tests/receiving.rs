//! The stream of what waits for a device.

use super::*;

#[tokio::test]
async fn what_waits_comes_in_order_and_again_until_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 1..6).await;

    let mut first = Receiving::start(&fixture, &device).await;
    let taken = first.take(5).await;
    assert_eq!(ids(&taken), [1, 2, 3, 4, 5]);
    assert!(taken.is_sorted_by_key(|envelope| envelope.queue_id));
    first.acknowledge(&taken[..2]).await;
    // What is sent after the acknowledgement shows that it was handled.
    send(&fixture, &device, 1, 6..7).await;
    assert_eq!(ids(&first.take(1).await), [6]);
    drop(first);

    let mut second = Receiving::start(&fixture, &device).await;
    assert_eq!(ids(&second.take(4).await), [3, 4, 5, 6]);
}

#[tokio::test]
async fn a_second_stream_of_a_device_ends_the_first() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let mut first = Receiving::start(&fixture, &device).await;
    let mut second = Receiving::start(&fixture, &device).await;
    assert_eq!(
        refused(first.page().await),
        (GrpcCode::Aborted, "STREAM_REPLACED".into())
    );
    send(&fixture, &device, 1, 1..2).await;
    assert_eq!(ids(&second.take(1).await), [1]);
}

#[tokio::test]
async fn no_more_than_a_window_is_under_way_and_an_acknowledgement_opens_it() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 0..200).await;
    let more = (0..100).map(|id| {
        let message_id = [[id; 8], [255; 8]].concat().try_into().unwrap();
        submit_item(PEER, message_id, &[(1, 1)], fixture.now())
    });
    fixture.submit(more.collect()).await;

    let mut receiving = Receiving::start(&fixture, &device).await;
    let taken = receiving.take(WINDOW).await;
    assert_eq!(taken.len(), WINDOW);
    assert!(receiving.is_quiet().await);
    receiving.acknowledge(&taken[..1]).await;
    assert_eq!(receiving.take(1).await.len(), 1);
    receiving.acknowledge(&taken[1..]).await;
    assert_eq!(
        receiving.take(300 - WINDOW - 1).await.len(),
        300 - WINDOW - 1
    );
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let items = (0..12).map(|id| {
        let mut item = submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
        item.ciphertexts[0].ciphertext = vec![id; 128 * 1024].into();
        item
    });
    fixture.submit(items.collect()).await;
    let mut receiving = Receiving::start(&fixture, &device).await;
    let page = receiving.page().await.unwrap();
    assert_eq!(ids(&page), [0, 1, 2, 3]);
    assert_eq!(receiving.take(8).await.len(), 8);
}

#[tokio::test]
async fn a_device_neither_reads_nor_acknowledges_anothers_messages() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let mine = fixture.register(PEER, 1, 1).await;
    let other = fixture.register(OTHER, 2, 1).await;
    send(&fixture, &mine, 1, 1..3).await;
    let taken = Receiving::start(&fixture, &mine).await.take(2).await;

    let mut theirs = Receiving::start(&fixture, &other).await;
    assert!(theirs.is_quiet().await);
    theirs.acknowledge(&taken).await;
    send(&fixture, &other, 2, 3..4).await;
    assert_eq!(ids(&theirs.take(1).await), [3]);
    assert_eq!(
        ids(&Receiving::start(&fixture, &mine).await.take(2).await),
        [1, 2]
    );
}

#[tokio::test]
async fn a_call_without_a_device_is_unauthenticated() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .device
        .get_prekey_count(Request::new(wire::GetPrekeyCountRequest {}))
        .await;
    assert_eq!(
        refused(answer),
        (GrpcCode::Unauthenticated, "DEVICE_UNKNOWN".into())
    );
    let answer = fixture
        .device
        .send_receipts(Request::new(wire::SendReceiptsRequest::default()))
        .await;
    assert_eq!(refused(answer).1, "DEVICE_UNKNOWN");
}
