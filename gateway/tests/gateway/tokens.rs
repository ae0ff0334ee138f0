//! Who may call.

use std::time::Duration;

use sealpost_gateway::config::LimitsConfig;
use sealpost_proto::gateway::v1::{
    GetVaultKeyRequest, ListNumbersRequest, OpenSubscription, OutboundMessage, SendRequest,
    SubscribeEventsRequest, subscribe_events_request::Request,
};
use sealpost_runtime::status::reason_of;
use tokio::{sync::mpsc, time::sleep};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::harness::{ANNA, NUMBER, Suite, TOKEN, message, within};

#[tokio::test]
async fn an_unknown_token_reaches_nothing() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let mut client = gateway.client("guess");
    let status = client
        .list_numbers(ListNumbersRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&status).as_deref(), Some("TOKEN_INVALID"));
}

#[tokio::test]
async fn a_token_acts_for_its_numbers_only() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let mut client = gateway.client(TOKEN);
    let numbers = client
        .list_numbers(ListNumbersRequest {})
        .await
        .unwrap()
        .into_inner();
    assert_eq!(numbers.numbers.len(), 1);
    let mine = GetVaultKeyRequest {
        phone_number_id: NUMBER.into(),
    };
    assert!(
        client
            .get_vault_key(mine)
            .await
            .unwrap()
            .into_inner()
            .key
            .is_some()
    );

    let message = OutboundMessage {
        phone_number_id: "999".into(),
        ..message(ANNA, 1)
    };
    let request = SendRequest {
        message: Some(message),
    };
    let status = client.send(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason_of(&status).as_deref(), Some("NOT_ALLOWED"));
    let other = GetVaultKeyRequest {
        phone_number_id: "999".into(),
    };
    let status = client.get_vault_key(other).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

#[tokio::test]
async fn a_revoked_token_ends_open_streams() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let mut client = gateway.client(TOKEN);
    let (_batches, stream) = mpsc::channel(1);
    let mut sent = client
        .send_stream(ReceiverStream::new(stream))
        .await
        .unwrap()
        .into_inner();
    let (opens, stream) = mpsc::channel(1);
    let open = Request::Open(OpenSubscription {
        name: "main".into(),
        ..OpenSubscription::default()
    });
    opens
        .send(SubscribeEventsRequest {
            request: Some(open),
        })
        .await
        .unwrap();
    let mut events = client
        .subscribe_events(ReceiverStream::new(stream))
        .await
        .unwrap()
        .into_inner();

    suite.directory.revoke(TOKEN);
    let status = within(sent.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = within(events.message()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let status = client
        .list_numbers(ListNumbersRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn a_good_token_works_on_while_the_directory_is_away_and_a_new_one_does_not() {
    let suite = Suite::new();
    let gateway = suite.start().await;
    let mut client = gateway.client(TOKEN);
    client.list_numbers(ListNumbersRequest {}).await.unwrap();
    suite.directory.set_down(true);
    // Longer than an answer is used without asking.
    sleep(Duration::from_millis(1200)).await;
    client.list_numbers(ListNumbersRequest {}).await.unwrap();
    suite.directory.issue("new", &[NUMBER], 0);
    let status = gateway
        .client("new")
        .list_numbers(ListNumbersRequest {})
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn streams_beyond_the_bound_are_shed() {
    let suite = Suite::new();
    let limits = LimitsConfig {
        streams: 1,
        ..LimitsConfig::default()
    };
    let gateway = suite.start_with(limits).await;
    let mut client = gateway.client(TOKEN);
    let (_first, stream) = mpsc::channel(1);
    let _held = client
        .send_stream(ReceiverStream::new(stream))
        .await
        .unwrap();
    let (_second, stream) = mpsc::channel(1);
    let status = client
        .send_stream(ReceiverStream::new(stream))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(reason_of(&status).as_deref(), Some("OVERLOADED"));
}
