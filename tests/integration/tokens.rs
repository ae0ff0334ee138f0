//! The public faces: whoever has no token, a wrong one, a revoked one or somebody else's is refused.

mod gateway;

use anyhow::{Context, ensure};
use bytes::Bytes;
use sealpost_tests::Suite;
use sealpost_tests::contracts::rpcs;
use sealpost_tests::raw::{Outcome, call};
use sealpost_tests::rest::{self, Rest};
use tonic::Code;

fn code(outcome: &Outcome) -> Option<Code> {
    outcome.refused().map(tonic::Status::code)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_connector_answers_nobody_without_its_token() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let url = &suite.facts().connector.url;
    let message = rest::text("15550288888", "by nobody");
    for token in ["", "x", &suite.facts().gateway.token] {
        let answer = Rest::new(url, token)?
            .post(suite.number(0), None, &message)
            .await?;
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert_eq!(
            answer.body["error"]["code"], 190,
            "as the Cloud API says it: {}",
            answer.body
        );
    }
    let foreign = Rest::of(suite)?
        .post("999999999999999", None, &message)
        .await?;
    ensure!(
        foreign.status >= 400 && foreign.status < 500,
        "{} {}",
        foreign.status,
        foreign.body
    );
    foreign.body["error"]["code"]
        .as_u64()
        .context("a code")
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_relay_answers_no_device_without_its_token() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let first = suite.register("15550270001").await?;
    let foreign = suite.register("15550270002").await?;
    let count = "/sealpost.relay.v1.DeviceService/GetPrekeyCount";
    for device in [&first, &foreign] {
        let outcome = call(
            &device.channel,
            count,
            Some(&device.token),
            vec![Bytes::new()],
        )
        .await;
        ensure!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    }
    for rpc in rpcs("sealpost.relay.v1.DeviceService")? {
        if ["RequestCode", "Register"].contains(&rpc.name.as_str()) {
            continue;
        }
        for token in [
            None,
            Some(""),
            Some("x"),
            Some(suite.facts().gateway.token.as_str()),
        ] {
            let outcome = call(&first.channel, &rpc.path, token, vec![Bytes::new()]).await;
            ensure!(
                code(&outcome) == Some(Code::Unauthenticated),
                "{} {outcome:?}",
                rpc.path
            );
        }
    }
    // Registering a number again ends the token of its earlier device, and nobody else's.
    suite.register("15550270001").await?;
    let outcome = call(
        &first.channel,
        count,
        Some(&first.token),
        vec![Bytes::new()],
    )
    .await;
    ensure!(
        code(&outcome) == Some(Code::Unauthenticated),
        "the replaced device: {outcome:?}"
    );
    let outcome = call(
        &foreign.channel,
        count,
        Some(&foreign.token),
        vec![Bytes::new()],
    )
    .await;
    ensure!(matches!(outcome, Outcome::Answered(_)), "{outcome:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_a_number_without_its_code() -> anyhow::Result<()> {
    use sealpost_proto::relay::v1::device_service_client::DeviceServiceClient;
    use sealpost_proto::relay::v1::{RegisterRequest, RequestCodeRequest};
    let suite = Suite::shared().await?;
    let phone = "15550270003".to_owned();
    let mut relay = DeviceServiceClient::new(suite.relay_devices()?);
    relay
        .request_code(RequestCodeRequest {
            phone_number: phone.clone(),
        })
        .await?;
    for code in ["", "000000", "123456", "abcdef"] {
        let is_the_code = suite.codes_for(&phone).iter().any(|sent| sent == code);
        if is_the_code {
            continue;
        }
        let upload = Some(sealpost_tests::device::device_keys());
        let request = RegisterRequest {
            phone_number: phone.clone(),
            code: code.to_owned(),
            upload,
        };
        let status = relay
            .register(request)
            .await
            .err()
            .context("registered with a wrong code")?;
        ensure!(
            matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::PermissionDenied
                    | Code::Unauthenticated
                    | Code::FailedPrecondition
            ),
            "{status}"
        );
    }
    Ok(())
}
