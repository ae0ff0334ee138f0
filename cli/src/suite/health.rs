//! Waiting until a service serves.

use std::time::{Duration, Instant};

use anyhow::bail;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::process;
use super::service::Service;
use crate::operator::Operator;

/// How long a service may take until it serves.
const START_TIME: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the service at `address` answers SERVING over mTLS, or its process `pid` has ended.
pub async fn until_serving(
    operator: &Operator,
    service: Service,
    address: &str,
    pid: u32,
    argv: &[String],
) -> anyhow::Result<()> {
    let Some(role) = service.role() else {
        return until_listening(service, address, pid, argv).await;
    };
    let mut client = HealthClient::new(operator.channel(address, role)?);
    let start = Instant::now();
    loop {
        let check = client.check(HealthCheckRequest {
            service: String::new(),
        });
        if let Ok(Ok(answer)) = tokio::time::timeout(Duration::from_secs(2), check).await
            && answer.into_inner().status() == ServingStatus::Serving
        {
            return Ok(());
        }
        give_up_or_pause(service, start, pid, argv).await?;
    }
}

async fn until_listening(
    service: Service,
    address: &str,
    pid: u32,
    argv: &[String],
) -> anyhow::Result<()> {
    let start = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        give_up_or_pause(service, start, pid, argv).await?;
    }
    Ok(())
}

async fn give_up_or_pause(
    service: Service,
    start: Instant,
    pid: u32,
    argv: &[String],
) -> anyhow::Result<()> {
    if !process::runs_as(pid, argv) && start.elapsed() > Duration::from_millis(300) {
        bail!("{service} ended while starting: its log says why");
    }
    if start.elapsed() > START_TIME {
        bail!(
            "{service} does not serve after {} s: its log says why",
            START_TIME.as_secs()
        );
    }
    tokio::time::sleep(PAUSE).await;
    Ok(())
}
