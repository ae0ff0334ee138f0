//! Every server answers reflection and the standard health service, as README promises an operator.

use anyhow::{Context, ensure};
use sealpost_runtime::Role;
use sealpost_tests::Suite;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// Each mTLS face and a service that it must name.
const FACES: [(&str, &str); 6] = [
    ("directory", "sealpost.directory.v1.DirectoryService"),
    ("key-vault", "sealpost.vault.v1.KeyVaultService"),
    ("store", "sealpost.store.v1.StoreService"),
    ("relay", "sealpost.relay.v1.PlatformService"),
    ("retention", "sealpost.retention.v1.RetentionService"),
    ("gateway", "grpc.health.v1.Health"),
];

async fn listed(channel: Channel) -> anyhow::Result<Vec<String>> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await?
        .into_inner();
    let answer = answers.message().await?.context("an answer")?;
    match answer.message_response {
        Some(MessageResponse::ListServicesResponse(list)) => Ok(list
            .service
            .into_iter()
            .map(|service| service.name)
            .collect()),
        other => anyhow::bail!("not a list: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_server_tells_an_operator_its_services_and_that_it_serves() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    for (name, service) in FACES {
        let channel = suite.as_role(Role::Operator, name).await?;
        let found = listed(channel.clone()).await.with_context(|| name)?;
        ensure!(
            found.iter().any(|found| found == service),
            "{name}: {found:?}"
        );
        let health = HealthClient::new(channel)
            .check(HealthCheckRequest::default())
            .await?
            .into_inner();
        ensure!(
            health.status() == ServingStatus::Serving,
            "{name}: {health:?}"
        );
    }
    Ok(())
}
