//! Tokens at the gateway's public face.

use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use prost::Message;
use sealpost_proto::directory::v1::directory_service_client::DirectoryServiceClient;
use sealpost_proto::directory::v1::{
    IssueTokenRequest, IssueTokenResponse, RevokeTokenRequest, Scope,
};
use sealpost_proto::gateway::v1::{
    GetVaultKeyRequest, ListNumbersRequest, ListNumbersResponse, OpenSubscription, OutboundMessage,
    SendRequest, SendStreamRequest, SendStreamResponse, SubscribeEventsRequest, send_outcome,
    subscribe_events_request,
};
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_runtime::Role;
use sealpost_tests::Suite;
use sealpost_tests::business::Sealer;
use sealpost_tests::contracts::rpcs;
use sealpost_tests::raw::{Outcome, call, call_with};
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::Channel;

use super::code;

const SEND: &str = "/sealpost.gateway.v1.GatewayService/Send";
const SEND_STREAM: &str = "/sealpost.gateway.v1.GatewayService/SendStream";
const SUBSCRIBE: &str = "/sealpost.gateway.v1.GatewayService/SubscribeEvents";
const LIST: &str = "/sealpost.gateway.v1.GatewayService/ListNumbers";
const VAULT_KEY: &str = "/sealpost.gateway.v1.GatewayService/GetVaultKey";

async fn issue(
    suite: &Suite,
    numbers: &[&str],
    scopes: &[Scope],
) -> anyhow::Result<IssueTokenResponse> {
    let mut directory =
        DirectoryServiceClient::new(suite.as_role(Role::Operator, "directory").await?);
    let request = IssueTokenRequest {
        business_id: suite.facts().business.id.clone(),
        phone_number_ids: numbers.iter().map(|number| (*number).to_owned()).collect(),
        scopes: scopes.iter().map(|scope| (*scope).into()).collect(),
        expires_at_ms: 0,
        description: "a test".to_owned(),
    };
    Ok(directory.issue_token(request).await?.into_inner())
}

async fn ask(channel: &Channel, path: &str, token: &str, request: impl Message) -> Outcome {
    call(
        channel,
        path,
        Some(token),
        vec![request.encode_to_vec().into()],
    )
    .await
}

/// A message that would be accepted, from the number at `index`.
async fn sealed(suite: &Suite, index: usize) -> anyhow::Result<OutboundMessage> {
    let mut vault = KeyVaultServiceClient::new(suite.as_role(Role::Gateway, "key-vault").await?);
    let item = Sealer::new(suite, &mut vault, index)
        .await?
        .text("15550288888", "by a token")?;
    Ok(OutboundMessage {
        phone_number_id: item.phone_number_id,
        message: item.message,
        wrap: item.wrap,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_answers_nobody_without_a_good_token() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let channel = suite.gateway_public()?;
    let good = suite.facts().gateway.token.clone();
    let almost = format!(
        "{}{}",
        &good[..good.len() - 1],
        if good.ends_with('a') { 'b' } else { 'a' }
    );
    let tokens = [
        None,
        Some(""),
        Some("x"),
        Some(almost.as_str()),
        Some("ÿ"),
        Some(&suite.facts().connector.token),
    ];
    for rpc in rpcs("sealpost.gateway.v1.GatewayService")? {
        for token in tokens {
            let outcome = call(&channel, &rpc.path, token, vec![Bytes::new()]).await;
            ensure!(
                code(&outcome) == Some(Code::Unauthenticated),
                "{} {outcome:?}",
                rpc.path
            );
        }
    }
    let mut bare = tonic::Request::new(tokio_stream::iter([Bytes::new()]));
    bare.metadata_mut().insert("authorization", good.parse()?);
    let outcome = call_with(&channel, LIST, bare).await;
    ensure!(
        code(&outcome) == Some(Code::Unauthenticated),
        "a token without Bearer: {outcome:?}"
    );

    let outcome = ask(&channel, LIST, &good, ListNumbersRequest {}).await;
    let Outcome::Answered(answer) = outcome else {
        panic!("the good token: {outcome:?}")
    };
    assert_eq!(ListNumbersResponse::decode(answer)?.numbers.len(), 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_sends_from_its_own_numbers_alone() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let channel = suite.gateway_public()?;
    let (own, other) = (suite.number(0), suite.number(1));
    let token = issue(
        suite,
        &[own],
        &[Scope::Send, Scope::Receive, Scope::ReadNumbers],
    )
    .await?
    .token;

    let outcome = ask(&channel, LIST, &token, ListNumbersRequest {}).await;
    let Outcome::Answered(answer) = outcome else {
        panic!("{outcome:?}")
    };
    let listed = ListNumbersResponse::decode(answer)?.numbers;
    assert_eq!(
        listed
            .iter()
            .map(|number| number.phone_number_id.as_str())
            .collect::<Vec<_>>(),
        [own]
    );

    let request = SendRequest {
        message: Some(sealed(suite, 0).await?),
    };
    let outcome = ask(&channel, SEND, &token, request).await;
    ensure!(
        matches!(outcome, Outcome::Answered(_)),
        "its own number: {outcome:?}"
    );

    let foreign = sealed(suite, 1).await?;
    let outcome = ask(
        &channel,
        SEND,
        &token,
        SendRequest {
            message: Some(foreign.clone()),
        },
    )
    .await;
    ensure!(
        matches!(
            code(&outcome),
            Some(Code::PermissionDenied | Code::NotFound)
        ),
        "Send: {outcome:?}"
    );
    // The address on the envelope is its own, what is inside is not.
    let disguised = OutboundMessage {
        phone_number_id: own.to_owned(),
        ..foreign.clone()
    };
    let outcome = ask(
        &channel,
        SEND,
        &token,
        SendRequest {
            message: Some(disguised),
        },
    )
    .await;
    ensure!(outcome.refused().is_some(), "Send in disguise: {outcome:?}");

    let batch = SendStreamRequest {
        batch_id: 7,
        items: vec![foreign],
    };
    let outcome = ask(&channel, SEND_STREAM, &token, batch).await;
    let refused = match &outcome {
        Outcome::Answered(answer) => SendStreamResponse::decode(answer.clone())?
            .outcomes
            .iter()
            .all(|outcome| matches!(outcome.outcome, Some(send_outcome::Outcome::Refused(_)))),
        other => other.refused().is_some(),
    };
    ensure!(refused, "SendStream: {outcome:?}");

    let outcome = ask(
        &channel,
        VAULT_KEY,
        &token,
        GetVaultKeyRequest {
            phone_number_id: other.to_owned(),
        },
    )
    .await;
    ensure!(
        matches!(
            code(&outcome),
            Some(Code::PermissionDenied | Code::NotFound)
        ),
        "GetVaultKey: {outcome:?}"
    );
    let open = OpenSubscription {
        name: "snoop".to_owned(),
        phone_number_ids: vec![other.to_owned()],
        max_unacknowledged: 0,
    };
    let open = SubscribeEventsRequest {
        request: Some(subscribe_events_request::Request::Open(open)),
    };
    let outcome = ask(&channel, SUBSCRIBE, &token, open).await;
    ensure!(
        matches!(
            code(&outcome),
            Some(Code::PermissionDenied | Code::NotFound)
        ),
        "SubscribeEvents: {outcome:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_its_scopes_say_and_no_more() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let channel = suite.gateway_public()?;
    let number = suite.number(0).to_owned();
    let reads = issue(suite, &[], &[Scope::ReadNumbers]).await?.token;
    let outcome = ask(
        &channel,
        VAULT_KEY,
        &reads,
        GetVaultKeyRequest {
            phone_number_id: number,
        },
    )
    .await;
    ensure!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    let request = SendRequest {
        message: Some(sealed(suite, 0).await?),
    };
    let outcome = ask(&channel, SEND, &reads, request.clone()).await;
    ensure!(
        code(&outcome) == Some(Code::PermissionDenied),
        "Send: {outcome:?}"
    );
    let open = OpenSubscription {
        name: "snoop".to_owned(),
        ..OpenSubscription::default()
    };
    let open = SubscribeEventsRequest {
        request: Some(subscribe_events_request::Request::Open(open)),
    };
    let outcome = ask(&channel, SUBSCRIBE, &reads, open).await;
    ensure!(
        code(&outcome) == Some(Code::PermissionDenied),
        "SubscribeEvents: {outcome:?}"
    );

    let receives = issue(suite, &[], &[Scope::Receive]).await?.token;
    let outcome = ask(&channel, SEND, &receives, request).await;
    ensure!(
        code(&outcome) == Some(Code::PermissionDenied),
        "Send: {outcome:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_stops_working_within_seconds() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let channel = suite.gateway_public()?;
    let issued = issue(suite, &[], &[Scope::ReadNumbers]).await?;
    let outcome = ask(&channel, LIST, &issued.token, ListNumbersRequest {}).await;
    ensure!(
        matches!(outcome, Outcome::Answered(_)),
        "before: {outcome:?}"
    );
    let mut directory =
        DirectoryServiceClient::new(suite.as_role(Role::Operator, "directory").await?);
    directory
        .revoke_token(RevokeTokenRequest {
            token_id: issued.token_id,
        })
        .await?;
    let revoked = Instant::now();
    loop {
        let outcome = ask(&channel, LIST, &issued.token, ListNumbersRequest {}).await;
        if code(&outcome) == Some(Code::Unauthenticated) {
            return Ok(());
        }
        ensure!(
            revoked.elapsed() < Duration::from_secs(15),
            "still good: {outcome:?}"
        );
        sleep(Duration::from_millis(200)).await;
    }
}
