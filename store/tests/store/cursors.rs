//! Subscriptions' cursors only move forward.

use sealpost_proto::store::v1::{AdvanceCursorRequest, GetCursorRequest};
use tonic::Code;

use crate::bench::{Bench, NUMBER, inbound};

async fn advance(bench: &Bench, subscription: &str, cursor: u64) -> Result<(), tonic::Status> {
    let request = AdvanceCursorRequest {
        subscription: subscription.into(),
        phone_number_id: NUMBER.into(),
        cursor,
    };
    bench.client.clone().advance_cursor(request).await.map(drop)
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
    let refused = advance(&bench, "a name with blanks", 1).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
