//! Events: by cursor, page by page, announced as they come.

use bytes::Bytes;
use sealpost_proto::store::v1::{MessageStatus, WatchEventsRequest, WatchEventsResponse};

use crate::bench::{Bench, NUMBER, epoch, inbound, outbound};

#[tokio::test]
async fn events_come_by_cursor_and_page_by_page() {
    let bench = Bench::new().await;
    bench
        .append_inbound((1..=5).map(|n| inbound(n, 1)).collect())
        .await;
    let mut seen = Vec::new();
    let mut after = 0;
    loop {
        let page = bench.events(after, 2).await;
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = last.cursor;
        seen.extend(
            page.iter()
                .map(|event| (event.cursor, event.record.as_ref().unwrap().message_id[0])),
        );
    }
    assert_eq!(seen, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
}

#[tokio::test]
async fn a_page_is_no_larger_than_its_reader_takes() {
    let bench = Bench::new().await;
    let large = |n: u8| {
        let mut item = inbound(n, 1);
        item.record.as_mut().unwrap().sealed = Bytes::from(vec![n; 128 * 1024]);
        item
    };
    bench.append_inbound((1..=25).map(large).collect()).await;
    bench.append_inbound((26..=50).map(large).collect()).await;
    let page = bench.events(0, 256).await;
    assert!(!page.is_empty() && page.len() < 50);
    let rest = bench.events(page.last().unwrap().cursor, 256).await;
    assert_eq!(rest[0].cursor, page.last().unwrap().cursor + 1);
}

#[tokio::test]
async fn cursors_go_on_where_they_were_after_all_events_are_gone() {
    let bench = Bench::new().await;
    bench
        .append_inbound(vec![inbound(1, 1), inbound(2, 1)])
        .await;
    let request = sealpost_proto::store::v1::DeleteSubjectRequest {
        phone_number_id: NUMBER.into(),
        tag: crate::bench::id(1),
        limit: 100,
    };
    bench.client.clone().delete_subject(request).await.unwrap();
    assert!(bench.events(0, 10).await.is_empty());
    bench.append_inbound(vec![inbound(3, 2)]).await;
    assert_eq!(bench.events(0, 10).await[0].cursor, 3);
}

fn heads(answer: WatchEventsResponse) -> Vec<(String, u64)> {
    let cursors = answer.cursors.into_iter();
    cursors
        .map(|head| (head.phone_number_id, head.cursor))
        .collect()
}

#[tokio::test]
async fn a_watch_starts_with_what_is_there_and_goes_on_with_what_comes() {
    let bench = Bench::new().await;
    bench.append(vec![outbound(1, 1, 1)]).await;
    bench.move_to(1, MessageStatus::Sent).await;
    let watch = bench
        .client
        .clone()
        .watch_events(WatchEventsRequest {})
        .await;
    let mut watch = watch.unwrap().into_inner();
    assert_eq!(
        heads(watch.message().await.unwrap().unwrap()),
        [(NUMBER.to_owned(), 1)]
    );

    bench.append_inbound(vec![inbound(2, 1)]).await;
    assert_eq!(
        heads(watch.message().await.unwrap().unwrap()),
        [(NUMBER.to_owned(), 2)]
    );

    let mut elsewhere = inbound(3, 1);
    let record = elsewhere.record.as_mut().unwrap();
    record.phone_number_id = "200".into();
    record.epoch = Some(epoch());
    bench.append_inbound(vec![elsewhere]).await;
    assert_eq!(
        heads(watch.message().await.unwrap().unwrap()),
        [("200".to_owned(), 1)]
    );
}

#[tokio::test]
async fn a_watch_of_an_empty_store_answers_at_once() {
    let bench = Bench::new().await;
    let watch = bench
        .client
        .clone()
        .watch_events(WatchEventsRequest {})
        .await;
    let first = watch
        .unwrap()
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap();
    assert!(first.cursors.is_empty());
}
