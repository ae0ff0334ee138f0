//! Subscriptions' cursors only move forward.

use sealpost_proto::store::v1::{
    AdvanceCursorRequest, DeleteSubjectRequest, DeleteSubscriptionRequest, GetCursorRequest,
    ListSubscriptionsRequest, OpenCursorRequest, StoredSubscription, WatchEventsRequest,
};
use sealpost_runtime::status::reason_of;
use tonic::Code;

use crate::bench::{Bench, NUMBER, id, inbound};

/// Opens the subscription; its cursor and the number of the opening.
async fn open(bench: &Bench, subscription: &str) -> (u64, u64) {
    let request = OpenCursorRequest {
        subscription: subscription.into(),
        phone_number_id: NUMBER.into(),
    };
    let answer = bench.client.clone().open_cursor(request).await.unwrap();
    let answer = answer.into_inner();
    (answer.cursor, answer.opening)
}

async fn advance_by(
    bench: &Bench,
    subscription: &str,
    cursor: u64,
    opening: u64,
) -> Result<(), tonic::Status> {
    let request = AdvanceCursorRequest {
        subscription: subscription.into(),
        phone_number_id: NUMBER.into(),
        cursor,
        opening,
    };
    bench.client.clone().advance_cursor(request).await.map(drop)
}

/// On an opening of its own.
async fn advance(bench: &Bench, subscription: &str, cursor: u64) -> Result<(), tonic::Status> {
    let (_, opening) = open(bench, subscription).await;
    advance_by(bench, subscription, cursor, opening).await
}

async fn cursor(bench: &Bench, subscription: &str) -> u64 {
    let request = GetCursorRequest {
        subscription: subscription.into(),
        phone_number_id: NUMBER.into(),
    };
    let answer = bench.client.clone().get_cursor(request).await.unwrap();
    answer.into_inner().cursor
}

#[tokio::test]
async fn a_cursor_moves_forward_only_and_each_subscription_has_its_own() {
    let bench = Bench::new().await;
    bench
        .append_inbound((1..=5).map(|n| inbound(n, 1)).collect())
        .await;
    assert_eq!(cursor(&bench, "biz/default").await, 0);
    for (asked, kept) in [(2, 2), (1, 2), (4, 4), (4, 4)] {
        advance(&bench, "biz/default", asked).await.unwrap();
        assert_eq!(cursor(&bench, "biz/default").await, kept);
    }
    assert_eq!(cursor(&bench, "biz/other").await, 0);
}

#[tokio::test]
async fn what_has_not_happened_cannot_be_acknowledged() {
    let bench = Bench::new().await;
    advance(&bench, "biz/default", 9).await.unwrap();
    assert_eq!(cursor(&bench, "biz/default").await, 0);
    bench.append_inbound(vec![inbound(1, 1)]).await;
    advance(&bench, "biz/default", u64::MAX).await.unwrap();
    assert_eq!(cursor(&bench, "biz/default").await, 1);
}

#[tokio::test]
async fn a_name_out_of_shape_is_refused() {
    let bench = Bench::new().await;
    let refused = advance_by(&bench, "a name with blanks", 1, 1);
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn an_older_opening_is_told_of_the_newer_and_what_it_acknowledges_still_counts() {
    let bench = Bench::new().await;
    bench
        .append_inbound((1..=5).map(|n| inbound(n, 1)).collect())
        .await;
    let (cursor, older) = open(&bench, "biz/default").await;
    assert_eq!(cursor, 0);
    advance_by(&bench, "biz/default", 2, older).await.unwrap();
    let (cursor, newer) = open(&bench, "biz/default").await;
    assert_eq!(cursor, 2);
    assert!(newer > older);
    let refused = advance_by(&bench, "biz/default", 3, older);
    let refused = refused.await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert_eq!(
        reason_of(&refused).as_deref(),
        Some("SUBSCRIPTION_REPLACED")
    );
    assert_eq!(cursor_of(&bench).await, 3);
    advance_by(&bench, "biz/default", 4, newer).await.unwrap();
    assert!(advance_by(&bench, "biz/default", 2, older).await.is_err());
    assert_eq!(cursor_of(&bench).await, 4);
}

async fn cursor_of(bench: &Bench) -> u64 {
    cursor(bench, "biz/default").await
}

#[tokio::test]
async fn whoever_watches_hears_of_an_opening() {
    let bench = Bench::new().await;
    let mut watching = bench.client.clone();
    let watch = watching.watch_events(WatchEventsRequest {}).await;
    let mut watch = watch.unwrap().into_inner();
    assert!(watch.message().await.unwrap().unwrap().openings.is_empty());
    let (_, opening) = open(&bench, "biz/default").await;
    let heard = watch.message().await.unwrap().unwrap().openings;
    assert_eq!(heard.len(), 1);
    assert_eq!(
        (&*heard[0].subscription, &*heard[0].phone_number_id),
        ("biz/default", NUMBER)
    );
    assert_eq!(heard[0].opening, opening);
}

async fn listed(bench: &Bench, page_size: u32) -> Vec<StoredSubscription> {
    let mut listed: Vec<StoredSubscription> = Vec::new();
    loop {
        let last = listed.last().cloned().unwrap_or_default();
        let request = ListSubscriptionsRequest {
            page_size,
            after_subscription: last.subscription,
            after_phone_number_id: last.phone_number_id,
        };
        let page = bench.client.clone().list_subscriptions(request).await;
        let page = page.unwrap().into_inner().subscriptions;
        let complete = page.len() < page_size as usize;
        listed.extend(page);
        if complete {
            return listed;
        }
    }
}

#[tokio::test]
async fn subscriptions_are_listed_page_by_page_and_deleted_by_name() {
    let bench = Bench::new().await;
    bench
        .append_inbound((1..=3).map(|n| inbound(n, 1)).collect())
        .await;
    for name in ["a/one", "a/two", "b/one"] {
        advance(&bench, name, 2).await.unwrap();
    }
    let all = listed(&bench, 2).await;
    let names: Vec<_> = all.iter().map(|one| one.subscription.as_str()).collect();
    assert_eq!(names, ["a/one", "a/two", "b/one"]);
    assert_eq!((all[0].cursor, all[0].newest_cursor), (2, 3));
    assert_eq!(all[0].used_at_ms, bench.now_ms());

    let request = DeleteSubscriptionRequest {
        subscription: "a/two".into(),
        phone_number_id: String::new(),
        limit: 10,
    };
    let deleted = bench.client.clone().delete_subscription(request).await;
    let deleted = deleted.unwrap().into_inner();
    assert_eq!((deleted.deleted, deleted.more), (1, false));
    assert_eq!(listed(&bench, 10).await.len(), 2);
}

#[tokio::test]
async fn a_program_whose_subscription_was_deleted_goes_on_and_an_older_one_is_still_told() {
    let bench = Bench::new().await;
    bench
        .append_inbound((1..=3).map(|n| inbound(n, 1)).collect())
        .await;
    let (_, older) = open(&bench, "biz/default").await;
    let (_, newer) = open(&bench, "biz/default").await;
    let request = DeleteSubscriptionRequest {
        subscription: "biz/default".into(),
        phone_number_id: NUMBER.into(),
        limit: 10,
    };
    bench
        .client
        .clone()
        .delete_subscription(request)
        .await
        .unwrap();
    advance_by(&bench, "biz/default", 2, newer).await.unwrap();
    assert_eq!(cursor_of(&bench).await, 2);
    assert!(advance_by(&bench, "biz/default", 3, older).await.is_err());
}

#[tokio::test]
async fn a_cursor_that_tells_nothing_goes_a_day_after_its_last_use_and_no_other_does() {
    let bench = Bench::new().await;
    bench
        .append_inbound(vec![inbound(1, 1), inbound(2, 2)])
        .await;
    advance(&bench, "biz/default", 1).await.unwrap();
    let forget = async || {
        let forgotten = bench.datastore.forget_cursors(10, bench.clock.now());
        forgotten.await.unwrap()
    };
    bench.advance(25 * 3600);
    assert_eq!(forget().await, 0, "event 1 would come again without it");
    let request = DeleteSubjectRequest {
        phone_number_id: NUMBER.into(),
        tag: id(1),
        limit: 100,
    };
    bench.client.clone().delete_subject(request).await.unwrap();
    let (cursor, _) = open(&bench, "biz/default").await;
    assert_eq!((cursor, forget().await), (1, 0), "it was used just now");
    bench.advance(25 * 3600);
    assert_eq!(forget().await, 1);
    // Who comes back begins at nought and misses nothing, nor gets anything twice.
    assert_eq!(open(&bench, "biz/default").await.0, 0);
    let cursors: Vec<_> = bench.events(0, 10).await;
    assert_eq!(cursors[0].cursor, 2);
}
